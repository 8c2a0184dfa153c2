"""Typed builder of a pod that is a Spark driver in client mode: all that Spark's submission would have set is set here.

https://spark.apache.org/docs/latest/running-on-kubernetes.html#client-mode
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest, plain, present
from airflow_provider_sparkml.resources.fields import text
from airflow_provider_sparkml.resources.naming import ORDINAL, TASK
from airflow_provider_sparkml.resources.pod_secrets import secret_env, secret_env_from, secret_volumes
from airflow_provider_sparkml.resources.spark import DRIVER_CONTAINER
from airflow_provider_sparkml.resources.spark_builders import Driver, DynamicAllocation, Executor
from airflow_provider_sparkml.resources.spark_properties import allocation_properties, role_properties
from airflow_provider_sparkml.resources.spark_volumes import Volume, volumes_of
from airflow_provider_sparkml.resources.training import QUEUE_LABEL

RPC_PORT = 7078
BLOCK_MANAGER_PORT = 7079
# The pod learns its name only when it is there, so its conf refers to these variables, which the kubelet fills in.
POD_NAME = "SPARK_DRIVER_POD_NAME"
NAMESPACE = "SPARK_DRIVER_NAMESPACE"
# The entry point of Spark's images reads it: it binds there, and tells executors.
POD_IP = "SPARK_DRIVER_BIND_ADDRESS"
_TASK, _ORDINAL = "SPARK_DRIVER_TASK", "SPARK_DRIVER_ORDINAL"
_FIELDS = {
    POD_NAME: "metadata.name",
    NAMESPACE: "metadata.namespace",
    POD_IP: "status.podIP",
    _TASK: f"metadata.labels['{TASK}']",
    _ORDINAL: f"metadata.labels['{ORDINAL}']",
}

OWN_CONF = {
    "spark.kubernetes.namespace": f"$({NAMESPACE})",
    # By it executors, their ConfigMap and their volumes belong to the pod, and go with it however it ends.
    "spark.kubernetes.driver.pod.name": f"$({POD_NAME})",
    # A job's name has at most 40 characters, of 47 that Spark takes.
    "spark.kubernetes.executor.podNamePrefix": f"$({POD_NAME})",
    "spark.app.id": f"$({POD_NAME})",
    "spark.driver.host": f"$({POD_NAME}).$({NAMESPACE}).svc",
    # Driver and executors are found together by these.
    f"spark.kubernetes.executor.label.{TASK}": f"$({_TASK})",
    f"spark.kubernetes.executor.label.{ORDINAL}": f"$({_ORDINAL})",
}
"""What must be as it is: one name for pod, Service, executors and application."""
_DEFAULT_CONF = {
    # The token and its renewal are Spark's Kubernetes client's matter, which finds the service account by itself.
    "spark.master": "k8s://https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)",
    "spark.driver.port": RPC_PORT,
    "spark.driver.blockManager.port": BLOCK_MANAGER_PORT,
}
# Spark's submission raises it for programs whose memory is not the JVM's; in client mode nobody else does.
_NOT_JVM = {"spark.driver.memoryOverheadFactor": "0.4", "spark.executor.memoryOverheadFactor": "0.4"}
_SOURCES = {"persistentVolumeClaim": "claimName", "emptyDir": "sizeLimit", "hostPath": "path"}
"""Volumes that Spark itself mounts in executors, and the option of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkClientPod:
    """A Spark driver in client mode, as a pod of its own with no Spark operator: the pod is the job.

    A headless Service leads to it, and to no other pod; both executors and Service belong to it and go with it.

    .. code-block:: python

        SparkClientPod(
            image="spark:4.3.0",
            main_application_file="local:///opt/sparkml/pi.py",
            arguments=["{{ params.partitions }}"],
            driver=Driver(memory="512Mi", service_account="spark"),
            executor=Executor(instances=2, memory="512Mi"),
        )

    :param image: image of driver and executors, with the entry point of Spark's images (``driver``, ``executor``).
    :param main_application_file: the program; ``local://`` for a file in the image.
    :param type: language of the program.
    :param main_class: the class to run, for Java and Scala.
    :param arguments: arguments of the program.
    :param driver: the pod. Its service account makes the executors.
    :param executor: the executors. What the Spark operator's webhook would put in (tolerations, affinity, priority,
        GPUs) needs a pod template in the image: ``spark.kubernetes.executor.podTemplateFile``.
    :param name: what the pod's name begins with; the DAG and the task when empty.
    :param spark_conf: further Spark properties.
    :param dynamic_allocation: executors that come and go.
    :param volumes: volumes and where they are mounted.
    :param queue: Kueue's local queue (label ``kueue.x-k8s.io/queue-name``).
    :param image_pull_policy: ``Always``, ``IfNotPresent`` or ``Never``.
    :param image_pull_secrets: names of Secrets.
    :param labels: labels of the pod.
    :param annotations: annotations of the pod.
    :param extra: further fields of the pod's spec, merged in last.
    """

    image: str
    main_application_file: str
    type: Literal["Python", "Java", "Scala", "R"] = "Python"
    main_class: str = ""
    arguments: Sequence[Any] = ()
    driver: Driver = field(default_factory=Driver)
    executor: Executor = field(default_factory=Executor)
    name: str = ""
    spark_conf: Mapping[str, Any] = field(default_factory=dict)
    dynamic_allocation: DynamicAllocation | None = None
    volumes: Sequence[Volume] = ()
    queue: str = ""
    image_pull_policy: str = ""
    image_pull_secrets: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_manifest(self) -> Manifest:
        """Return the manifest of the pod, new at each call.

        :raises InvalidManifestError: something of driver, executor or volumes cannot be had in client mode.
        """
        labels = {**self.labels, **self.driver.labels, **({QUEUE_LABEL: self.queue} if self.queue else {})}
        annotations = {**self.annotations, **self.driver.annotations}
        metadata = {"labels": {"spark-role": "driver", **labels}}
        metadata |= present({"name": self.name, "annotations": annotations})
        manifest: Manifest = plain({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": self._spec()})
        return manifest

    def conf(self) -> dict[str, Any]:
        """Return all Spark properties.

        :raises InvalidManifestError: ``spark_conf`` sets what must be as it is, or the executors cannot be as wanted.
        """
        for key, value in self.spark_conf.items():
            if key in OWN_CONF:
                raise InvalidManifestError(
                    f"spark_conf[{key!r}] is {value!r}: leave it out; for this pod it is {OWN_CONF[key]!r}"
                )
        conf: dict[str, Any] = {**_DEFAULT_CONF, **(_NOT_JVM if self.type in ("Python", "R") else {})}
        conf["spark.kubernetes.container.image"] = self.image
        if self.image_pull_policy:
            conf["spark.kubernetes.container.image.pullPolicy"] = self.image_pull_policy
        if self.image_pull_secrets:
            conf["spark.kubernetes.container.image.pullSecrets"] = ",".join(self.image_pull_secrets)
        # The driver's own: its JVM's, and what its pod requests is computed from, once templates are rendered.
        driver = {key: value for key, value in self.driver.to_spec().items() if key not in ("image", "serviceAccount")}
        conf |= dict(role_properties(driver, "driver"))
        conf |= dict(_executor_properties(self.executor, self.volumes))
        if self.dynamic_allocation:
            conf |= dict(allocation_properties(self.dynamic_allocation.to_spec()))
        return {**conf, **self.spark_conf, **OWN_CONF}

    def _spec(self) -> dict[str, Any]:
        """Return ``spec``."""
        driver = self.driver
        if driver.pod_name:
            raise InvalidManifestError(f"driver.pod_name is {driver.pod_name!r}: the task names the pod; set `name`")
        spec: dict[str, Any] = {"restartPolicy": "Never", "containers": [self._container()]}
        spec |= present(
            {
                "serviceAccountName": driver.service_account,
                "nodeSelector": driver.node_selector,
                "tolerations": list(driver.tolerations),
                "affinity": driver.affinity,
                "priorityClassName": driver.priority_class,
                "imagePullSecrets": [{"name": name} for name in self.image_pull_secrets],
                "volumes": volumes_of(self._volumes()),
            }
        )
        return spec | dict(driver.extra) | dict(self.extra)

    def _container(self) -> dict[str, Any]:
        env = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in _FIELDS.items()]
        env += [{"name": name, "value": value} for name, value in self.driver.env.items()]
        words: list[Any] = ["driver"]
        for key, value in self.conf().items():
            words += ["--conf", f"{key}={text(value)}"]
        words += ["--class", self.main_class] if self.main_class else []
        # An XComArg stands for a list that is known only when the task runs.
        given = self.arguments if isinstance(self.arguments, (list, tuple)) else [self.arguments]
        gpu = self.driver.gpu
        return {
            "name": DRIVER_CONTAINER,
            "image": self.driver.image or self.image,
            "args": [*words, self.main_application_file, *given],
            "env": env + secret_env(self.driver.secrets),
            "ports": [
                {"name": "driver-rpc-port", "containerPort": RPC_PORT},
                {"name": "blockmanager", "containerPort": BLOCK_MANAGER_PORT},
            ],
        } | present(
            {
                "envFrom": secret_env_from(self.driver.secrets),
                "imagePullPolicy": self.image_pull_policy,
                "volumeMounts": [volume.to_mount() for volume in self._volumes()],
                "resources": {"limits": {gpu["name"]: gpu["quantity"]}} if gpu else {},
            }
        )

    def _volumes(self) -> list[Volume]:
        """Return what the driver mounts."""
        return [*(each for each in self.volumes if "driver" in each.roles), *secret_volumes(self.driver.secrets)]


def _executor_properties(executor: Executor, volumes: Sequence[Volume]) -> Iterator[tuple[str, Any]]:
    """Yield the properties of the executors; in client mode nothing but properties reaches them.

    :raises InvalidManifestError: there is no property for something.
    """
    for name in ("tolerations", "affinity", "priority_class", "gpu", "extra"):
        if value := getattr(executor, name):
            raise InvalidManifestError(
                f"executor.{name} is {value!r}: in client mode Spark takes it only from a pod template; put one into "
                "the image, and name it in spark_conf['spark.kubernetes.executor.podTemplateFile']"
            )
    prefix = "spark.kubernetes.executor"
    yield from role_properties(executor.to_spec(), "executor")
    yield from ((f"spark.executorEnv.{name}", value) for name, value in executor.env.items())
    yield from ((f"{prefix}.label.{name}", value) for name, value in executor.labels.items())
    yield from ((f"{prefix}.annotation.{name}", value) for name, value in executor.annotations.items())
    yield from ((f"{prefix}.node.selector.{name}", value) for name, value in executor.node_selector.items())
    for secret in executor.secrets:
        if secret.env_from:
            raise InvalidManifestError(
                f"secret {secret.name!r} of the executors has env_from=True: in client mode name each variable in env"
            )
        yield from ((f"{prefix}.secretKeyRef.{name}", f"{secret.name}:{key}") for name, key in secret.env.items())
        if secret.mount_path:
            yield f"{prefix}.secrets.{secret.name}", secret.mount_path
    for volume in volumes:
        if "executor" in volume.roles:
            yield from _volume_properties(volume)


def _volume_properties(volume: Volume) -> Iterator[tuple[str, Any]]:
    """Yield the properties by which Spark mounts a volume in executors.

    :raises InvalidManifestError: it is of a type that Spark does not mount.
    """
    (source, options), *_ = volume.source.items()
    if source == "secret":
        yield f"spark.kubernetes.executor.secrets.{options['secretName']}", volume.mount_path
        return
    if source not in _SOURCES:
        raise InvalidManifestError(
            f"volume {volume.name!r} is a {source}: in client mode Spark mounts only {', '.join(_SOURCES)} and secret "
            "in executors; set roles=['driver'], or use a pod template (spark.kubernetes.executor.podTemplateFile)"
        )
    prefix = f"spark.kubernetes.executor.volumes.{source}.{volume.name}"
    yield f"{prefix}.mount.path", volume.mount_path
    yield f"{prefix}.mount.readOnly", volume.read_only
    if volume.sub_path:
        yield f"{prefix}.mount.subPath", volume.sub_path
    option = _SOURCES[source]
    if options.get(option):
        yield f"{prefix}.options.{option}", options[option]


__all__ = [
    "BLOCK_MANAGER_PORT",
    "NAMESPACE",
    "OWN_CONF",
    "POD_IP",
    "POD_NAME",
    "RPC_PORT",
    "SparkClientPod",
]
