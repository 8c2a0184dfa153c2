"""The triggers of training jobs: of each kind one for the task that submitted it, one for a sensor that looks on."""

from __future__ import annotations

from airflow_provider_sparkml.resources.katib import EXPERIMENT
from airflow_provider_sparkml.resources.kubeflow_v1 import MPI_JOB_V1, PYTORCH_JOB, TF_JOB, XGBOOST_JOB
from airflow_provider_sparkml.resources.mpi import MPI_JOB
from airflow_provider_sparkml.resources.trainer import TRAIN_JOB
from airflow_provider_sparkml.resources.training_pods import TRAINING_PODS
from airflow_provider_sparkml.triggers.job import JobTrigger, Waiter
from airflow_provider_sparkml.triggers.sensor import JobSensorTrigger
from airflow_provider_sparkml.triggers.versions import of_version


class MPIJobTrigger(JobTrigger):
    """Waits for the MPIJob that its task has submitted."""

    resource = MPI_JOB


class MPIJobSensorTrigger(JobSensorTrigger):
    """Waits until an MPIJob of a name exists and has ended."""

    resource = MPI_JOB


class MPIJobV1Trigger(JobTrigger):
    """Waits for the training operator's MPIJob that its task has submitted."""

    resource = MPI_JOB_V1


class MPIJobV1SensorTrigger(JobSensorTrigger):
    """Waits until a training operator's MPIJob of a name exists and has ended."""

    resource = MPI_JOB_V1


class TrainJobTrigger(JobTrigger):
    """Waits for the TrainJob that its task has submitted."""

    resource = TRAIN_JOB


class TrainJobSensorTrigger(JobSensorTrigger):
    """Waits until a TrainJob of a name exists and has ended."""

    resource = TRAIN_JOB


class PyTorchJobTrigger(JobTrigger):
    """Waits for the PyTorchJob that its task has submitted."""

    resource = PYTORCH_JOB


class PyTorchJobSensorTrigger(JobSensorTrigger):
    """Waits until a PyTorchJob of a name exists and has ended."""

    resource = PYTORCH_JOB


class TFJobTrigger(JobTrigger):
    """Waits for the TFJob that its task has submitted."""

    resource = TF_JOB


class TFJobSensorTrigger(JobSensorTrigger):
    """Waits until a TFJob of a name exists and has ended."""

    resource = TF_JOB


class XGBoostJobTrigger(JobTrigger):
    """Waits for the XGBoostJob that its task has submitted."""

    resource = XGBOOST_JOB


class XGBoostJobSensorTrigger(JobSensorTrigger):
    """Waits until an XGBoostJob of a name exists and has ended."""

    resource = XGBOOST_JOB


class ExperimentTrigger(JobTrigger):
    """Waits for the Experiment that its task has submitted, and for the admission of its trials."""

    resource = EXPERIMENT

    def waiter(self) -> Waiter:
        """Return the wait that sees what a queue makes of the trials."""
        from airflow_provider_sparkml.jobs.experiment import wait_for_trials

        return wait_for_trials


class ExperimentSensorTrigger(JobSensorTrigger):
    """Waits until an Experiment of a name exists and has ended."""

    resource = EXPERIMENT


class TrainingPodsTrigger(JobTrigger):
    """Waits for the training pods that its task has submitted."""

    resource = TRAINING_PODS


class TrainingPodsSensorTrigger(JobSensorTrigger):
    """Waits until an Indexed Job of a name exists and has ended."""

    resource = TRAINING_PODS


__all__ = [
    "ExperimentSensorTrigger",
    "ExperimentTrigger",
    "MPIJobSensorTrigger",
    "MPIJobTrigger",
    "MPIJobV1SensorTrigger",
    "MPIJobV1Trigger",
    "PyTorchJobSensorTrigger",
    "PyTorchJobTrigger",
    "TFJobSensorTrigger",
    "TFJobTrigger",
    "TrainJobSensorTrigger",
    "TrainJobTrigger",
    "TrainingPodsSensorTrigger",
    "TrainingPodsTrigger",
    "XGBoostJobSensorTrigger",
    "XGBoostJobTrigger",
    "of_version",
]
