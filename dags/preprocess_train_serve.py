"""### From raw data to a served model, with Spark on Kubernetes

Real flights of 2013 from New York: **will a flight arrive late?** The run

1. joins flights, weather and aircraft into a data set (`preprocess`);
2. trains several kinds of models side by side, one Spark application each (`train`);
3. takes the one with the largest area under the ROC curve on later flights than it was trained on (`pick_best`);
4. converts it to ONNX, and goes on only if that gives Spark's own probabilities (`export`);
   with *Trainer* `torch` or `horovod`, one distributed job does 2 to 4 with a neural network instead;
5. serves it under a name of this run, asks it about held-out flights over HTTP, and compares the answers with Spark's
   (`deploy_candidate`, `smoke_test`);
6. puts the proven model behind its public name (`deploy`). Until then clients are served the former one.

Whatever fails, nothing of the run is left running, and the model that was served before stays.

**Data.** Each run writes below its own directory of the claim, so runs do not mix: `preprocess_train_serve/runs/…` for
data set and trials, removed by a later run once it is older than *Keep data for*; `preprocess_train_serve/models/…` for
exported models (some 100 KB each), which stay, since a served model is read again when its pod is restarted.

**From other systems:** `POST /api/v2/dags/preprocess_train_serve/dagRuns` with the parameters in `conf`; one that is
out of range is refused with 400. The result is the XCom of `deploy`: where the model is served.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import (
    Asset,
    Metadata,
    Param,
    TriggerRule,
    dag,
    get_current_context,
    task,
)

from airflow_provider_sparkml import __version__
from airflow_provider_sparkml.operators.kubernetes import KubernetesDeleteOperator
from airflow_provider_sparkml.operators.serving import InferenceServiceOperator
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.operators.training import MPIJobOperator, TrainJobOperator
from airflow_provider_sparkml.resources.mpi import MPIJob, Replica, horovod_job
from airflow_provider_sparkml.resources.serving import InferenceService
from airflow_provider_sparkml.resources.spark import Driver, Executor, SparkApplication, Volume
from airflow_provider_sparkml.resources.spark_training import mllib_job
from airflow_provider_sparkml.resources.trainer import PodOverrides, Trainer, TrainJob
from airflow_provider_sparkml.retries import InfrastructureRetryPolicy

if TYPE_CHECKING:
    from airflow.sdk import Context

DAG_ID = "preprocess_train_serve"
MOUNT = "/data"
MODELS = ["gbt", "random_forest", "logistic_regression"]
TRAINERS = {"mllib": "plan_trials", "torch": "train_torch", "horovod": "train_horovod"}
"""What trains → the task that begins with it."""
RANKS = 2
TOLERANCE = 1e-4
"""The export let pass this much of a difference to the trainer's probabilities, so the server may show it too."""

DATASET = Asset("flights_dataset", group="sparkml")
MODEL = Asset("flights_model", group="sparkml")

QUANTITY = "^[1-9][0-9]*(m|g|Mi|Gi)$"
DNS_LABEL = "^[a-z]([a-z0-9-]*[a-z0-9])?$"


def whole(default: int, low: int, high: int, title: str, description: str) -> dict[str, Any]:
    """Describe a parameter that is a whole number from ``low`` to ``high``."""
    limits = {"type": "integer", "minimum": low, "maximum": high}
    return {"default": default, "title": title, "description": description, **limits}


def text(default: str, title: str, description: str, **limits: Any) -> dict[str, Any]:
    """Describe a parameter that is a text; ``limits`` are JSON schema's."""
    return {"default": default, "title": title, "description": description, "type": "string", "minLength": 1, **limits}


FORM = {
    "Data": {
        "rows": whole(0, 0, 336776, "Flights", "Use only so many flights, spread over the year; 0 uses all 336,776."),
        "late_minutes": whole(15, 0, 180, "Late after (minutes)", "Late is arriving more than this after schedule."),
        "expire_days": whole(7, 1, 365, "Keep data for (days)", "Remove data sets and trials of runs that are older."),
    },
    "Training": {
        "trainer": {
            "default": "mllib",
            "title": "Trainer",
            "description": "Spark's own models, or a neural network trained by a TrainJob or an MPIJob.",
            **{"type": "string", "enum": list(TRAINERS)},
        },
        "models": {
            "default": MODELS,
            "title": "Models to try",
            "description": "Trainer mllib: each is trained by a Spark application of its own, all at the same time.",
            **{"type": "array", "items": {"type": "string", "enum": MODELS}, "minItems": 1, "uniqueItems": True},
            "examples": MODELS,
        },
        "trees": whole(20, 1, 100, "Trees", "Trees of gbt and random_forest."),
        "gbt_depth": whole(5, 1, 10, "Depth of boosted trees", "Levels of each tree of gbt."),
        "forest_depth": whole(8, 1, 12, "Depth of the forest's trees", "Levels of each tree of random_forest."),
        "epochs": whole(5, 1, 1000, "Epochs", "Trainers torch and horovod: passes over the data."),
    },
    "Serving": {
        "model_name": text(
            "flight-delay", "Name of the served model", "Name of the InferenceService.", pattern=DNS_LABEL, maxLength=30
        ),
    },
    "Kubernetes": {
        "image": text(
            f"sparkml/spark:{__version__}", "Image", "Image of driver and executors, made from images/spark."
        ),
        "torch_image": text(
            f"sparkml/torch:{__version__}", "Image of trainer torch", "Image of its nodes, made from images/torch."
        ),
        "horovod_image": text(
            f"sparkml/horovod:{__version__}",
            "Image of trainer horovod",
            "Image of its launcher and workers, made from images/horovod.",
        ),
        "claim": text(
            "sparkml-data",
            "Volume claim",
            "PersistentVolumeClaim for data and models.",
            pattern=DNS_LABEL,
            maxLength=63,
        ),
        "namespace": text("default", "Namespace", "Namespace of jobs and model.", pattern=DNS_LABEL, maxLength=63),
        "service_account": text(
            "spark", "Service account", "Account of the drivers; it may make pods and services.", pattern=DNS_LABEL
        ),
        "executors": whole(1, 1, 50, "Executors", "Executors of each Spark application."),
        "executor_cores": whole(2, 1, 32, "Cores per executor", "Tasks that an executor runs at once."),
        "executor_memory": text("1g", "Memory per executor", "Heap, such as 1g or 1536Mi.", pattern=QUANTITY),
        "driver_memory": text("1g", "Memory of the driver", "Heap, such as 1g or 1536Mi.", pattern=QUANTITY),
        "kubernetes_conn_id": text("kubernetes_default", "Connection", "Airflow connection of type kubernetes."),
    },
}
"""Section of the trigger form → its parameters, as JSON schema."""

PARAMS = {name: Param(**about, section=section) for section, part in FORM.items() for name, about in part.items()}

TEMPLATES = {name: f"{{{{ params.{name} }}}}" for name in PARAMS}
"""Parameter → the Jinja expression for its value."""


def run_key(run_id: str) -> str:
    """Return what names a run in paths and in Kubernetes: 12 letters and digits that no other run has."""
    return f"r{hashlib.sha256(run_id.encode()).hexdigest()[:11]}"


RUN_KEY = "{{ run_id | run_key }}"


def run_path(key: str, part: str) -> str:
    """Return a path below a run's own directory."""
    return f"{MOUNT}/{DAG_ID}/runs/{key}/{part}"


MODEL_PATH = f"{DAG_ID}/models/{{{{ params.model_name }}}}/{RUN_KEY}"
MODEL_URI = f"pvc://{{{{ params.claim }}}}/{MODEL_PATH}"
CANDIDATE = f"{{{{ params.model_name }}}}-{RUN_KEY}"


def program(name: str, arguments: Sequence[Any], settings: Mapping[str, Any], **options: Any) -> SparkApplication:
    """Describe one of the image's programs as a Spark application.

    :param name: file of the program.
    :param arguments: its command line.
    :param settings: the run's parameters, or :data:`TEMPLATES`.
    """
    return SparkApplication(
        image=settings["image"],
        main_application_file=f"local:///opt/sparkml/{name}",
        arguments=arguments,
        driver=Driver(memory=settings["driver_memory"], service_account=settings["service_account"]),
        executor=Executor(
            instances=settings["executors"], cores=settings["executor_cores"], memory=settings["executor_memory"]
        ),
        volumes=[Volume.claim(settings["claim"], MOUNT)],
        spark_conf={"spark.ui.showConsoleProgress": "false"},  # the task's log shows the progress
        **options,
    )


NETWORK = [
    *("--data", run_path(RUN_KEY, "dataset"), "--output", f"{MOUNT}/{MODEL_PATH}", "--epochs", TEMPLATES["epochs"])
]
"""Arguments of the programs that train a neural network and export it."""


def torch_job() -> TrainJob:
    """Describe the training with PyTorch, a pod per rank."""
    return TrainJob(
        trainer=Trainer(
            image=TEMPLATES["torch_image"],
            command=["torchrun", "/opt/sparkml/train_torch.py"],
            args=NETWORK,
            num_nodes=RANKS,
            num_proc_per_node=1,
        ),
        pods=PodOverrides(volumes=[Volume.claim(TEMPLATES["claim"], MOUNT)]),
    )


def mpi_job() -> MPIJob:
    """Describe the training with Horovod: a launcher, and workers with a rank each."""
    job = horovod_job(
        TEMPLATES["horovod_image"],
        ["python", "/opt/sparkml/train_horovod.py", *NETWORK],
        workers=RANKS,
        worker=Replica(image="", volumes=[Volume.claim(TEMPLATES["claim"], MOUNT)]),
    )
    # The result that rank 0 prints on its worker becomes the launcher's, and so the task's.
    command = ["python", "/opt/sparkml/launch.py", *job.launcher.command]
    return replace(job, launcher=replace(job.launcher, command=command))


@task.branch
def choose_trainer() -> str:
    """Return which task begins the training; the others are skipped."""
    return TRAINERS[get_current_context()["params"]["trainer"]]


@task
def plan_trials() -> list[dict[str, Any]]:
    """Return the manifest of each model's Spark application."""
    context = get_current_context()
    params, key = context["params"], run_key(context["run_id"])
    hyper_parameters = {
        "gbt": {"trees": params["trees"], "depth": params["gbt_depth"]},
        "random_forest": {"trees": params["trees"], "depth": params["forest_depth"]},
        "logistic_regression": {},
    }
    trials = []
    for model in params["models"]:
        places = ["--data", run_path(key, "dataset"), "--output", run_path(key, f"trials/{model}")]
        application = program("train.py", places, params, labels={"model": model})
        trials.append(mllib_job(application, {"model": model, **hyper_parameters[model]}))
    return trials


@task
def pick_best(trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the result of the trial with the largest AUC."""
    results = []
    for trial in trials:
        if not isinstance(trial["result"], dict):
            raise ValueError(f"SparkApplication {trial['name']} succeeded, but its result could not be read")
        results.append(trial["result"])
    results.sort(key=lambda result: result["metrics"]["auc"], reverse=True)
    for result in results:
        print(f"{result['model']:>20}: {result['metrics']}")
    return results[0]


def exported(ti: Any) -> dict[str, Any]:
    """Return the XCom of the task that exported the model; the other trainers' were skipped."""
    outcomes = ti.xcom_pull(task_ids=["export", "train_torch", "train_horovod"])
    outcome: dict[str, Any] = next(outcome for outcome in outcomes if outcome)
    return outcome


@task
def smoke_test(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Ask the served model about held-out flights; it must answer as its trainer did.

    :return: per flight its name, the probability served, and how many minutes late it really came.
    """
    import httpx

    trained = exported(get_current_context()["ti"])["result"]
    sample, features = trained["sample"], trained["features"]
    rows = sample["rows"]
    tensor = {"name": "features", "shape": [len(rows), len(features)], "datatype": "FP32", "data": rows}
    request = {"inputs": [tensor], "outputs": [{"name": "probability"}]}
    path = f"/v2/models/{service['name']}/infer"
    try:
        answer = httpx.post(f"{service['url']}{path}", json=request, timeout=30)
    except httpx.ConnectError as error:
        # A worker inside the cluster may know nothing of the address that the outside uses.
        if not service["address"]:
            raise
        print(f"{service['url']}: {error}; trying {service['address']}")
        answer = httpx.post(f"{service['address']}{path}", json=request, timeout=30)
    if answer.status_code != httpx.codes.OK:
        raise ValueError(f"{answer.url} answered {answer.status_code}: {answer.text[:1000]}")
    served = answer.json()["outputs"][0]["data"][1::2]  # of shape [rows, 2]: not late, late
    if len(served) != len(rows):
        raise ValueError(f"the model was asked about {len(rows)} flights and answered {len(served)}")
    for flight, own, wanted in zip(sample["flights"], served, sample["probability"], strict=True):
        if not abs(own - wanted) <= TOLERANCE:  # written so that NaN is wrong
            raise ValueError(
                f"{flight}: the served model says {own:.6f}, its trainer said {wanted:.6f}: it is another model"
            )
    return [
        {"flight": flight, "probability": round(probability, 4), "arr_delay": delay}
        for flight, probability, delay in zip(sample["flights"], served, sample["arr_delay"], strict=True)
    ]


def describe_dataset(context: Context, outcome: Mapping[str, Any]) -> Iterator[Metadata]:
    """Say in the asset's event which data set it is."""
    facts = outcome["result"]
    wanted = ("fingerprint", "late_minutes", "rows_read", "train", "test")
    yield Metadata(DATASET, {"path": run_path(run_key(context["run_id"]), "dataset"), **{k: facts[k] for k in wanted}})


def describe_model(context: Context, service: Mapping[str, Any]) -> Iterator[Metadata]:
    """Say in the asset's event which model is served, how good it is, and what made it."""
    made = exported(context["ti"])
    best = context["ti"].xcom_pull(task_ids="pick_best") or made["result"]
    wanted = ("model", "parameters", "metrics", "baseline", "base_rate", "late_minutes", "dataset")
    about = {"name": service["name"], "url": service["url"], "run_manifest": made["run_manifest"]}
    yield Metadata(MODEL, {**about, **{key: best[key] for key in wanted}})


@dag(
    dag_id=DAG_ID,
    schedule=None,
    catchup=False,
    max_active_runs=2,
    dagrun_timeout=timedelta(hours=3),
    doc_md=__doc__,
    tags=["example", "spark", "mllib", "kserve"],
    params=PARAMS,
    user_defined_filters={"run_key": run_key},
    default_args={
        "retries": 2,
        "retry_delay": timedelta(seconds=15),
        # The same input fails the same way: a wrong field or a failing program is not tried again.
        "retry_policy": InfrastructureRetryPolicy(delay=timedelta(seconds=15)),
    },
)
def preprocess_train_serve() -> None:
    """Declare the tasks and their order."""
    where = {key: TEMPLATES[key] for key in ("namespace", "kubernetes_conn_id")}
    limits = {"startup_timeout": timedelta(minutes=15), "execution_timeout": timedelta(hours=1)}

    preprocess = SparkApplicationOperator(
        task_id="preprocess",
        application=program(
            "preprocess.py",
            [
                *("--output", run_path(RUN_KEY, "dataset"), "--rows", TEMPLATES["rows"]),
                *("--late-minutes", TEMPLATES["late_minutes"], "--expire-days", TEMPLATES["expire_days"]),
            ],
            TEMPLATES,
        ),
        outlets=[DATASET],
        post_execute=describe_dataset,
        **where,
        **limits,
    )
    plan = plan_trials()
    train = SparkApplicationOperator.partial(
        task_id="train",
        map_index_template="{{ task.application['metadata']['labels']['model'] }}",
        **where,
        **limits,
    ).expand(application=plan)
    best = pick_best(train.output)
    export = SparkApplicationOperator(
        task_id="export",
        application=program(
            "export_onnx.py",
            [
                *("--trial", run_path(RUN_KEY, "trials/{{ ti.xcom_pull(task_ids='pick_best')['model'] }}")),
                *("--data", run_path(RUN_KEY, "dataset"), "--output", f"{MOUNT}/{MODEL_PATH}"),
            ],
            TEMPLATES,
        ),
        model_uri=MODEL_URI,
        **where,
        **limits,
    )
    places = {"checkpoint_uri": run_path(RUN_KEY, "checkpoints"), "model_uri": MODEL_URI}
    train_torch = TrainJobOperator(task_id="train_torch", job=torch_job(), **places, **where, **limits)
    train_horovod = MPIJobOperator(task_id="train_horovod", job=mpi_job(), **places, **where, **limits)
    deploy_candidate = InferenceServiceOperator(
        task_id="deploy_candidate",
        inference_service=inference_service(CANDIDATE),
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        **where,
        **limits,
    )
    smoke = smoke_test(deploy_candidate.output)
    remove_candidate = KubernetesDeleteOperator(
        task_id="remove_candidate",
        kind="InferenceService",
        api_version="serving.kserve.io/v1beta1",
        name=CANDIDATE,
        **where,
    )
    deploy = InferenceServiceOperator(
        task_id="deploy",
        inference_service=inference_service(TEMPLATES["model_name"]),
        outlets=[MODEL],
        post_execute=describe_model,
        **where,
        **limits,
    )
    # A task cleans up after itself. This is for one whose worker was killed at its last try.
    remove_leftovers = KubernetesDeleteOperator(
        task_id="remove_leftovers", kind="SparkApplication", api_version="sparkoperator.k8s.io/v1beta2", **where
    )

    # Beside the data set, so that nothing waits for the choice.
    starts = [plan, train_torch, train_horovod]
    choose_trainer() >> starts
    preprocess >> starts
    best >> export
    [export, train_torch, train_horovod] >> deploy_candidate >> smoke >> deploy
    smoke >> remove_candidate.as_teardown(setups=deploy_candidate)
    [preprocess, train, export] >> remove_leftovers.as_teardown()


def inference_service(name: str) -> InferenceService:
    """Describe the service of the exported model under a name."""
    return InferenceService(name=name, model_format="onnx", storage_uri=MODEL_URI)


preprocess_train_serve()
