"""Training inside a SparkApplication: by MLlib, or by TorchDistributor or ``horovod.spark``, which start at once.

MLlib caches its training data on the executors that are there when it begins, and goes over them again and again: one
that comes late has none. A barrier stage waits until there are slots for all its tasks, and fails at once with dynamic
allocation (SPARK-24954); ``horovod.spark.run`` waits for its tasks until its start time-out has passed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest, merge_env
from airflow_provider_sparkml.resources.fields import integer, is_whole, items, mapping, number, refuse
from airflow_provider_sparkml.resources.manifests import load_manifest
from airflow_provider_sparkml.resources.spark_normalize import normalize

_IGNORE_SSL = "pytorch.spark.distributor.ignoreSsl"
"""``_TORCH_SSL_CONF`` of pyspark/ml/torch/distributor.py."""
_CPUS = "spark.task.cpus"
_TASK_GPUS, _EXECUTOR_GPUS = "spark.task.resource.gpu.amount", "spark.executor.resource.gpu.amount"
_CHECKPOINTS = "spark.checkpoint.dir"  # SPARK-48268: since 4.0
_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9]*([_-][A-Za-z0-9]+)*")


def mllib_job(
    application: Any,
    parameters: Mapping[str, Any] | None = None,
    *,
    checkpoint_dir: str = "",
    start_timeout: int = 600,
) -> Manifest:
    """Return a SparkApplication that trains with MLlib: hyper-parameters as arguments, and executors waited for.

    .. code-block:: python

        from airflow_provider_sparkml.resources.spark import Executor, SparkApplication, Volume
        from airflow_provider_sparkml.resources.spark_training import mllib_job

        mllib_job(
            SparkApplication(
                image="example.com/spark:1",
                main_application_file="local:///opt/sparkml/train.py",
                arguments=["--data", "/data/flights", "--output", "/data/model"],
                executor=Executor(instances=2, cores=2),
                volumes=[Volume.claim("sparkml-data", "/data")],
            ),
            {"model": "gbt", "trees": 50, "step_size": "{{ params.trial.step_size }}"},
            checkpoint_dir="/data/checkpoints",
        )

    :param application: a ``SparkApplication`` builder's object, a mapping, a file or YAML text.
    :param parameters: hyper-parameters, added to the program's arguments: ``{"step_size": 0.1}`` becomes ``--step-size
        0.1``, a list one option with several values, ``True`` an option without a value; what is ``False`` or ``None``
        is left out, so that the program's default counts.
    :param checkpoint_dir: where estimators with a ``checkpointInterval`` (trees, ALS, LDA) cut their lineage, which
        without it grows with every iteration; a URI, or a path on a volume that driver and executors share. Sets
        ``spark.checkpoint.dir`` (Spark 4.0 and later).
    :param start_timeout: seconds to wait for the executors before training begins with those that are there.
    :return: the manifest; what it says itself about waiting for executors stays.
    :raises InvalidManifestError: naming the parameter, its value and the fix.
    """
    manifest = _application(application)
    spec = manifest["spec"] = dict(mapping(manifest.get("spec"), "spec"))
    refuse(_checkpoint_faults(spec, checkpoint_dir))
    spec["arguments"] = [*items(spec.get("arguments"), "spec.arguments"), *_options(mapping(parameters, "parameters"))]
    spec["sparkConf"] = {
        **_all_executors(start_timeout),
        **({_CHECKPOINTS: checkpoint_dir} if checkpoint_dir else {}),
        **(spec.get("sparkConf") or {}),
    }
    return manifest


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
    manifest = _application(application)
    spec = manifest["spec"] = dict(mapping(manifest.get("spec"), "spec"))
    if not is_whole(num_processes) or num_processes < 1:
        raise InvalidManifestError(f"num_processes is {num_processes!r}: set it to a whole number, at least 1")
    refuse(_faults(spec, num_processes, use_gpu=use_gpu, horovod=horovod))
    spec["sparkConf"] = {
        **_all_executors(start_timeout),
        **(spec.get("sparkConf") or {}),
        "spark.dynamicAllocation.enabled": "false",
    }
    if horovod:
        driver = dict(mapping(spec.get("driver"), "spec.driver"))
        env = {"HOROVOD_SPARK_START_TIMEOUT": str(start_timeout)}
        spec["driver"] = driver | {"env": merge_env(driver.get("env"), env)}
    return manifest


def _application(given: Any) -> Manifest:
    """Return a SparkApplication, normalized.

    :raises InvalidManifestError: it is of another kind.
    """
    manifest = load_manifest(given)
    stated = (manifest.get("apiVersion"), manifest.get("kind"))
    if stated != ("sparkoperator.k8s.io/v1beta2", "SparkApplication"):
        raise InvalidManifestError(
            f"apiVersion and kind are {stated[0]!r} and {stated[1]!r}: give a SparkApplication of "
            "sparkoperator.k8s.io/v1beta2"
        )
    return normalize(manifest)


def _all_executors(seconds: int) -> dict[str, str]:
    """Return what makes Spark wait for its executors.

    Without these it begins with 80 % of them, or after 30 s with those that are there.

    :raises InvalidManifestError: that is no time.
    """
    if not is_whole(seconds) or seconds < 1:
        raise InvalidManifestError(f"start_timeout is {seconds!r}: set it to a whole number of seconds, at least 1")
    return {
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": f"{seconds}s",
    }


def _options(parameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield the command line that says these parameters.

    :raises InvalidManifestError: a name, or a value, that no command line can say.
    """
    for name, value in parameters.items():
        if not isinstance(name, str) or not _OPTION.fullmatch(name):
            raise InvalidManifestError(
                f"parameters has the name {name!r}: give letters and digits, with _ or - between them"
            )
        if value is None or value is False:
            continue
        values = value if isinstance(value, (list, tuple)) else [value]
        if not values or any(each is None or isinstance(each, (Mapping, list, tuple)) for each in values):
            raise InvalidManifestError(
                f"parameters[{name!r}] is {value!r}: give a number, a text, a truth value, or a list of such"
            )
        yield f"--{name.replace('_', '-')}"
        if value is not True:
            yield from map(str, values)


def _checkpoint_faults(spec: Mapping[str, Any], directory: str) -> Iterator[str]:
    """Yield why Spark could not keep checkpoints there."""
    if not directory:
        return
    if str(spec.get("sparkVersion", "")).startswith(("2.", "3.")):
        yield (
            f"checkpoint_dir is {directory!r}, but spec.sparkVersion is {spec['sparkVersion']!r}, which does not know "
            f"{_CHECKPOINTS}: let the program call SparkContext.setCheckpointDir"
        )
    path = directory.removeprefix("file://")
    if "://" in path or path.startswith("{{"):
        return  # on a storage of its own, or not known before the task runs
    volumes = items(spec.get("volumes"), "spec.volumes")
    own = {volume.get("name") for volume in volumes if isinstance(volume, Mapping) and "emptyDir" in volume}
    for role in ("driver", "executor"):
        mounts = items(mapping(spec.get(role), f"spec.{role}").get("volumeMounts"), f"spec.{role}.volumeMounts")
        shared = [mount for mount in mounts if isinstance(mount, Mapping) and mount.get("name") not in own]
        if not any(_is_below(path, str(mount.get("mountPath", ""))) for mount in shared):
            yield (
                f"checkpoint_dir is {directory!r}, which is on no volume that the {role} shares: each executor reads "
                "what others wrote, so mount one claim in driver and executors, or give a URI such as s3a://bucket/dir"
            )


def _is_below(path: str, directory: str) -> bool:
    """Whether an absolute path is a directory or in it."""
    return PurePosixPath("/") in PurePosixPath(path).parents and PurePosixPath(path).is_relative_to(directory or "-")


def _faults(spec: Mapping[str, Any], processes: int, *, use_gpu: bool, horovod: bool) -> Iterator[str]:
    """Yield what keeps so many processes from running at once."""
    conf = mapping(spec.get("sparkConf"), "spec.sparkConf")
    dynamic = mapping(spec.get("dynamicAllocation"), "spec.dynamicAllocation")
    if dynamic.get("enabled"):
        yield (
            "spec.dynamicAllocation.enabled is True: a barrier stage fails with it, and Horovod waits for executors "
            "that may never come; leave dynamic_allocation out"
        )
    if str(conf.get("spark.dynamicAllocation.enabled")).lower() == "true":
        yield "spec.sparkConf['spark.dynamicAllocation.enabled'] is 'true': leave it out, as all must run at once"
    encrypted, ignored = (str(conf.get(name)).lower() == "true" for name in ("spark.ssl.enabled", _IGNORE_SSL))
    if not horovod and encrypted and not ignored:
        yield (
            f"spec.sparkConf['spark.ssl.enabled'] is {conf['spark.ssl.enabled']!r}, which TorchDistributor refuses: "
            f"set {_IGNORE_SSL} to 'true' if its own traffic may go unencrypted"
        )
    executor = mapping(spec.get("executor"), "spec.executor")
    numbers = {
        "spec.executor.instances": executor.get("instances", integer(conf.get("spark.executor.instances", "1"))),
        "spec.executor.cores": executor.get("cores", integer(conf.get("spark.executor.cores", "1"))),
        f"spec.sparkConf[{_CPUS!r}]": integer(conf.get(_CPUS, "1")),
    }
    # Spark gives each task its GPUs, whether the program asks for them or not.
    if uses_gpus := use_gpu or conf.get(_TASK_GPUS) is not None:
        numbers[f"spec.sparkConf[{_EXECUTOR_GPUS!r}]"] = integer(conf.get(_EXECUTOR_GPUS))
    for field, value in numbers.items():
        if not is_whole(value) or value < 1:
            yield f"{field} is {value!r}: to see whether all processes find room it must be a whole number, at least 1"
    instances, cores, cpus, *gpus = numbers.values()
    each, per_task = cores // cpus, f"{_CPUS}={cpus}"
    if uses_gpus:
        amount = number(conf.get(_TASK_GPUS))
        if not isinstance(amount, (int, float)) or not (0 < amount <= 0.5 or (is_whole(amount) and amount >= 1)):
            yield (
                f"spec.sparkConf[{_TASK_GPUS!r}] is {conf.get(_TASK_GPUS)!r}: to see whether all processes find room "
                "it must be a whole number, at least 1, or at most 0.5"
            )
        # ResourceUtils.scala: of a part of a GPU, as many tasks share one as fit whole.
        each = min(each, gpus[0] * int(1 / amount) if amount < 1 else gpus[0] // amount)
        per_task += f", {_TASK_GPUS}={amount}"
    if instances * each < processes:
        yield (
            f"num_processes is {processes}, but there is room for {instances * each} at once ({instances} executors, "
            f"{cores} cores each, {per_task}): raise executor instances or cores, or lower num_processes"
        )


__all__ = ["barrier_job", "mllib_job"]
