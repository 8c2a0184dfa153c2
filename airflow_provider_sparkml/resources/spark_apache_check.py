"""What a SparkApplication of ``spark.apache.org/v1`` is brought into before its creation, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.fields import (
    convert,
    integer,
    is_whole,
    mapping,
    name_faults,
    number_faults,
    refuse,
    text,
    texts,
)
from airflow_provider_sparkml.resources.quantities import memory_bytes
from airflow_provider_sparkml.resources.replicas import containers_of, part_of
from airflow_provider_sparkml.resources.spark_check import MIN_HEAP_MIB
from airflow_provider_sparkml.resources.spark_lint import misspelt
from airflow_provider_sparkml.resources.spark_rules import conflicts
from airflow_provider_sparkml.resources.training import QUEUE_LABEL

MIN_STAY_MILLIS = 60_000
"""An application, or a driver pod, that is removed sooner may be gone before anybody has seen how it ended."""
DRIVER = "spark-kubernetes-driver"
CONTAINER_NAME = "spark.kubernetes.driver.podTemplateContainerName"
RESTARTS = ("Never", "OnFailure", "OnInfrastructureFailure")
RETAIN = ("Always", "OnFailure", "Never")
_TOLERATIONS = "spec.applicationTolerations"
_STAYS = ("ttlAfterStopMillis", "resourceRetainDurationMillis")
_RESTART_NUMBERS = {
    "maxRestartAttempts": 0,
    "maxRestartOnFailure": 0,
    "maxRestartOnSchedulingFailure": 0,
    "restartBackoffMillis": 0,
    "restartBackoffMillisForFailure": 0,
    "restartBackoffMillisForSchedulingFailure": 0,
}
_TIMEOUTS = {
    "driverStartTimeoutMillis": 0,
    "driverReadyTimeoutMillis": 0,
    "executorStartTimeoutMillis": 0,
    "forceTerminationGracePeriodMillis": 0,
    "terminationRequeuePeriodMillis": 1,
}
_INSTANCES = {"initExecutors": 0, "minExecutors": 0, "maxExecutors": 0}


def normalize(manifest: Manifest) -> Manifest:
    """Return a copy in the CRD's types, whose driver pod is kept at its end.

    The operator's own default, ``resourceRetainPolicy: Never``, deletes the driver pod as soon as it has ended, and
    with it the result and the end of the log. The task deletes the application, and so the pod, when it has read both.
    """
    result = copy.deepcopy(manifest)
    spec = result.get("spec")
    if not isinstance(spec, dict):
        return result
    convert(spec, ("driverArgs",), texts)
    _name_driver_container(spec)
    if isinstance(spec.get("sparkConf"), dict):
        spec["sparkConf"] = {key: text(value) for key, value in spec["sparkConf"].items()}
    if spec.get("applicationTolerations") is None:
        spec["applicationTolerations"] = {}
    tolerations = spec["applicationTolerations"]
    convert(tolerations, _STAYS, integer)
    for part, names in (
        ("restartConfig", (*_RESTART_NUMBERS, "restartCounterResetMillis")),
        ("applicationTimeoutConfig", tuple(_TIMEOUTS)),
        ("instanceConfig", tuple(_INSTANCES)),
    ):
        convert(part_of(tolerations, part), names, integer)
    if isinstance(tolerations, dict):
        tolerations.setdefault("resourceRetainPolicy", "Always")
    return result


def _name_driver_container(spec: dict[str, Any]) -> None:
    """Say which container of a pod template is the driver, in place.

    Spark keeps its name. Unless it is told, the operator takes the end of any of the pod's containers for the driver's
    (``ModelUtils.findDriverMainContainerStatus``).
    """
    containers = containers_of(part_of(spec, "driverSpec", "podTemplateSpec"))
    names = [each.get("name") for each in containers if isinstance(each, dict)]
    conf = spec.get("sparkConf") if spec.get("sparkConf") is not None else {}
    if names and isinstance(conf, dict) and not conf.get(CONTAINER_NAME):
        spec["sparkConf"] = {**conf, CONTAINER_NAME: DRIVER if DRIVER in names else names[0]}


def check(manifest: Manifest) -> None:
    """Refuse a SparkApplication that cannot work or whose end could never be seen.

    :param manifest: the rendered manifest.
    :raises InvalidManifestError: the first fault found: field, value and fix.
    """
    refuse(_faults(manifest))


def lint(manifest: Manifest) -> list[str]:
    """Return what is accepted and yet loses something."""
    return [*_warnings(manifest), *misspelt(manifest), *conflicts(manifest, fatal=False)]


def _faults(manifest: Manifest) -> Iterator[str]:
    spec = mapping(manifest.get("spec"), "spec")
    yield from _program_faults(spec)
    versions = mapping(spec.get("runtimeVersions"), "spec.runtimeVersions")
    if not versions.get("sparkVersion"):
        yield "spec.runtimeVersions.sparkVersion is missing: the operator requires it; set it to the image's Spark"
    conf = mapping(spec.get("sparkConf"), "spec.sparkConf")
    for role in ("driver", "executor"):
        own, common = f"spark.kubernetes.{role}.container.image", "spark.kubernetes.container.image"
        if not conf.get(own) and not conf.get(common):
            yield f"spec.sparkConf has neither {common!r} nor {own!r}: name the image to run"
    yield from _size_faults(conf)
    yield from _toleration_faults(mapping(spec.get("applicationTolerations"), _TOLERATIONS))
    yield from name_faults(manifest)
    yield from conflicts(manifest, fatal=True)


def _size_faults(conf: Mapping[str, Any]) -> Iterator[str]:
    """Yield sizes of driver and executors with which Spark does not start."""
    for role in ("driver", "executor"):
        heap, field = conf.get(f"spark.{role}.memory"), f"spec.sparkConf['spark.{role}.memory']"
        if heap is not None and memory_bytes(str(heap), field) < MIN_HEAP_MIB * 2**20:
            yield f"{field} is {heap!r}: Spark does not start with less than {MIN_HEAP_MIB}m"
    dynamic = str(conf.get("spark.dynamicAllocation.enabled")).lower() == "true"
    numbers = {"spark.driver.cores": 1, "spark.executor.cores": 1, "spark.executor.instances": 0 if dynamic else 1}
    for key, least in numbers.items():
        value = conf.get(key)
        if value is not None and not (str(value).isascii() and str(value).isdigit() and int(value) >= least):
            yield f"spec.sparkConf[{key!r}] is {value!r}: set it to a whole number, at least {least}"


def _program_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield what keeps the operator from running anything."""
    mode = spec.get("deploymentMode")
    if mode not in (None, "ClusterMode"):
        yield f"spec.deploymentMode is {mode!r}: the operator runs 'ClusterMode' only; set it to that or leave it out"
    for name in ("jars", "pyFiles", "sparkRFiles", "files"):
        value = spec.get(name)
        if value is not None and not isinstance(value, str):
            yield f"spec.{name} is {value!r}: it must be text, with commas between several"
    if not any(spec.get(name) for name in ("jars", "pyFiles", "sparkRFiles", "mainClass")):
        yield "spec has none of pyFiles, jars, sparkRFiles, mainClass: name the program to run"
    if spec.get("jars") and not spec.get("mainClass"):
        yield "spec.mainClass is missing: a program in spec.jars needs the class to run"


def _toleration_faults(tolerations: Mapping[str, Any]) -> Iterator[str]:
    restart = mapping(tolerations.get("restartConfig"), f"{_TOLERATIONS}.restartConfig")
    policy = restart.get("restartPolicy")
    if policy == "Always":
        yield (
            f"{_TOLERATIONS}.restartConfig.restartPolicy is 'Always': the application would be run again after every "
            "success; set it to 'Never' or 'OnFailure'"
        )
    elif policy is not None and policy not in RESTARTS:
        yield f"{_TOLERATIONS}.restartConfig.restartPolicy is {policy!r}: set it to one of {', '.join(RESTARTS)}"
    yield from number_faults(restart, _RESTART_NUMBERS, f"{_TOLERATIONS}.restartConfig")
    for part, least in (("applicationTimeoutConfig", _TIMEOUTS), ("instanceConfig", _INSTANCES)):
        field = f"{_TOLERATIONS}.{part}"
        yield from number_faults(mapping(tolerations.get(part), field), least, field)
    retain = tolerations.get("resourceRetainPolicy")
    if retain is not None and retain not in RETAIN:
        yield f"{_TOLERATIONS}.resourceRetainPolicy is {retain!r}: set it to one of {', '.join(RETAIN)}"
    for name in _STAYS:
        value = tolerations.get(name)
        if value is not None and not is_whole(value):
            yield f"{_TOLERATIONS}.{name} is {value!r}: set it to a whole number of milliseconds"
        elif value is not None and 0 <= value < MIN_STAY_MILLIS:
            yield (
                f"{_TOLERATIONS}.{name} is {value}: the end could be gone before it is seen; set it to "
                f"{MIN_STAY_MILLIS} or more, or leave it out and let on_finish clean up"
            )


def _warnings(manifest: Manifest) -> Iterator[str]:
    tolerations = part_of(manifest, "spec", "applicationTolerations")
    retain = tolerations.get("resourceRetainPolicy")
    if retain in ("Never", "OnFailure"):
        yield (
            f"{_TOLERATIONS}.resourceRetainPolicy is {retain!r}: the operator deletes the driver pod "
            f"{'at its end' if retain == 'Never' else 'after a success'}, perhaps before its result and the end of its "
            "log are read; leave it out: the task cleans up itself"
        )
    policy = part_of(tolerations, "restartConfig").get("restartPolicy")
    if policy in ("OnFailure", "OnInfrastructureFailure"):
        yield (
            f"{_TOLERATIONS}.restartConfig.restartPolicy is {policy!r}: with it the operator deletes the driver pod at "
            "the end of every attempt, perhaps before its result and the end of its log are read; 'Never', and retries "
            "of the task, lose nothing"
        )
    if part_of(manifest, "metadata", "labels").get(QUEUE_LABEL):
        yield f"metadata.labels[{QUEUE_LABEL!r}] is set: Kueue does not know SparkApplications of spark.apache.org"


__all__ = ["check", "lint", "normalize"]
