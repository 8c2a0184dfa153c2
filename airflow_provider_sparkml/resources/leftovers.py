"""What a Spark job can leave behind in a namespace, and the rule that says whose it is. Pure.

Names, labels and owners are those of ``internal/controller/sparkapplication``, ``internal/scheduler`` and
``pkg/common/spark.go`` of kubeflow/spark-operator v2.5, and of ``org.apache.spark.deploy.k8s`` of Apache Spark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from airflow_provider_sparkml.resources import istio_routes, naming
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import CONFIG_MAP, PERSISTENT_VOLUME_CLAIM, POD, SERVICE
from airflow_provider_sparkml.resources.naming import TaskIdentity
from airflow_provider_sparkml.resources.spark import API as APPLICATION
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION

APP_ID = "spark-app-selector"
"""Label: the id that Spark gives a submission, ``spark-…``."""
APP_NAME = "sparkoperator.k8s.io/app-name"
"""Label: the name of the SparkApplication."""
ROLE = "spark-role"
"""Label: ``driver`` or ``executor``, on every pod of Spark's."""
CREATED_BY_OPERATOR = "sparkoperator.k8s.io/created-by-spark-operator"

INGRESS = ApiResource("networking.k8s.io", "v1", "ingresses", "Ingress")
NETWORK_POLICY = ApiResource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
DISRUPTION_BUDGET = ApiResource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
VOLCANO_POD_GROUP = ApiResource("scheduling.volcano.sh", "v1beta1", "podgroups", "PodGroup")
SCHEDULER_POD_GROUP = ApiResource("scheduling.x-k8s.io", "v1alpha1", "podgroups", "PodGroup")

TYPES: Mapping[ApiResource, str] = {
    istio_routes.VIRTUAL_SERVICE: "",
    istio_routes.DESTINATION_RULE: "",
    istio_routes.SERVICE_ENTRY: "",
    APPLICATION: "",
    POD: ROLE,
    SERVICE: "",
    INGRESS: "",
    CONFIG_MAP: "",
    PERSISTENT_VOLUME_CLAIM: APP_ID,
    NETWORK_POLICY: APP_ID,
    DISRUPTION_BUDGET: "",
    VOLCANO_POD_GROUP: "",
    SCHEDULER_POD_GROUP: "",
}
"""The types, in the order of their deletion, with the label selector that finds all that is Spark's.

What routes to a Service goes before it, or a clean-up that was broken off would not know it any more; owners go before
what they own. Labels of UI Services can be replaced (``sparkUIOptions.serviceLabels``) and drivers' ConfigMaps have
none, so these are listed whole.
"""

_GROUPS_BY_NAME = {
    VOLCANO_POD_GROUP: re.compile(r"spark-(.+)-pg"),
    SCHEDULER_POD_GROUP: re.compile(r"(.+)-pg"),
}
_PROMETHEUS = re.compile(r"(.+)-prom-conf")
_DRIVER_CONF = re.compile(r"spark-drv-[0-9a-f]+-conf-map")
_DRIVER_LABEL = re.compile(rf"^spark\.kubernetes\.driver\.label\.{re.escape(APP_NAME)}=(\S+)\s*$", re.MULTILINE)
_POD_ENDS = ("Succeeded", "Failed")

Objects = Mapping[ApiResource, Sequence[Manifest]]
"""The objects of a namespace by type; a type that could not be listed is left out."""
Mention = tuple[str, str]
"""An application as an object names it: :data:`APP_ID` or :data:`APP_NAME`, and the value."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to be cleaned up: by name or id of an application, by marks of a run, or by age.

    :param namespace: where; objects of other namespaces are never touched.
    :param applications: names and ids of applications, as objects name them.
    :param labels: marks: what has all of these labels is ours; without any, nothing is ours by its labels.
    :param annotations: what a SparkApplication with these labels must have as well.
    :param ended_before: only what has ended before; ``None``: whatever its state.
    """

    namespace: str
    applications: frozenset[Mention] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    ended_before: datetime | None = None


def of_application(namespace: str, *, name: str = "", app_id: str = "") -> Scope:
    """Return the scope of one application, whoever made it: by its name, or by the id that Spark gave it."""
    given = ((APP_NAME, name), (APP_ID, app_id))
    return Scope(namespace, frozenset((kind, value) for kind, value in given if value))


def of_run(identity: TaskIdentity, namespace: str) -> Scope:
    """Return the scope of all that tasks of one DAG run of one Airflow have made."""
    return _marked(identity, namespace, ("dag_id", "run_id"), None)


def of_age(identity: TaskIdentity, namespace: str, ended_before: datetime) -> Scope:
    """Return the scope of what one Airflow has made and what ended before a time."""
    return _marked(identity, namespace, (), ended_before)


def _marked(identity: TaskIdentity, namespace: str, keys: tuple[str, ...], ended_before: datetime | None) -> Scope:
    labels, annotations = naming.job_labels(identity, 1), naming.job_annotations(identity)
    full = [f"{naming.PREFIX}/{key}" for key in ("tenant", *(key.replace("_", "-") for key in keys))]
    return Scope(
        namespace,
        labels={key: labels[key] for key in (naming.MANAGED_BY, naming.TENANT, *keys)},
        annotations={key: annotations[key] for key in full},
        ended_before=ended_before,
    )


@dataclass(frozen=True, slots=True)
class Leftover:
    """An object that was left behind.

    :param api: its type.
    :param name: its name.
    :param uid: its UID.
    :param created: when it was created, RFC 3339.
    :param collected: whether it goes with an owner that is a leftover too, by Kubernetes' garbage collector.
    :param going: whether somebody has deleted it already.
    """

    api: ApiResource
    name: str
    uid: str
    created: str = ""
    collected: bool = False
    going: bool = False

    def __str__(self) -> str:
        return f"{self.api.kind} {self.name}"


def decide(found: Objects, scope: Scope) -> list[Leftover]:
    """Return which objects of a namespace the scope has left behind, in the order of deletion.

    An object with owners is one only if all of these are: what anybody else owns, even beside ours, stays. One without
    owners is one if it names an application of the scope (in a label or a selector, by Spark's id or by name), or if it
    has all marks of the scope and is Spark's. What names an application that stays, stays.

    :param found: the objects by type.
    :param scope: whose, and how old.
    """
    found = {
        api: [obj for obj in objects if obj["metadata"].get("namespace") == scope.namespace]
        for api, objects in found.items()
    }
    ours = {uid_of(app): app for app in found.get(APPLICATION, ()) if _claims(scope, app)}
    known = set(scope.applications).union(*map(_named_by, ours.values()))
    busy = _busy(found, scope, ours.keys()) - known
    rest = [(api, obj) for api in TYPES if api not in istio_routes.TYPES for obj in found.get(api, ())]
    while True:
        # Drivers come first, then what they own, and what names their ids.
        rest = [(api, obj) for api, obj in rest if uid_of(obj) not in ours]
        taken = [(api, obj) for api, obj in rest if _belongs(api, obj, scope, ours=ours.keys(), known=known, busy=busy)]
        if not taken:
            break
        ours |= {uid_of(obj): obj for _, obj in taken}
        known |= {mention for api, obj in taken if api is POD for mention in mentions(api, obj)} - busy
    ours |= {uid_of(obj): obj for obj in _dead_routes(found, scope, ours.keys(), known)}
    return [
        _leftover(api, obj, ours.keys()) for api in TYPES for obj in found.get(api, ()) if uid_of(obj) in ours
    ]  # fmt: skip


def mentions(api: ApiResource, obj: Manifest) -> frozenset[Mention]:
    """Return which applications an object names: in its labels or selectors, or by how the operator finds it.

    A selector counts by an id, which no other run has. One by name may be of something lasting, for all runs of that
    name, which somebody else has put there; it counts for the operator's own Service, known by its name, whose labels
    an application may have replaced (``sparkUIOptions.serviceLabels``).
    """
    spec, metadata = obj.get("spec") or {}, obj["metadata"]
    selectors = (
        spec.get("selector") if api is SERVICE else (spec.get("selector") or {}).get("matchLabels"),
        (spec.get("podSelector") or {}).get("matchLabels"),
    )
    stated = labels_of(obj)
    said = {(key, str(stated[key])) for key in (APP_ID, APP_NAME) if stated.get(key)}
    said |= {(APP_ID, str(each[APP_ID])) for each in selectors if each and each.get(APP_ID)}
    name = (selectors[0] or {}).get(APP_NAME) if api is SERVICE else None
    if name and metadata["name"] == f"{name}-ui-svc":
        said.add((APP_NAME, str(name)))
    if api is POD and labels_of(obj).get(ROLE) == "driver" and labels_of(obj).get(naming.MANAGED_BY) == naming.PREFIX:
        # In client mode the driver's pod is the job, and its application has the pod's name for an id.
        said |= set() if said else {(APP_ID, metadata["name"])}
    if api in _GROUPS_BY_NAME and not labels_of(obj):
        # The operator takes the PodGroup of this name for the application's, and gives it no label; others have some.
        said |= {(APP_NAME, match[1]) for match in [_GROUPS_BY_NAME[api].fullmatch(metadata["name"])] if match}
    if api is CONFIG_MAP:
        said |= {(APP_NAME, name) for name in _application_of_settings(obj)}
    return frozenset(said)


def _application_of_settings(obj: Manifest) -> Iterator[str]:
    """Yield the application of a ConfigMap that carries no label of it: the driver's, or Prometheus's."""
    name = obj["metadata"]["name"]
    if _DRIVER_CONF.fullmatch(name):
        yield from _DRIVER_LABEL.findall(str((obj.get("data") or {}).get("spark.properties", "")))
    elif (match := _PROMETHEUS.fullmatch(name)) and labels_of(obj).get(CREATED_BY_OPERATOR) == "true":
        yield match[1]


def _claims(scope: Scope, app: Manifest) -> bool:
    """Whether a SparkApplication is in the scope: named by it, or with all its marks, and old enough."""
    annotations = app["metadata"].get("annotations") or {}
    marked = _is_marked(app, scope) and all(annotations.get(key) == value for key, value in scope.annotations.items())
    marked = marked and not owners_of(app)
    if not marked and not _named_by(app) & scope.applications:
        return False
    if scope.ended_before is None:
        return True
    verdict = SPARK_APPLICATION.read(app)
    ended = verdict.finished_at or _last_written(app)
    return verdict.phase.is_terminal and _is_before(ended, scope.ended_before)


def _belongs(
    api: ApiResource,
    obj: Manifest,
    scope: Scope,
    *,
    ours: AbstractSet[str],
    known: AbstractSet[Mention],
    busy: AbstractSet[Mention],
) -> bool:
    """Whether an object belongs to what is in the scope.

    :param ours: UIDs of what does.
    :param known: how applications in the scope are named.
    :param busy: how those are named that stay.
    """
    if owners := owners_of(obj):
        return owners <= ours
    said = mentions(api, obj)
    if not said or said & busy or _is_of_another(obj, scope):
        return False
    if said & known:
        return True
    return _is_marked(obj, scope) and (scope.ended_before is None or _has_ended(obj, scope.ended_before))


def _busy(found: Objects, scope: Scope, ours: AbstractSet[str]) -> set[Mention]:
    """Return how the applications are named that stay; by age, that is also what pods without owners are at work on."""
    busy = {each for app in found.get(APPLICATION, ()) if uid_of(app) not in ours for each in _named_by(app)}
    if scope.ended_before is not None:
        busy |= {
            mention
            for pod in found.get(POD, ())
            if not owners_of(pod) and (pod.get("status") or {}).get("phase") not in _POD_ENDS
            for mention in mentions(POD, pod)
        }
    return busy


def _dead_routes(
    found: Objects, scope: Scope, ours: AbstractSet[str], known: AbstractSet[Mention]
) -> Iterator[Manifest]:
    """Yield the Istio objects that route to nothing but Services that go, or have gone."""
    if SERVICE not in found:
        return  # nobody can tell which Services are left
    names = {value for kind, value in known if kind == APP_NAME}
    drivers = {value for kind, value in known if kind == APP_ID}  # in client mode, of the driver's Service too
    going = {obj["metadata"]["name"] for obj in found[SERVICE] if uid_of(obj) in ours}
    staying = {obj["metadata"]["name"] for obj in found[SERVICE]} - going
    for api in istio_routes.TYPES:
        for obj in found.get(api, ()):
            if owners := owners_of(obj):
                if owners <= ours:
                    yield obj
                continue
            services = istio_routes.services_of(api, obj)
            if not services or services & staying or _is_of_another(obj, scope):
                continue  # it does something yet, or somebody else looks after it
            dead = all(istio_routes.is_spark_service(name, names) for name in services - going - drivers)
            old = scope.ended_before is None or _has_ended(obj, scope.ended_before)
            if dead or (_is_marked(obj, scope) and old):
                yield obj


def _has_ended(obj: Manifest, before: datetime) -> bool:
    """Whether an object without owners was of use for the last time before a moment."""
    states = [each.get("state") or {} for each in (obj.get("status") or {}).get("containerStatuses") or ()]
    ends = [end for state in states if (end := (state.get("terminated") or {}).get("finishedAt"))]
    return all(_is_before(time, before) for time in (*ends, obj["metadata"].get("creationTimestamp")))


def _last_written(obj: Manifest) -> str:
    """Return when an object was changed for the last time: no end of it can be later."""
    times = [str(each["time"]) for each in obj["metadata"].get("managedFields") or () if each.get("time")]
    return max(times, default=str(obj["metadata"].get("creationTimestamp") or ""))


def _is_before(time: str | None, moment: datetime) -> bool:
    """Whether an RFC 3339 time is before a moment; what has none is not."""
    return bool(time) and datetime.fromisoformat(str(time)) < moment


def _is_marked(obj: Manifest, scope: Scope) -> bool:
    """Whether an object has all labels of the scope."""
    labels = labels_of(obj)
    return bool(scope.labels) and all(labels.get(key) == value for key, value in scope.labels.items())


def _is_of_another(obj: Manifest, scope: Scope) -> bool:
    """Whether an object's labels say that it is another run's, another Airflow's, or managed by another program."""
    labels = labels_of(obj)
    if labels.get(naming.MANAGED_BY, naming.PREFIX) != naming.PREFIX:
        return True
    return any(labels.get(key, value) != value for key, value in scope.labels.items())


def _named_by(app: Manifest) -> frozenset[Mention]:
    """Return how other objects name an application: by its name, and by the id of its present submission."""
    app_id = (app.get("status") or {}).get("sparkApplicationId")
    name = (APP_NAME, app["metadata"]["name"])
    return frozenset((name, (APP_ID, app_id))) if app_id else frozenset((name,))


def _leftover(api: ApiResource, obj: Manifest, ours: AbstractSet[str]) -> Leftover:
    metadata = obj["metadata"]
    return Leftover(
        api,
        metadata["name"],
        metadata["uid"],
        metadata.get("creationTimestamp") or "",
        collected=bool(owners_of(obj)) and owners_of(obj) <= ours,
        going="deletionTimestamp" in metadata,
    )


def labels_of(obj: Manifest) -> Mapping[str, str]:
    """Return an object's labels."""
    return obj["metadata"].get("labels") or {}


def owners_of(obj: Manifest) -> frozenset[str]:
    """Return the UIDs of an object's owners."""
    return frozenset(owner["uid"] for owner in obj["metadata"].get("ownerReferences") or ())


def uid_of(obj: Manifest) -> str:
    """Return an object's UID."""
    return str(obj["metadata"]["uid"])


__all__ = [
    "APPLICATION",
    "APP_ID",
    "APP_NAME",
    "TYPES",
    "Leftover",
    "Mention",
    "Objects",
    "Scope",
    "decide",
    "mentions",
    "of_age",
    "of_application",
    "of_run",
]
