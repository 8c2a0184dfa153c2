"""Settings of a SparkApplication that belong together, as small objects: give them as ``presets=[…]``.

.. code-block:: python

    SparkApplication(…, presets=[EventLog("s3a://logs/spark"), Decommission(), Prometheus()])

:func:`apply_presets` does the same to a manifest. Presets for shuffle files are in ``spark_shuffle``; what cannot work
together is in the table of ``spark_rules``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest, present
from airflow_provider_sparkml.resources.fields import is_whole
from airflow_provider_sparkml.resources.manifests import load_manifest
from airflow_provider_sparkml.resources.preset_merge import Preset, with_presets
from airflow_provider_sparkml.resources.spark_shuffle import (
    CelebornShuffle,
    ChopperShuffle,
    FallbackStorage,
    S3Shuffle,
    ShuffleClaims,
    ShuffleInMemory,
    UniffleShuffle,
    directory,
)

NETWORK_POLICY_STEP = "org.apache.spark.deploy.k8s.features.NetworkPolicyFeatureStep"
"""What makes the NetworkPolicy of Spark 4.2 and later, which lets nobody but the application reach its executors."""

_STATE_STORE = "spark.sql.streaming.stateStore"
_ROCKSDB = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"


def apply_presets(application: Any, presets: Iterable[Preset]) -> Manifest:
    """Return a SparkApplication in which presets are set.

    :param application: a ``SparkApplication`` builder's object, a mapping, a file or YAML text; it is not changed.
    :param presets: such as ``[EventLog("s3a://logs/spark"), Decommission()]``.
    :raises InvalidManifestError: a preset sets what is set otherwise, or what this kind does not have.
    """
    manifest, presets = load_manifest(application), list(presets)
    kind, group = manifest.get("kind"), str(manifest.get("apiVersion")).partition("/")[0]
    if kind != "SparkApplication":
        raise InvalidManifestError(f"kind is {kind!r}: presets are for SparkApplications; apply them to one")
    result = with_presets(manifest, presets)
    for preset in presets if group == "spark.apache.org" else ():
        for name in preset.to_patch()["spec"]:
            if name != "sparkConf":
                raise InvalidManifestError(
                    f"presets has {type(preset).__name__}, which sets spec.{name}: SparkApplications of {group} have "
                    "no such field; set it by podTemplateSpec of spec.driverSpec and spec.executorSpec"
                )
    return result


@dataclass(frozen=True, slots=True)
class EventLog:
    """What happens in the application is written to a directory that a History Server reads.

    The task's link *Spark history* opens it there: ``[sparkml] history_server_url``.
    https://spark.apache.org/docs/latest/monitoring.html

    :param directory: a URI that driver and History Server reach, such as ``s3a://logs/spark``.
    :param max_file_size: when a new file is begun, as Spark writes sizes; Spark's own size when empty.
    """

    directory: str
    max_file_size: str = ""

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets."""
        conf = {
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": directory(self.directory, "EventLog.directory"),
            "spark.eventLog.rolling.enabled": "true",
            "spark.eventLog.compress": "true",
        }
        return _conf(conf | present({"spark.eventLog.rolling.maxFileSize": self.max_file_size}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """Metrics of the driver and of its executors on the port of the Spark UI, and annotations that tell where.

    ``/metrics/prometheus`` (driver, annotated on its pod) and ``/metrics/executors/prometheus`` (executors, as the
    driver knows them; annotated on the driver's service). They are gone with the driver.

    :param port: that of the Spark UI.
    :param streaming: whether there are those of streaming queries, too.
    """

    port: int = 4040
    streaming: bool = False

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets."""
        sink = "spark.metrics.conf.*.sink.prometheusServlet"
        conf = {
            "spark.ui.prometheus.enabled": "true",
            f"{sink}.class": "org.apache.spark.metrics.sink.PrometheusServlet",
            f"{sink}.path": "/metrics/prometheus",
        }
        if self.port != 4040:
            conf["spark.ui.port"] = str(self.port)
        if self.streaming:
            conf["spark.sql.streaming.metricsEnabled"] = "true"
        driver = {
            "annotations": self._annotations("/metrics/prometheus"),
            "serviceAnnotations": self._annotations("/metrics/executors/prometheus"),
        }
        return {"spec": {"sparkConf": conf, "driver": driver}}

    def _annotations(self, path: str) -> dict[str, str]:
        return {"prometheus.io/scrape": "true", "prometheus.io/path": path, "prometheus.io/port": str(self.port)}


@dataclass(frozen=True, slots=True, kw_only=True)
class JmxExporter:
    """Metrics of the JVMs of driver and executors by Prometheus' agent, which the operator configures.

    :param jar: path of ``jmx_prometheus_javaagent`` in the image.
    :param port: where each pod is asked.
    :param without_network_policy: leave out the NetworkPolicy by which Spark 4.2 and later keeps all others, and so
        Prometheus, away from the executors.
    """

    jar: str
    port: int = 8090
    without_network_policy: bool = False

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets."""
        monitoring = {
            "exposeDriverMetrics": True,
            "exposeExecutorMetrics": True,
            "prometheus": {"jmxExporterJar": self.jar, "port": self.port},
        }
        steps = NETWORK_POLICY_STEP if self.without_network_policy else ""
        conf = present({"spark.kubernetes.driver.pod.excludedFeatureSteps": steps})
        return {"spec": {"monitoring": monitoring, **present({"sparkConf": conf})}}


@dataclass(frozen=True, slots=True, kw_only=True)
class RocksDBStateStore:
    """The state of streaming queries is kept in RocksDB, outside of the JVM's heap.

    https://spark.apache.org/docs/latest/streaming/apis-on-dataframes-and-datasets.html

    :param changelog_checkpointing: write what has changed since the last batch, not whole snapshots.
    """

    changelog_checkpointing: bool = True

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets."""
        return _conf(
            {
                f"{_STATE_STORE}.providerClass": _ROCKSDB,
                f"{_STATE_STORE}.rocksdb.changelogCheckpointing.enabled": str(self.changelog_checkpointing).lower(),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RealTimeMode:
    """What a query in real-time mode needs of its session: records go through at once, not batch by batch.

    The program asks for the mode: ``.trigger(realTime="5 minutes")``, which is how often it writes its checkpoint. Each
    task keeps its core all the time, so executors need a core for each partition of the source, and for each shuffle
    partition as well. https://spark.apache.org/docs/latest/streaming/real-time-mode.html

    :param min_batch_milliseconds: the shortest time that the program's trigger may name.
    """

    min_batch_milliseconds: int = 5000

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets."""
        if not is_whole(self.min_batch_milliseconds) or self.min_batch_milliseconds < 1:
            raise InvalidManifestError(
                f"RealTimeMode.min_batch_milliseconds is {self.min_batch_milliseconds!r}: give a whole number above 0"
            )
        return _conf(
            {
                "spark.sql.streaming.realTimeMode.minBatchDuration": str(self.min_batch_milliseconds),
                f"{_STATE_STORE}.providerClass": _ROCKSDB,
                f"{_STATE_STORE}.checkpointFormatVersion": "2",
                f"{_STATE_STORE}.rocksdb.changelogCheckpointing.enabled": "true",
                "spark.sql.execution.sortBeforeRepartition": "false",
                "spark.sql.adaptive.enabled": "false",
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rapids:
    """SQL on NVIDIA GPUs, one for each executor: what RAPIDS cannot do runs on the CPU, and the log says why.

    Spark asks for the GPUs itself, so ``Executor(gpu=…)`` has to be left out. https://nvidia.github.io/spark-rapids/

    :param tasks_per_gpu: how many tasks an executor runs at once; its cores.
    :param concurrent_gpu_tasks: how many of them may be on the GPU at once.
    :param jar: RAPIDS' jar, where it is not in the image's class path.
    :param discovery_script: the program in the image that tells Spark the GPUs' addresses; it must be executable.
    :param pinned_pool: pinned memory for copies to the GPU, as Spark writes sizes; none when empty.
    """

    tasks_per_gpu: int = 1
    concurrent_gpu_tasks: int = 2
    jar: str = ""
    discovery_script: str = "/opt/sparkRapidsPlugin/getGpusResources.sh"
    pinned_pool: str = ""

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets.

        :raises InvalidManifestError: ``tasks_per_gpu`` is no number of tasks.
        """
        if not is_whole(self.tasks_per_gpu) or self.tasks_per_gpu < 1:
            raise InvalidManifestError(
                f"Rapids.tasks_per_gpu is {self.tasks_per_gpu!r}: set it to the executors' cores, at least 1"
            )
        conf = {
            "spark.plugins": "com.nvidia.spark.SQLPlugin",
            "spark.executor.resource.gpu.amount": "1",
            "spark.executor.resource.gpu.vendor": "nvidia.com",
            "spark.executor.resource.gpu.discoveryScript": self.discovery_script,
            # Rounded up, the executor would run one task less than it has cores.
            "spark.task.resource.gpu.amount": _share(self.tasks_per_gpu),
            "spark.rapids.sql.concurrentGpuTasks": str(self.concurrent_gpu_tasks),
            "spark.rapids.sql.explain": "NOT_ON_GPU",
        }
        conf |= present({"spark.rapids.memory.pinnedPool.size": self.pinned_pool})
        return {"spec": {"sparkConf": conf, **present({"deps": {"jars": [self.jar]} if self.jar else {}})}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decommission:
    """An executor whose pod is told to go hands its blocks on first, so that nothing is computed again.

    :param kill_after: after how long an executor that is still busy is ended, such as ``60s``; never when empty.
    """

    kill_after: str = ""

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets."""
        conf = {
            "spark.decommission.enabled": "true",
            "spark.storage.decommission.enabled": "true",
            "spark.storage.decommission.rddBlocks.enabled": "true",
            "spark.storage.decommission.shuffleBlocks.enabled": "true",
        }
        return _conf(conf | present({"spark.executor.decommission.forceKillTimeout": self.kill_after}))


@dataclass(frozen=True, slots=True)
class SpotExecutors:
    """Executors on nodes that may be taken away at any time, with :class:`Decommission`.

    The driver gets no toleration: it stays away where such nodes are tainted.

    :param node_labels: what such nodes are labelled: ``{"eks.amazonaws.com/capacityType": "SPOT"}``,
        ``{"cloud.google.com/gke-spot": "true"}``, ``{"kubernetes.azure.com/scalesetpriority": "spot"}``.
    :param tolerations: of those nodes' taints, as in a pod spec; put in by the operator's webhook.
    """

    node_labels: Mapping[str, str]
    tolerations: Sequence[Mapping[str, Any]] = ()

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets.

        :raises InvalidManifestError: no label says which nodes these are.
        """
        if not self.node_labels:
            raise InvalidManifestError(
                "SpotExecutors.node_labels is empty: name the nodes, such as {'cloud.google.com/gke-spot': 'true'}"
            )
        selector = {f"spark.kubernetes.executor.node.selector.{key}": text for key, text in self.node_labels.items()}
        conf = Decommission().to_patch()["spec"]["sparkConf"] | selector
        # Fetches that fail as a node goes are no fault of the stage.
        conf["spark.stage.ignoreDecommissionFetchFailure"] = "true"
        executor = present({"tolerations": list(self.tolerations)})
        return {"spec": {"sparkConf": conf, **present({"executor": executor})}}


@dataclass(frozen=True, slots=True)
class IstioOff:
    """No Istio sidecar in the pods: a classic one never ends, so that the driver's pod would not, either."""

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets."""
        labels = {"labels": {"sidecar.istio.io/inject": "false"}}
        return {"spec": {"driver": labels, "executor": labels}}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogShipping:
    """A container beside driver and executors that reads the log files they write, and ends with them.

    It is an init container that is restarted always, Kubernetes' native sidecar (1.29 and later): it is stopped after
    the main container, and keeps no pod from ending.

    :param image: such as ``fluent/fluent-bit:4.0``.
    :param config_map: its configuration; the ConfigMap's keys are files in ``config_path``.
    :param config_path: where it looks for its configuration.
    :param log_path: a directory that all containers of the pod share.
    :param log4j: path of a ``log4j2.properties`` in the image that writes to files there; none when the image's own
        configuration does so.
    :param args: its arguments.
    :param env: its environment variables.
    :param cpu: what it requests and may use, such as ``100m``; with ``qos="guaranteed"`` both have to be set.
    :param memory: likewise, such as ``128Mi``.
    """

    image: str
    config_map: str
    config_path: str = "/fluent-bit/etc"
    log_path: str = "/var/log/spark"
    log4j: str = ""
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cpu: str = ""
    memory: str = ""

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets."""
        size = present({"cpu": self.cpu, "memory": self.memory})
        logs = {"name": "sparkml-logs", "mountPath": self.log_path}
        shipper = {
            "name": "log-shipping",
            "image": self.image,
            "restartPolicy": "Always",
            "volumeMounts": [logs, {"name": "sparkml-log-config", "mountPath": self.config_path}],
            **present(
                {
                    "args": list(self.args),
                    "env": [{"name": name, "value": value} for name, value in self.env.items()],
                    "resources": {"requests": size, "limits": size} if size else {},
                }
            ),
        }
        role = {"initContainers": [shipper], "volumeMounts": [logs]}
        volumes = [
            {"name": "sparkml-logs", "emptyDir": {}},
            {"name": "sparkml-log-config", "configMap": {"name": self.config_map}},
        ]
        option = f"-Dlog4j2.configurationFile=file:{self.log4j}" if self.log4j else ""
        conf = present({f"spark.{name}.defaultJavaOptions": option for name in ("driver", "executor")})
        return {"spec": {"volumes": volumes, "driver": role, "executor": role, **present({"sparkConf": conf})}}


def _conf(conf: Mapping[str, str]) -> dict[str, Any]:
    """Return a patch of properties."""
    return {"spec": {"sparkConf": dict(conf)}}


def _share(tasks: int) -> str:
    """Return which part of a GPU a task takes, rounded down."""
    return "1" if tasks == 1 else f"{int(10_000 / tasks) / 10_000:g}"


__all__ = [
    "CelebornShuffle",
    "ChopperShuffle",
    "Decommission",
    "EventLog",
    "FallbackStorage",
    "IstioOff",
    "JmxExporter",
    "LogShipping",
    "Preset",
    "Prometheus",
    "Rapids",
    "RealTimeMode",
    "RocksDBStateStore",
    "S3Shuffle",
    "ShuffleClaims",
    "ShuffleInMemory",
    "SpotExecutors",
    "UniffleShuffle",
    "apply_presets",
]
