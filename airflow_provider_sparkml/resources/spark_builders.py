"""Typed builders of a SparkApplication: every field may be a Jinja template, and each builds plain data.

Field names follow the CRD (``sparkoperator.k8s.io/v1beta2``), in Python's spelling. What has no parameter here is
given in ``extra``, which is merged into the built part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_sparkml.resources.base import Manifest, plain, present
from airflow_provider_sparkml.resources.pod_secrets import Secret, secret_env, secret_env_from
from airflow_provider_sparkml.resources.preset_merge import Preset, with_presets
from airflow_provider_sparkml.resources.spark_placement import (
    Colocate,
    Qos,
    check_guaranteed,
    check_placement,
    colocated,
    guaranteed,
)
from airflow_provider_sparkml.resources.spark_volumes import Volume, volumes_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _Role:
    """What driver and executors have in common.

    :param cores: whole cores that Spark schedules tasks on.
    :param core_request: CPU that the pod requests, as a quantity (``500m``, ``0.5``); ``cores`` when empty.
    :param core_limit: CPU limit of the pod, as a quantity.
    :param memory: JVM heap, as Kubernetes (``512Mi``) or Spark (``512m``) writes it.
    :param memory_overhead: memory beside the heap, likewise; Spark's factor when empty.
    :param image: image of this role, when it is not the application's.
    :param service_account: Kubernetes service account of the pods.
    :param env: environment variables.
    :param secrets: what the pods take from Kubernetes Secrets. ``env`` and ``env_from`` are put in by the operator's
        webhook; files are mounted by Spark itself.
    :param labels: labels of the pods.
    :param annotations: annotations of the pods.
    :param node_selector: node labels that the pods need; not together with the application's.
    :param tolerations: tolerations, as in a pod spec.
    :param affinity: affinity, as in a pod spec.
    :param java_options: options of the JVM.
    :param priority_class: name of a PriorityClass.
    :param gpu: ``{"name": "nvidia.com/gpu", "quantity": 1}``.
    :param extra: further fields of the CRD, merged in last.
    """

    cores: int | str = 1
    core_request: str = ""
    core_limit: str = ""
    memory: str = "1g"
    memory_overhead: str = ""
    image: str = ""
    service_account: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[Secret] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    affinity: Mapping[str, Any] = field(default_factory=dict)
    java_options: str = ""
    priority_class: str = ""
    gpu: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def _common(self) -> dict[str, Any]:
        """Return the fields that both roles share."""
        env = [{"name": name, "value": value} for name, value in self.env.items()]
        return {
            "cores": self.cores,
            "memory": self.memory,
            **present(
                {
                    "coreRequest": self.core_request,
                    "coreLimit": self.core_limit,
                    "memoryOverhead": self.memory_overhead,
                    "image": self.image,
                    "serviceAccount": self.service_account,
                    "env": env + secret_env(self.secrets),
                    "envFrom": secret_env_from(self.secrets),
                    "secrets": [
                        {"name": secret.name, "path": secret.mount_path, "secretType": "Generic"}
                        for secret in self.secrets
                        if secret.mount_path
                    ],
                    "labels": self.labels,
                    "annotations": self.annotations,
                    "nodeSelector": self.node_selector,
                    "tolerations": list(self.tolerations),
                    "affinity": self.affinity,
                    "javaOptions": self.java_options,
                    "priorityClassName": self.priority_class,
                    "gpu": self.gpu,
                }
            ),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver(_Role):
    """The driver.

    :param pod_name: name of its pod; the operator's ``<application>-driver`` when empty.
    """

    pod_name: str = ""

    def to_spec(self) -> dict[str, Any]:
        """Return ``spec.driver``."""
        spec: dict[str, Any] = plain(self._common() | present({"podName": self.pod_name}) | dict(self.extra))
        return spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor(_Role):
    """The executors.

    :param instances: how many.
    :param delete_on_termination: whether Spark deletes their pods at the end.
    """

    instances: int | str = 1
    delete_on_termination: bool = True

    def to_spec(self) -> dict[str, Any]:
        """Return ``spec.executor``."""
        own: dict[str, Any] = {"instances": self.instances}
        if not self.delete_on_termination:
            own["deleteOnTermination"] = False
        spec: dict[str, Any] = plain(self._common() | own | dict(self.extra))
        return spec


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """What the operator does when a run fails, by itself and beneath Airflow's own retries; choose one of the two.

    :param type: ``Never`` or ``OnFailure``; ``Always`` is refused by tasks that wait for the end.
    :param on_failure_retries: further runs after a failed one: the application runs at most this many times plus one.
    :param on_failure_retry_interval: seconds; the operator waits this times the number of submissions so far.
    :param on_submission_failure_retries: further submissions after a failed one.
    :param on_submission_failure_retry_interval: seconds, likewise.
    """

    type: Literal["Never", "OnFailure", "Always"] = "Never"
    on_failure_retries: int | str = 0
    on_failure_retry_interval: int | str = 5
    on_submission_failure_retries: int | str = 0
    on_submission_failure_retry_interval: int | str = 5

    def to_spec(self) -> dict[str, Any]:
        """Return ``spec.restartPolicy``."""
        if self.type != "OnFailure":
            return {"type": self.type}
        return {
            "type": self.type,
            "onFailureRetries": self.on_failure_retries,
            "onFailureRetryInterval": self.on_failure_retry_interval,
            "onSubmissionFailureRetries": self.on_submission_failure_retries,
            "onSubmissionFailureRetryInterval": self.on_submission_failure_retry_interval,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicAllocation:
    """Executors that come and go with the work.

    :param min_executors: at least so many.
    :param max_executors: at most so many.
    :param initial_executors: so many at the start; ``min_executors`` when ``None``.
    :param shuffle_tracking: keep executors that hold shuffle files; off with a remote shuffle service.
    """

    min_executors: int | str
    max_executors: int | str
    initial_executors: int | str | None = None
    shuffle_tracking: bool = True

    def to_spec(self) -> dict[str, Any]:
        """Return ``spec.dynamicAllocation``."""
        spec: dict[str, Any] = {
            "enabled": True,
            "minExecutors": self.min_executors,
            "maxExecutors": self.max_executors,
            "shuffleTrackingEnabled": self.shuffle_tracking,
        }
        if self.initial_executors is not None:
            spec["initialExecutors"] = self.initial_executors
        return spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """What the application needs beside its main file; the fields are those of ``spark-submit``."""

    jars: Sequence[str] = ()
    files: Sequence[str] = ()
    py_files: Sequence[str] = ()
    packages: Sequence[str] = ()
    exclude_packages: Sequence[str] = ()
    repositories: Sequence[str] = ()
    archives: Sequence[str] = ()

    def to_spec(self) -> dict[str, Any]:
        """Return ``spec.deps``."""
        return present(
            {
                "jars": list(self.jars),
                "files": list(self.files),
                "pyFiles": list(self.py_files),
                "packages": list(self.packages),
                "excludePackages": list(self.exclude_packages),
                "repositories": list(self.repositories),
                "archives": list(self.archives),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchScheduler:
    """A scheduler that admits an application as a whole.

    :param name: ``volcano``, ``yunikorn``, or another that the operator is configured for.
    :param queue: queue at that scheduler.
    :param priority_class: name of a PriorityClass.
    """

    name: str
    queue: str = ""
    priority_class: str = ""

    def to_spec(self) -> dict[str, Any]:
        """Return the two fields of the spec that name the scheduler and its options."""
        options = present({"queue": self.queue, "priorityClassName": self.priority_class})
        return {"batchScheduler": self.name} | ({"batchSchedulerOptions": options} if options else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkApplication:
    """A Spark job for the Kubeflow Spark operator.

    .. code-block:: python

        SparkApplication(
            image="spark:4.3.0",
            main_application_file="local:///opt/sparkml/pi.py",
            arguments=["{{ params.partitions }}"],
            driver=Driver(memory="512Mi", service_account="spark"),
            executor=Executor(instances=2, memory="512Mi"),
        )

    :param image: image of driver and executors.
    :param main_application_file: the program; ``local://`` for a file in the image.
    :param type: language of the program.
    :param main_class: the class to run, for Java and Scala.
    :param arguments: arguments of the program.
    :param spark_version: Spark version in the image.
    :param driver: the driver.
    :param executor: the executors.
    :param name: what the job's name begins with; the DAG and the task when empty.
    :param spark_conf: Spark properties.
    :param hadoop_conf: Hadoop properties, without ``spark.hadoop.``.
    :param dependencies: jars, Python files, packages …
    :param restart_policy: retries by the operator itself.
    :param dynamic_allocation: executors that come and go.
    :param batch_scheduler: gang scheduler.
    :param queue: Kueue's local queue (label ``kueue.x-k8s.io/queue-name``).
    :param volumes: volumes and where they are mounted.
    :param qos: ``guaranteed``: all pods' limits are what they request, so that Kubernetes evicts them last.
    :param colocate: ``node`` or ``zone``: executors are rather put where others of the application are; by the
        operator's webhook, on Kubernetes 1.31 or later.
    :param image_pull_policy: ``Always``, ``IfNotPresent`` or ``Never``.
    :param image_pull_secrets: names of Secrets.
    :param node_selector: node labels that all pods need.
    :param labels: labels of the application, which the operator puts on its pods, too.
    :param annotations: annotations of the application.
    :param time_to_live_seconds: after how long the operator deletes the ended application.
    :param presets: settings that belong together, from ``spark_presets``; none may contradict what else is set.
    :param extra: further fields of ``spec``, merged in last.
    """

    image: str
    main_application_file: str
    type: Literal["Python", "Java", "Scala", "R"] = "Python"
    main_class: str = ""
    arguments: Sequence[Any] = ()
    spark_version: str = "4.3.0"
    driver: Driver = field(default_factory=Driver)
    executor: Executor = field(default_factory=Executor)
    name: str = ""
    spark_conf: Mapping[str, Any] = field(default_factory=dict)
    hadoop_conf: Mapping[str, Any] = field(default_factory=dict)
    dependencies: Dependencies | None = None
    restart_policy: RestartPolicy = field(default_factory=RestartPolicy)
    dynamic_allocation: DynamicAllocation | None = None
    batch_scheduler: BatchScheduler | None = None
    queue: str = ""
    volumes: Sequence[Volume] = ()
    qos: Qos = ""
    colocate: Colocate = ""
    image_pull_policy: str = ""
    image_pull_secrets: Sequence[str] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    time_to_live_seconds: int | str | None = None
    presets: Sequence[Preset] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_manifest(self) -> Manifest:
        """Return the manifest, new at each call.

        :raises InvalidManifestError: ``qos``, ``colocate`` or a preset is none, or contradicts what else is set.
        """
        labels = {**self.labels, **({"kueue.x-k8s.io/queue-name": self.queue} if self.queue else {})}
        metadata = present({"name": self.name, "labels": labels, "annotations": self.annotations})
        manifest: Manifest = plain(
            {
                "apiVersion": "sparkoperator.k8s.io/v1beta2",
                "kind": "SparkApplication",
                "metadata": metadata,
                "spec": self._spec() | dict(self.extra),
            }
        )
        complete = with_presets(manifest, self.presets)
        if self.qos:
            check_guaranteed(complete["spec"])
        return complete

    def _spec(self) -> dict[str, Any]:
        """Return ``spec``."""
        spec: dict[str, Any] = {
            "type": self.type,
            "mode": "cluster",
            "image": self.image,
            "mainApplicationFile": self.main_application_file,
            "sparkVersion": self.spark_version,
            "restartPolicy": self.restart_policy.to_spec(),
            "driver": self._role("driver"),
            "executor": self._role("executor"),
        }
        spec |= present(
            {
                "mainClass": self.main_class,
                # An XComArg stands for a list that is known only when the task runs.
                "arguments": self.arguments,
                "sparkConf": self.spark_conf,
                "hadoopConf": self.hadoop_conf,
                "deps": self.dependencies.to_spec() if self.dependencies else {},
                "dynamicAllocation": self.dynamic_allocation.to_spec() if self.dynamic_allocation else {},
                "volumes": volumes_of(self.volumes),
                "imagePullPolicy": self.image_pull_policy,
                "imagePullSecrets": list(self.image_pull_secrets),
                "nodeSelector": self.node_selector,
            }
        )
        if self.batch_scheduler:
            spec |= self.batch_scheduler.to_spec()
        if self.time_to_live_seconds is not None:
            spec["timeToLiveSeconds"] = self.time_to_live_seconds
        return spec

    def _role(self, role: Literal["driver", "executor"]) -> dict[str, Any]:
        """Return a role's part of the spec with its volume mounts."""
        check_placement(self.qos, self.colocate)
        spec = self.driver.to_spec() if role == "driver" else self.executor.to_spec()
        if self.qos:
            spec = guaranteed(spec, role, self.spark_conf)
        if self.colocate and role == "executor":
            spec = colocated(spec, self.colocate)
        mounts = [volume.to_mount() for volume in self.volumes if role in volume.roles]
        if mounts:
            spec["volumeMounts"] = [*spec.get("volumeMounts", []), *mounts]
        return spec


__all__ = [
    "BatchScheduler",
    "Dependencies",
    "Driver",
    "DynamicAllocation",
    "Executor",
    "RestartPolicy",
    "Secret",
    "SparkApplication",
]
