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
    Volume,
)
from airflow_provider_sparkml.resources.spark_apache import ApacheSparkApplication
from airflow_provider_sparkml.resources.spark_training import barrier_job, mllib_job


def application(instances: Any = 2, cores: Any = 2, **options: Any) -> SparkApplication:
    return SparkApplication(
        image="i:1",
        main_application_file="local:///t.py",
        driver=Driver(env={"A": "1"}),
        executor=Executor(instances=instances, cores=cores),
        **options,
    )


TASK_GPUS = "spark.task.resource.gpu.amount"
GPU = {"spark.executor.resource.gpu.amount": 1, TASK_GPUS: 1}
PART_OF_A_GPU = GPU | {TASK_GPUS: 0.3}


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
        (
            application(spark_conf=GPU),
            3,
            {},
            "each, spark.task.cpus=1, spark.task.resource.gpu.amount=1)",
        ),
        (application(cores=9, spark_conf=PART_OF_A_GPU), 7, {"use_gpu": True}, "room for 6 at once"),
        (application(spark_conf=GPU | {TASK_GPUS: "0.7"}), 1, {}, f"spec.sparkConf['{TASK_GPUS}'] is '0.7'"),
        (application(spark_conf=GPU | {TASK_GPUS: 0}), 1, {}, f"spec.sparkConf['{TASK_GPUS}'] is '0'"),
        (application("{{ params.n }}"), 2, {}, "spec.executor.instances is '{{ params.n }}'"),
        (application(), 0, {}, "num_processes is 0: set it to a whole number"),
        (
            application(dynamic_allocation=DynamicAllocation(min_executors=1, max_executors=4)),
            2,
            {},
            "leave dynamic_allocation out",
        ),
        (application(spark_conf={"spark.dynamicAllocation.enabled": True}), 2, {}, "leave it out"),
        (application(spark_conf={"spark.dynamicAllocation.enabled": "True"}), 2, {}, "leave it out"),
        (application(spark_conf={"spark.ssl.enabled": "TRUE"}), 2, {}, "is 'TRUE', which TorchDistributor refuses"),
        (application(spark_conf={"spark.ssl.enabled": True}), 2, {}, "set pytorch.spark.distributor.ignoreSsl"),
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
    unencrypted = {"spark.ssl.enabled": True, "pytorch.spark.distributor.ignoreSsl": True}
    assert barrier_job(application(spark_conf=unencrypted), 2)
    in_conf = application().to_manifest()
    in_conf["spec"]["executor"] = {"memory": "1g"}
    in_conf["spec"]["sparkConf"] = {"spark.executor.instances": "4", "spark.executor.cores": 2}
    assert barrier_job(in_conf, 8)
    assert barrier_job(application(spark_conf={"spark.ssl.enabled": True}), 2, horovod=True)


@pytest.mark.parametrize("make", [lambda given: barrier_job(given, 2), mllib_job])
def test_other_kinds_are_refused(make: Any) -> None:
    apache = ApacheSparkApplication(image="i:1", main_application_file="local:///a.py")
    with pytest.raises(InvalidManifestError, match=r"apiVersion and kind are 'spark.apache.org/v1' and 'SparkApplic"):
        make(apache)


CLAIM = Volume.claim("sparkml-data", "/data")


def test_mllib_gets_its_hyper_parameters_and_all_executors() -> None:
    given = application(arguments=["--data", "/data/d"], volumes=[CLAIM], spark_conf={"x": "y"})
    parameters = {"step_size": 0.1, "model": "gbt", "seed": None, "layers": [4, 2], "exact": True, "quick": False}
    job = mllib_job(given, parameters, checkpoint_dir="/data/checkpoints", start_timeout=90)
    assert job["spec"]["arguments"] == [
        *("--data", "/data/d", "--step-size", "0.1", "--model", "gbt", "--layers", "4", "2", "--exact")
    ]
    assert job["spec"]["sparkConf"] == {
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": "90s",
        "spark.checkpoint.dir": "/data/checkpoints",
        "x": "y",
    }
    SPARK_APPLICATION.check(SPARK_APPLICATION.normalize(job))
    own = {"spark.scheduler.minRegisteredResourcesRatio": "0.5", "spark.checkpoint.dir": "s3a://b/c"}
    assert (
        mllib_job(application(spark_conf=own), checkpoint_dir="s3a://b/d")["spec"]["sparkConf"].items() >= own.items()
    )
    assert mllib_job(application())["spec"]["arguments"] == []


@pytest.mark.parametrize(
    "directory", ["/data", "/data/{{ run_id }}", "file:///data/c", "hdfs://n/c", "{{ params.dir }}"]
)
def test_where_mllib_may_keep_checkpoints(directory: str) -> None:
    job = mllib_job(application(volumes=[CLAIM]), checkpoint_dir=directory)
    assert job["spec"]["sparkConf"]["spark.checkpoint.dir"] == directory


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ({}, {"checkpoint_dir": "/tmp/c"}, "checkpoint_dir is '/tmp/c', which is on no volume that the driver shares"),
        ({"volumes": [CLAIM]}, {"checkpoint_dir": "/database"}, "'/database', which is on no volume"),
        ({"volumes": [CLAIM]}, {"checkpoint_dir": "data/c"}, "'data/c', which is on no volume"),
        (
            {"volumes": [Volume.claim("sparkml-data", "/data", roles=["driver"])]},
            {"checkpoint_dir": "/data"},
            "on no volume that the executor shares",
        ),
        ({"volumes": [Volume.empty_dir("/data")]}, {"checkpoint_dir": "/data"}, "'/data', which is on no volume"),
        ({"spark_version": "3.5.8"}, {"checkpoint_dir": "s3a://b/c"}, "spec.sparkVersion is '3.5.8'"),
        ({}, {"parameters": {"step size": 1}}, "parameters has the name 'step size'"),
        ({}, {"parameters": {"a": {}}}, "parameters['a'] is {}"),
        ({}, {"parameters": {"a": []}}, "parameters['a'] is []"),
        ({}, {"parameters": {"a": [1, None]}}, "parameters['a'] is [1, None]"),
        ({}, {"start_timeout": 0}, "start_timeout is 0: set it to a whole number of seconds"),
    ],
)
def test_what_mllib_could_not_use_is_refused(given: dict[str, Any], options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidManifestError) as raised:
        mllib_job(application(**given), **options)
    assert said in str(raised.value)
