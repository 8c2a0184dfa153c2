"""A SparkApplication as spark-submit's properties and arguments. Pure.

Follows ``internal/controller/sparkapplication/submission.go`` of kubeflow/spark-operator v2.5, which names every
property; what it does by webhook is in :mod:`~airflow_provider_sparkml.local.controllers.spark_templates`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.local.controllers.spark_state import driver_pod_name, spec_hash
from airflow_provider_sparkml.local.controllers.spark_templates import EXECUTOR_CONTAINER
from airflow_provider_sparkml.local.pods.program import SERVICE_ACCOUNT
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.naming import PREFIX
from airflow_provider_sparkml.resources.spark import DRIVER_CONTAINER
from airflow_provider_sparkml.resources.spark_properties import allocation_properties, role_properties

OPERATOR = "sparkoperator.k8s.io"
APP_NAME = f"{OPERATOR}/app-name"
LAUNCHED = f"{OPERATOR}/launched-by-spark-operator"
SUBMISSION_ID = f"{OPERATOR}/submission-id"
SPEC_HASH = f"{PREFIX}/spec-hash"
"""Annotation of a driver pod: the spec it was made from, so that a change is found after a restart, too."""

# The operator's admission check: what the controller itself decides may not be in sparkConf.
DENIED = (
    "spark.master",
    "spark.kubernetes.driver.master",
    "spark.kubernetes.container.image",
    "spark.kubernetes.driver.container.image",
    "spark.kubernetes.executor.container.image",
    "spark.kubernetes.authenticate.driver.serviceAccountName",
    "spark.kubernetes.authenticate.executor.serviceAccountName",
)
DENIED_ENDS = (".oauthToken", ".oauthTokenFile")

# What is waited for on one machine is there sooner than Spark's intervals for large clusters expect; an application's
# sparkConf overrides these.
LOCAL_DEFAULTS = {
    "spark.kubernetes.allocation.batch.delay": "200ms",
    "spark.kubernetes.executor.eventProcessingInterval": "200ms",
    # JVMs of a minute that share two cores: the optimizing compiler and parallel collectors cost more than they give.
    "spark.driver.defaultJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.executor.defaultJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}

# Fields of the kind that say nothing to this controller; whoever uses one is told so.
IGNORED = ("batchSchedulerOptions", "driverIngressOptions", "monitoring", "sparkConfigMap")
IGNORED_OF_ROLES = ("memoryLimit",)

DEPENDENCIES = {
    "jars": "--jars",
    "packages": "--packages",
    "excludePackages": "--exclude-packages",
    "repositories": "--repositories",
    "pyFiles": "--py-files",
    "files": "--files",
    "archives": "--archives",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where and as whom to submit.

    :param server: URL of the API server.
    :param token_file: file with the submitter's token, or ``None`` without one.
    :param ca_file: certificate authority of the API server, or ``None`` for plain HTTP.
    """

    server: str
    token_file: Path | None = None
    ca_file: Path | None = None


def submission_arguments(app: Manifest, properties_file: Path, target: Target) -> list[str]:
    """Return spark-submit's arguments; the properties, which hold secrets and many words, are in a file."""
    spec = app["spec"]
    arguments = ["--master", f"k8s://{target.server}", "--deploy-mode", "cluster", "--name", app["metadata"]["name"]]
    arguments += ["--properties-file", str(properties_file)]
    if main_class := spec.get("mainClass"):
        arguments += ["--class", main_class]
    for field, option in DEPENDENCIES.items():
        if values := (spec.get("deps") or {}).get(field):
            arguments += [option, ",".join(values)]
    if user := spec.get("proxyUser"):
        arguments += ["--proxy-user", user]
    return [*arguments, spec.get("mainApplicationFile") or "", *map(str, spec.get("arguments") or ())]


def submission_properties(
    app: Manifest, submission_id: str, target: Target, templates: dict[str, Path]
) -> dict[str, str]:
    """Return all Spark properties of a submission.

    :param submission_id: identity of this submission.
    :param templates: ``driver`` and ``executor`` → their pod template's file.
    :raises InvalidManifestError: when ``sparkConf`` sets what only the controller may set, or there is no image.
    """
    spec = app["spec"]
    _check(spec, app["metadata"]["namespace"])
    properties = {**LOCAL_DEFAULTS, **authentication(target)}
    properties |= {key: str(value) for key, value in (spec.get("sparkConf") or {}).items()}
    properties |= {f"spark.hadoop.{key}": str(value) for key, value in (spec.get("hadoopConf") or {}).items()}
    properties |= {f"spark.kubernetes.node.selector.{k}": str(v) for k, v in (spec.get("nodeSelector") or {}).items()}
    properties |= dict(_common(app))
    for role, container in (("driver", DRIVER_CONTAINER), ("executor", EXECUTOR_CONTAINER)):
        properties |= dict(_role(app, role, submission_id))
        properties[f"spark.kubernetes.{role}.podTemplateFile"] = str(templates[role])
        properties[f"spark.kubernetes.{role}.podTemplateContainerName"] = container
    driver = spec.get("driver") or {}
    properties["spark.kubernetes.driver.pod.name"] = driver_pod_name(app)
    properties["spark.kubernetes.driver.master"] = driver.get("kubernetesMaster") or target.server
    properties[f"spark.kubernetes.driver.annotation.{SPEC_HASH}"] = spec_hash(app)
    for kind, field in (("label", "serviceLabels"), ("annotation", "serviceAnnotations")):
        properties |= {f"spark.kubernetes.driver.service.{kind}.{k}": v for k, v in (driver.get(field) or {}).items()}
    return properties


def ignored_fields(app: Manifest) -> list[str]:
    """Return the fields of an application that this controller does not act on."""
    spec = app["spec"]
    found = [f"spec.{field}" for field in IGNORED if spec.get(field)]
    for role in ("driver", "executor"):
        found += [f"spec.{role}.{field}" for field in IGNORED_OF_ROLES if (spec.get(role) or {}).get(field)]
    return found


def format_properties(properties: dict[str, str]) -> str:
    """Return the text of a Java properties file."""
    return "".join(f"{_escape(key, key=True)}={_escape(value)}\n" for key, value in sorted(properties.items()))


def authentication(target: Target) -> dict[str, str]:
    """Return how spark-submit, and later the driver, prove who they are: the driver by its pod's service account."""
    mounted = "spark.kubernetes.authenticate.driver.mounted"
    properties = {f"{mounted}.oauthTokenFile": f"{SERVICE_ACCOUNT}/token"}
    if target.token_file:
        properties["spark.kubernetes.authenticate.submission.oauthTokenFile"] = str(target.token_file)
    if target.ca_file:
        properties["spark.kubernetes.authenticate.submission.caCertFile"] = str(target.ca_file)
        properties[f"{mounted}.caCertFile"] = f"{SERVICE_ACCOUNT}/ca.crt"
    return properties


def _common(app: Manifest) -> Iterator[tuple[str, str]]:
    spec = app["spec"]
    yield "spark.kubernetes.namespace", app["metadata"]["namespace"]
    yield "spark.kubernetes.submission.waitAppCompletion", "false"
    if spec.get("image"):
        yield "spark.kubernetes.container.image", spec["image"]
    if spec.get("imagePullPolicy"):
        yield "spark.kubernetes.container.image.pullPolicy", spec["imagePullPolicy"]
    if spec.get("imagePullSecrets"):
        yield "spark.kubernetes.container.image.pullSecrets", ",".join(spec["imagePullSecrets"])
    if spec.get("pythonVersion"):
        yield "spark.kubernetes.pyspark.pythonVersion", spec["pythonVersion"]
    if spec.get("memoryOverheadFactor"):
        yield "spark.kubernetes.memoryOverheadFactor", spec["memoryOverheadFactor"]
    yield from allocation_properties(spec.get("dynamicAllocation") or {})


def _role(app: Manifest, role: str, submission_id: str) -> Iterator[tuple[str, str]]:
    """Yield the properties of the driver, or of executors."""
    wanted = app["spec"].get(role) or {}
    yield from role_properties(wanted, role)
    labels = {
        key: value for key, value in (app["metadata"].get("labels") or {}).items() if "kueue.x-k8s.io/" not in key
    }
    labels |= wanted.get("labels") or {}
    labels |= {APP_NAME: app["metadata"]["name"], LAUNCHED: "true", SUBMISSION_ID: submission_id}
    for key, value in labels.items():
        yield f"spark.kubernetes.{role}.label.{key}", value
    for key, value in (wanted.get("annotations") or {}).items():
        yield f"spark.kubernetes.{role}.annotation.{key}", value


def _check(spec: Manifest, namespace: str) -> None:
    conf = spec.get("sparkConf") or {}
    for key, value in conf.items():
        if key in DENIED or (key.startswith("spark.kubernetes.authenticate.") and key.endswith(DENIED_ENDS)):
            raise InvalidManifestError(
                f"spec.sparkConf[{key!r}] is {value!r}: the operator decides it; use spec.image and serviceAccount"
            )
    if conf.get("spark.kubernetes.namespace", namespace) != namespace:
        wrong = conf["spark.kubernetes.namespace"]
        raise InvalidManifestError(
            f"spec.sparkConf['spark.kubernetes.namespace'] is {wrong!r}, the application is in {namespace!r}: remove it"
        )
    for role in ("driver", "executor"):
        if not spec.get("image") and not (spec.get(role) or {}).get("image"):
            raise InvalidManifestError(f"neither spec.image nor spec.{role}.image is set: name the image to run")


def _escape(text: str, *, key: bool = False) -> str:
    """Escape as ``java.util.Properties`` reads it."""
    text = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    if key:
        text = text.replace(":", "\\:").replace("=", "\\=").replace(" ", "\\ ")
    if text.startswith(" "):
        text = "\\" + text
    return text
