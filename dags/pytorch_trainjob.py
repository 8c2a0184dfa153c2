"""### Train with PyTorch on several nodes

Spark prepares real flights of 2013, a **TrainJob** of the Kubeflow Trainer trains a small network on them with
PyTorch's DistributedDataParallel, and `evaluate` lets it pass only if all ranks ended with the same parameters, and it
forecasts better than the mere share of late flights.

The task `train` waits in the triggerer. Its log shows rank 0's `step=… loss=…`; if a rank fails, the last lines of
each, and which failed first. A retry goes on from the last checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_sparkml import __version__
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.operators.training import TrainJobOperator
from airflow_provider_sparkml.resources.spark import Driver, Executor, SparkApplication, Volume
from airflow_provider_sparkml.resources.trainer import PodOverrides, Trainer, TrainJob

DATA = Volume.claim("sparkml-data", "/data")
WHERE = {"namespace": "{{ params.namespace }}", "kubernetes_conn_id": "{{ params.kubernetes_conn_id }}"}
LIMITS = {"startup_timeout": timedelta(minutes=30), "execution_timeout": timedelta(hours=2)}


def run_key(run_id: str) -> str:
    """Return what names a run in paths: letters and digits that no other run has."""
    return f"r{hashlib.sha256(run_id.encode()).hexdigest()[:11]}"


RUN = "/data/{{ dag.dag_id }}/{{ run_id | run_key }}"
"""A run's own directory of the claim."""


@task
def evaluate(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of a network that is worth having."""
    trained = outcome["result"]
    if len(set(trained["parameter_hashes"])) != 1:
        raise ValueError(f"the ranks ended with different parameters: {trained['parameter_hashes']}")
    metrics, baseline = trained["metrics"], trained["baseline"]
    print(f"{trained['ranks']} ranks, {trained['steps']} steps: {metrics}; knowing nothing gives {baseline}")
    if not metrics["log_loss"] < baseline["log_loss"]:
        raise ValueError(f"the network forecasts no better than the share of late flights: {metrics}, {baseline}")
    return {"model": trained["output"], **metrics}


with DAG(
    dag_id="pytorch_trainjob",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["example", "pytorch", "kubeflow"],
    user_defined_filters={"run_key": run_key},
    params={
        "rows": Param(
            0, type="integer", minimum=0, maximum=336776, title="Flights", description="How many to use; 0 uses all."
        ),
        "nodes": Param(2, type="integer", minimum=1, maximum=64, title="Nodes", description="Pods that train."),
        "epochs": Param(
            5, type="integer", minimum=1, maximum=1000, title="Epochs", description="Passes over the data."
        ),
        "runtime": Param(
            "torch-distributed",
            type="string",
            pattern="^[a-z]([a-z0-9-]*[a-z0-9])?$",
            title="Runtime",
            description="ClusterTrainingRuntime that says how the pods find each other.",
        ),
        "namespace": Param(
            "default",
            type="string",
            pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
            title="Namespace",
            description="Kubernetes namespace of the jobs.",
        ),
        "kubernetes_conn_id": Param(
            "kubernetes_default",
            type="string",
            minLength=1,
            title="Connection",
            description="Airflow connection of type kubernetes.",
        ),
    },
) as dag:
    preprocess = SparkApplicationOperator(
        task_id="preprocess",
        application=SparkApplication(
            image=f"sparkml/spark:{__version__}",
            main_application_file="local:///opt/sparkml/preprocess.py",
            arguments=["--output", f"{RUN}/dataset", "--rows", "{{ params.rows }}"],
            driver=Driver(memory="1g", service_account="spark"),
            executor=Executor(instances=1, cores=2, memory="1g"),
            volumes=[DATA],
        ),
        **WHERE,
        **LIMITS,
    )
    train = TrainJobOperator(
        task_id="train",
        job=TrainJob(
            runtime="{{ params.runtime }}",
            trainer=Trainer(
                image=f"sparkml/torch:{__version__}",
                command=["torchrun", "/opt/sparkml/train_torch.py"],
                args=["--data", f"{RUN}/dataset", "--output", f"{RUN}/model", "--epochs", "{{ params.epochs }}"],
                num_nodes="{{ params.nodes }}",
                num_proc_per_node=1,
                resources_per_node={"cpu": "500m", "memory": "2Gi"},
            ),
            pods=PodOverrides(volumes=[DATA]),
        ),
        checkpoint_uri=f"{RUN}/checkpoints",
        retries=1,
        retry_delay=timedelta(seconds=10),
        **WHERE,
        **LIMITS,
    )
    preprocess >> train
    evaluate(train.output)
