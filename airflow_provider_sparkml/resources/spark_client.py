"""A Spark driver in client mode as a pod of its own: how the pod's status is read, and the Service that leads to it.

The driver's container decides, never the pod's phase: a sidecar may keep the pod running after the driver has ended.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from airflow_provider_sparkml.resources.base import (
    ApiResource,
    LogSource,
    Manifest,
    Phase,
    Resource,
    Verdict,
    merge_env,
)
from airflow_provider_sparkml.resources.core import POD, SERVICE
from airflow_provider_sparkml.resources.fields import items, mapping, name_faults, refuse
from airflow_provider_sparkml.resources.naming import MANAGED_BY, ORDINAL, PREFIX, TASK
from airflow_provider_sparkml.resources.quantities import jvm_memory
from airflow_provider_sparkml.resources.replicas import normalize_container
from airflow_provider_sparkml.resources.spark import DRIVER_CONTAINER, UI_PORT
from airflow_provider_sparkml.resources.spark_builders import Driver, DynamicAllocation, Executor, Secret
from airflow_provider_sparkml.resources.spark_client_builder import (
    BLOCK_MANAGER_PORT,
    OWN_CONF,
    RPC_PORT,
    SparkClientPod,
)
from airflow_provider_sparkml.resources.spark_requests import pod_request
from airflow_provider_sparkml.resources.spark_volumes import Volume

APP_ID = "spark-app-selector"
"""Spark's label of what belongs to an application; Spark deletes Services that have it when it stops."""
WATCHED = f"{MANAGED_BY}={PREFIX},spark-role=driver"
"""Selects the pods that are jobs, of all the pods of a namespace."""
_MEMORY = tuple(f"spark.{role}.{name}" for role in ("driver", "executor") for name in ("memory", "memoryOverhead"))
# 137 and 143 without another word: killed from outside, as by an eviction; the OOM killer has a word of its own.
_KILLED = (137, 143)
# Waiting for these is not starting: nobody will do anything before somebody else has acted.
_GATED = "SchedulingGated"
_STARTING = ("ContainerCreating", "PodInitializing")


def conf_of(obj: Manifest) -> dict[str, str]:
    """Return the Spark properties that the driver's arguments set."""
    words = [str(word) for word in _driver(obj).get("args") or ()]
    pairs = (setting.partition("=") for flag, setting in pairwise(words) if flag == "--conf")
    return {key: value for key, _, value in pairs}


def read(obj: Manifest) -> Verdict:
    """Return the verdict of a driver's pod."""
    status, metadata = obj.get("status") or {}, obj["metadata"]
    state = _container_state(status)
    ended, running = state.get("terminated"), state.get("running")
    phase = _phase(status, ended, running)
    reason, message = _why(status, state, phase)
    return Verdict(
        phase=phase,
        state=str(status.get("phase") or ""),
        reason="BeingDeleted" if metadata.get("deletionTimestamp") else reason,
        message=message,
        attempt=1 if ended or running is not None else 0,
        submission_id=str(metadata.get("uid") or ""),
        retryable=phase is Phase.FAILED and _may_succeed_next_time(ended),
        queued_since=str(metadata.get("creationTimestamp") or "") if phase is Phase.QUEUED else "",
        pending_since=_pending_since(obj) if phase is Phase.PENDING else "",
        started_at=str((ended or running or {}).get("startedAt") or ""),
        finished_at=str((ended or {}).get("finishedAt") or ""),
    )


def _phase(status: Mapping[str, Any], ended: Mapping[str, Any] | None, running: Any) -> Phase:
    if ended:
        return Phase.SUCCEEDED if int(ended.get("exitCode", 0)) == 0 else Phase.FAILED
    match status.get("phase"):
        case "Failed":  # before the driver could end by itself: evicted, or an init container failed
            return Phase.FAILED
        case "Succeeded":
            return Phase.SUCCEEDED
        case "Unknown":
            return Phase.UNKNOWN
    if running is not None:
        return Phase.RUNNING
    return Phase.QUEUED if _scheduled(status).get("reason") == _GATED else Phase.PENDING


def _why(status: Mapping[str, Any], state: Mapping[str, Any], phase: Phase) -> tuple[str, str]:
    """Return a CamelCase word and a sentence for where the pod stands; both may be empty."""
    match phase:
        case Phase.FAILED:
            return _failure(status, state.get("terminated"))
        case Phase.QUEUED:
            return _GATED, "waiting to be admitted (schedulingGates)"
        case Phase.PENDING:
            scheduled, waiting = _scheduled(status), state.get("waiting") or {}
            found = scheduled if scheduled.get("status") == "False" else waiting
            reason = str(found.get("reason") or "")
            return ("", "") if reason in _STARTING else (reason, str(found.get("message") or ""))
    return "", ""


def _failure(status: Mapping[str, Any], ended: Mapping[str, Any] | None) -> tuple[str, str]:
    if status.get("reason") or not ended:
        return str(status.get("reason") or ""), str(status.get("message") or "driver container status missing")
    word = str(ended.get("reason") or "Error")
    return word, f"driver container failed with ExitCode: {ended.get('exitCode')}, Reason: {word}"


def _may_succeed_next_time(ended: Mapping[str, Any] | None) -> bool:
    """Whether what the pod says alone shows that the cause lay outside of the program."""
    if not ended:
        return True  # something took the pod away before the driver could end
    return int(ended.get("exitCode", 0)) in _KILLED and ended.get("reason") != "OOMKilled"


def _pending_since(obj: Manifest) -> str:
    """Return since when the pod could have been starting; a gate's time is no part of that."""
    scheduled = _scheduled(obj.get("status") or {})
    if scheduled.get("status") == "True" and scheduled.get("lastTransitionTime"):
        return str(scheduled["lastTransitionTime"])
    return str(obj["metadata"].get("creationTimestamp") or "")


def _scheduled(status: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(
        (each for each in status.get("conditions") or () if each.get("type") == "PodScheduled"), {}
    )
    return found


def _container_state(status: Mapping[str, Any]) -> Mapping[str, Any]:
    for each in status.get("containerStatuses") or ():
        if each.get("name") == DRIVER_CONTAINER:
            state: Mapping[str, Any] = each.get("state") or {}
            return state
    return {}


def normalize(manifest: Manifest) -> Manifest:
    """Return a copy in the types that the API asks for, with memory as Spark reads it and what the pod requests.

    :raises InvalidManifestError: a size is none.
    """
    result = copy.deepcopy(manifest)
    container = _driver(result)
    if not container:
        return result
    words: list[Any] = []
    for word in container.get("args") or ():
        words += word if isinstance(word, list) else [word]
    container["args"] = [
        _spark_memory(word) if flag == "--conf" else word for flag, word in zip(["", *words], words, strict=False)
    ]
    normalize_container(container)
    conf = conf_of(result)
    if conf:
        request = pod_request({"sparkConf": conf}, "driver")
        resources = container.setdefault("resources", {})
        # As Spark's submission does: of memory no more than requested, of CPU as much as there is.
        memory = f"{request.memory_mib}Mi"
        limit = conf.get("spark.kubernetes.driver.limit.cores")
        resources["requests"] = {"cpu": f"{request.millicores}m", "memory": memory} | (resources.get("requests") or {})
        resources["limits"] = {"memory": memory} | ({"cpu": limit} if limit else {}) | (resources.get("limits") or {})
    return result


def _spark_memory(setting: Any) -> Any:
    """Return a ``key=value`` with a Kubernetes quantity of memory written as Spark reads it."""
    key, _, value = str(setting).partition("=")
    return f"{key}={jvm_memory(value, f'Spark property {key}')}" if key in _MEMORY and value else setting


def check(manifest: Manifest) -> None:
    """Refuse a pod whose driver executors would not find, or whose end would never be seen.

    :raises InvalidManifestError: field, value and fix.
    """
    refuse(_faults(manifest))


def _faults(manifest: Manifest) -> Iterator[str]:
    spec = mapping(manifest.get("spec"), "spec")
    policy = spec.get("restartPolicy")
    if policy != "Never":
        yield f"spec.restartPolicy is {policy!r}: set it to 'Never', so that the driver's end is the job's"
    names = [mapping(each, "spec.containers").get("name") for each in items(spec.get("containers"), "spec.containers")]
    if DRIVER_CONTAINER not in names:
        yield f"spec.containers has {names}: name the driver's {DRIVER_CONTAINER!r}, since its exit code is the job's"
    labels = mapping(mapping(manifest.get("metadata"), "metadata").get("labels"), "metadata.labels")
    if labels.get("spark-role") != "driver":
        yield f"metadata.labels['spark-role'] is {labels.get('spark-role')!r}: set it to 'driver', by which it is found"
    conf = conf_of(manifest)
    for key, value in OWN_CONF.items():
        if conf.get(key) != value:
            yield f"Spark property {key!r} is {conf.get(key)!r}: set it to {value!r}, as SparkClientPod does"
    for key in ("spark.driver.port", "spark.driver.blockManager.port"):
        if not conf.get(key, "").isdecimal() or conf[key] == "0":
            yield f"Spark property {key!r} is {conf.get(key)!r}: set it to a port, which the Service leads to"
    yield from name_faults(manifest)


def companions(obj: Manifest) -> list[tuple[ApiResource, Manifest]]:
    """Return the headless Service of the pod's name, which selects this pod alone."""
    name, labels, conf = obj["metadata"]["name"], obj["metadata"]["labels"], conf_of(obj)
    selector = {key: labels[key] for key in (MANAGED_BY, TASK, ORDINAL, "spark-role")}
    manifest = driver_service(
        name,
        selector,
        app_id=name,
        rpc=int(conf.get("spark.driver.port", RPC_PORT)),
        block_manager=int(conf.get("spark.driver.blockManager.port", BLOCK_MANAGER_PORT)),
    )
    return [(SERVICE, manifest)]


def driver_service(
    name: str, selector: Mapping[str, str], *, app_id: str, rpc: int = RPC_PORT, block_manager: int = BLOCK_MANAGER_PORT
) -> Manifest:
    """Return the headless Service by which executors find a driver.

    :param name: its name, and the first part of ``spark.driver.host``.
    :param selector: labels that exactly one pod has.
    :param app_id: ``spark.app.id``; Spark deletes the Service when it stops.
    :param rpc: ``spark.driver.port``.
    :param block_manager: ``spark.driver.blockManager.port``.
    """
    ports = {"driver-rpc-port": rpc, "blockmanager": block_manager, "spark-ui": UI_PORT}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {APP_ID: app_id}},
        "spec": {
            "clusterIP": "None",
            # Executors must find the driver also while a sidecar of its pod is not ready.
            "publishNotReadyAddresses": True,
            "selector": dict(selector),
            "ports": [{"name": port_name, "port": port} for port_name, port in ports.items()],
        },
    }


def log_source(obj: Manifest) -> LogSource | None:
    """Return the driver's container."""
    return LogSource(obj["metadata"]["name"], DRIVER_CONTAINER, "driver")


def facts(obj: Manifest) -> dict[str, Any]:
    """Return the application's id, which is the pod's name, and the pod."""
    name = obj["metadata"]["name"]
    return {"spark_application_id": name, "driver_pod": name, "ui_url": ""}


def pod_selector(obj: Manifest) -> str:
    """Return the label selector of driver and executors; empty for a pod that is gone, whose labels nobody knows."""
    labels = obj["metadata"].get("labels") or {}
    return ",".join(f"{key}={labels[key]}" for key in (TASK, ORDINAL) if key in labels)


def progress(obj: Manifest) -> tuple[str, int] | None:
    """Return the pod and the port of Spark's REST API; ``None`` where the UI is off."""
    conf = conf_of(obj)
    if conf.get("spark.ui.enabled", "true").lower() == "false":
        return None
    port = conf.get("spark.ui.port", "")
    return obj["metadata"]["name"], int(port) if port.isdecimal() else UI_PORT


def with_env(manifest: Manifest, env: Mapping[str, str]) -> Manifest:
    """Return a copy in which driver and executors have these variables."""
    result = copy.deepcopy(manifest)
    container = _driver(result)
    container["env"] = merge_env(container.get("env"), env)
    words = container.get("args") or ["driver"]
    further = [word for name, value in env.items() for word in ("--conf", f"spark.executorEnv.{name}={value}")]
    container["args"] = [words[0], *further, *words[1:]]
    return result


def _driver(obj: Manifest) -> dict[str, Any]:
    """Return the driver's container, empty where there is none."""
    containers: Sequence[Any] = mapping(obj.get("spec"), "spec").get("containers") or ()
    return next((each for each in containers if isinstance(each, dict) and each.get("name") == DRIVER_CONTAINER), {})


SPARK_CLIENT_POD = Resource(
    # Not in the registry of kinds: not every Pod is a driver.
    api=POD,
    read=read,
    normalize=normalize,
    check=check,
    log_source=log_source,
    facts=facts,
    pod_selector=pod_selector,
    main_container=DRIVER_CONTAINER,
    companions=companions,
    with_env=with_env,
    progress=progress,
    watch_selector=WATCHED,
)

__all__ = [
    "SPARK_CLIENT_POD",
    "Driver",
    "DynamicAllocation",
    "Executor",
    "Secret",
    "SparkClientPod",
    "Volume",
    "conf_of",
    "driver_service",
    "read",
]
