"""The operators that train: MPIJob and Horovod, TrainJob, PyTorchJob, TFJob, XGBoostJob, Katib's search, plain pods."""

from __future__ import annotations

from typing import Any, Literal

from airflow_provider_sparkml.operators.job import JobOperator
from airflow_provider_sparkml.triggers import training
from airflow_provider_sparkml.triggers.job import JobTrigger


class MPIJobOperator(JobOperator):
    """Runs an MPIJob, such as Horovod's, and returns its result.

    It has ended when the launcher has: a worker that is evicted on the way is no end, since the MPI operator goes on.
    What the launcher writes to the file named by ``SPARKML_RESULT_PATH`` comes back as ``result``.

    :param job: the manifest: an ``MPIJob`` builder's object, what ``horovod_job`` returns, a mapping, a path to a YAML
        or JSON file (absolute, or below the DAG's folder or ``template_searchpath``), or YAML text. All of it is
        templated.
    :param api_version: ``kubeflow.org/v2beta1`` for the MPI operator, ``kubeflow.org/v1`` for the training operator,
        whose MPIJob is an older one; a cluster has one of them.

    All other parameters: see :class:`~airflow_provider_sparkml.operators.job.JobOperator`.

    .. code-block:: python

        from airflow_provider_sparkml.operators.training import MPIJobOperator
        from airflow_provider_sparkml.resources.mpi import horovod_job

        train = MPIJobOperator(
            task_id="train",
            job=horovod_job(
                "example.com/horovod:1", ["python", "/opt/sparkml/train.py", "--date", "{{ ds }}"], workers=2
            ),
            queue_timeout=3600,
        )
    """

    trigger_class: type[JobTrigger] = training.MPIJobTrigger

    def __init__(
        self, *, api_version: Literal["kubeflow.org/v2beta1", "kubeflow.org/v1"] = "kubeflow.org/v2beta1", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.api_version = api_version
        self.trigger_class = training.of_version(api_version, training.MPIJobTrigger, training.MPIJobV1Trigger)


class TrainJobOperator(JobOperator):
    """Runs a TrainJob of Kubeflow Trainer (``trainer.kubeflow.org/v1alpha1``) and returns its result.

    What rank 0 writes to the file named by ``SPARKML_RESULT_PATH`` comes back as ``result``; the metrics that the
    trainer has reported to Kubeflow itself, where the cluster has that, as ``metrics``.

    :param job: the manifest: a ``TrainJob`` builder's object, a mapping, a path to a YAML or JSON file (absolute, or
        below the DAG's folder or ``template_searchpath``), or YAML text. All of it is templated.

    All other parameters: see :class:`~airflow_provider_sparkml.operators.job.JobOperator`.

    .. code-block:: python

        from airflow_provider_sparkml.operators.training import TrainJobOperator
        from airflow_provider_sparkml.resources.trainer import Trainer, TrainJob

        train = TrainJobOperator(
            task_id="train",
            job=TrainJob(
                runtime="torch-distributed",
                trainer=Trainer(
                    image="example.com/torch:1",
                    command=["torchrun", "/opt/sparkml/train.py", "--date", "{{ ds }}"],
                    num_nodes=2,
                    resources_per_node={"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": 1},
                ),
            ),
        )
    """

    trigger_class = training.TrainJobTrigger


class PyTorchJobOperator(JobOperator):
    """Runs a PyTorchJob of the training operator (``kubeflow.org/v1``) and returns its result.

    What the master, or worker 0 where there is none, writes to the file named by ``SPARKML_RESULT_PATH`` comes back as
    ``result``.

    :param job: the manifest: a ``PyTorchJob`` builder's object, a mapping, a path to a YAML or JSON file (absolute, or
        below the DAG's folder or ``template_searchpath``), or YAML text. All of it is templated.

    All other parameters: see :class:`~airflow_provider_sparkml.operators.job.JobOperator`.

    .. code-block:: python

        from airflow_provider_sparkml.operators.training import PyTorchJobOperator
        from airflow_provider_sparkml.resources.kubeflow_v1 import PyTorchJob, Replica

        program = ["python", "/opt/sparkml/train.py"]
        train = PyTorchJobOperator(
            task_id="train",
            job=PyTorchJob(
                master=Replica(image="example.com/torch:1", command=program, gpus=1),
                worker=Replica(image="example.com/torch:1", command=program, gpus=1, replicas=3),
            ),
        )
    """

    trigger_class = training.PyTorchJobTrigger


class TFJobOperator(JobOperator):
    """Runs a TFJob of the training operator (``kubeflow.org/v1``) and returns its result.

    What the chief, or worker 0 where there is none, writes to the file named by ``SPARKML_RESULT_PATH`` comes back as
    ``result``.

    :param job: the manifest: a ``TFJob`` builder's object, a mapping, a path to a YAML or JSON file (absolute, or
        below the DAG's folder or ``template_searchpath``), or YAML text. All of it is templated.

    All other parameters: see :class:`~airflow_provider_sparkml.operators.job.JobOperator`.

    .. code-block:: python

        from airflow_provider_sparkml.operators.training import TFJobOperator
        from airflow_provider_sparkml.resources.kubeflow_v1 import Replica, TFJob

        program = ["python", "/opt/train.py"]
        train = TFJobOperator(
            task_id="train",
            job=TFJob(
                chief=Replica(image="example.com/tensorflow:1", command=program),
                worker=Replica(image="example.com/tensorflow:1", command=program, replicas=2),
                ps=Replica(image="example.com/tensorflow:1", command=program),
            ),
        )
    """

    trigger_class = training.TFJobTrigger


class XGBoostJobOperator(JobOperator):
    """Runs an XGBoostJob of the training operator (``kubeflow.org/v1``) and returns its result.

    What the master writes to the file named by ``SPARKML_RESULT_PATH`` comes back as ``result``.

    :param job: the manifest: an ``XGBoostJob`` builder's object, a mapping, a path to a YAML or JSON file (absolute, or
        below the DAG's folder or ``template_searchpath``), or YAML text. All of it is templated.

    All other parameters: see :class:`~airflow_provider_sparkml.operators.job.JobOperator`.

    .. code-block:: python

        from airflow_provider_sparkml.operators.training import XGBoostJobOperator
        from airflow_provider_sparkml.resources.kubeflow_v1 import Replica, XGBoostJob

        program = ["python", "/opt/train.py"]
        train = XGBoostJobOperator(
            task_id="train",
            job=XGBoostJob(
                master=Replica(image="example.com/xgboost:1", command=program, memory="4Gi"),
                worker=Replica(image="example.com/xgboost:1", command=program, memory="4Gi", replicas=2),
            ),
        )
    """

    trigger_class = training.XGBoostJobTrigger


class ExperimentOperator(JobOperator):
    """Runs a Katib Experiment (``kubeflow.org/v1beta1``) and returns its best trial.

    ``result`` is ``{"trial": …, "parameters": {…}, "metrics": {…}}``, with numbers as numbers, so a later task can
    train with them. An experiment that ended without a usable trial has failed, although Katib calls that a success.

    :param job: the manifest: an ``Experiment`` builder's object, a mapping, a path to a YAML or JSON file (absolute, or
        below the DAG's folder or ``template_searchpath``), or YAML text. All of it is templated.

    All other parameters: see :class:`~airflow_provider_sparkml.operators.job.JobOperator`; ``checkpoint_uri`` is
    refused, since all trials would write there.

    .. code-block:: python

        from airflow_provider_sparkml.operators.training import ExperimentOperator
        from airflow_provider_sparkml.resources.katib import Experiment, Objective, Parameter
        from airflow_provider_sparkml.resources.trainer import Trainer, TrainJob

        search = ExperimentOperator(
            task_id="search",
            job=Experiment(
                objective=Objective(metric="loss", type="minimize"),
                parameters=[
                    Parameter(name="lr", type="double", min=0.001, max=0.1),
                    Parameter(name="layers", type="int", min=1, max=4),
                ],
                trial=TrainJob(
                    trainer=Trainer(
                        image="example.com/torch:1",
                        command=["torchrun", "/opt/sparkml/train.py"],
                        args=["--lr", "${trialParameters.lr}", "--layers", "${trialParameters.layers}"],
                    ),
                ),
                max_trials=12,
                parallel_trials=3,
            ),
        )
    """

    trigger_class = training.ExperimentTrigger


class TrainingPodsOperator(JobOperator):
    """Trains in plain pods that find each other, on a cluster with no training operator, and returns the result.

    The pods are those of an Indexed Job (``batch/v1``). They have ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and
    ``MASTER_PORT``; a headless Service leads to rank 0, and goes with the Job. What rank 0 writes to the file named by
    ``SPARKML_RESULT_PATH`` comes back as ``result``.

    :param job: the manifest: a ``TrainingPods`` builder's object, a mapping, a path to a YAML or JSON file (absolute,
        or below the DAG's folder or ``template_searchpath``), or YAML text. All of it is templated.

    All other parameters: see :class:`~airflow_provider_sparkml.operators.job.JobOperator`.

    .. code-block:: python

        from airflow_provider_sparkml.operators.training import TrainingPodsOperator
        from airflow_provider_sparkml.resources.training_pods import Replica, TrainingPods

        train = TrainingPodsOperator(
            task_id="train",
            job=TrainingPods(
                pods=Replica(
                    image="example.com/torch:1", command=["python", "/opt/sparkml/train.py"], replicas=2, memory="2Gi"
                ),
            ),
        )
    """

    trigger_class = training.TrainingPodsTrigger


__all__ = [
    "ExperimentOperator",
    "MPIJobOperator",
    "PyTorchJobOperator",
    "TFJobOperator",
    "TrainJobOperator",
    "TrainingPodsOperator",
    "XGBoostJobOperator",
]
