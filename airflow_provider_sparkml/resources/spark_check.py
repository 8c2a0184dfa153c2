"""What is refused in a SparkApplication before anything is created: what could not work, or could not be waited for.

Unknown fields and wrong types are the API server's part (``fieldValidation=Strict``), which knows the installed CRD.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.fields import is_whole, mapping
from airflow_provider_sparkml.resources.quantities import is_jvm_memory, jvm_memory, memory_bytes, parse_quantity
from airflow_provider_sparkml.resources.spark_requests import ROLES, Role, pod_request
from airflow_provider_sparkml.resources.spark_rules import conflicts

TYPES = ("Java", "Python", "Scala", "R")
RESTART_TYPES = ("Never", "OnFailure", "Always")
MIN_TTL_SECONDS = 60
"""An application that is removed sooner may be gone before anybody has seen how it ended."""

MIN_HEAP_MIB = 450
"""Spark does not start with less: UnifiedMemoryManager, 1.5 times RESERVED_SYSTEM_MEMORY_BYTES."""

_LEAST = {
    ("executor", "instances"): 1,
    ("restartPolicy", "onFailureRetries"): 0,
    ("restartPolicy", "onFailureRetryInterval"): 1,
    ("restartPolicy", "onSubmissionFailureRetries"): 0,
    ("restartPolicy", "onSubmissionFailureRetryInterval"): 1,
    ("dynamicAllocation", "initialExecutors"): 0,
    ("dynamicAllocation", "minExecutors"): 0,
    ("dynamicAllocation", "maxExecutors"): 1,
}
"""Fields that are whole numbers, and the least that they may be."""

# internal/webhook/sparkconf_validator.go of the operator: it owns these, and refuses them in sparkConf.
_OWNED_CONF = {
    "spark.master": "leave it out: the operator sets it",
    "spark.kubernetes.driver.master": "leave it out: the operator sets it",
    "spark.kubernetes.container.image": "set spec.image",
    "spark.kubernetes.driver.container.image": "set spec.driver.image",
    "spark.kubernetes.executor.container.image": "set spec.executor.image",
    "spark.kubernetes.authenticate.driver.serviceAccountName": "set spec.driver.serviceAccount",
    "spark.kubernetes.authenticate.executor.serviceAccountName": "set spec.executor.serviceAccount",
}
_CREDENTIALS = frozenset(
    f"spark.kubernetes.authenticate.{role}{name}"
    for role in ("", "driver.", "executor.")
    for name in ("oauthToken", "oauthTokenFile")
)


def check(manifest: Manifest) -> None:
    """Refuse a SparkApplication that cannot work or whose end could never be seen.

    :param manifest: the rendered manifest.
    :raises InvalidManifestError: the first fault found: field, value and fix.
    """
    spec = mapping(manifest.get("spec"), "spec")
    for fault in _faults(spec, manifest):
        raise InvalidManifestError(fault)


def _faults(spec: Mapping[str, Any], manifest: Manifest) -> Iterator[str]:
    """Yield what is wrong, the most basic first."""
    yield from _program_faults(spec)
    for role in ROLES:
        yield from _role_faults(spec, role)
    yield from _number_faults(spec)
    yield from _volume_faults(spec)
    yield from _restart_faults(spec)
    yield from _conf_faults(spec, (manifest.get("metadata") or {}).get("namespace") or "")
    yield from conflicts(manifest, fatal=True)


def _program_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with what is to be run."""
    kind = spec.get("type")
    if kind not in TYPES:
        yield f"spec.type is {kind!r}: set it to one of {', '.join(TYPES)}"
    if not spec.get("sparkVersion"):
        yield f"spec.sparkVersion is {spec.get('sparkVersion')!r}: set it to the image's Spark version, such as '4.3.0'"
    if not spec.get("mainApplicationFile"):
        yield (
            f"spec.mainApplicationFile is {spec.get('mainApplicationFile')!r}: set it to the program, such as "
            "'local:///opt/app/main.py' for a file in the image"
        )
    if kind in ("Java", "Scala") and not spec.get("mainClass"):
        yield f"spec.mainClass is {spec.get('mainClass')!r}: a {kind} application needs the class to run"
    if spec.get("mode", "cluster") != "cluster":
        yield f"spec.mode is {spec['mode']!r}: the operator submits in mode 'cluster' only"
    for role in ("driver", "executor"):
        if role not in spec:
            yield f"spec.{role} is missing: set at least cores and memory"
    if not spec.get("image") and not all(_image(spec, role) for role in ("driver", "executor")):
        yield f"spec.image is {spec.get('image')!r}: set it, or both spec.driver.image and spec.executor.image"


def _image(spec: Mapping[str, Any], role: str) -> str:
    """Return the image that a role names itself, in the CRD's field or in its pod template."""
    part = mapping(spec.get(role), f"spec.{role}")
    containers = ((part.get("template") or {}).get("spec") or {}).get("containers") or [{}]
    return part.get("image") or containers[0].get("image") or ""


def _role_faults(spec: Mapping[str, Any], role: Role) -> Iterator[str]:
    """Yield what is wrong with the resources and the nodes of the driver or the executors."""
    part, field = mapping(spec.get(role), f"spec.{role}"), f"spec.{role}"
    for name in ("memory", "memoryOverhead"):
        value = part.get(name)
        if value is not None and not is_jvm_memory(str(value)):
            # It raises by itself when the text is no size at all.
            yield (
                f"{field}.{name} is {value!r}, which Spark cannot read: write "
                f"{jvm_memory(str(value), f'{field}.{name}')!r}"
            )
        elif value is not None and not isinstance(value, str):
            yield f"{field}.{name} is {value!r}, a number: write it as text with its unit, such as '512m'"
    heap = part.get("memory")
    if heap is not None and memory_bytes(heap, f"{field}.memory") < MIN_HEAP_MIB * 2**20:
        yield f"{field}.memory is {heap!r}: Spark does not start with less than {MIN_HEAP_MIB}m"
    yield from _memory_limit_faults(spec, role)
    if spec.get("nodeSelector") and part.get("nodeSelector"):
        yield f"spec.nodeSelector and {field}.nodeSelector are both set: the operator accepts one of them"
    yield from _cpu_faults(spec, role)


def _memory_limit_faults(spec: Mapping[str, Any], role: Role) -> Iterator[str]:
    """Yield a limit below what Spark requests: the API server would refuse each of the role's pods."""
    limit, field = mapping(spec.get(role), f"spec.{role}").get("memoryLimit"), f"spec.{role}.memoryLimit"
    if limit is None:
        return
    most, requested = memory_bytes(str(limit), field), pod_request(spec, role).memory_mib
    if most < requested * 2**20:
        yield (
            f"{field} is {limit!r}, less than the pod requests, {requested} MiB with its overhead: raise the limit, "
            "or leave it out: Spark sets it to what is requested"
        )


def _cpu_faults(spec: Mapping[str, Any], role: str) -> Iterator[str]:
    """Yield what is wrong with a role's cores, and with what its pod requests and may use."""
    part, field = mapping(spec.get(role), f"spec.{role}"), f"spec.{role}"
    cores, limit = part.get("cores"), part.get("coreLimit")
    if cores is not None and (not is_whole(cores) or cores < 1):
        yield (
            f"{field}.cores is {cores!r}: Spark takes whole cores, at least 1; "
            f"write a fraction into {field}.coreRequest"
        )
    if part.get("coreRequest") is not None:
        parse_quantity(str(part["coreRequest"]), f"{field}.coreRequest")
    if limit is None:
        return
    most = parse_quantity(str(limit), f"{field}.coreLimit")
    in_conf = f"spark.kubernetes.{role}.request.cores"
    request, asked = next(
        (
            (value, name)
            for value, name in (
                (part.get("coreRequest"), f"{field}.coreRequest"),
                (mapping(spec.get("sparkConf"), "spec.sparkConf").get(in_conf), f"spec.sparkConf[{in_conf!r}]"),
                (cores, f"{field}.cores"),
            )
            if value is not None
        ),
        (1, f"{field}.cores"),
    )
    if parse_quantity(str(request), asked) > most:
        yield (
            f"{field}.coreLimit is {limit!r}, less than the pod requests, {str(request)!r} ({asked}): "
            "raise the limit, or lower coreRequest"
        )


def _number_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is not the whole number that it must be."""
    for (part, name), least in _LEAST.items():
        value = mapping(spec.get(part), f"spec.{part}").get(name)
        if value is not None and (not is_whole(value) or value < least):
            yield f"spec.{part}.{name} is {value!r}: set it to a whole number, at least {least}"
    dynamic = mapping(spec.get("dynamicAllocation"), "spec.dynamicAllocation")
    low, high = dynamic.get("minExecutors"), dynamic.get("maxExecutors")
    if low is not None and high is not None and low > high:
        yield f"spec.dynamicAllocation.minExecutors is {low}, more than maxExecutors, {high}"


def _volume_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield volumes of one name, and mounts of a volume that is not there: the operator's webhook drops those."""
    names = _names(spec.get("volumes"), "spec.volumes")
    for index, name in enumerate(names):
        if name in names[:index]:
            yield f"spec.volumes[{index}].name is {name!r}, like that of another volume: give each its own name"
    for role in ("driver", "executor"):
        part, field = mapping(spec.get(role), f"spec.{role}"), f"spec.{role}"
        if part.get("template"):
            continue  # it may bring volumes of its own
        for index, name in enumerate(_names(part.get("volumeMounts"), f"{field}.volumeMounts")):
            if name not in names:
                yield (
                    f"{field}.volumeMounts[{index}].name is {name!r}, and spec.volumes has no volume of that name"
                    f" ({', '.join(map(str, names)) or 'it is empty'})"
                )


def _names(items: Any, field: str) -> list[Any]:
    """Return the names of the items of a list, empty for what is absent.

    :raises InvalidManifestError: it is no list of mappings.
    """
    if items is not None and not isinstance(items, list):
        raise InvalidManifestError(f"{field} is {items!r}: it must be a list")
    return [mapping(item, f"{field}[{index}]").get("name") for index, item in enumerate(items or [])]


def _restart_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield what would keep the application from ending, or its end from being seen."""
    policy = mapping(spec.get("restartPolicy"), "spec.restartPolicy")
    kind = policy.get("type", "Never")
    if kind == "Always":
        yield (
            "spec.restartPolicy.type is 'Always': such an application never ends, so a task would wait for ever; "
            "set it to 'OnFailure' or 'Never'"
        )
    elif kind not in RESTART_TYPES:
        yield f"spec.restartPolicy.type is {kind!r}: set it to one of {', '.join(RESTART_TYPES)}"
    ttl = spec.get("timeToLiveSeconds")
    if ttl is not None and not is_whole(ttl):
        yield f"spec.timeToLiveSeconds is {ttl!r}: set it to a whole number of seconds, {MIN_TTL_SECONDS} or more"
    elif ttl is not None and ttl < MIN_TTL_SECONDS:
        yield (
            f"spec.timeToLiveSeconds is {ttl}: the application could be gone before its end is seen; set it to "
            f"{MIN_TTL_SECONDS} or more, or leave it out and let on_finish clean up"
        )


def _conf_faults(spec: Mapping[str, Any], namespace: str) -> Iterator[str]:
    """Yield the keys of sparkConf that the operator refuses."""
    for key, value in mapping(spec.get("sparkConf"), "spec.sparkConf").items():
        if key in _OWNED_CONF:
            yield f"spec.sparkConf[{key!r}] is {value!r}, which the operator refuses: {_OWNED_CONF[key]}"
        elif key in _CREDENTIALS:
            # Its value may be a secret.
            yield f"spec.sparkConf[{key!r}] is refused by the operator: use spec.driver.serviceAccount"
        elif key == "spark.kubernetes.namespace" and namespace and value != namespace:
            yield f"spec.sparkConf[{key!r}] is {value!r}: it must be metadata.namespace, {namespace!r}; leave it out"
        elif value is None:
            yield f"spec.sparkConf[{key!r}] has no value: give it one, or leave it out"
        elif not isinstance(value, str):
            yield f"spec.sparkConf[{key!r}] is {value!r}: values are strings; write {_text(value)!r}"


def _text(value: Any) -> str:
    """Return a conf value as Spark writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


__all__ = ["check"]
