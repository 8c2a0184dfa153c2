"""The sensors that wait for training jobs, whoever created them."""

from __future__ import annotations

from typing import Any, Literal

from airflow_provider_sparkml.sensors.job import JobSensor
from airflow_provider_sparkml.triggers import training
from airflow_provider_sparkml.triggers.sensor import JobSensorTrigger


class MPIJobSensor(JobSensor):
    """Waits until an MPIJob has ended, and returns its result; it never changes or deletes it.

    :param api_version: ``kubeflow.org/v2beta1`` for the MPI operator's, ``kubeflow.org/v1`` for the training
        operator's; a cluster has one of them.

    All other parameters: see :class:`~airflow_provider_sparkml.sensors.job.JobSensor`.

    .. code-block:: python

        from airflow_provider_sparkml.sensors.training import MPIJobSensor

        trained = MPIJobSensor(task_id="trained", job_name="flights-{{ ds_nodash }}", timeout=4 * 3600)
    """

    trigger_class: type[JobSensorTrigger] = training.MPIJobSensorTrigger

    def __init__(
        self, *, api_version: Literal["kubeflow.org/v2beta1", "kubeflow.org/v1"] = "kubeflow.org/v2beta1", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.api_version = api_version
        self.trigger_class = training.of_version(
            api_version, training.MPIJobSensorTrigger, training.MPIJobV1SensorTrigger
        )


class TrainJobSensor(JobSensor):
    """Waits until a TrainJob has ended, and returns its result; it never changes or deletes it.

    Its parameters: see :class:`~airflow_provider_sparkml.sensors.job.JobSensor`.

    .. code-block:: python

        from airflow_provider_sparkml.sensors.training import TrainJobSensor

        trained = TrainJobSensor(task_id="trained", job_name="flights-{{ ds_nodash }}", timeout=4 * 3600)
    """

    trigger_class = training.TrainJobSensorTrigger


class PyTorchJobSensor(JobSensor):
    """Waits until a PyTorchJob has ended, and returns its result; it never changes or deletes it.

    Its parameters: see :class:`~airflow_provider_sparkml.sensors.job.JobSensor`.
    """

    trigger_class = training.PyTorchJobSensorTrigger


class TFJobSensor(JobSensor):
    """Waits until a TFJob has ended, and returns its result; it never changes or deletes it.

    Its parameters: see :class:`~airflow_provider_sparkml.sensors.job.JobSensor`.
    """

    trigger_class = training.TFJobSensorTrigger


class XGBoostJobSensor(JobSensor):
    """Waits until an XGBoostJob has ended, and returns its result; it never changes or deletes it.

    Its parameters: see :class:`~airflow_provider_sparkml.sensors.job.JobSensor`.
    """

    trigger_class = training.XGBoostJobSensorTrigger


class ExperimentSensor(JobSensor):
    """Waits until a Katib Experiment has ended, and returns its best trial; it never changes or deletes it.

    Its parameters: see :class:`~airflow_provider_sparkml.sensors.job.JobSensor`.
    """

    trigger_class = training.ExperimentSensorTrigger


class TrainingPodsSensor(JobSensor):
    """Waits until an Indexed Job (``batch/v1``) has ended, and returns its result; it never changes or deletes it.

    Its parameters: see :class:`~airflow_provider_sparkml.sensors.job.JobSensor`.
    """

    trigger_class = training.TrainingPodsSensorTrigger


__all__ = [
    "ExperimentSensor",
    "MPIJobSensor",
    "PyTorchJobSensor",
    "TFJobSensor",
    "TrainJobSensor",
    "TrainingPodsSensor",
    "XGBoostJobSensor",
]
