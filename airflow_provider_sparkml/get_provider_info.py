"""What Airflow reads about this provider: one literal dict, and no imports."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, valid against Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-sparkml",
        "name": "Spark and ML on Kubernetes",
        "description": "Spark and machine learning on Kubernetes from Apache Airflow.",
        "integrations": [
            {
                "integration-name": "Spark on Kubernetes",
                "external-doc-url": "https://www.kubeflow.org/docs/components/spark-operator/",
                "tags": ["software"],
            },
            {
                "integration-name": "KServe",
                "external-doc-url": "https://kserve.github.io/website/",
                "tags": ["software"],
            },
            {
                "integration-name": "Kubeflow Trainer",
                "external-doc-url": "https://www.kubeflow.org/docs/components/trainer/",
                "tags": ["software"],
            },
            {
                "integration-name": "MPI Operator",
                "external-doc-url": "https://github.com/kubeflow/mpi-operator",
                "tags": ["software"],
            },
            {
                "integration-name": "Training Operator",
                "external-doc-url": "https://www.kubeflow.org/docs/components/trainer/legacy-v1/",
                "tags": ["software"],
            },
            {
                "integration-name": "Katib",
                "external-doc-url": "https://www.kubeflow.org/docs/components/katib/",
                "tags": ["software"],
            },
            {
                "integration-name": "Kubernetes API",
                "external-doc-url": "https://kubernetes.io/docs/reference/using-api/",
                "tags": ["software"],
            },
        ],
        "operators": [
            {
                "integration-name": "Spark on Kubernetes",
                "python-modules": [
                    "airflow_provider_sparkml.operators.cleanup",
                    "airflow_provider_sparkml.operators.spark",
                    "airflow_provider_sparkml.operators.spark_client",
                    "airflow_provider_sparkml.operators.spark_cluster",
                    "airflow_provider_sparkml.operators.spark_connect",
                    "airflow_provider_sparkml.operators.spark_scheduled",
                    "airflow_provider_sparkml.operators.spark_streaming",
                ],
            },
            {
                "integration-name": "KServe",
                "python-modules": ["airflow_provider_sparkml.operators.serving"],
            },
            {
                "integration-name": "Kubernetes API",
                "python-modules": [
                    "airflow_provider_sparkml.operators.custom_resource",
                    "airflow_provider_sparkml.operators.kubernetes",
                    "airflow_provider_sparkml.operators.preflight",
                ],
            },
            {
                "integration-name": "Kubeflow Trainer",
                "python-modules": [
                    "airflow_provider_sparkml.operators.search",
                    "airflow_provider_sparkml.operators.training",
                ],
            },
            {
                "integration-name": "MPI Operator",
                "python-modules": ["airflow_provider_sparkml.operators.training"],
            },
            {
                "integration-name": "Training Operator",
                "python-modules": ["airflow_provider_sparkml.operators.training"],
            },
            {
                "integration-name": "Katib",
                "python-modules": ["airflow_provider_sparkml.operators.training"],
            },
        ],
        "sensors": [
            {
                "integration-name": "Kubernetes API",
                "python-modules": ["airflow_provider_sparkml.sensors.custom_resource"],
            },
            {
                "integration-name": "Spark on Kubernetes",
                "python-modules": [
                    "airflow_provider_sparkml.sensors.spark",
                    "airflow_provider_sparkml.sensors.spark_scheduled",
                    "airflow_provider_sparkml.sensors.spark_streaming",
                ],
            },
            {
                "integration-name": "Kubeflow Trainer",
                "python-modules": ["airflow_provider_sparkml.sensors.training"],
            },
            {
                "integration-name": "MPI Operator",
                "python-modules": ["airflow_provider_sparkml.sensors.training"],
            },
            {
                "integration-name": "Training Operator",
                "python-modules": ["airflow_provider_sparkml.sensors.training"],
            },
            {
                "integration-name": "Katib",
                "python-modules": ["airflow_provider_sparkml.sensors.training"],
            },
        ],
        "hooks": [
            {
                "integration-name": "Kubernetes API",
                "python-modules": ["airflow_provider_sparkml.hooks.kubernetes"],
            },
        ],
        "triggers": [
            {
                "integration-name": "Kubernetes API",
                "python-modules": ["airflow_provider_sparkml.triggers.custom_resource"],
            },
            {
                "integration-name": "Spark on Kubernetes",
                "python-modules": [
                    "airflow_provider_sparkml.triggers.events",
                    "airflow_provider_sparkml.triggers.spark",
                    "airflow_provider_sparkml.triggers.spark_client",
                    "airflow_provider_sparkml.triggers.spark_cluster",
                    "airflow_provider_sparkml.triggers.spark_connect",
                    "airflow_provider_sparkml.triggers.spark_scheduled",
                    "airflow_provider_sparkml.triggers.spark_streaming",
                ],
            },
            {
                "integration-name": "KServe",
                "python-modules": ["airflow_provider_sparkml.triggers.serving"],
            },
            {
                "integration-name": "Kubeflow Trainer",
                "python-modules": ["airflow_provider_sparkml.triggers.training"],
            },
            {
                "integration-name": "MPI Operator",
                "python-modules": ["airflow_provider_sparkml.triggers.training"],
            },
            {
                "integration-name": "Training Operator",
                "python-modules": ["airflow_provider_sparkml.triggers.training"],
            },
            {
                "integration-name": "Katib",
                "python-modules": ["airflow_provider_sparkml.triggers.training"],
            },
        ],
        "task-decorators": [
            {"name": "mpi_job", "class-name": "airflow_provider_sparkml.decorators.job.mpi_job"},
            {"name": "pytorch_job", "class-name": "airflow_provider_sparkml.decorators.job.pytorch_job"},
            {"name": "spark_application", "class-name": "airflow_provider_sparkml.decorators.job.spark_application"},
            {"name": "tf_job", "class-name": "airflow_provider_sparkml.decorators.job.tf_job"},
            {"name": "train_job", "class-name": "airflow_provider_sparkml.decorators.job.train_job"},
            {"name": "training_pods", "class-name": "airflow_provider_sparkml.decorators.job.training_pods"},
            {"name": "xgboost_job", "class-name": "airflow_provider_sparkml.decorators.job.xgboost_job"},
        ],
        "extra-links": [
            "airflow_provider_sparkml.links.spark.SparkHistoryLink",
            "airflow_provider_sparkml.links.spark.SparkUILink",
        ],
        "config": {
            "sparkml": {
                "description": "Settings of the provider for Spark and machine learning on Kubernetes.",
                "options": {
                    "git_commit": {
                        "description": (
                            "Commit that the DAGs were deployed from, for run manifests. "
                            "Needed where they do not come from a git bundle, whose version is taken first."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "1f3a9c2",
                        "default": "",
                    },
                    "history_server_url": {
                        "description": (
                            "URL of the Spark History Server as a browser reaches it. "
                            "With it, tasks link to the history of their application."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "https://spark-history.example.com",
                        "default": "",
                    },
                },
            },
        },
    }
