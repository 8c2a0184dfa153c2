"""Every exception this package raises; users' retry policies match on these classes, so they are public API.

Two axes: *what* failed (input, the API server, the job, a deadline) and whether the same task may succeed if it is
tried again: :class:`RetryableError` or :class:`PermanentError`.
"""

from __future__ import annotations


class SparkMLError(Exception):
    """Base of all exceptions of this package."""


class RetryableError(SparkMLError):
    """The same task may well succeed when tried again: the cause lies outside of it."""


class PermanentError(SparkMLError):
    """Trying again without a change gives the same failure."""


# --- bad input, found before anything is created -------------------------------------------------------------------


class InvalidManifestError(PermanentError, ValueError):
    """A manifest or a parameter is wrong; the message names the field, its value and the fix."""


class UnknownResourceError(PermanentError, LookupError):
    """No kind of that apiVersion and name is registered."""


class InvalidConnectionError(PermanentError, ValueError):
    """The Airflow connection, or the kubeconfig it points at, cannot be used; the message names the field."""


# --- the API server ------------------------------------------------------------------------------------------------


class ApiError(SparkMLError):
    """The API server refused a request.

    :param message: the first line, cause first.
    :param status: HTTP status, 0 when no answer came.
    :param reason: ``reason`` of the Status body.
    :param causes: ``(reason, field, message)`` of each cause in the Status body.
    """

    def __init__(
        self, message: str, *, status: int = 0, reason: str = "", causes: tuple[tuple[str, str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.causes = causes


class ApiUnavailableError(ApiError, RetryableError):
    """The API server could not be reached, or kept answering 429 or 5xx, until the retries were used up.

    ``retry_after`` is how many seconds the server asked to wait; ``sent``, whether the request may have reached it.
    """

    retry_after: float = 0.0
    sent: bool = True


class UnauthorizedError(ApiError, PermanentError):
    """401: the credentials are not accepted, also after they were read anew."""


class ForbiddenError(ApiError, PermanentError):
    """403: RBAC or admission refused the request; the message names verb, resource and namespace."""


class QuotaExceededError(ApiError, RetryableError):
    """403 by a ResourceQuota: there may be room later; so it is no :class:`ForbiddenError`, which no retry helps."""


class NotFoundError(ApiError, PermanentError):
    """404: no such object."""


class NamespaceNotFoundError(NotFoundError):
    """404: the namespace does not exist."""


class ResourceTypeNotFoundError(NotFoundError):
    """404: the API server does not know the resource type: its CRD is not installed."""


class ConflictError(ApiError, RetryableError):
    """409: somebody changed the object meanwhile, or owns the field."""


class AlreadyExistsError(ApiError, PermanentError):
    """409: an object of that name exists."""


class GoneError(ApiError, RetryableError):
    """410: the resource version is too old; list again."""


class InvalidObjectError(ApiError, InvalidManifestError):
    """400 or 422: the API server does not accept the object; the message names the fields."""


class NameTakenError(PermanentError):
    """An object of the computed name exists and is not this task's."""


class PreflightFailedError(PermanentError):
    """The cluster is not ready for jobs; the message names each check that failed, and its fix."""


class CleanupIncompleteError(RetryableError):
    """The API server failed in the middle of a clean-up; the rest of it was done, and the next try goes on."""


# --- the job -------------------------------------------------------------------------------------------------------


class RunsNotReadError(SparkMLError):
    """The runs that made models cannot be read, or not compared as asked."""


class JobFailedError(SparkMLError):
    """A job ended without success; the message says why, and what to try.

    ``exit_code`` is the main container's, ``None`` where it is not known.
    """

    exit_code: int | None = None


class ApplicationError(JobFailedError, PermanentError):
    """The program itself failed: a non-zero exit code of its own."""


class OutOfMemoryError(JobFailedError, PermanentError):
    """The kernel killed the main container for exceeding its memory limit (OOMKilled)."""


class ImagePullError(JobFailedError, PermanentError):
    """The image of a container cannot be pulled."""


class SubmissionFailedError(JobFailedError, PermanentError):
    """The operator could not submit the job."""


class NotAdmittedError(JobFailedError, PermanentError):
    """Kueue has deactivated the job's workload: it would wait for ever."""


class ContainerKilledError(JobFailedError, RetryableError):
    """The main container was ended by a signal, and not for memory."""


class EvictedError(JobFailedError, RetryableError):
    """The main pod was evicted or preempted."""


class NodeLostError(JobFailedError, RetryableError):
    """The node of the main pod went away."""


class ExecutorsLostError(JobFailedError, RetryableError):
    """Executors were killed, evicted or lost with their nodes until the job failed."""


class JobDeletedError(JobFailedError, RetryableError):
    """The job's object, or its main pod, was deleted by somebody else before the job ended."""


class TriggerError(RetryableError):
    """The wait in the triggerer broke off for a reason of its own; the job may go on, and a retry finds it."""


class TaskKilledError(RetryableError):
    """The worker was told to end the task; its job has been deleted."""


# --- deadlines -----------------------------------------------------------------------------------------------------


class JobTimeoutError(JobFailedError, TimeoutError):
    """A deadline passed; the job has been deleted."""


class QueueTimeoutError(JobTimeoutError, RetryableError):
    """The job was not admitted within ``queue_timeout``."""


class StartupTimeoutError(JobTimeoutError, RetryableError):
    """The job was not running within ``startup_timeout``."""


class ExecutionTimeoutError(JobTimeoutError, PermanentError):
    """The job did not end within ``execution_timeout``, or within a deadline of its own."""


# --- serving -------------------------------------------------------------------------------------------------------


class ModelNotReadyError(JobFailedError, PermanentError):
    """An InferenceService cannot become ready: its model does not load, or its spec is invalid."""


# --- streams -------------------------------------------------------------------------------------------------------


class StreamRolledBackError(JobFailedError, PermanentError):
    """The new version of a stream did not become healthy; the version before it is in force again."""


class StreamUnhealthyError(JobFailedError, RetryableError):
    """A stream has ended, restarts too often, or has begun no batch for too long."""


# --- hyper-parameter search ----------------------------------------------------------------------------------------


class SearchFailedError(PermanentError):
    """No trial of a search succeeded, or more failed than may; the message says which, and why."""


# --- the local cluster ---------------------------------------------------------------------------------------------


class LocalClusterError(SparkMLError):
    """The local cluster cannot be started, stopped or used; the message says what to do."""
