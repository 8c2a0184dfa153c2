"""### Search hyper-parameters, by Airflow and by Katib

Spark prepares real flights of 2013. Then the same grid is searched twice, side by side: by **dynamic task mapping**,
where each trial is a task of its own (`grid`), and by **Katib**, where one task watches the whole Experiment (`katib`).
Both return the best trial's parameters, and `train` trains with the better of the two for longer, on two ranks.

Mapping needs nothing in the cluster but the trials' own kind, and shows each trial's log in Airflow; Katib has cleverer
algorithms than a grid, and leaves Airflow with one task however many trials there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_sparkml import __version__
from airflow_provider_sparkml.operators.search import grid_search
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.operators.training import ExperimentOperator, TrainingPodsOperator
from airflow_provider_sparkml.resources.katib import Experiment, Objective, Parameter
from airflow_provider_sparkml.resources.spark import Driver, Executor, SparkApplication, Volume
from airflow_provider_sparkml.resources.training import Replica
from airflow_provider_sparkml.resources.training_pods import TrainingPods

DATA = Volume.claim("sparkml-data", "/data")
HIDDEN, LEARNING_RATES = [16, 64], [0.001, 0.01]
WHERE = {"namespace": "{{ params.namespace }}", "kubernetes_conn_id": "{{ params.kubernetes_conn_id }}"}
LIMITS = {"startup_timeout": timedelta(minutes=30), "execution_timeout": timedelta(hours=2)}


def run_key(run_id: str) -> str:
    """Return what names a run in paths: letters and digits that no other run has."""
    return f"r{hashlib.sha256(run_id.encode()).hexdigest()[:11]}"


RUN = "/data/{{ dag.dag_id }}/{{ run_id | run_key }}"
"""A run's own directory of the claim."""


def training(output: str, hidden: str, learning_rate: str, *, epochs: str, ranks: int = 1) -> TrainingPods:
    """Describe one training: plain pods, which need no operator."""
    arguments = ["--data", f"{RUN}/dataset", "--output", f"{RUN}/{output}", "--epochs", epochs]
    return TrainingPods(
        pods=Replica(
            image=f"sparkml/torch:{__version__}",
            command=["python", "/opt/sparkml/train_torch.py"],
            args=[*arguments, "--hidden", hidden, "--learning-rate", learning_rate],
            replicas=ranks,
            cpu="250m",
            memory="1Gi",
            volumes=[DATA],
        )
    )


@task(multiple_outputs=True)
def better(mapped: Mapping[str, Any], katib: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the better of the two searches' best trials."""
    found = {"mapping": mapped, "katib": katib["result"]}
    for name, best in found.items():
        print(f"{name}: {best['parameters']} gave {best['metrics']}")
    winner = max(found, key=lambda name: found[name]["metrics"]["auc"])
    return {"found_by": winner, **found[winner]["parameters"]}


with DAG(
    dag_id="hyperparameter_search",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["example", "pytorch", "katib"],
    user_defined_filters={"run_key": run_key},
    params={
        "rows": Param(
            50000, type="integer", minimum=0, maximum=336776, title="Flights", description="How many; 0 uses all."
        ),
        "trial_epochs": Param(
            2, type="integer", minimum=1, maximum=1000, title="Epochs of a trial", description="Passes over the data."
        ),
        "epochs": Param(
            5, type="integer", minimum=1, maximum=1000, title="Epochs of the best", description="Passes over the data."
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
    grid = grid_search(
        TrainingPodsOperator,
        job=training(
            "trials/{{ ti.map_index }}",
            "{{ params.trial.hidden }}",
            "{{ params.trial.learning_rate }}",
            epochs="{{ params.trial_epochs }}",
        ),
        parameters={"hidden": HIDDEN, "learning_rate": LEARNING_RATES},
        metric="metrics.auc",
        parallel_trials=2,
        max_failed_trials=1,
        group_id="grid",
        **WHERE,
        **LIMITS,
    )
    katib = ExperimentOperator(
        task_id="katib",
        job=Experiment(
            objective=Objective(metric="auc", type="maximize", additional_metrics=["log_loss"]),
            algorithm="grid",
            parameters=[
                Parameter(name="hidden", type="discrete", values=HIDDEN),
                Parameter(name="learning_rate", type="discrete", values=LEARNING_RATES),
            ],
            trial=training(
                "katib/${trialParameters.hidden}-${trialParameters.learning_rate}",
                "${trialParameters.hidden}",
                "${trialParameters.learning_rate}",
                epochs="{{ params.trial_epochs }}",
            ),
            max_trials=len(HIDDEN) * len(LEARNING_RATES),
            parallel_trials=2,
            max_failed_trials=1,
        ),
        **WHERE,
        **LIMITS,
    )
    best = better(grid.best, katib.output)
    train = TrainingPodsOperator(
        task_id="train",
        job=training(
            "model",
            "{{ ti.xcom_pull(task_ids='better')['hidden'] | int }}",
            "{{ ti.xcom_pull(task_ids='better')['learning_rate'] }}",
            epochs="{{ params.epochs }}",
            ranks=2,
        ),
        checkpoint_uri=f"{RUN}/checkpoints",
        retries=1,
        retry_delay=timedelta(seconds=10),
        **WHERE,
        **LIMITS,
    )
    preprocess >> [grid.group, katib]
    best >> train
