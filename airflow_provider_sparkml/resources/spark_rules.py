"""What cannot work together in an application of Spark, as one table: two sides, why, and the fix. Pure.

A rule that is ``fatal`` is refused before anything is created; the others are told as warnings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_sparkml.resources import spark_shuffle as shuffle
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.fields import mapping, text
from airflow_provider_sparkml.resources.spark_properties import DYNAMIC_ALLOCATION, allocation_properties

ELASTIC = "kueue.x-k8s.io/elastic-job"
QUEUE = "kueue.x-k8s.io/queue-name"
_DYNAMIC, _TRACKING = DYNAMIC_ALLOCATION["enabled"], DYNAMIC_ALLOCATION["shuffleTrackingEnabled"]
_RAPIDS = "com.nvidia.spark.SQLPlugin"
_STATE = "spark.sql.streaming.stateStore."
_ROCKSDB = "RocksDBStateStoreProvider"
_REAL_TIME = "spark.sql.streaming.realTimeMode."
_STEPS = "spark.kubernetes.driver.pod.excludedFeatureSteps"
_CHECK_ALL = "spark.kubernetes.executor.checkAllContainers"
_VERSION = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Facts:
    """An application as the rules see it: a SparkApplication of either operator, or a SparkConnect.

    :param spec: its spec.
    :param metadata: its metadata.
    :param conf: its properties, those of ``spec.dynamicAllocation`` among them, which win as the operator's do.
    :param fields: where a property is set, other than in sparkConf.
    :param version: major and minor version of Spark; ``(0, 0)`` where it cannot be read.
    :param version_said: where that is set, and to what.
    """

    spec: Mapping[str, Any]
    metadata: Mapping[str, Any]
    conf: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    version: tuple[int, int] = (0, 0)
    version_said: str = ""

    def says(self, key: str, default: str = "unset") -> str:
        """Return where a property is set, and to what."""
        return f"{self.fields.get(key) or f'spec.sparkConf[{key!r}]'} is {self.conf.get(key, default)}"

    def is_true(self, key: str) -> bool:
        """Whether a property is set to ``true``."""
        return str(self.conf.get(key)).lower() == "true"


Side = Callable[[Facts], str]
"""What a manifest says that the rule is about; empty when it does not."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Two sides that do not go together.

    :param left: what is asked for.
    :param right: what keeps it from working.
    :param why: what would happen, and the fix.
    :param fatal: whether it cannot work at all.
    """

    left: Side
    right: Side
    why: str
    fatal: bool = True


def facts_of(manifest: Manifest) -> Facts:
    """Return what the rules look at.

    :raises InvalidManifestError: a part that must be a mapping is none.
    """
    spec, metadata = mapping(manifest.get("spec"), "spec"), mapping(manifest.get("metadata"), "metadata")
    dynamic = mapping(spec.get("dynamicAllocation"), "spec.dynamicAllocation")
    by_field = dict(allocation_properties(dynamic))
    conf = {key: str(text(value)) for key, value in mapping(spec.get("sparkConf"), "spec.sparkConf").items()}
    fields = {key: f"spec.dynamicAllocation.{name}" for name, key in DYNAMIC_ALLOCATION.items() if key in by_field}
    where, stated = stated_version(spec)
    found = _VERSION.match(stated)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    conf |= {key: str(value) for key, value in by_field.items()}
    return Facts(spec, metadata, conf, fields, version, f"{where} is {stated!r}")


def stated_version(spec: Mapping[str, Any]) -> tuple[str, str]:
    """Return where a spec states the version of Spark, and which."""
    versions = spec.get("runtimeVersions")
    if isinstance(versions, Mapping):
        return "spec.runtimeVersions.sparkVersion", str(versions.get("sparkVersion") or "")
    return "spec.sparkVersion", str(spec.get("sparkVersion") or "")


def _true(facts: Facts, key: str) -> str:
    return facts.says(key) if facts.is_true(key) else ""


def _set(facts: Facts, key: str) -> str:
    return facts.says(key) if key in facts.conf else ""


def _unless_true(facts: Facts, key: str) -> str:
    return "" if facts.is_true(key) else facts.says(key)


def _equals(facts: Facts, key: str, *values: str) -> str:
    return facts.says(key) if facts.conf.get(key) in values else ""


def _differs(facts: Facts, key: str, *values: str) -> str:
    return "" if facts.conf.get(key) in values else facts.says(key)


def _named(facts: Facts, prefix: str) -> str:
    """Say which property of a family is set."""
    return next((facts.says(key) for key in facts.conf if key.startswith(prefix)), "")


def _spec(facts: Facts, role: str, name: str) -> str:
    """Say that a field of a role is set."""
    return f"spec.{role}.{name} is set" if mapping(facts.spec.get(role), f"spec.{role}").get(name) else ""


def _stated(facts: Facts, role: str, name: str) -> str:
    """Say to what a field of a role is set."""
    value = mapping(facts.spec.get(role), f"spec.{role}").get(name)
    return "" if value is None else f"spec.{role}.{name} is {value!r}"


def _other_limit(facts: Facts, role: str) -> str:
    key = f"spark.kubernetes.{role}.limit.cores"
    limit = text(mapping(facts.spec.get(role), f"spec.{role}").get("coreLimit"))
    return facts.says(key) if facts.conf.get(key, limit) != limit else ""


def _in_queue(facts: Facts) -> str:
    labels = mapping(facts.metadata.get("labels"), "metadata.labels")
    annotations = mapping(facts.metadata.get("annotations"), "metadata.annotations")
    if not labels.get(QUEUE) or str(annotations.get(ELASTIC)).lower() == "true":
        return ""
    return f"metadata.labels[{QUEUE!r}] is {labels[QUEUE]!r}"


def _from(facts: Facts, version: tuple[int, int]) -> str:
    return facts.version_said if facts.version >= version else ""


def _outside(facts: Facts, low: tuple[int, int], high: tuple[int, int]) -> str:
    known = facts.version != (0, 0)
    return facts.version_said if known and not low <= facts.version <= high else ""


def _rapids(facts: Facts) -> str:
    plugins = facts.conf.get("spark.plugins", "").split(",")
    return facts.says("spark.plugins") if _RAPIDS in (name.strip() for name in plugins) else ""


def _scraped_executors(facts: Facts) -> str:
    exposed = mapping(facts.spec.get("monitoring"), "spec.monitoring").get("exposeExecutorMetrics")
    return "spec.monitoring.exposeExecutorMetrics is true" if exposed else ""


def _closed_executors(facts: Facts) -> str:
    return "" if "NetworkPolicyFeatureStep" in facts.conf.get(_STEPS, "") else _from(facts, (4, 2))


def _injected(facts: Facts) -> str:
    executor = mapping(facts.spec.get("executor"), "spec.executor")
    labels = mapping(executor.get("labels"), "spec.executor.labels")
    inject = str(labels.get("sidecar.istio.io/inject")).lower() == "true"
    return "spec.executor.labels['sidecar.istio.io/inject'] is 'true'" if inject else ""


def _waits_for_sidecars(facts: Facts) -> str:
    return "" if facts.conf.get(_CHECK_ALL, "true").lower() == "false" else _from(facts, (4, 0))


def _no_separator(facts: Facts) -> str:
    key = "spark.storage.decommission.fallbackStorage.path"
    return facts.says(key) if key in facts.conf and not facts.conf[key].endswith("/") else ""


def _log_without_place(facts: Facts) -> str:
    known = "spark.eventLog.dir" in facts.conf or facts.spec.get("sparkConfigMap")
    return "" if known else facts.says("spark.eventLog.dir")


def _real_time(facts: Facts) -> str:
    return _named(facts, _REAL_TIME)


def _old_checkpoint(facts: Facts) -> str:
    allowed = facts.is_true(f"{_REAL_TIME}dangerouslyAllowCheckpointV1.enabled")
    return "" if allowed else _equals(facts, f"{_STATE}checkpointFormatVersion", "1")


def _other_store(facts: Facts) -> str:
    key = f"{_STATE}providerClass"
    return "" if facts.conf.get(key, _ROCKSDB).endswith(_ROCKSDB) else facts.says(key)


_REMOTE = (shuffle.CELEBORN_MANAGER, shuffle.UNIFFLE_MANAGER)


def _dynamic(facts: Facts) -> str:
    return _true(facts, _DYNAMIC)


def _tracking(facts: Facts) -> str:
    return facts.says(_TRACKING, "true by default") if facts.conf.get(_TRACKING, "true").lower() == "true" else ""


def _dynamic_remote(facts: Facts) -> str:
    return _equals(facts, shuffle.MANAGER, *_REMOTE) if _dynamic(facts) else ""


def _tasks_per_executor(facts: Facts) -> str:
    """Say how many tasks the share of a GPU lets run at once, where the cores are others."""
    key = "spark.task.resource.gpu.amount"
    cores = facts.conf.get("spark.executor.cores") or mapping(facts.spec.get("executor"), "spec.executor").get("cores")
    try:
        tasks, wanted = int(1 / float(facts.conf[key])), int(cores or 1)
    except (KeyError, ValueError, ZeroDivisionError):
        return ""  # a template, or unset, or refused by Spark itself
    return (
        ""
        if tasks == wanted
        else f"{facts.says(key)}, for {tasks} tasks at once, where an executor's cores are {wanted}"
    )


def _claims(facts: Facts) -> str:
    return _named(facts, "spark.kubernetes.executor.volumes.persistentVolumeClaim.spark-local-dir-")


def _streaming(facts: Facts) -> str:
    return _set(facts, "spark.sql.streaming.checkpointLocation") or _true(facts, "spark.sql.streaming.metricsEnabled")


RULES = (
    Rule(
        _dynamic,
        _streaming,
        "executors look idle between two batches and go, and come again late; leave dynamic allocation out of what "
        "runs for ever",
        fatal=False,
    ),
    Rule(
        _dynamic_remote,
        lambda facts: _outside(facts, (3, 5), (99, 0)),
        "only since 3.5 does Spark ask a plug-in where shuffle files are, and would lose them with each executor that "
        "goes; take such an image, or leave dynamic allocation out",
    ),
    Rule(
        lambda facts: _true(facts, "spark.kubernetes.local.dirs.tmpfs"),
        _claims,
        "these are two places for shuffle files, and memory would not be used; leave one of them out",
    ),
    Rule(
        _rapids,
        _tasks_per_executor,
        "cores or GPUs are left idle; set both to the same: Rapids(tasks_per_gpu=…)",
        fatal=False,
    ),
    *(
        Rule(
            lambda facts, role=role: _stated(facts, role, "coreLimit"),  # type: ignore[misc]
            lambda facts, role=role: _other_limit(facts, role),  # type: ignore[misc]
            "the operator sets the property by the field; leave the property out",
            fatal=False,
        )
        for role in ("driver", "executor")
    ),
    Rule(
        _dynamic,
        lambda facts: _named(facts, _STATE),
        "executors that go take the state of the streaming query with them, and it is loaded anew; leave dynamic "
        "allocation out and size the executors for the stream",
    ),
    Rule(
        _dynamic,
        _in_queue,
        "Kueue admits a fixed number of executors; leave dynamic allocation out, or set "
        f"metadata.annotations[{ELASTIC!r}] to 'true' where Kueue has elastic jobs",
    ),
    Rule(
        _dynamic_remote,
        _tracking,
        f"executors would be kept for shuffle files that they do not have; set {_TRACKING} to 'false', which is "
        "DynamicAllocation(shuffle_tracking=False, …)",
    ),
    Rule(
        lambda facts: _equals(facts, shuffle.MANAGER, shuffle.CELEBORN_MANAGER) if _dynamic(facts) else "",
        lambda facts: _differs(facts, shuffle.IO_PLUGIN, shuffle.CELEBORN_IO),
        "Spark would lose shuffle data with each executor that goes, or not start; set "
        "CelebornShuffle(dynamic_allocation=True, …)",
    ),
    Rule(
        lambda facts: _equals(facts, shuffle.MANAGER, shuffle.UNIFFLE_MANAGER) if _dynamic(facts) else "",
        lambda facts: _differs(facts, shuffle.IO_PLUGIN, shuffle.UNIFFLE_IO),
        "Spark would lose shuffle data with each executor that goes, or not start; set "
        "UniffleShuffle(dynamic_allocation=True, …)",
    ),
    *(
        Rule(
            lambda facts, plugin=plugin: _equals(facts, shuffle.IO_PLUGIN, plugin),  # type: ignore[misc]
            lambda facts, managers=managers: _differs(facts, shuffle.MANAGER, *managers),  # type: ignore[misc]
            f"these are two ways to keep shuffle files; leave one of them out, or set {shuffle.MANAGER} to "
            f"{managers[0]!r}",
        )
        for plugin, managers in (
            (shuffle.S3_IO, (shuffle.S3_MANAGER,)),
            (shuffle.CELEBORN_IO, (shuffle.CELEBORN_MANAGER,)),
            (shuffle.UNIFFLE_IO, (shuffle.UNIFFLE_MANAGER,)),
        )
    ),
    *(
        Rule(
            lambda facts, plugin=plugin: _equals(facts, shuffle.IO_PLUGIN, plugin),  # type: ignore[misc]
            lambda facts: _equals(facts, shuffle.MANAGER, shuffle.S3_MANAGER, *_REMOTE),
            "these are two ways to keep shuffle files; leave one of them out",
        )
        for plugin in (shuffle.CHOPPER_IO, shuffle.CLAIMS_IO)
    ),
    *(
        Rule(
            lambda facts, manager=manager: _equals(facts, shuffle.MANAGER, manager),  # type: ignore[misc]
            lambda facts, low=low, high=high: _outside(facts, low, high),  # type: ignore[misc]
            f"{name} is made for Spark {low[0]}.{low[1]} to {high[0]}.{high[1]}; take such an image, or another "
            "shuffle preset",
        )
        for manager, name, low, high in (
            (shuffle.S3_MANAGER, "IBM's S3 shuffle", (3, 2), (3, 5)),  # https://github.com/IBM/spark-s3-shuffle
            (shuffle.UNIFFLE_MANAGER, "Uniffle", (2, 3), (3, 5)),  # https://uniffle.apache.org
            (shuffle.CELEBORN_MANAGER, "Celeborn", (2, 4), (4, 2)),  # release notes of 0.7.0
        )
    ),
    Rule(
        lambda facts: _true(facts, "spark.shuffle.service.enabled"),
        lambda facts: "the application runs on Kubernetes",
        "there is no external shuffle service; leave it out",
    ),
    *(
        Rule(
            lambda facts, role=role: _spec(facts, role, "gpu"),  # type: ignore[misc]
            lambda facts, role=role: _named(facts, f"spark.{role}.resource."),  # type: ignore[misc]
            "both ask Kubernetes for the devices, and only the property tells Spark of them; leave "
            f"spec.{role}.gpu out",
        )
        for role in ("driver", "executor")
    ),
    Rule(
        _rapids,
        lambda facts: _differs(facts, "spark.executor.resource.gpu.amount", "1"),
        "RAPIDS needs exactly one GPU for each executor; set it to '1'",
    ),
    Rule(
        _rapids,
        lambda facts: (
            ""
            if "spark.executor.resource.gpu.discoveryScript" in facts.conf
            else facts.says("spark.executor.resource.gpu.discoveryScript")
        ),
        "on Kubernetes Spark finds GPUs by this program only; set its path in the image",
    ),
    Rule(
        lambda facts: _true(facts, "spark.ui.prometheus.enabled"),
        lambda facts: (
            facts.says("spark.ui.enabled") if facts.conf.get("spark.ui.enabled", "").lower() == "false" else ""
        ),
        "the metrics are served by the UI; leave one of them out",
    ),
    Rule(
        _real_time,
        lambda facts: _outside(facts, (4, 1), (99, 0)),
        "Spark has real-time mode since 4.1, and for queries with state since 4.3; take such an image",
    ),
    Rule(
        _real_time,
        _old_checkpoint,
        "Spark refuses to start the query: after a failure it could read the wrong state; set it to '2' and begin "
        "with a new checkpoint: RealTimeMode()",
    ),
    Rule(_real_time, _other_store, "only RocksDB has checkpoints of format 2; set RealTimeMode() alone"),
    Rule(
        _real_time,
        lambda facts: _true(facts, "spark.sql.execution.sortBeforeRepartition"),
        "a sort waits for an end that the stream does not have; leave it out",
    ),
    Rule(
        _real_time,
        lambda facts: _true(facts, "spark.sql.adaptive.enabled"),
        "there are no batches to adapt to; set it to 'false': RealTimeMode()",
    ),
    Rule(
        _no_separator,
        lambda facts: "Spark takes a path with its separator at the end",
        "add '/' to it",
    ),
    Rule(
        lambda facts: _true(facts, "spark.eventLog.enabled"),
        _log_without_place,
        "Spark writes to /tmp/spark-events of the driver's pod, and does not start without that directory; set it: "
        "EventLog('s3a://…')",
        fatal=False,
    ),
    Rule(
        lambda facts: _true(facts, "spark.storage.decommission.enabled"),
        lambda facts: _unless_true(facts, "spark.decommission.enabled"),
        "no executor is decommissioned without it; set it to 'true': Decommission()",
        fatal=False,
    ),
    Rule(
        _scraped_executors,
        _closed_executors,
        "Spark's NetworkPolicy lets none but the application reach its executors, so Prometheus cannot; take "
        "Prometheus(), or leave the policy out: JmxExporter(without_network_policy=True, …)",
        fatal=False,
    ),
    *(
        Rule(
            side,
            _waits_for_sidecars,
            "Spark waits for all containers of an executor's pod, so one that does not end keeps it; "
            f"{fix}, or set spec.sparkConf[{_CHECK_ALL!r}] to 'false'",
            fatal=False,
        )
        for side, fix in (
            (_injected, "use IstioOff() or a native sidecar"),
            (lambda facts: _spec(facts, "executor", "sidecars"), "make it an init container restarted Always"),
        )
    ),
    Rule(
        lambda facts: _spec(facts, "driver", "sidecars"),
        lambda facts: "the driver's pod ends when all of its containers have",
        "one that does not end by itself keeps it; make it an init container restarted Always, as LogShipping does",
        fatal=False,
    ),
)
"""All of them."""


def conflicts(manifest: Manifest, *, fatal: bool) -> Iterator[str]:
    """Yield what does not go together, both sides named, and the fix.

    :param manifest: a SparkApplication of either operator, or a SparkConnect, rendered and normalized.
    :param fatal: what cannot work at all; else what probably does not do what it looks like.
    """
    facts = facts_of(manifest)
    for rule in RULES:
        if rule.fatal is not fatal:
            continue
        left = rule.left(facts)
        right = rule.right(facts) if left else ""
        if right:
            yield f"{left}, and {right}: {rule.why}"


__all__ = ["ELASTIC", "RULES", "Facts", "Rule", "conflicts", "facts_of", "stated_version"]
