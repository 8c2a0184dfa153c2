"""Training inside Spark: refused where not all processes could run at once."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.spark import (
    SPARK_APPLICATION,
    Driver,
    DynamicAllocation,
    Executor,
    SparkApplication,
)
from airflow_provider_sparkml.resources.spark_training import barrier_job


def application(instances: Any = 2, cores: Any = 2, **options: Any) -> SparkApplication:
    return SparkApplication(
        image="i:1",
        main_application_file="local:///t.py",
        driver=Driver(env={"A": "1"}),
        executor=Executor(instances=instances, cores=cores),
        **options,
    )


GPU = {"spark.executor.resource.gpu.amount": 1, "spark.task.resource.gpu.amount": 1}


def test_it_waits_for_all_executors_and_stays_the_callers() -> None:
    given = application(spark_conf={"spark.task.cpus": 2, "x": "y"}).to_manifest()
    job = barrier_job(given, 2, start_timeout=90)
    assert job["spec"]["sparkConf"] == {
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": "90s",
        "spark.task.cpus": "2",
        "x": "y",
        "spark.dynamicAllocation.enabled": "false",
    }
    assert given == application(spark_conf={"spark.task.cpus": 2, "x": "y"}).to_manifest()
    SPARK_APPLICATION.check(SPARK_APPLICATION.normalize(job))
    own = {"spark.scheduler.minRegisteredResourcesRatio": "0.5"}
    assert barrier_job(application(spark_conf=own), 2)["spec"]["sparkConf"].items() >= own.items()


def test_horovod_is_told_how_long_to_wait() -> None:
    job = barrier_job(application(), 4, horovod=True, start_timeout=120)
    env = {each["name"]: each["value"] for each in job["spec"]["driver"]["env"]}
    assert env == {"A": "1", "HOROVOD_SPARK_START_TIMEOUT": "120"}
    assert "HOROVOD" not in str(barrier_job(application(), 4))


@pytest.mark.parametrize(
    ("given", "processes", "options", "said"),
    [
        (application(), 5, {}, "room for 4 at once (2 executors, 2 cores each, spark.task.cpus=1)"),
        (application(spark_conf={"spark.task.cpus": 2}), 3, {}, "room for 2 at once"),
        (application(cores=3, spark_conf={"spark.task.cpus": 2}), 3, {}, "room for 2 at once"),
        (application(spark_conf={"spark.task.cpus": 4}), 1, {}, "room for 0 at once"),
        (application(spark_conf=GPU), 3, {"use_gpu": True}, "spark.task.resource.gpu.amount=1"),
        (application(), 2, {"use_gpu": True}, "spec.sparkConf['spark.executor.resource.gpu.amount'] is None"),
        (application("{{ params.n }}"), 2, {}, "spec.executor.instances is '{{ params.n }}'"),
        (application(), 0, {}, "num_processes is 0: set it to a whole number"),
        (
            application(dynamic_allocation=DynamicAllocation(min_executors=1, max_executors=4)),
            2,
            {},
            "leave dynamic_allocation out",
        ),
        (application(spark_conf={"spark.dynamicAllocation.enabled": True}), 2, {}, "leave it out"),
        (application(spark_conf={"spark.ssl.enabled": True}), 2, {}, "TorchDistributor refuses"),
    ],
)
def test_what_could_not_run_all_at_once_is_refused(
    given: SparkApplication, processes: int, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidManifestError) as raised:
        barrier_job(given, processes, **options)
    assert said in str(raised.value)


def test_what_has_room() -> None:
    assert barrier_job(application("2", "2"), 4)
    assert barrier_job(application(spark_conf=GPU), 2, use_gpu=True)
    assert barrier_job(application(spark_conf={"spark.ssl.enabled": True, "spark.ssl.ignoreSSL": True}), 2)
    assert barrier_job(application(spark_conf={"spark.ssl.enabled": True}), 2, horovod=True)
