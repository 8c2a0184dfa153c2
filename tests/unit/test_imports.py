"""What a DAG file pays for importing this package, and what the package promises to export."""

from __future__ import annotations

import importlib
import inspect

import pytest

from benchmarks.imports import measure, public_modules

PUBLIC = {
    "airflow_provider_sparkml.decorators.job": {
        "mpi_job",
        "pytorch_job",
        "spark_application",
        "tf_job",
        "train_job",
        "training_pods",
        "xgboost_job",
    },
    "airflow_provider_sparkml.hooks.kubernetes": {
        "Cluster",
        "ConnectionSettings",
        "KubernetesApiHook",
        "credentials",
        "read_extras",
    },
    "airflow_provider_sparkml.links.spark": {"SparkHistoryLink", "SparkUILink"},
    "airflow_provider_sparkml.operators.cleanup": {"SparkCleanupOperator"},
    "airflow_provider_sparkml.operators.custom_resource": {"CustomResourceOperator"},
    "airflow_provider_sparkml.operators.kubernetes": {
        "KubernetesApplyOperator",
        "KubernetesDeleteOperator",
        "KubernetesGetOperator",
    },
    "airflow_provider_sparkml.operators.search": {
        "Choice",
        "IntUniform",
        "LogUniform",
        "Search",
        "Uniform",
        "grid_search",
        "random_search",
    },
    "airflow_provider_sparkml.operators.preflight": {"PreflightOperator"},
    "airflow_provider_sparkml.operators.serving": {"InferenceServiceOperator"},
    "airflow_provider_sparkml.operators.spark": {"SparkApplicationOperator"},
    "airflow_provider_sparkml.operators.spark_client": {"SparkClientModeOperator"},
    "airflow_provider_sparkml.operators.spark_cluster": {"SparkClusterOperator", "SparkClusterStopOperator"},
    "airflow_provider_sparkml.operators.spark_connect": {
        "SparkConnectServerOperator",
        "SparkConnectServerStopOperator",
    },
    "airflow_provider_sparkml.operators.spark_scheduled": {
        "ScheduledSparkApplicationOperator",
        "ScheduledSparkApplicationResumeOperator",
        "ScheduledSparkApplicationRunOperator",
        "ScheduledSparkApplicationSuspendOperator",
    },
    "airflow_provider_sparkml.operators.spark_streaming": {
        "SparkStreamingApplicationOperator",
        "SparkStreamingRollbackOperator",
        "SparkStreamingStopOperator",
    },
    "airflow_provider_sparkml.sensors.spark_scheduled": {"ScheduledSparkApplicationSensor"},
    "airflow_provider_sparkml.sensors.spark_streaming": {"SparkStreamingSensor"},
    "airflow_provider_sparkml.operators.training": {
        "ExperimentOperator",
        "MPIJobOperator",
        "PyTorchJobOperator",
        "TFJobOperator",
        "TrainJobOperator",
        "TrainingPodsOperator",
        "XGBoostJobOperator",
    },
    "airflow_provider_sparkml.params": {"check_params", "params_env", "spark_params"},
    "airflow_provider_sparkml.sensors.custom_resource": {"CustomResourceSensor"},
    "airflow_provider_sparkml.sensors.spark": {"SparkApplicationSensor"},
    "airflow_provider_sparkml.sensors.training": {
        "ExperimentSensor",
        "MPIJobSensor",
        "PyTorchJobSensor",
        "TFJobSensor",
        "TrainJobSensor",
        "TrainingPodsSensor",
        "XGBoostJobSensor",
    },
    "airflow_provider_sparkml.triggers.custom_resource": {"CustomResourceSensorTrigger", "CustomResourceTrigger"},
    "airflow_provider_sparkml.triggers.events": {
        "ApacheSparkApplicationEventTrigger",
        "JobEventTrigger",
        "SparkApplicationEventTrigger",
    },
    "airflow_provider_sparkml.triggers.serving": {"InferenceServiceTrigger"},
    "airflow_provider_sparkml.triggers.spark": {
        "ApacheSparkApplicationSensorTrigger",
        "ApacheSparkApplicationTrigger",
        "SparkApplicationSensorTrigger",
        "SparkApplicationTrigger",
    },
    "airflow_provider_sparkml.triggers.spark_client": {"SparkClientModeTrigger"},
    "airflow_provider_sparkml.triggers.spark_cluster": {"SparkClusterTrigger"},
    "airflow_provider_sparkml.triggers.spark_connect": {"SparkConnectServerTrigger"},
    "airflow_provider_sparkml.triggers.spark_scheduled": {
        "ScheduledSparkApplicationSensorTrigger",
        "ScheduledSparkApplicationTrigger",
    },
    "airflow_provider_sparkml.triggers.spark_streaming": {
        "SparkStreamingApplicationTrigger",
        "SparkStreamingSensorTrigger",
        "SparkStreamingStopTrigger",
    },
    "airflow_provider_sparkml.triggers.training": {
        "ExperimentSensorTrigger",
        "ExperimentTrigger",
        "MPIJobSensorTrigger",
        "MPIJobTrigger",
        "MPIJobV1SensorTrigger",
        "MPIJobV1Trigger",
        "PyTorchJobSensorTrigger",
        "PyTorchJobTrigger",
        "TFJobSensorTrigger",
        "TFJobTrigger",
        "TrainJobSensorTrigger",
        "TrainJobTrigger",
        "TrainingPodsSensorTrigger",
        "TrainingPodsTrigger",
        "XGBoostJobSensorTrigger",
        "XGBoostJobTrigger",
        "of_version",
    },
}


def test_importing_every_public_module_pulls_in_little_and_nothing_heavy() -> None:
    """Its seconds depend on the machine: `python -m benchmarks.imports` measures them."""
    found = measure(public_modules(), repeats=1)
    assert found["heavy"] == []
    assert (
        found["modules"] <= 115
    )  # all ours or the standard library's: one more module is no matter, one more package is


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names(name: str) -> None:
    module = importlib.import_module(name)
    assert set(module.__all__) == PUBLIC[name]
    assert list(module.__all__) == sorted(module.__all__)
    for public in module.__all__:
        assert inspect.getdoc(getattr(module, public)), f"{name}.{public} has no docstring"


def test_every_declared_module_has_its_public_names_listed_here() -> None:
    assert set(public_modules()) <= set(PUBLIC)
