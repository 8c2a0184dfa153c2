"""Typed builder of a SparkApplication of the Apache Spark operator: the other operator's fields as Spark properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest, plain, present
from airflow_provider_sparkml.resources.fields import text
from airflow_provider_sparkml.resources.quantities import jvm_memory
from airflow_provider_sparkml.resources.spark_builders import Driver, DynamicAllocation, Executor
from airflow_provider_sparkml.resources.spark_properties import (
    EXECUTOR_PROPERTIES,
    ROLE_PROPERTIES,
    allocation_properties,
    role_properties,
)
from airflow_provider_sparkml.resources.spark_volumes import Volume

CONTAINERS = {"driver": "spark-kubernetes-driver", "executor": "spark-kubernetes-executor"}
# field of a role → field of its pod's spec
_POD_FIELDS = ("tolerations", "affinity", "priorityClassName", "nodeSelector")
_OWN_FIELDS = ("labels", "annotations", "gpu", "podName", "env", "envFrom", "secrets")
_TRANSLATED = frozenset({*ROLE_PROPERTIES, *EXECUTOR_PROPERTIES, *_POD_FIELDS, *_OWN_FIELDS})
"""Fields of a role that become properties, or parts of a pod template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """What the operator does when an attempt fails, by itself and beneath Airflow's own retries; choose one of the two.

    With anything but ``Never`` it deletes the driver pod at the end of every attempt: the result may be lost.

    :param policy: ``Never``, ``OnFailure``, or ``OnInfrastructureFailure``: only what failed before it ran.
    :param max_attempts: most restarts.
    :param backoff_millis: how long it waits before one.
    """

    policy: Literal["Never", "OnFailure", "OnInfrastructureFailure"] = "Never"
    max_attempts: int | str = 3
    backoff_millis: int | str = 30_000

    def to_spec(self) -> dict[str, Any]:
        """Return ``spec.applicationTolerations.restartConfig``."""
        if self.policy == "Never":
            return {"restartPolicy": self.policy}
        return {
            "restartPolicy": self.policy,
            "maxRestartAttempts": self.max_attempts,
            "restartBackoffMillis": self.backoff_millis,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ApacheSparkApplication:
    """A Spark job for the Apache Spark operator (``spark.apache.org/v1``).

    That operator takes Spark properties and pod templates; this builder writes them from the same
    :class:`~airflow_provider_sparkml.resources.spark.Driver` and ``Executor`` as the other's.

    .. code-block:: python

        ApacheSparkApplication(
            image="spark:4.3.0",
            main_application_file="local:///opt/sparkml/pi.py",
            arguments=["{{ params.partitions }}"],
            driver=Driver(memory="512Mi", service_account="spark"),
            executor=Executor(instances=2, memory="512Mi"),
        )

    :param image: image of driver and executors.
    :param main_application_file: the program; ``local://`` for a file in the image.
    :param main_class: the class to run, for a program in a jar; a Python program has none.
    :param arguments: arguments of the program.
    :param py_files: further Python files.
    :param files: further files.
    :param spark_version: Spark version in the image.
    :param driver: the driver.
    :param executor: the executors.
    :param name: what the job's name begins with; the DAG and the task when empty.
    :param spark_conf: Spark properties; they win over those that the builder writes.
    :param dynamic_allocation: executors that come and go.
    :param volumes: volumes and where they are mounted.
    :param restart: restarts by the operator itself.
    :param init_executors: executors that must be ready for the application to be healthy; 0: it does not matter.
    :param driver_start_timeout_millis: how long the driver may take to start; the operator's 300000 when ``None``.
    :param driver_ready_timeout_millis: how long it may then take to be ready; likewise.
    :param executor_start_timeout_millis: how long ``init_executors`` may then take; likewise.
    :param labels: labels of the application.
    :param annotations: annotations of the application.
    :param ttl_after_stop_millis: after how long the operator deletes the ended application.
    :param extra: further fields of ``spec``, merged in last.
    """

    image: str
    main_application_file: str
    main_class: str = ""
    arguments: Sequence[Any] = ()
    py_files: Sequence[str] = ()
    files: Sequence[str] = ()
    spark_version: str = "4.3.0"
    driver: Driver = field(default_factory=Driver)
    executor: Executor = field(default_factory=Executor)
    name: str = ""
    spark_conf: Mapping[str, Any] = field(default_factory=dict)
    dynamic_allocation: DynamicAllocation | None = None
    volumes: Sequence[Volume] = ()
    restart: Restart = field(default_factory=Restart)
    init_executors: int | str | None = None
    driver_start_timeout_millis: int | str | None = None
    driver_ready_timeout_millis: int | str | None = None
    executor_start_timeout_millis: int | str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    ttl_after_stop_millis: int | str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_manifest(self) -> Manifest:
        """Return the manifest, new at each call."""
        manifest: Manifest = plain(
            {
                "apiVersion": "spark.apache.org/v1",
                "kind": "SparkApplication",
                "metadata": present({"name": self.name, "labels": self.labels, "annotations": self.annotations}),
                "spec": self._spec() | dict(self.extra),
            }
        )
        return manifest

    def _spec(self) -> dict[str, Any]:
        """Return ``spec``."""
        spec: dict[str, Any] = {
            "runtimeVersions": {"sparkVersion": self.spark_version},
            **self._program(),
            "sparkConf": self._conf(),
            "applicationTolerations": self._tolerations(),
            # An XComArg stands for a list that is known only when the task runs.
            **present({"driverArgs": self.arguments, "files": ",".join(self.files)}),
        }
        for role in CONTAINERS:
            spec |= present({f"{role}Spec": self._template(role)})
        return spec

    def _program(self) -> dict[str, str]:
        """Return the fields that name the program."""
        if self.main_class:
            return {"mainClass": self.main_class, "jars": self.main_application_file}
        if not self.py_files:
            return {"pyFiles": self.main_application_file}
        # Only for this class does the operator take the first file for the program and the rest for what it imports.
        several = ",".join((self.main_application_file, *self.py_files))
        return {"mainClass": "org.apache.spark.deploy.PythonRunner", "pyFiles": several}

    def _role(self, role: str) -> dict[str, Any]:
        """Return what is wanted of a role, in the words of the other operator's CRD.

        :raises InvalidManifestError: it has what this builder does not translate.
        """
        part = (self.driver if role == "driver" else self.executor).to_spec()
        for name in part:
            if name not in _TRANSLATED:
                raise InvalidManifestError(
                    f"{role}.extra has {name!r}, which SparkApplications of spark.apache.org do not: set it by "
                    f"extra={{'{role}Spec': {{'podTemplateSpec': …}}}} of the application"
                )
        return part

    def _conf(self) -> dict[str, Any]:
        """Return ``spec.sparkConf``."""
        conf: dict[str, Any] = {"spark.kubernetes.container.image": self.image}
        for role in CONTAINERS:
            part = self._role(role)
            conf |= dict(role_properties(part, role))
            for kind in ("label", "annotation"):
                conf |= {f"spark.kubernetes.{role}.{kind}.{k}": v for k, v in (part.get(f"{kind}s") or {}).items()}
            if gpu := part.get("gpu"):
                vendor, _, _ = str(gpu["name"]).partition("/")
                conf |= {f"spark.{role}.resource.gpu.amount": text(gpu["quantity"])}
                conf |= {f"spark.{role}.resource.gpu.vendor": vendor}
            if pod_name := part.get("podName"):
                conf["spark.kubernetes.driver.pod.name"] = pod_name
            for key in (f"spark.{role}.memory", f"spark.{role}.memoryOverhead"):
                if key in conf and "{{" not in conf[key]:
                    conf[key] = jvm_memory(conf[key], key)
        if self.dynamic_allocation:
            conf |= dict(allocation_properties(self.dynamic_allocation.to_spec()))
        return conf | dict(self.spark_conf)

    def _tolerations(self) -> dict[str, Any]:
        """Return ``spec.applicationTolerations``."""
        stated = {
            "driverStartTimeoutMillis": self.driver_start_timeout_millis,
            "driverReadyTimeoutMillis": self.driver_ready_timeout_millis,
            "executorStartTimeoutMillis": self.executor_start_timeout_millis,
        }
        tolerations = {
            # Never, the operator's default, deletes the driver pod before anybody has read its result.
            "resourceRetainPolicy": "Always",
            "restartConfig": self.restart.to_spec(),
            **present({"applicationTimeoutConfig": {k: v for k, v in stated.items() if v is not None}}),
            **present(
                {"instanceConfig": {} if self.init_executors is None else {"initExecutors": self.init_executors}}
            ),
        }
        if self.ttl_after_stop_millis is not None:
            tolerations["ttlAfterStopMillis"] = self.ttl_after_stop_millis
        return tolerations

    def _template(self, role: str) -> dict[str, Any]:
        """Return ``spec.driverSpec`` or ``spec.executorSpec``: what Spark has no property for."""
        part = self._role(role)
        volumes = [volume for volume in self.volumes if role in volume.roles]
        secrets = part.get("secrets") or []
        mounts = [volume.to_mount() for volume in volumes]
        mounts += [{"name": f"secret-{each['name']}", "mountPath": each["path"], "readOnly": True} for each in secrets]
        container = present({"env": part.get("env"), "envFrom": part.get("envFrom"), "volumeMounts": mounts})
        pod = {name: part[name] for name in _POD_FIELDS if part.get(name)}
        sources = {volume.name: volume.to_volume() for volume in volumes}
        sources |= {
            f"secret-{each['name']}": {"name": f"secret-{each['name']}", "secret": {"secretName": each["name"]}}
            for each in secrets
        }
        pod |= present({"volumes": list(sources.values())})
        if container:
            pod["containers"] = [{"name": CONTAINERS[role], **container}]
        return {"podTemplateSpec": {"spec": pod}} if pod else {}


__all__ = ["ApacheSparkApplication", "Restart"]
