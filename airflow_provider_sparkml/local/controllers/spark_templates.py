"""Pod templates of a SparkApplication: what of its spec is said about pods rather than about Spark. Pure.

The operator says these through its webhook, which changes pods when they are made; Spark's pod templates do it without.
https://spark.apache.org/docs/latest/running-on-kubernetes.html#pod-template
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from airflow_provider_sparkml.local.controllers.runtime import owner_reference
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.spark import DRIVER_CONTAINER

EXECUTOR_CONTAINER = "spark-kubernetes-executor"

# field of driver and executor → field of a pod's spec
POD_FIELDS = {
    "affinity": "affinity",
    "dnsConfig": "dnsConfig",
    "hostAliases": "hostAliases",
    "hostNetwork": "hostNetwork",
    "nodeSelector": "nodeSelector",
    "podSecurityContext": "securityContext",
    "priorityClassName": "priorityClassName",
    "schedulerName": "schedulerName",
    "shareProcessNamespace": "shareProcessNamespace",
    "terminationGracePeriodSeconds": "terminationGracePeriodSeconds",
    "tolerations": "tolerations",
}
CONTAINER_FIELDS = ("lifecycle", "ports", "securityContext")

# secretType → variable and file name by which libraries find such a secret
SECRET_TYPES = {
    "GCPServiceAccount": ("GOOGLE_APPLICATION_CREDENTIALS", "key.json"),
    "HadoopDelegationToken": ("HADOOP_TOKEN_FILE_LOCATION", "hadoop.token"),
}
HADOOP_CONF_DIR = "/etc/hadoop/conf"


def pod_template(app: Manifest, role: str) -> Manifest:
    """Return the pod template of ``driver`` or ``executor``.

    The driver pod belongs to the application; executors belong to their driver, which Spark sees to.
    """
    spec, wanted = app["spec"], app["spec"].get(role) or {}
    template: Manifest = copy.deepcopy(wanted.get("template") or {})
    template |= {"apiVersion": "v1", "kind": "Pod"}
    metadata, pod = template.setdefault("metadata", {}), template.setdefault("spec", {})
    if role == "driver":
        metadata["ownerReferences"] = [owner_reference(app)]
    pod |= {field: wanted[name] for name, field in POD_FIELDS.items() if wanted.get(name) is not None}
    if scheduler := spec.get("batchScheduler"):
        pod.setdefault("schedulerName", scheduler)
    container = _main_container(pod, DRIVER_CONTAINER if role == "driver" else EXECUTOR_CONTAINER)
    container |= {name: wanted[name] for name in CONTAINER_FIELDS if wanted.get(name) is not None}
    pod["containers"] += wanted.get("sidecars") or []
    if wanted.get("initContainers"):
        pod["initContainers"] = [*(pod.get("initContainers") or []), *wanted["initContainers"]]
    _add(container, "env", _env(spec, wanted))
    _add(container, "envFrom", wanted.get("envFrom") or [])
    if gpu := wanted.get("gpu"):
        container.setdefault("resources", {}).setdefault("limits", {})[gpu["name"]] = str(gpu["quantity"])
    volumes, mounts = _volumes(spec, wanted)
    _add(pod, "volumes", volumes)
    _add(container, "volumeMounts", mounts)
    return template


def _main_container(pod: Manifest, name: str) -> Manifest:
    """Return the container that Spark fills in: the one of that name, else the first."""
    containers = pod.setdefault("containers", [])
    named = [each for each in containers if each.get("name") == name]
    if not containers:
        containers.append({})
    main: Manifest = named[0] if named else containers[0]
    main["name"] = name  # the driver's result is read from the container of this name
    return main


def _add(target: Manifest, field: str, items: list[Any]) -> None:
    if items:
        target[field] = [*(target.get(field) or []), *items]


def _env(spec: Manifest, wanted: Manifest) -> list[Manifest]:
    # Servers in the pod, as the Spark UI, listen on the pod's own address: pods of one machine share all others.
    env: list[Manifest] = [{"name": "SPARK_LOCAL_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    env += [{"name": name, "value": value} for name, value in (wanted.get("envVars") or {}).items()]
    for name, reference in (wanted.get("envSecretKeyRefs") or {}).items():
        env.append({"name": name, "valueFrom": {"secretKeyRef": {"name": reference["name"], "key": reference["key"]}}})
    for secret in wanted.get("secrets") or ():
        if secret.get("secretType") in SECRET_TYPES:
            variable, file = SECRET_TYPES[secret["secretType"]]
            env.append({"name": variable, "value": f"{secret['path'].rstrip('/')}/{file}"})
    if spec.get("hadoopConfigMap"):
        env.append({"name": "HADOOP_CONF_DIR", "value": HADOOP_CONF_DIR})
    return env + list(wanted.get("env") or [])


def _volumes(spec: Manifest, wanted: Manifest) -> tuple[list[Manifest], list[Manifest]]:
    """Return the volumes a role uses and where it mounts them."""
    mounts = list(wanted.get("volumeMounts") or [])
    used = {mount["name"] for mount in mounts}
    for container in (*(wanted.get("sidecars") or ()), *(wanted.get("initContainers") or ())):
        used |= {mount["name"] for mount in container.get("volumeMounts") or ()}
    volumes = [volume for volume in spec.get("volumes") or () if volume["name"] in used]
    for secret in wanted.get("secrets") or ():
        volume = f"{secret['name']}-volume"
        volumes.append({"name": volume, "secret": {"secretName": secret["name"]}})
        mounts.append({"name": volume, "mountPath": secret["path"]})
    for name, path in _config_maps(spec, wanted):
        volumes.append({"name": f"{name}-vol", "configMap": {"name": name}})
        mounts.append({"name": f"{name}-vol", "mountPath": path})
    return volumes, mounts


def _config_maps(spec: Manifest, wanted: Manifest) -> Iterable[tuple[str, str]]:
    for reference in wanted.get("configMaps") or ():
        yield reference["name"], reference["path"]
    if name := spec.get("hadoopConfigMap"):
        yield name, HADOOP_CONF_DIR
