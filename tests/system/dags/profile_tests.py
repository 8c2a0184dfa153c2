"""What the tests of profiles run: pods of the local cluster that tell their variables, and one whose code is edited."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_sparkml.operators.training import TrainingPodsOperator
from airflow_provider_sparkml.params import params_env, spark_params
from airflow_provider_sparkml.resources.code import CodeVolume
from airflow_provider_sparkml.resources.training_pods import Replica, TrainingPods, Volume

TELL = """\
import json, os, pathlib
names = ("PYTHONUNBUFFERED", "Core_Limit", "Bucket_URI")
pathlib.Path(os.environ["SPARKML_RESULT_PATH"]).write_text(json.dumps({name: os.environ.get(name) for name in names}))
"""
WRITE = """\
import pathlib, sys
code = pathlib.Path(sys.argv[1])
code.mkdir(parents=True, exist_ok=True)
(code / "main.py").write_text(sys.argv[2])
"""
DATA = Volume.claim("sparkml-data", "/data")


def python(*words: str, **options: object) -> TrainingPods:
    """Return a job of one pod; its image has no program, and sets PYTHONUNBUFFERED=1."""
    return TrainingPods(pods=Replica(image="python:3.11", command=["python", *words], **options))  # type: ignore[arg-type]


OPTIONS = {"retries": 0, "kubernetes_conn_id": "local_cluster", "namespace": "default", "startup_timeout": 300}

with DAG(
    "profile_env",
    schedule=None,
    default_args=OPTIONS,
    params={
        **spark_params("bucket_uri", "core_limit", bucket_uri="/data/of-the-dag", core_limit=3),
        "unbuffered": Param("2", type="string"),
    },
):
    TrainingPodsOperator(
        task_id="tell",
        job=python(
            "-c", TELL, env={"PYTHONUNBUFFERED": "{{ params.unbuffered }}", **params_env("core_limit", "bucket_uri")}
        ),
        locked_env=["PYTHONUNBUFFERED"],
    )

with DAG("profile_code", schedule=None, default_args=OPTIONS):
    write = TrainingPodsOperator(
        task_id="write", job=python("-c", WRITE, "/data/code/{{ run_id }}", TELL, volumes=[DATA])
    )
    edited = TrainingPodsOperator(
        task_id="edited",
        job=python("main.py"),
        code=CodeVolume(claim="sparkml-data", mount_path="/app/jobs", sub_path="code/{{ run_id }}", read_only=True),
    )
    write >> edited
