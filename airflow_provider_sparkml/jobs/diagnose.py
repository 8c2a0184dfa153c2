"""Why a job did not succeed: evidence in, one exception class and one cause out; pure, a table of rules in order."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from airflow_provider_sparkml.exceptions import (
    ApplicationError,
    ContainerKilledError,
    EvictedError,
    ExecutionTimeoutError,
    ExecutorsLostError,
    ImagePullError,
    JobDeletedError,
    JobFailedError,
    NodeLostError,
    NotAdmittedError,
    OutOfMemoryError,
    QueueTimeoutError,
    QuotaExceededError,
    SparkMLError,
    StartupTimeoutError,
    SubmissionFailedError,
)
from airflow_provider_sparkml.jobs.advice import controller_of
from airflow_provider_sparkml.jobs.endings import EVICTED, NODE_LOST, container_state, disruptions, one_line
from airflow_provider_sparkml.jobs.evidence import EXIT, Evidence
from airflow_provider_sparkml.jobs.kueue import DEACTIVATED
from airflow_provider_sparkml.jobs.log_errors import error_line
from airflow_provider_sparkml.jobs.outcome import Expired
from airflow_provider_sparkml.jobs.ranks import blamed
from airflow_provider_sparkml.resources.base import Manifest, Phase

_PULL_REASONS = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
# A program earns these by itself (a crash in native code); other signals come from outside.
_ABORTED = 128 + signal.SIGABRT
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGBUS, signal.SIGSYS})
# Exit codes of Spark's own (SparkExitCode, ExecutorExitCode, DriverTimeoutPlugin).
_HEAP_EXIT, _EXECUTOR_FAILURES_EXIT, _DRIVER_TIMEOUT_EXIT = 52, 11, 124
_EXECUTORS_TOLD = 5
_HEAP = re.compile(r"java\.lang\.OutOfMemoryError(: [\w ]+)?")
_EXECUTOR_LOST = re.compile(r"ExecutorLostFailure|Max number of executor failures|Slave lost|ExecutorDeadException")
_SUBMISSION = re.compile(
    r"failed to (submit|run spark-submit|create|build|mutate|configure)|already exist", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a job did not succeed.

    :param error: the class to raise; its base says whether a retry is worth while.
    :param summary: the cause in one line.
    :param advice: what to try.
    """

    error: type[SparkMLError]
    summary: str
    advice: str


Rule = Callable[[Evidence], Cause | None]


def classify(evidence: Evidence) -> Cause:
    """Return the cause of a failed job: the first rule of :data:`RULES` that knows one.

    Eviction and node loss come before the exit code, since they end the container with a signal too.
    """
    for rule in RULES:
        cause = rule(evidence)
        if cause is not None:
            return cause
    verdict = evidence.verdict
    said = one_line(verdict.message or verdict.reason or verdict.state or "no reason is given")
    if verdict.retryable and "Evicted" in verdict.reason:
        return Cause(EvictedError, f"{evidence.ref.kind} failed: {said}", "A retry finds another node.")
    return Cause(JobFailedError, f"{evidence.ref.kind} failed: {said}", "Read the events and the log.")


def classify_deleted(evidence: Evidence) -> Cause:
    """Return the cause of a wait that ended since the object was gone."""
    return Cause(
        JobDeletedError,
        f"{evidence.ref} was deleted while it was {evidence.verdict.phase}, before its end was seen",
        "Somebody deleted it (kubectl, another task, its namespace), or a time-to-live shorter than the job did: "
        "look into spec.timeToLiveSeconds and the audit log. A retry starts a new one.",
    )


def classify_expired(evidence: Evidence, expired: Expired) -> Cause:
    """Return the cause of a wait that a deadline ended: which one, and what the job was waiting for."""
    if expired == "execution":
        summary = f"{evidence.ref} did not end within execution_timeout; it was {_standing(evidence)}"
        return Cause(ExecutionTimeoutError, summary, "Give it more time or more resources; the log shows where it was.")
    if expired == "queue" and evidence.verdict.reason.startswith(DEACTIVATED):
        summary = f"Kueue has deactivated the workload of {evidence.ref} ({evidence.verdict.reason})"
        said = one_line(evidence.verdict.message)
        advice = "Look at the queue and its limits: kubectl get workloads,clusterqueues,localqueues -A."
        return Cause(NotAdmittedError, f"{summary}: {said}" if said else summary, advice)
    if expired == "queue":
        summary = f"{evidence.ref} was not admitted within queue_timeout; it was {_standing(evidence)}"
        return Cause(
            QueueTimeoutError, summary, "Look at the queue: kubectl get workloads,clusterqueues,localqueues -A."
        )
    pull = _image(evidence)
    if pull is not None:
        return Cause(pull.error, f"{pull.summary}, within startup_timeout", pull.advice)
    blocker, advice = _blocker(evidence)
    return Cause(StartupTimeoutError, f"{evidence.ref} was not running within startup_timeout: {blocker}", advice)


def _submission(evidence: Evidence) -> Cause | None:
    """The controller could not hand the job to Spark, or its pods to the API server."""
    message = evidence.verdict.message
    if evidence.exit is not None or not (
        _SUBMISSION.search(message) or "SUBMISSION" in evidence.verdict.reason.upper()
    ):
        return None
    line = _telling_line(message)
    if "exceeded quota" in message:
        advice = (
            f"See what uses it up: kubectl describe resourcequota -n {evidence.ref.namespace}. A retry may find room."
        )
        return Cause(QuotaExceededError, f"The {evidence.role} pod exceeds a quota: {line}", advice)
    if "forbidden" in message.lower():
        advice = (
            "The service account that submits needs rights on pods, services and configmaps: check its RoleBinding."
        )
    elif "already exist" in message:
        advice = "A pod of that name is left from another job: delete it, or give the job another name."
    else:
        advice = "Compare image, main file, sparkConf and service account with what the cluster has."
    return Cause(SubmissionFailedError, f"The job could not be submitted: {line}", advice)


def _disrupted(evidence: Evidence) -> Cause | None:
    """The main pod was taken off its node, or lost together with it."""
    for word, text in disruptions(evidence.pod):
        if word in NODE_LOST:
            return Cause(
                NodeLostError,
                f"The node of the {evidence.role} pod went away ({word}): {text}",
                "A retry runs elsewhere.",
            )
        if word in EVICTED:
            advice = "A retry may fare better; request what the job really uses, or give it a priorityClassName."
            return Cause(EvictedError, f"The {evidence.role} pod was evicted ({word}): {text}", advice)
    if evidence.exit is None:
        for event in evidence.events:
            if event.get("reason") in NODE_LOST:
                summary = f"The node of the {evidence.role} pod went away: {one_line(str(event.get('message', '')))}"
                return Cause(NodeLostError, summary, "A retry runs elsewhere.")
    return None


def _memory(evidence: Evidence) -> Cause | None:
    """The main container, or the JVM in it, ran out of memory."""
    ended = evidence.exit
    if ended is not None and ended.reason == "OOMKilled":
        advice = f"Raise the memory limit of {evidence.role}, or use smaller batches."
        if evidence.is_spark:
            advice = (
                f"Raise the {evidence.role}'s memory or memoryOverhead (PySpark uses the overhead: spark.driver."
                "memoryOverheadFactor 0.4), or collect less into it."
            )
        return Cause(
            OutOfMemoryError, f"{evidence.subject} was killed for using more memory than its limit (OOMKilled)", advice
        )
    if not evidence.is_spark:
        return None
    heap = next((found for line in reversed(evidence.log) if (found := _HEAP.search(line))), None)
    if ended is not None and ended.code != 0 and (heap or ended.code == _HEAP_EXIT):
        said = heap[0] if heap else "java.lang.OutOfMemoryError"
        advice = f"Raise the {evidence.role}'s memory (spark.driver.memory), or collect and broadcast less."
        return Cause(
            OutOfMemoryError, f"The {evidence.role}'s JVM ran out of heap, exit code {ended.code}: {said}", advice
        )
    return None


def _image(evidence: Evidence) -> Cause | None:
    """The image of a container cannot be pulled."""
    waiting = evidence.container_state.get("waiting") or {}
    if waiting.get("reason") not in _PULL_REASONS:
        return None
    image = _image_of(evidence.pod, evidence.container)
    said = one_line(str(waiting.get("message", "")))
    advice = "Check the image's name and tag, and imagePullSecrets for a private registry."
    return Cause(
        ImagePullError, f"Image {image} cannot be pulled ({waiting['reason']}){f': {said}' if said else ''}", advice
    )


def _executors(evidence: Evidence) -> Cause | None:
    """A stage failed since its executors were lost; how they ended decides whether a retry may help."""
    ended = evidence.exit
    lost = next((line for line in reversed(evidence.log) if _EXECUTOR_LOST.search(line)), None)
    if (
        not evidence.is_spark
        or ended is None
        or ended.code == 0
        or (lost is None and ended.code != _EXECUTOR_FAILURES_EXIT)
    ):
        return None
    endings = failed_pods(evidence)
    more = f"; and {len(endings) - _EXECUTORS_TOLD} more" if len(endings) > _EXECUTORS_TOLD else ""
    told = "; ".join(endings[:_EXECUTORS_TOLD]) + more or one_line(lost or "too many executor failures")
    # Spark deletes the pods of lost executors, but repeats their container statuses in its log.
    if any("OOMKilled" in text for text in (*endings, *evidence.log)):
        advice = "Raise the executors' memory or memoryOverhead, or use more and smaller partitions."
        return Cause(OutOfMemoryError, f"Executors ran out of memory until the job failed: {told}", advice)
    advice = "A retry may fare better. Preemptible nodes: spark.decommission.enabled. SIGKILL may be a lack of memory."
    return Cause(ExecutorsLostError, f"Executors were lost until the job failed: {told}", advice)


def _deadline(evidence: Evidence) -> Cause | None:
    """The job has a deadline of its own, at which its controller ends the pods."""
    verdict = evidence.verdict
    if verdict.reason.rpartition("/")[2] != "DeadlineExceeded":
        return None
    said = one_line(verdict.message or verdict.reason)
    advice = "It took longer than its own activeDeadlineSeconds: raise that, or leave it to execution_timeout."
    return Cause(ExecutionTimeoutError, f"{evidence.ref.kind} failed: {said}", advice)


def _rank(evidence: Evidence) -> Cause | None:
    """A launcher says which of its ranks ended the job."""
    if not evidence.ranks or evidence.exit is None or evidence.exit.code == 0:
        return None
    blame = blamed(evidence.log)
    if blame is None:
        return None
    subject = f"Rank {blame.rank} (told by {evidence.role})"
    if blame.is_lost:
        advice = "Its pod or its node went away, or sshd in it was killed. A retry may fare better."
        summary = f"{subject} was lost with its pod (ssh ended with exit code {blame.code})"
        return Cause(ContainerKilledError, summary, advice)
    if blame.code == _ABORTED and error_line(blame.log)[0]:
        # An exception that leaves a process group behind it ends the process by SIGABRT.
        return _application_cause(subject, blame.code, blame.log)
    return _signal_cause(subject, blame.code) or _application_cause(subject, blame.code, blame.log)


def _signal(evidence: Evidence) -> Cause | None:
    """The main container was ended by a signal (exit code 128 + its number)."""
    return None if evidence.exit is None else _signal_cause(evidence.subject, evidence.exit.code)


def _signal_cause(subject: str, code: int) -> Cause | None:
    if code <= 128:
        return None
    try:
        name = signal.Signals(code - 128)
    except ValueError:
        return None
    if name in _CRASHES:
        advice = "Native code crashed (a library, or the JVM): look for hs_err and versions that do not fit together."
        return Cause(ApplicationError, f"{subject} crashed with {name.name} (exit code {code})", advice)
    advice = "Something outside ended it: a person, a shortage of memory on the node, a probe. A retry may fare better."
    return Cause(ContainerKilledError, f"{subject} was killed by {name.name} (exit code {code})", advice)


def _application(evidence: Evidence) -> Cause | None:
    """The program itself failed."""
    ended = evidence.exit
    if ended is None or ended.code == 0:
        return None
    cause = _application_cause(evidence.subject, ended.code, evidence.log)
    if ended.code == _DRIVER_TIMEOUT_EXIT and evidence.is_spark:
        return replace(
            cause, advice="124 is Spark's DriverTimeoutPlugin: raise spark.driver.timeout, or find what takes so long."
        )
    return cause


def _application_cause(subject: str, code: int, log: Sequence[str]) -> Cause:
    said, advice = error_line(log)
    return Cause(ApplicationError, f"{subject} ended with exit code {code}{f': {said}' if said else ''}", advice)


def _vanished(evidence: Evidence) -> Cause | None:
    """The main pod vanished under the controller, or its node with the record of how it ended."""
    if "container status missing" in evidence.verdict.message:
        summary = f"How the {evidence.role} ended is not recorded: its node went away, or its pod was never started"
        return Cause(NodeLostError, summary, "A retry runs elsewhere.")
    if _pods_are_gone(evidence):
        summary = "The job's pods are gone, and with them how they ended: evicted, deleted, or lost with their node"
        return Cause(JobDeletedError, summary, "A retry starts new ones. Was a node drained? kubectl get events -A")
    if "pod not found" not in evidence.verdict.message.lower():
        return None
    advice = "Somebody deleted the pod, or its node was removed. A retry starts a new one."
    return Cause(JobDeletedError, f"The {evidence.role} pod vanished: {one_line(evidence.verdict.message)}", advice)


def _pods_are_gone(evidence: Evidence) -> bool:
    """Whether a Job has failed and no pod tells why: those that fail by themselves stay as long as their Job does."""
    pods = [pod for pod in (evidence.pod, *evidence.others) if pod is not None]
    return (
        evidence.ref.kind == "Job"
        and evidence.verdict.reason == "BackoffLimitExceeded"
        and evidence.exit is None
        and all(pod["metadata"].get("deletionTimestamp") for pod in pods)
        and not any(what.startswith("pods") for what in evidence.unread)
    )


RULES: tuple[Rule, ...] = (
    _submission, _disrupted, _memory, _image, _deadline, _executors, _rank, _signal, _application, _vanished,
)  # fmt: skip
"""In order: the first that knows a cause is believed."""


def failed_pods(evidence: Evidence) -> list[str]:
    """Return ``name: how it ended`` of each failed executor or worker; of vanished ones, what the job's status kept."""
    found = {}
    names = {rank.pod["metadata"]["uid"]: rank.name for rank in evidence.ranks}
    for pod in evidence.others:
        name = names.get(pod["metadata"]["uid"], pod["metadata"]["name"])
        words = [word for word, _ in disruptions(pod)]
        ended = container_state(pod, "").get("terminated") or {}
        if words:
            found[name] = f"{name}: {words[0]}"
        elif ended.get("exitCode"):
            found[name] = f"{name}: {ended.get('reason') or 'Error'} (exit code {ended['exitCode']})"
    states = (evidence.obj.get("status") or {}).get("executorState") or {}
    for name, state in sorted(states.items()):
        if state == "FAILED" and name not in found:
            found[name] = f"{name}: {_told_ending(evidence, name)}"
    return list(found.values())


def _told_ending(evidence: Evidence, name: str) -> str:
    """Return how a vanished pod ended, as an event of the operator's told it (``SparkExecutorFailed``)."""
    for event in evidence.events:
        message = str(event.get("message", ""))
        if name in message and (found := EXIT.search(message)):
            return f"{found[2] or 'Error'} (exit code {found[1]})"
    return "failed"


def _blocker(evidence: Evidence) -> tuple[str, str]:
    """Return what a job that does not start is waiting for, and what to do about it."""
    ref = evidence.ref
    if not evidence.verdict.state and evidence.verdict.phase is Phase.PENDING and evidence.pod is None:
        name = controller_of(ref.api_version.rpartition("/")[0], ref.kind)
        return (
            "it has no status: no controller has touched it",
            f"Is {name} running, does it watch namespace {ref.namespace}, is its webhook reachable?",
        )
    for condition in ((evidence.pod or {}).get("status") or {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            said = f"pod cannot be scheduled ({condition.get('reason')}): {one_line(str(condition.get('message', '')))}"
            return said, "Ask for less, add nodes, or look at nodeSelector, tolerations and affinity."
    waiting = evidence.container_state.get("waiting") or {}
    if waiting.get("reason"):
        said = f"the {evidence.role} waits ({waiting['reason']}): {one_line(str(waiting.get('message', '')))}"
        return said, "Look at the ConfigMaps, Secrets and volumes that the pod names."
    if evidence.events:
        last = evidence.events[-1]
        return f"{last.get('reason')}: {one_line(str(last.get('message', '')))}", "Read the events."
    return f"it was {_standing(evidence)}", "Give it more time (startup_timeout), or look at its pods and events."


def _standing(evidence: Evidence) -> str:
    """Return where the job stood."""
    verdict = evidence.verdict
    state = f" ({verdict.state})" if verdict.state and verdict.state != verdict.phase else ""
    return f"{verdict.phase}{state}" + (f": {one_line(verdict.message)}" if verdict.message else "")


def _image_of(pod: Manifest | None, container: str) -> str:
    """Return the image of a container."""
    for spec in ((pod or {}).get("spec") or {}).get("containers") or []:
        if spec.get("name") == container or not container:
            return str(spec.get("image", "?"))
    return "?"


def _telling_line(message: str) -> str:
    """Return the line of a stack trace or of spark-submit's stderr that names the cause."""
    lines: Sequence[str] = [line.strip() for line in message.splitlines() if line.strip()]
    for line in reversed(lines):
        if re.search(r"exceeded quota|forbidden|Caused by|Exception|[Ee]rror", line) and not line.startswith("at "):
            return line[:500]
    return lines[-1][:500] if lines else "no reason is given"


__all__ = ["RULES", "Cause", "classify", "classify_deleted", "classify_expired", "failed_pods"]
