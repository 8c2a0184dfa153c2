"""The CustomResourceDefinitions that every local cluster starts with: Spark's, KServe's and those of training."""

from __future__ import annotations

from typing import Any

from airflow_provider_sparkml.local.api.definitions import MODELS
from airflow_provider_sparkml.resources.base import ApiResource, Manifest

ANYTHING: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _column(name: str, path: str, kind: str = "string") -> dict[str, str]:
    return {"name": name, "type": kind, "jsonPath": path}


_AGE = _column("Age", ".metadata.creationTimestamp", "date")


def _definition(
    api: ApiResource,
    short_name: str,
    columns: list[dict[str, str]],
    schema: dict[str, Any],
    *,
    models: str = "",
    categories: tuple[str, ...] = (),
) -> Manifest:
    kind, plural, group = api.kind, api.plural, api.group
    names = {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": kind.lower(),
        **({"shortNames": [short_name]} if short_name else {}),
        **({"categories": list(categories)} if categories else {}),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "annotations": {MODELS: models} if models else {}},
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced" if api.namespaced else "Cluster",
            "versions": [
                {
                    "name": api.version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [*columns, _AGE],
                }
            ],
        },
    }


_STRING = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_MODEL = ANYTHING | {
    "required": ["modelFormat"],
    "properties": {
        "modelFormat": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": _STRING, "version": _STRING},
        },
        "storageUri": _STRING,
        "protocolVersion": _STRING,
        "runtime": _STRING,
        "runtimeVersion": _STRING,
    },
}
_INFERENCE_SERVICE: dict[str, Any] = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": ANYTHING
        | {
            "required": ["predictor"],
            "properties": {
                "predictor": ANYTHING
                | {
                    "properties": {
                        "containers": {"type": "array", "items": ANYTHING},
                        "maxReplicas": _COUNT,
                        "minReplicas": _COUNT,
                        "model": _MODEL,
                        "timeout": _COUNT,
                    }
                }
            },
        },
        "status": ANYTHING,
    },
}
"""An InferenceService as far as the local cluster serves it; the pods' specs in it are not looked into."""

_SPARK = "sparkoperator.k8s.io"
_KUEUE = "kueue.x-k8s.io"
_TRAINER = "trainer.kubeflow.org"
_KUBEFLOW = "kubeflow.org"
OWN = "airflow-provider-sparkml"
"""Package whose ``training_schemas`` describe the kinds that no small published package has models of."""
_STATE = _column("Status", ".status.applicationState.state")
_LAST = ".status.conditions[-1:]"


def _kubeflow(version: str, plural: str, kind: str) -> Manifest:
    """Return the definition of a kind of training job; the columns are those of the training operator."""
    columns = [_column("State", f"{_LAST}.type")]
    return _definition(ApiResource(_KUBEFLOW, version, plural, kind), "", columns, ANYTHING, models=f"{OWN}:{kind}")


def _katib(plural: str, kind: str, *columns: dict[str, str]) -> Manifest:
    shown = [_column("Type", f"{_LAST}.type"), _column("Status", f"{_LAST}.status"), *columns]
    api = ApiResource(_KUBEFLOW, "v1beta1", plural, kind)
    return _definition(api, "", shown, ANYTHING, models=f"{OWN}:{kind}", categories=("all", "kubeflow", "katib"))


def _trainer(plural: str, kind: str, *columns: dict[str, str], namespaced: bool = True) -> Manifest:
    api = ApiResource(_TRAINER, "v1alpha1", plural, kind, namespaced)
    return _definition(api, "", list(columns), ANYTHING, models=f"kubeflow-trainer-api:TrainerV1alpha1{kind}")


def _kueue(plural: str, kind: str, short_name: str, *columns: dict[str, str], namespaced: bool = True) -> Manifest:
    api = ApiResource(_KUEUE, "v1beta2", plural, kind, namespaced)
    return _definition(api, short_name, list(columns), ANYTHING)


DEFINITIONS: tuple[Manifest, ...] = (
    _definition(
        ApiResource(_SPARK, "v1beta2", "sparkapplications", "SparkApplication"), "sparkapp",
        [
            _column("Suspend", ".spec.suspend", "boolean"),
            _STATE,
            _column("Attempts", ".status.executionAttempts"),
            _column("Start", ".status.lastSubmissionAttemptTime"),
            _column("Finish", ".status.terminationTime"),
        ],
        ANYTHING, models="kubeflow-spark-api:SparkV1beta2SparkApplication",
    ),
    _definition(
        ApiResource(_SPARK, "v1beta2", "scheduledsparkapplications", "ScheduledSparkApplication"), "scheduledsparkapp",
        [
            _column("Schedule", ".spec.schedule"),
            _column("Suspend", ".spec.suspend", "boolean"),
            _column("Last Run", ".status.lastRun", "date"),
            _column("Last Run Name", ".status.lastRunName"),
        ],
        ANYTHING, models="kubeflow-spark-api:SparkV1beta2ScheduledSparkApplication",
    ),
    _definition(
        ApiResource(_SPARK, "v1alpha1", "sparkconnects", "SparkConnect"), "sparkconn",
        [_column("Status", ".status.state")],
        ANYTHING, models="kubeflow-spark-api:SparkV1alpha1SparkConnect",
    ),
    _definition(
        ApiResource("spark.apache.org", "v1", "sparkapplications", "SparkApplication"), "",
        [_column("Current State", ".status.currentState.currentStateSummary")],
        ANYTHING, models=f"{OWN}:ApacheSparkApplication",
    ),
    _definition(
        ApiResource("spark.apache.org", "v1", "sparkclusters", "SparkCluster"), "",
        [_column("Current State", ".status.currentState.currentStateSummary")],
        ANYTHING, models=f"{OWN}:SparkCluster",
    ),
    _definition(
        ApiResource("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService"), "isvc",
        [
            _column("URL", ".status.url"),
            _column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        ],
        _INFERENCE_SERVICE,
    ),
    _kubeflow("v2beta1", "mpijobs", "MPIJob"),  # the training operator's, v1, is another that only one can be of
    _kubeflow("v1", "pytorchjobs", "PyTorchJob"),
    _kubeflow("v1", "tfjobs", "TFJob"),
    _kubeflow("v1", "xgboostjobs", "XGBoostJob"),
    _trainer("trainjobs", "TrainJob", _column("State", f"{_LAST}.type")),
    _trainer("clustertrainingruntimes", "ClusterTrainingRuntime", namespaced=False),
    _trainer("trainingruntimes", "TrainingRuntime"),
    _katib("experiments", "Experiment"),
    _katib("suggestions", "Suggestion", _column("Requested", ".spec.requests"),
           _column("Assigned", ".status.suggestionCount")),
    _katib("trials", "Trial"),
    _kueue("resourceflavors", "ResourceFlavor", "flavor", namespaced=False),
    _kueue("clusterqueues", "ClusterQueue", "cq", namespaced=False),
    _kueue("localqueues", "LocalQueue", "lq", _column("ClusterQueue", ".spec.clusterQueue")),
    _kueue("workloads", "Workload", "wl", _column("Queue", ".spec.queueName"),
           _column("Reserved in", ".status.admission.clusterQueue"),
           _column("Admitted", ".status.conditions[?(@.type=='Admitted')].status"),
           _column("Finished", ".status.conditions[?(@.type=='Finished')].status")),
)  # fmt: skip
"""What is created at a cluster's first start; whoever applies another definition of the same name replaces it."""
