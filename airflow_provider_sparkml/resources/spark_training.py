"""Training inside a SparkApplication, by TorchDistributor or ``horovod.spark``: all its processes must run at once.

A barrier stage waits until there are slots for all its tasks, and fails at once with dynamic allocation (SPARK-24954);
``horovod.spark.run`` waits for its tasks until its start time-out has passed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest, merge_env
from airflow_provider_sparkml.resources.fields import integer, is_whole, mapping, refuse
from airflow_provider_sparkml.resources.manifests import load_manifest
from airflow_provider_sparkml.resources.spark_normalize import normalize

_CPUS = "spark.task.cpus"
_TASK_GPUS, _EXECUTOR_GPUS = "spark.task.resource.gpu.amount", "spark.executor.resource.gpu.amount"


def barrier_job(
    application: Any, num_processes: int, *, start_timeout: int = 600, use_gpu: bool = False, horovod: bool = False
) -> Manifest:
    """Return a SparkApplication that has room for so many processes at once, and waits for its executors first.

    .. code-block:: python

        from airflow_provider_sparkml.resources.spark import Executor, SparkApplication

        barrier_job(
            SparkApplication(
                image="spark-torch:1",
                main_application_file="local:///opt/sparkml/train_torch.py",
                executor=Executor(instances=2, cores=2),
            ),
            num_processes=4,
        )

    Its program calls ``TorchDistributor(num_processes=4, local_mode=False, use_gpu=False)``, or with ``horovod``
    ``horovod.spark.run(train, num_proc=4)``.

    :param application: a ``SparkApplication`` builder's object, a mapping, a file or YAML text.
    :param num_processes: how many processes the program starts; what it passes on itself.
    :param start_timeout: seconds to wait for the executors, and for Horovod's tasks to start.
    :param use_gpu: whether each process has a GPU.
    :param horovod: whether it is ``horovod.spark``; its time-out is set by ``HOROVOD_SPARK_START_TIMEOUT``.
    :return: the manifest; what it says itself about waiting for executors stays.
    :raises InvalidManifestError: it could not run so many processes at once; field, value and fix.
    """
    manifest = normalize(load_manifest(application))
    spec = manifest["spec"] = dict(mapping(manifest.get("spec"), "spec"))
    if not is_whole(num_processes) or num_processes < 1:
        raise InvalidManifestError(f"num_processes is {num_processes!r}: set it to a whole number, at least 1")
    refuse(_faults(spec, num_processes, use_gpu=use_gpu, horovod=horovod))
    spec["sparkConf"] = {
        # Without these Spark begins with 80 % of the executors, or after 30 s with those that are there.
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": f"{start_timeout}s",
        **(spec.get("sparkConf") or {}),
        "spark.dynamicAllocation.enabled": "false",
    }
    if horovod:
        driver = dict(mapping(spec.get("driver"), "spec.driver"))
        env = {"HOROVOD_SPARK_START_TIMEOUT": str(start_timeout)}
        spec["driver"] = driver | {"env": merge_env(driver.get("env"), env)}
    return manifest


def _faults(spec: Mapping[str, Any], processes: int, *, use_gpu: bool, horovod: bool) -> Iterator[str]:
    """Yield what keeps so many processes from running at once."""
    conf = mapping(spec.get("sparkConf"), "spec.sparkConf")
    dynamic = mapping(spec.get("dynamicAllocation"), "spec.dynamicAllocation")
    if dynamic.get("enabled"):
        yield (
            "spec.dynamicAllocation.enabled is True: a barrier stage fails with it, and Horovod waits for executors "
            "that may never come; leave dynamic_allocation out"
        )
    if conf.get("spark.dynamicAllocation.enabled") == "true":
        yield "spec.sparkConf['spark.dynamicAllocation.enabled'] is 'true': leave it out, as all must run at once"
    if not horovod and conf.get("spark.ssl.enabled") == "true" and conf.get("spark.ssl.ignoreSSL") != "true":
        yield (
            "spec.sparkConf['spark.ssl.enabled'] is 'true', which TorchDistributor refuses: set "
            "spark.ssl.ignoreSSL to 'true' if its own traffic may go unencrypted"
        )
    executor = mapping(spec.get("executor"), "spec.executor")
    numbers = {
        "spec.executor.instances": executor.get("instances", 1),
        "spec.executor.cores": executor.get("cores", 1),
        f"spec.sparkConf[{_CPUS!r}]": integer(conf.get(_CPUS, "1")),
    }
    if use_gpu:
        numbers |= {f"spec.sparkConf[{name!r}]": integer(conf.get(name)) for name in (_EXECUTOR_GPUS, _TASK_GPUS)}
    for field, value in numbers.items():
        if not is_whole(value) or value < 1:
            yield f"{field} is {value!r}: to see whether all processes find room it must be a whole number, at least 1"
    instances, cores, cpus, *gpus = numbers.values()
    each = min([cores // cpus, *([gpus[0] // gpus[1]] if use_gpu else [])])
    if instances * each < processes:
        per_task = f"{_CPUS}={cpus}" + (f", {_TASK_GPUS}={gpus[1]}" if use_gpu else "")
        yield (
            f"num_processes is {processes}, but there is room for {instances * each} at once ({instances} executors, "
            f"{cores} cores each, {per_task}): raise executor instances or cores, or lower num_processes"
        )


__all__ = ["barrier_job"]
