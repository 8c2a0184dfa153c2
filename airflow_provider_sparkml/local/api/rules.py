"""Defaults and rules of the built-in types other than pods."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import secrets
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.local.api.metadata import dns_1035_label, subdomain
from airflow_provider_sparkml.local.api.pods import check_template, fill_template
from airflow_provider_sparkml.local.api.selectors import from_label_selector
from airflow_provider_sparkml.local.api.status import (
    Cause,
    bad_value,
    duplicate,
    field_forbidden,
    not_supported,
    required,
)
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.quantities import parse_quantity

SERVICE_NETWORK = ipaddress.ip_network("10.96.0.0/16")
"""Addresses of services; as on a cluster, they mean nothing outside of it."""

_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_LARGEST_CONFIG = 1024 * 1024
_SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")


def fill_namespace(obj: Manifest) -> None:
    """A namespace is active, and kept until its content is gone."""
    obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"]["name"]
    if "deletionTimestamp" not in obj["metadata"]:
        obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    obj.setdefault("status", {}).setdefault("phase", "Active")


def fill_service(obj: Manifest) -> None:
    """Ports get a protocol and a target, the service an address."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
    if spec["type"] != "ExternalName":
        if not spec.get("clusterIP"):
            spec["clusterIP"] = str(SERVICE_NETWORK[secrets.randbelow(SERVICE_NETWORK.num_addresses - 2) + 1])
        spec["clusterIPs"] = [spec["clusterIP"]]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("internalTrafficPolicy", "Cluster")
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def check_service(obj: Manifest, old: Manifest | None) -> list[Cause]:
    """Check type, ports and that the address stays."""
    spec = obj["spec"]
    causes: list[Cause] = []
    if spec["type"] not in _SERVICE_TYPES:
        causes.append(not_supported("spec.type", spec["type"], _SERVICE_TYPES))
    ports = spec.get("ports") or []
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        causes.append(required("spec.ports"))
    names: set[str] = set()
    for index, port in enumerate(ports):
        here = f"spec.ports[{index}]"
        number = port.get("port")
        if number is None:
            causes.append(required(f"{here}.port"))
        elif not isinstance(number, int) or not 0 < number < 65536:
            causes.append(bad_value(f"{here}.port", number, "must be between 1 and 65535, inclusive"))
        name = port.get("name", "")
        if not name and len(ports) > 1:
            causes.append(required(f"{here}.name"))
        if name in names and name:
            causes.append(duplicate(f"{here}.name", name))
        names.add(name)
    before = (old or {}).get("spec", {}).get("clusterIP")
    if before and spec.get("clusterIP") != before and spec["type"] != "ExternalName":
        causes.append(bad_value("spec.clusterIPs[0]", [spec.get("clusterIP")], "may not change once set"))
    return causes


def check_config_map(obj: Manifest, old: Manifest | None) -> list[Cause]:
    """Check keys and size, and that an immutable one stays as it is."""
    causes = _check_keys(obj, ("data", "binaryData"))
    for key, value in (obj.get("data") or {}).items():
        if not isinstance(value, str):
            causes.append(bad_value(f"data[{key}]", value, "must be a string"))
    return causes + _check_immutable(obj, old, ("data", "binaryData"))


def fill_secret(obj: Manifest) -> None:
    """``stringData`` is encoded into ``data``."""
    obj.setdefault("type", "Opaque")
    plain = obj.pop("stringData", None) or {}
    if plain:
        encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}


def check_secret(obj: Manifest, old: Manifest | None) -> list[Cause]:
    """Check keys, encoding and size, and that an immutable one, and every type, stays as it is."""
    causes = _check_keys(obj, ("data",))
    for key, value in (obj.get("data") or {}).items():
        try:
            base64.b64decode(value or "", validate=True)
        except (binascii.Error, ValueError, TypeError):
            causes.append(bad_value(f"data[{key}]", "<hidden>", "must be base64"))
    if old is not None and obj["type"] != old.get("type"):
        causes.append(bad_value("type", obj["type"], "field is immutable"))
    return causes + _check_immutable(obj, old, ("data",))


def _check_keys(obj: Manifest, parts: tuple[str, ...]) -> list[Cause]:
    causes: list[Cause] = []
    size = 0
    for part in parts:
        for key, value in (obj.get(part) or {}).items():
            size += len(str(value).encode())
            if not _CONFIG_KEY.fullmatch(key) or len(key) > 253:
                detail = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                causes.append(bad_value(f"{part}[{key}]", key, detail))
    if size > _LARGEST_CONFIG:
        causes.append(Cause("FieldValueTooLong", "", f"Too long: may not be more than {_LARGEST_CONFIG} bytes"))
    return causes


def _check_immutable(obj: Manifest, old: Manifest | None, parts: tuple[str, ...]) -> list[Cause]:
    if not old or not old.get("immutable"):
        return []
    detail = "field is immutable when `immutable` is set"
    return [field_forbidden(part, detail) for part in (*parts, "immutable") if obj.get(part) != old.get(part)]


def fill_event(obj: Manifest) -> None:
    """An event has all its fields, be they empty."""
    for name, value in (("source", {}), ("firstTimestamp", None), ("lastTimestamp", None), ("eventTime", None)):
        obj.setdefault(name, value)
    obj.setdefault("reportingComponent", (obj["source"] or {}).get("component", ""))
    obj.setdefault("reportingInstance", "")
    obj.setdefault("involvedObject", {})


def event_to_events_v1(obj: Manifest) -> Manifest:
    """Return a core/v1 Event as events.k8s.io/v1 shows it."""
    shown = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": obj["metadata"],
        "eventTime": obj.get("eventTime"),
        "series": obj.get("series"),
        "reportingController": obj.get("reportingComponent") or (obj.get("source") or {}).get("component", ""),
        "reportingInstance": obj.get("reportingInstance", ""),
        "action": obj.get("action"),
        "reason": obj.get("reason"),
        "regarding": obj.get("involvedObject"),
        "related": obj.get("related"),
        "note": obj.get("message"),
        "type": obj.get("type"),
        "deprecatedSource": obj.get("source"),
        "deprecatedFirstTimestamp": obj.get("firstTimestamp"),
        "deprecatedLastTimestamp": obj.get("lastTimestamp"),
        "deprecatedCount": obj.get("count"),
    }
    return {name: value for name, value in shown.items() if value is not None or name == "eventTime"}


def event_from_events_v1(obj: Manifest) -> Manifest:
    """Return an events.k8s.io/v1 Event as core/v1 stores it."""
    stored = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": obj["metadata"],
        "eventTime": obj.get("eventTime"),
        "series": obj.get("series"),
        "reportingComponent": obj.get("reportingController"),
        "reportingInstance": obj.get("reportingInstance"),
        "action": obj.get("action"),
        "reason": obj.get("reason"),
        "involvedObject": obj.get("regarding"),
        "related": obj.get("related"),
        "message": obj.get("note"),
        "type": obj.get("type"),
        "source": obj.get("deprecatedSource"),
        "firstTimestamp": obj.get("deprecatedFirstTimestamp"),
        "lastTimestamp": obj.get("deprecatedLastTimestamp"),
        "count": obj.get("deprecatedCount"),
    }
    return {name: value for name, value in stored.items() if value is not None}


def fill_claim(obj: Manifest) -> None:
    """A claim waits for its volume."""
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def check_claim(obj: Manifest, old: Manifest | None) -> list[Cause]:
    """Check access modes and size."""
    spec = obj["spec"]
    causes: list[Cause] = []
    modes = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
    if not spec.get("accessModes"):
        causes.append(required("spec.accessModes", "at least 1 access mode is required"))
    causes += [
        not_supported("spec.accessModes", mode, modes) for mode in spec.get("accessModes") or () if mode not in modes
    ]
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        causes.append(required("spec.resources[storage]"))
    else:
        causes += _check_quantity("spec.resources[storage]", size)
    return causes


def fill_volume(obj: Manifest) -> None:
    """A volume is free until it is bound."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Available")


def check_resource_quota(obj: Manifest, old: Manifest | None) -> list[Cause]:
    """Check the limits."""
    spec = obj.get("spec") or {}
    for part in ("scopes", "scopeSelector"):
        if spec.get(part):
            return [field_forbidden(f"spec.{part}", "the local cluster does not support quotas of a scope")]
    hard = spec.get("hard") or {}
    return [cause for name, text in hard.items() for cause in _check_quantity(f"spec.hard[{name}]", text)]


def _check_quantity(field: str, text: Any) -> list[Cause]:
    try:
        parse_quantity(str(text), field)
    except InvalidManifestError as error:
        return [bad_value(field, text, str(error))]
    return []


def fill_deployment(obj: Manifest) -> None:
    """One replica, replaced a quarter at a time, ten old versions kept."""
    spec = _fill_workload(obj)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")


def fill_stateful_set(obj: Manifest) -> None:
    """One replica; pods in order, replaced one by one, with numbers from 0."""
    spec = _fill_workload(obj)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    obj.setdefault("status", {}).setdefault("replicas", 0)


def fill_replica_set(obj: Manifest) -> None:
    """One replica."""
    _fill_workload(obj)
    obj.setdefault("status", {}).setdefault("replicas", 0)


def _fill_workload(obj: Manifest) -> dict[str, Any]:
    spec: dict[str, Any] = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    fill_template(spec.setdefault("template", {}))
    return spec


def check_workload(obj: Manifest, old: Manifest | None) -> list[Cause]:
    """Check that the selector selects the template's pods, and stays; and the template itself."""
    spec = obj["spec"]
    causes: list[Cause] = []
    if spec["replicas"] < 0:
        causes.append(bad_value("spec.replicas", spec["replicas"], "must be greater than or equal to 0"))
    selector = spec.get("selector")
    labels = spec["template"]["metadata"].get("labels") or {}
    if not selector or not (selector.get("matchLabels") or selector.get("matchExpressions")):
        causes.append(required("spec.selector"))
    elif not from_label_selector(selector).matches(labels):
        causes.append(bad_value("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"))
    if old is not None and selector != old["spec"].get("selector"):
        causes.append(bad_value("spec.selector", selector, "field is immutable"))
    if spec["template"]["spec"]["restartPolicy"] != "Always":
        policy = spec["template"]["spec"]["restartPolicy"]
        causes.append(not_supported("spec.template.spec.restartPolicy", policy, ["Always"]))
    return causes + check_template(spec["template"], "spec.template")


def fill_job(obj: Manifest) -> None:
    """One completion, six retries, pods told apart by the job's UID."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("parallelism", 1)
    if "completions" not in spec and spec["parallelism"] == 1:
        spec["completions"] = 1
    for name, value in {"backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False}.items():
        spec.setdefault(name, value)
    template = spec.setdefault("template", {})
    restart_given = "restartPolicy" in (template.get("spec") or {})
    fill_template(template)
    if not restart_given:
        template["spec"]["restartPolicy"] = "Always"  # which the check refuses, as a real server does
    if not spec.get("manualSelector"):
        uid = obj["metadata"]["uid"]
        labels = template["metadata"].setdefault("labels", {})
        for prefix in ("batch.kubernetes.io/", ""):
            labels.setdefault(f"{prefix}controller-uid", uid)
            labels.setdefault(f"{prefix}job-name", obj["metadata"]["name"])
        spec.setdefault("selector", {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}})


def check_job(obj: Manifest, old: Manifest | None) -> list[Cause]:
    """Check the restart policy and the template."""
    template = obj["spec"]["template"]
    causes = check_template(template, "spec.template")
    if template["spec"]["restartPolicy"] not in ("OnFailure", "Never"):
        policy = template["spec"]["restartPolicy"]
        causes.append(not_supported("spec.template.spec.restartPolicy", policy, ["OnFailure", "Never"]))
    if old is not None and old["spec"]["template"]["spec"] != template["spec"] and not old["spec"].get("suspend"):
        causes.append(bad_value("spec.template", "…", "field is immutable"))
    return causes


def fill_network_policy(obj: Manifest) -> None:
    """A policy is for ingress, and for egress when it has rules for that."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("policyTypes", ["Ingress", *(["Egress"] if spec.get("egress") else [])])


def check_role(obj: Manifest, old: Manifest | None) -> list[Cause]:
    """Check that each rule is about resources, or, of a ClusterRole, about paths (``ValidatePolicyRule``)."""
    causes: list[Cause] = []
    for index, rule in enumerate(obj.get("rules") or ()):
        here = f"rules[{index}]"
        if not rule.get("verbs"):
            causes.append(required(f"{here}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            if obj["kind"] == "Role":
                detail = "namespaced rules cannot apply to non-resource URLs"
                causes.append(bad_value(f"{here}.nonResourceURLs", rule["nonResourceURLs"], detail))
            elif rule.get("apiGroups") or rule.get("resources"):
                detail = "rules cannot apply to both regular resources and non-resource URLs"
                causes.append(bad_value(f"{here}.nonResourceURLs", rule["nonResourceURLs"], detail))
            continue
        for field, one in (("apiGroups", "api group"), ("resources", "resource")):
            if not rule.get(field):
                causes.append(required(f"{here}.{field}", f"resource rules must supply at least one {one}"))
    return causes


def check_binding(obj: Manifest, old: Manifest | None) -> list[Cause]:
    """Check the role that is bound, and that it stays."""
    role = obj.get("roleRef") or {}
    causes = [required(f"roleRef.{part}") for part in ("kind", "name") if not role.get(part)]
    kinds = ["Role", "ClusterRole"] if obj["kind"] == "RoleBinding" else ["ClusterRole"]
    if role.get("kind") and role["kind"] not in kinds:
        causes.append(not_supported("roleRef.kind", role["kind"], kinds))
    for index, subject in enumerate(obj.get("subjects") or ()):
        here = f"subjects[{index}]"
        if not subject.get("name"):
            causes.append(required(f"{here}.name"))
        if subject.get("kind") not in ("ServiceAccount", "User", "Group"):
            causes.append(not_supported(f"{here}.kind", subject.get("kind"), ["ServiceAccount", "User", "Group"]))
        if subject.get("kind") == "ServiceAccount" and not subject.get("namespace") and obj["kind"] != "RoleBinding":
            causes.append(required(f"{here}.namespace"))
    if old is not None and old.get("roleRef") != obj.get("roleRef"):
        causes.append(bad_value("roleRef", role, "cannot change roleRef"))
    return causes


def fill_definition(obj: Manifest) -> None:
    """Names that follow from the kind; and, as nothing speaks against it, the definition is established at once."""
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if names.get("kind"):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", f"{names['kind']}List")
    spec.setdefault("conversion", {"strategy": "None"})


def check_definition(obj: Manifest, old: Manifest | None) -> list[Cause]:
    """Check the names and that one version is stored."""
    spec = obj["spec"]
    names = spec["names"]
    causes = [required(f"spec.names.{part}") for part in ("plural", "kind") if not names.get(part)]
    if not spec.get("group"):
        causes.append(required("spec.group"))
    if causes:
        return causes
    causes += dns_1035_label("spec.names.plural", names["plural"]) + subdomain("spec.group", spec["group"])
    if obj["metadata"]["name"] != f"{names['plural']}.{spec['group']}":
        detail = 'must be spec.names.plural+"."+spec.group'
        causes.append(bad_value("metadata.name", obj["metadata"]["name"], detail))
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        causes.append(not_supported("spec.scope", spec.get("scope"), ["Cluster", "Namespaced"]))
    versions = spec.get("versions") or []
    if sum(bool(version.get("storage")) for version in versions) != 1:
        causes.append(
            bad_value("spec.versions", len(versions), "must have exactly one version marked as storage version")
        )
    for index, version in enumerate(versions):
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            causes.append(required(f"spec.versions[{index}].schema.openAPIV3Schema", "schemas are required"))
    if old is not None and old["spec"].get("scope") != spec.get("scope"):
        causes.append(bad_value("spec.scope", spec.get("scope"), "field is immutable"))
    return causes
