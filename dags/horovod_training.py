"""### Train with Horovod on several workers

Spark prepares real flights of 2013, an **MPIJob** trains a small network on them with Horovod over Gloo, and `evaluate`
lets it pass only if all ranks ended with the same parameters, and it forecasts better than the mere share of late
flights.

The job is **elastic**: when a worker dies, the others go on from what they last agreed on. The task `train` waits in
the triggerer; its log shows the launcher's, and if it fails, the last lines of every rank. A retry goes on from the
last checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_sparkml import __version__
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.operators.training import MPIJobOperator
from airflow_provider_sparkml.resources.mpi import MPIJob, Replica, horovod_job
from airflow_provider_sparkml.resources.spark import Driver, Executor, SparkApplication, Volume

DATA = Volume.claim("sparkml-data", "/data")
WHERE = {"namespace": "{{ params.namespace }}", "kubernetes_conn_id": "{{ params.kubernetes_conn_id }}"}
LIMITS = {"startup_timeout": timedelta(minutes=30), "execution_timeout": timedelta(hours=2)}


def run_key(run_id: str) -> str:
    """Return what names a run in paths: letters and digits that no other run has."""
    return f"r{hashlib.sha256(run_id.encode()).hexdigest()[:11]}"


WORKERS, LEAST_WORKERS = 2, 1
"""How many train, and with how many it goes on when others die; give both the same number for a job that is static."""

RUN = "/data/{{ dag.dag_id }}/{{ run_id | run_key }}"
"""A run's own directory of the claim."""


def horovod(*arguments: str) -> MPIJob:
    """Describe the training: a launcher, and workers with a rank each."""
    job = horovod_job(
        f"sparkml/horovod:{__version__}",
        ["python", "/opt/sparkml/train_horovod.py", *arguments],
        workers=WORKERS,
        min_workers=LEAST_WORKERS,
        worker=Replica(image="", cpu="500m", memory="2Gi", volumes=[DATA]),
    )
    # The result that rank 0 prints on its worker becomes the launcher's, and so the task's.
    command = ["python", "/opt/sparkml/launch.py", *job.launcher.command]
    return replace(job, launcher=replace(job.launcher, command=command))


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
    dag_id="horovod_training",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["example", "horovod", "kubeflow"],
    user_defined_filters={"run_key": run_key},
    params={
        "rows": Param(
            0, type="integer", minimum=0, maximum=336776, title="Flights", description="How many to use; 0 uses all."
        ),
        "epochs": Param(
            5, type="integer", minimum=1, maximum=1000, title="Epochs", description="Passes over the data."
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
    train = MPIJobOperator(
        task_id="train",
        job=horovod("--data", f"{RUN}/dataset", "--output", f"{RUN}/model", "--epochs", "{{ params.epochs }}"),
        checkpoint_uri=f"{RUN}/checkpoints",
        retries=1,
        retry_delay=timedelta(seconds=10),
        **WHERE,
        **LIMITS,
    )
    preprocess >> train
    evaluate(train.output)
