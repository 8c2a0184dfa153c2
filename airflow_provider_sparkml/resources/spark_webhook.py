"""Which fields of a SparkApplication are put into the pods by the operator's webhook alone. Pure.

Follows ``internal/webhook/sparkpod_defaulter.go`` of kubeflow/spark-operator v2.5. Where the webhook is off, or does
not see the namespace, Spark runs without them and nobody says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_sparkml.resources.base import Manifest

LOCAL_DIR = "spark-local-dir-"
"""How the names of those volumes begin that Spark mounts itself."""

APPLICATION_FIELDS = ("batchScheduler", "hadoopConfigMap", "sparkConfigMap")
ROLE_FIELDS = (
    "affinity",
    "configMaps",
    "dnsConfig",
    "env",
    "envFrom",
    "gpu",
    "hostAliases",
    "hostNetwork",
    "initContainers",
    "lifecycle",
    "memoryLimit",
    "nodeSelector",
    "podSecurityContext",
    "ports",
    "priorityClassName",
    "schedulerName",
    "securityContext",
    "shareProcessNamespace",
    "sidecars",
    "terminationGracePeriodSeconds",
    "tolerations",
)


WEBHOOK_FIELDS = (
    *(f"spec.{name}" for name in APPLICATION_FIELDS),
    "spec.monitoring.prometheus",
    *(f"spec.{role}.{name}" for role in ("driver", "executor") for name in (*ROLE_FIELDS, "volumeMounts")),
)
"""Their paths; volumes named ``spark-local-dir-…`` need no webhook."""


def webhook_fields(manifest: Manifest) -> list[str]:
    """Return the paths of the fields that a manifest sets and that need the webhook.

    :param manifest: a SparkApplication, or a schedule of one.
    """
    if manifest.get("kind") == "ScheduledSparkApplication":
        template = (manifest.get("spec") or {}).get("template")
        return [path.replace("spec.", "spec.template.", 1) for path in webhook_fields({"spec": template})]
    return [path for path in WEBHOOK_FIELDS if _is_set(manifest, path)]


def _is_set(manifest: Mapping[str, Any], path: str) -> bool:
    """Whether there is something at a path that the webhook would have to do."""
    value: Any = manifest
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if path.endswith(".volumeMounts") and isinstance(value, list):
        return any(not str(mount.get("name", "")).startswith(LOCAL_DIR) for mount in value if isinstance(mount, dict))
    return bool(value)


__all__ = ["LOCAL_DIR", "WEBHOOK_FIELDS", "webhook_fields"]
