"""The CustomResourceDefinitions that every local cluster starts with: Spark's and KServe's."""

from __future__ import annotations

from typing import Any

from airflow_provider_sparkml.local.api.definitions import MODELS
from airflow_provider_sparkml.resources.base import Manifest

ANYTHING: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _column(name: str, path: str, kind: str = "string") -> dict[str, str]:
    return {"name": name, "type": kind, "jsonPath": path}


_AGE = _column("Age", ".metadata.creationTimestamp", "date")


def _definition(
    group: str,
    version: str,
    kind: str,
    plural: str,
    short_names: list[str],
    schema: dict[str, Any],
    columns: list[dict[str, str]],
    models: str = "",
) -> Manifest:
    names = {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": kind.lower(),
        "shortNames": short_names,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "annotations": {MODELS: models} if models else {}},
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [*columns, _AGE],
                }
            ],
        },
    }


_SPARK = "sparkoperator.k8s.io"
_STATE = _column("Status", ".status.applicationState.state")

DEFINITIONS: tuple[Manifest, ...] = (
    _definition(
        _SPARK, "v1beta2", "SparkApplication", "sparkapplications", ["sparkapp"], ANYTHING,
        [
            _column("Suspend", ".spec.suspend", "boolean"),
            _STATE,
            _column("Attempts", ".status.executionAttempts"),
            _column("Start", ".status.lastSubmissionAttemptTime"),
            _column("Finish", ".status.terminationTime"),
        ],
        "kubeflow_spark_api:SparkV1beta2SparkApplication",
    ),
    _definition(
        _SPARK, "v1beta2", "ScheduledSparkApplication", "scheduledsparkapplications", ["scheduledsparkapp"], ANYTHING,
        [
            _column("Schedule", ".spec.schedule"),
            _column("Suspend", ".spec.suspend", "boolean"),
            _column("Last Run", ".status.lastRun", "date"),
            _column("Last Run Name", ".status.lastRunName"),
        ],
        "kubeflow_spark_api:SparkV1beta2ScheduledSparkApplication",
    ),
    _definition(
        _SPARK, "v1alpha1", "SparkConnect", "sparkconnects", ["sparkconn"], ANYTHING,
        [_column("Status", ".status.state")],
        "kubeflow_spark_api:SparkV1alpha1SparkConnect",
    ),
    _definition(
        "serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices", ["isvc"], ANYTHING,
        [
            _column("URL", ".status.url"),
            _column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        ],
    ),
)  # fmt: skip
"""What is created at a cluster's first start; whoever applies another definition of the same name replaces it."""
