"""What every kind of Kubernetes job has in common: its address, its phase, its verdict, and the registry of kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from importlib import import_module
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError, UnknownResourceError

Manifest = dict[str, Any]
"""A Kubernetes object as parsed from JSON or YAML."""


def plain(value: Any) -> Any:
    """Return plain dicts and lists all the way down, none of them the author's own; what is in them stays as it is.

    Unlike a deep copy it never copies what an author has put in for Airflow to resolve, such as an ``XComArg``.
    """
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that say something: not empty and not ``False``; a number says something, be it 0."""
    return {name: value for name, value in fields.items() if value or (value == 0 and value is not False)}


def merge_env(entries: Iterable[Mapping[str, Any]] | None, env: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a container's ``env`` with these variables in it; they win over those of the same name."""
    kept = [dict(entry) for entry in entries or () if entry.get("name") not in env]
    return [*kept, *({"name": name, "value": value} for name, value in env.items())]


class Phase(StrEnum):
    """Where a job stands, in the same words for every kind.

    ``QUEUED`` is waiting for admission (suspended, Kueue; gang schedulers); ``PENDING`` is admitted but not running;
    each has its own time-out. ``UNKNOWN`` is transient: it never ends a wait.
    """

    QUEUED = "QUEUED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"

    @property
    def is_terminal(self) -> bool:
        """Whether a job in this phase never leaves it by itself."""
        return self in (Phase.SUCCEEDED, Phase.FAILED)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a kind's status says about the job, read by :attr:`Resource.read`.

    :param phase: the phase common to all kinds.
    :param state: the kind's own word for it, as the controller wrote it (``""`` while there is no status).
    :param reason: a CamelCase word for why, when the status gives one.
    :param message: the controller's own sentence, empty when it gives none.
    :param attempt: which submission of the job this is; 0 before the first.
    :param submission_id: identity of the current submission; changes on every rerun by the operator.
    :param retryable: for ``FAILED``, whether the status alone shows that the same job may succeed next time.
    :param queued_since: RFC 3339 time since when it has been ``QUEUED``, as far as the object tells; the queue's clock.
    :param pending_since: RFC 3339 time since when the job could have been starting; the start-up clock.
    :param started_at: RFC 3339 time of the current submission, or empty.
    :param finished_at: RFC 3339 time at which the job ended, or empty.
    """

    phase: Phase
    state: str = ""
    reason: str = ""
    message: str = ""
    attempt: int = 0
    submission_id: str = ""
    retryable: bool = False
    queued_since: str = ""
    pending_since: str = ""
    started_at: str = ""
    finished_at: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as a JSON-safe dict; :meth:`from_json` is its inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """Rebuild a verdict from :meth:`to_json`."""
        return cls(**{**data, "phase": Phase(data["phase"])})


@dataclass(frozen=True, slots=True)
class ApiResource:
    """Address of a resource type in the Kubernetes API.

    :param group: API group, empty for the core group.
    :param version: version within the group.
    :param plural: plural name as it stands in URLs.
    :param kind: ``kind`` of its objects.
    :param namespaced: whether its objects live in a namespace.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """``apiVersion`` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full_name(self) -> str:
        """The name kubectl takes without ambiguity: ``sparkapplications.sparkoperator.k8s.io``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of the collection, of one object, or of one object's subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)


@dataclass(frozen=True, slots=True)
class ResourceRef:
    """Identity of one object, JSON-safe so that triggers and XCom can carry it.

    :param api_version: ``apiVersion`` of the object.
    :param kind: ``kind`` of the object.
    :param namespace: its namespace.
    :param name: its name.
    :param uid: its UID; an object of the same name with another UID is another object.
    """

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> ResourceRef:
        """Return the reference of an object as the API server returned it."""
        meta = obj["metadata"]
        return cls(obj["apiVersion"], obj["kind"], meta.get("namespace", ""), meta["name"], meta["uid"])

    def to_json(self) -> dict[str, str]:
        """Return the reference as a JSON-safe dict; ``ResourceRef(**data)`` is its inverse."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class LogSource:
    """Where a job's own log is to be read.

    :param pod: name of the pod; empty where only its labels are known.
    :param container: name of the container in it.
    :param label: what its lines begin with in the task's log: ``driver``, ``launcher``, ``worker-0``.
    :param selector: label selector of the pod where its name is not known; of several, the newest counts.
    """

    pod: str
    container: str
    label: str = "main"
    selector: str = ""


def _as_it_is(manifest: Manifest) -> Manifest:
    """Return the manifest itself."""
    return manifest


def _no_check(manifest: Manifest) -> None:
    """Accept any manifest."""


def _no_log(obj: Manifest) -> LogSource | None:
    """Know of no log."""
    return None


def _no_facts(obj: Manifest) -> dict[str, Any]:
    """Know nothing beyond the verdict."""
    return {}


def _no_selector(obj: Manifest) -> str:
    """Know of no pods."""
    return ""


def _no_result(obj: Manifest) -> Any:
    """Have nothing in the status that is a result."""
    return None


def _no_companions(obj: Manifest) -> list[tuple[ApiResource, Manifest]]:
    """Need nothing beside the job."""
    return []


def _no_warnings(manifest: Manifest) -> list[str]:
    """Have nothing to warn of."""
    return []


def _no_env(manifest: Manifest, env: Mapping[str, str]) -> Manifest:
    """Take no environment.

    :raises InvalidManifestError: always.
    """
    raise InvalidManifestError(
        f"{manifest.get('kind')} has no place for {', '.join(env)}: leave out checkpoint_uri and model_uri, "
        "or set them in the manifest"
    )


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind, described once as data and pure functions; operators, sensors, triggers and cleanup share it.

    :param api: the address of its type.
    :param read: its object → a :class:`Verdict`.
    :param normalize: a rendered manifest → a copy in the types that the CRD asks for.
    :param check: refuses a manifest for which no wait could be right; raises ``InvalidManifestError``.
    :param log_source: its object → where the job's log is now, or ``None`` while there is none.
    :param facts: its object → the kind's own entries of the XCom result.
    :param pod_selector: its object → label selector of all the job's pods, for diagnosis.
    :param main_container: name of the container whose exit code is the job's.
    :param rank_of: a pod of the job → what to call it: ``worker-1``, ``launcher``. Kinds that have it run ranks side by
        side: the one that failed first tells why the job did.
    :param result: its object → the job's result where the status has it; by default the termination message is.
    :param companions: its object as created → type and manifest of what the job needs beside it; these are created
        after it, belong to it by owner reference, and go with it.
    :param without_retries: a manifest → a copy that the kind's controller tries once only, for tasks that Airflow
        retries: what retries by default is set off; raises ``InvalidManifestError`` for what asks for retries.
    :param with_env: a manifest and variables → a copy in which all containers of the job have them; ours win.
    :param lint: a manifest → what is accepted in it and yet does not do what it looks like; told as warnings.
    :param progress: its object → ``(pod, port)`` of Spark's REST API, when it has one.
    :param watch_selector: label selector of the kind's jobs, where most objects of its type are none: the shared watch
        is of these alone.
    """

    api: ApiResource
    read: Callable[[Manifest], Verdict]
    normalize: Callable[[Manifest], Manifest] = _as_it_is
    check: Callable[[Manifest], None] = _no_check
    log_source: Callable[[Manifest], LogSource | None] = _no_log
    facts: Callable[[Manifest], dict[str, Any]] = _no_facts
    pod_selector: Callable[[Manifest], str] = _no_selector
    main_container: str = ""
    rank_of: Callable[[Manifest], str] | None = None
    result: Callable[[Manifest], Any] = _no_result
    companions: Callable[[Manifest], list[tuple[ApiResource, Manifest]]] = _no_companions
    without_retries: Callable[[Manifest], Manifest] = _as_it_is
    with_env: Callable[[Manifest, Mapping[str, str]], Manifest] = _no_env
    lint: Callable[[Manifest], list[str]] = _no_warnings
    progress: Callable[[Manifest], tuple[str, int] | None] = field(default=lambda obj: None)
    watch_selector: str = ""


_REGISTRY: dict[tuple[str, str], Resource] = {}

# Where each kind is described; the module is imported when its kind is first asked for.
_MODULES = {
    ("sparkoperator.k8s.io/v1beta2", "SparkApplication"): "airflow_provider_sparkml.resources.spark",
    (
        "sparkoperator.k8s.io/v1beta2",
        "ScheduledSparkApplication",
    ): "airflow_provider_sparkml.resources.spark_scheduled",
    ("sparkoperator.k8s.io/v1alpha1", "SparkConnect"): "airflow_provider_sparkml.resources.spark_connect",
    ("spark.apache.org/v1", "SparkApplication"): "airflow_provider_sparkml.resources.spark_apache",
    ("spark.apache.org/v1", "SparkCluster"): "airflow_provider_sparkml.resources.spark_cluster",
    ("serving.kserve.io/v1beta1", "InferenceService"): "airflow_provider_sparkml.resources.serving",
    ("kubeflow.org/v2beta1", "MPIJob"): "airflow_provider_sparkml.resources.mpi",
    ("kubeflow.org/v1", "MPIJob"): "airflow_provider_sparkml.resources.kubeflow_v1",
    ("kubeflow.org/v1", "PyTorchJob"): "airflow_provider_sparkml.resources.kubeflow_v1",
    ("kubeflow.org/v1", "TFJob"): "airflow_provider_sparkml.resources.kubeflow_v1",
    ("kubeflow.org/v1", "XGBoostJob"): "airflow_provider_sparkml.resources.kubeflow_v1",
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"): "airflow_provider_sparkml.resources.trainer",
    ("kubeflow.org/v1beta1", "Experiment"): "airflow_provider_sparkml.resources.katib",
    ("batch/v1", "Job"): "airflow_provider_sparkml.resources.training_pods",
}


def register(resource: Resource) -> Resource:
    """Make a kind known to :func:`resource_for` and return it."""
    _REGISTRY[(resource.api.api_version, resource.api.kind)] = resource
    return resource


def resource_for(api_version: str, kind: str) -> Resource:
    """Return the description of a kind.

    :raises UnknownResourceError: when no module of this package, and nobody else, has registered it.
    """
    key = (api_version, kind)
    if key not in _REGISTRY and key in _MODULES:
        import_module(_MODULES[key])
    try:
        return _REGISTRY[key]
    except KeyError:
        known = ", ".join(sorted(f"{name} ({version})" for version, name in {*_MODULES, *_REGISTRY}))
        raise UnknownResourceError(
            f"no resource {kind!r} of apiVersion {api_version!r} is known; known are: {known}"
        ) from None


def known_resources() -> list[Resource]:
    """Return the descriptions of all kinds that this package knows, and of those that others have registered."""
    return [resource_for(version, kind) for version, kind in sorted({*_MODULES, *_REGISTRY})]


__all__ = [
    "ApiResource",
    "LogSource",
    "Manifest",
    "Phase",
    "Resource",
    "ResourceRef",
    "Verdict",
    "known_resources",
    "merge_env",
    "plain",
    "present",
    "register",
    "resource_for",
]
