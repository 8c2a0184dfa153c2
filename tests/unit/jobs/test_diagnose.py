"""Each cause gives its own exception class, and says so in one line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_provider_sparkml import exceptions
from airflow_provider_sparkml.exceptions import PermanentError, RetryableError
from airflow_provider_sparkml.jobs.diagnose import classify, classify_deleted, classify_expired, failed_pods
from airflow_provider_sparkml.jobs.endings import Exit
from airflow_provider_sparkml.jobs.evidence import Evidence
from airflow_provider_sparkml.jobs.ranks import Rank
from airflow_provider_sparkml.resources.base import Phase, ResourceRef, Verdict
from airflow_provider_sparkml.resources.spark import DRIVER_CONTAINER, SPARK_APPLICATION

REF = ResourceRef(SPARK_APPLICATION.api.api_version, "SparkApplication", "team-a", "etl-1", "uid-1")


def pod(name="etl-1-driver", container=DRIVER_CONTAINER, *, state=None, conditions=(), sidecar=False, **status):
    """A pod whose main container is in a state, as the kubelet writes it."""
    statuses = [{"name": container, "state": state}] if state else []
    if sidecar:
        statuses.insert(0, {"name": "istio-proxy", "state": {"terminated": {"exitCode": 0}}})
    return {
        "metadata": {"name": name, "uid": f"uid-{name}"},
        "spec": {"containers": [{"name": container, "image": "registry/etl:1.0"}]},
        "status": {"containerStatuses": statuses, "conditions": list(conditions), **status},
    }


def ended(code, reason="Error", **more):
    return pod(state={"terminated": {"exitCode": code, "reason": reason}}, **more)


def waiting(reason, message=""):
    return pod(state={"waiting": {"reason": reason, "message": message}}, phase="Pending")


def executor(number, code=0, reason="Error", **status):
    state = {"terminated": {"exitCode": code, "reason": reason}} if code else {"running": {}}
    return pod(f"etl-1-exec-{number}", "spark-kubernetes-executor", state=state, **status)


def disruption(reason):
    return {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "taken away"}


def event(reason, message):
    return {"type": "Warning", "reason": reason, "message": message}


def evidence(message="", *, state="FAILED", phase=Phase.FAILED, executor_state=None, **facts):
    verdict = Verdict(phase, state=state, message=message, attempt=1)
    obj = {"metadata": {"name": "etl-1"}, "status": {"executorState": executor_state or {}}}
    return Evidence(REF, obj, verdict, DRIVER_CONTAINER, **facts)


EXIT_1 = "driver container failed with ExitCode: 1, Reason: Error"
TRACEBACK = ("Traceback (most recent call last):", '  File "x.py", line 1', "ValueError: no such column")
LOST = ("ERROR TaskSetManager: ExecutorLostFailure (executor 2 exited caused by one of the running tasks) code 143",)
SUBMIT = "failed to submit spark application: failed to run spark-submit: "

ABORTED_BY_TORCHRUN = (
    "Root Cause (first observed failure):", "  rank : 1 (local_rank: 0)", "  exitcode : -6 (pid: 8)",
)  # fmt: skip
GONE = Verdict(Phase.FAILED, reason="BackoffLimitExceeded/Evicted", message="x", retryable=True)
SSH_LOST = "Connection to w-1.w.default.svc closed by remote host."
ENDED_BY_HOROVODRUN = ("Process 1 exit with status code 7.",)


def distributed(role, code, log, reason="Error"):
    """Evidence of a job whose first failed rank is this one."""
    failed = pod("job-x", "main", state={"terminated": {"exitCode": code, "reason": reason}})
    ranks = (Rank("worker-0", pod("job-y", "main"), "main"), Rank(role, failed, "main", tuple(log)))
    return replace(evidence(), container="main", pod=failed, rank=role, log=tuple(log), ranks=ranks)


CASES = {
    "python traceback": (
        evidence(EXIT_1, pod=ended(1), log=TRACEBACK),
        exceptions.ApplicationError,
        "exit code 1: ValueError: no such column",
    ),
    "exit code from the message when the pod is gone": (
        evidence("driver container failed with ExitCode: 3, Reason: Error"),
        exceptions.ApplicationError,
        "exit code 3",
    ),
    "sidecar before the driver": (evidence(pod=ended(4, sidecar=True)), exceptions.ApplicationError, "exit code 4"),
    "missing main file": (
        evidence(pod=ended(2), log=("python3: can't open file '/opt/x.py': [Errno 2] No such file",)),
        exceptions.ApplicationError,
        "can't open file '/opt/x.py'",
    ),
    "driver timeout": (evidence(pod=ended(124)), exceptions.ApplicationError, "exit code 124"),
    "oom killed": (
        evidence(pod=ended(137, "OOMKilled")),
        exceptions.OutOfMemoryError,
        "memory than its limit (OOMKilled)",
    ),
    "oom killed, from the message": (
        evidence("driver container failed with ExitCode: 137, Reason: OOMKilled"),
        exceptions.OutOfMemoryError,
        "OOMKilled",
    ),
    "heap": (
        evidence(pod=ended(1), log=("java.lang.OutOfMemoryError: Java heap space",)),
        exceptions.OutOfMemoryError,
        "Java heap space",
    ),
    "heap by exit code": (evidence(pod=ended(52)), exceptions.OutOfMemoryError, "ran out of heap"),
    "sigkill": (evidence(pod=ended(137)), exceptions.ContainerKilledError, "SIGKILL (exit code 137)"),
    "sigterm": (evidence(pod=ended(143)), exceptions.ContainerKilledError, "SIGTERM"),
    "segfault is its own fault": (evidence(pod=ended(139)), exceptions.ApplicationError, "SIGSEGV"),
    "no such signal": (evidence(pod=ended(255)), exceptions.ApplicationError, "exit code 255"),
    "evicted": (evidence(pod=ended(137, reason="Error"), state="FAILED"), exceptions.ContainerKilledError, "SIGKILL"),
    "evicted by the node": (
        evidence(pod=pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory.")),
        exceptions.EvictedError,
        "low on resource: memory",
    ),
    "preempted": (
        evidence(pod=ended(143, conditions=[disruption("PreemptionByScheduler")])),
        exceptions.EvictedError,
        "PreemptionByScheduler",
    ),
    "node drained by taint": (
        evidence(pod=ended(143, conditions=[disruption("DeletionByTaintManager")])),
        exceptions.NodeLostError,
        "DeletionByTaintManager",
    ),
    "node gone, only an event is left": (
        evidence("driver pod not found", events=(event("TaintManagerEviction", "Marking for deletion Pod x"),)),
        exceptions.NodeLostError,
        "Marking for deletion",
    ),
    "end not recorded": (evidence("driver container status missing"), exceptions.NodeLostError, "not recorded"),
    "driver pod deleted by hand": (
        evidence("driver pod not found"),
        exceptions.JobDeletedError,
        "driver pod not found",
    ),
    "image": (
        evidence(pod=waiting("ImagePullBackOff", "Back-off pulling image")),
        exceptions.ImagePullError,
        "registry/etl:1.0",
    ),
    "quota": (
        evidence(SUBMIT + 'Message: pods "x" is forbidden: exceeded quota: small, requested: cpu=4'),
        exceptions.QuotaExceededError,
        "exceeded quota: small",
    ),
    "submission forbidden": (
        evidence(SUBMIT + "io.fabric8…\nMessage: pods is forbidden: User cannot create resource"),
        exceptions.SubmissionFailedError,
        "User cannot create resource",
    ),
    "submission": (
        evidence(SUBMIT + 'stderr\nException in thread "main" org.apache.spark.SparkException: bad conf\n\tat a.b'),
        exceptions.SubmissionFailedError,
        "bad conf",
    ),
    "executors lost": (
        evidence(EXIT_1, pod=ended(1), log=LOST, others=(executor(1), executor(2, 143))),
        exceptions.ExecutorsLostError,
        "etl-1-exec-2: Error (exit code 143)",
    ),
    "executors evicted": (
        evidence(
            EXIT_1, pod=ended(1), log=LOST, others=(executor(2, 137, conditions=[disruption("EvictionByEvictionAPI")]),)
        ),
        exceptions.ExecutorsLostError,
        "etl-1-exec-2: EvictionByEvictionAPI",
    ),
    "executors out of memory": (
        evidence(EXIT_1, pod=ended(1), log=LOST, others=(executor(2, 137, "OOMKilled"),)),
        exceptions.OutOfMemoryError,
        "Executors ran out of memory",
    ),
    "executors out of memory, their pods gone": (
        evidence(EXIT_1, pod=ended(1), log=(*LOST, "exit code 137, termination reason: OOMKilled")),
        exceptions.OutOfMemoryError,
        "Executors ran out of memory",
    ),
    "executors killed": (
        evidence(EXIT_1, pod=ended(1), log=(LOST[0].replace("143", "137(SIGKILL, possible container OOM)"),)),
        exceptions.ExecutorsLostError,
        "SIGKILL",
    ),
    "too many executor failures": (
        evidence(pod=ended(11)),
        exceptions.ExecutorsLostError,
        "too many executor failures",
    ),
    "a rank, told by its launcher": (
        distributed("launcher", 1, ["[1]<stderr>:" + line for line in (*TRACEBACK, *ENDED_BY_HOROVODRUN)]),
        exceptions.ApplicationError,
        "Rank 1 (told by launcher) ended with exit code 7: ValueError: no such column",
    ),
    "a rank killed, told by its launcher": (
        distributed("launcher", 1, ["mpirun noticed that process rank 0 with PID 7 on node w exited on signal 9 (x)."]),
        exceptions.ContainerKilledError,
        "Rank 0 (told by launcher) was killed by SIGKILL",
    ),
    "a rank that ssh lost, told by its launcher": (
        distributed("launcher", 1, [f"[1]<stderr>:{SSH_LOST}", "Process 1 exit with status code 255."]),
        exceptions.ContainerKilledError,
        "Rank 1 (told by launcher) was lost with its pod (ssh ended with exit code 255)",
    ),
    "a rank that gave up with -1": (
        distributed("launcher", 1, ["[1]<stdout>:bad configuration", "Process 1 exit with status code 255."]),
        exceptions.ApplicationError,
        "Rank 1 (told by launcher) ended with exit code 255",
    ),
    "a rank that gave up with -1, by torchrun": (
        distributed("node-0", 1, [line.replace("-6", "255") for line in ABORTED_BY_TORCHRUN]),
        exceptions.ApplicationError,
        "(told by node-0) ended with exit code 255",
    ),
    "a rank that ended with what ssh's own code is": (
        distributed("launcher", 1, [*(f"[1]<stderr>:{x}" for x in TRACEBACK), "Process 1 exit with status code 255."]),
        exceptions.ApplicationError,
        "Rank 1 (told by launcher) ended with exit code 255: ValueError: no such column",
    ),
    "a rank by itself": (
        distributed("worker-1", 11, TRACEBACK),
        exceptions.ApplicationError,
        "worker-1 ended with exit code 11: ValueError: no such column",
    ),
    "a rank out of memory": (
        distributed("worker-1", 137, (), "OOMKilled"),
        exceptions.OutOfMemoryError,
        "worker-1 was killed for using more memory than its limit",
    ),
    "a rank whose error leaves its process group behind": (
        distributed("node-1", 1, [*(f"[rank1]: {line}" for line in TRACEBACK), *ABORTED_BY_TORCHRUN]),
        exceptions.ApplicationError,
        "Rank 1 (told by node-1) ended with exit code 134: ValueError: no such column",
    ),
    "a deadline of the job's own": (
        replace(
            distributed("worker-0", 143, ()),
            verdict=Verdict(Phase.FAILED, reason="Failed/DeadlineExceeded", message="Job was active longer than 9 s"),
        ),
        exceptions.ExecutionTimeoutError,
        "failed: Job was active longer than 9 s",
    ),
    "evicted, and its pods are gone": (
        replace(evidence(), verdict=GONE),
        exceptions.EvictedError,
        "failed: x",
    ),
    "no cause at all": (evidence(state="FAILED"), exceptions.JobFailedError, "FAILED"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_classify(case):
    found, error, text = case
    cause = classify(found)
    assert cause.error is error
    assert text in cause.summary
    assert "\n" not in cause.summary
    assert cause.advice


def test_every_cause_but_the_unknown_says_whether_a_retry_helps():
    unknown = {name for name, (found, _, _) in CASES.items() if classify(found).error is exceptions.JobFailedError}
    assert unknown == {"no cause at all"}
    for found, error, _ in CASES.values():
        if error is not exceptions.JobFailedError:
            assert issubclass(classify(found).error, RetryableError) != issubclass(error, PermanentError)


PENDING = {"phase": Phase.PENDING, "state": "SUBMITTED"}
EXPIRED = {
    "unschedulable": (
        evidence(
            pod=pod(
                conditions=[
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
                ]
            ),
            **PENDING,
        ),
        "startup",
        exceptions.StartupTimeoutError,
        "Unschedulable): 0/3 nodes",
    ),
    "missing config map": (
        evidence(pod=waiting("CreateContainerConfigError", 'configmap "x" not found'), **PENDING),
        "startup",
        exceptions.StartupTimeoutError,
        'configmap "x" not found',
    ),
    "image": (
        evidence(pod=waiting("ErrImagePull"), **PENDING),
        "startup",
        exceptions.ImagePullError,
        "within startup_timeout",
    ),
    "untouched": (
        evidence(phase=Phase.PENDING, state=""),
        "startup",
        exceptions.StartupTimeoutError,
        "no controller has touched it",
    ),
    "only an event": (
        evidence(events=(event("FailedCreate", "no"),), **PENDING),
        "startup",
        exceptions.StartupTimeoutError,
        "FailedCreate: no",
    ),
    "nothing known": (evidence(**PENDING), "startup", exceptions.StartupTimeoutError, "PENDING (SUBMITTED)"),
    "queue": (
        evidence(phase=Phase.QUEUED, state="SUSPENDED"),
        "queue",
        exceptions.QueueTimeoutError,
        "QUEUED (SUSPENDED)",
    ),
    "execution": (
        evidence(phase=Phase.RUNNING, state="RUNNING"),
        "execution",
        exceptions.ExecutionTimeoutError,
        "RUNNING",
    ),
}


@pytest.mark.parametrize("case", EXPIRED.values(), ids=EXPIRED)
def test_classify_expired_says_what_it_was_waiting_for(case):
    found, expired, error, text = case
    cause = classify_expired(found, expired)
    assert cause.error is error
    assert text in cause.summary


def test_classify_deleted():
    cause = classify_deleted(evidence(phase=Phase.RUNNING, state="RUNNING"))
    assert cause.error is exceptions.JobDeletedError
    assert "deleted while it was RUNNING" in cause.summary


def test_failed_pods_adds_what_the_status_kept_of_vanished_executors():
    found = evidence(
        others=(executor(1, 143), executor(2)),
        executor_state={"e-3": "FAILED", "e-4": "COMPLETED", "etl-1-exec-1": "FAILED"},
    )
    assert failed_pods(found) == ["etl-1-exec-1: Error (exit code 143)", "e-3: failed"]


def test_failed_pods_learns_from_events_how_vanished_executors_ended():
    told = event("SparkExecutorFailed", "Executor e-3 failed with ExitCode: 137, Reason: OOMKilled")
    found = evidence(EXIT_1, pod=ended(1), log=LOST, events=(told,), executor_state={"e-3": "FAILED"})
    assert failed_pods(found) == ["e-3: OOMKilled (exit code 137)"]
    assert classify(found).error is exceptions.OutOfMemoryError


def test_a_hundred_lost_executors_are_still_one_line():
    found = evidence(pod=ended(11), executor_state={f"e-{n:03}": "FAILED" for n in range(100)})
    assert classify(found).summary.endswith("e-004: failed; and 95 more")


def test_exit_prefers_the_pod_over_the_message():
    assert evidence(EXIT_1, pod=ended(9)).exit == Exit(9, "Error")
    assert evidence(EXIT_1, pod=pod()).exit == Exit(1, "Error")
    assert evidence("nothing").exit is None


JOB = ResourceRef("batch/v1", "Job", "team-a", "train-1", "uid-1")
GOING = {"metadata": {"name": "p", "uid": "p", "deletionTimestamp": "2026-11-23T10:00:00Z"}, "status": {}}


@pytest.mark.parametrize(
    ("facts", "gone"),
    [
        ({}, True),
        ({"pod": GOING, "others": (GOING,)}, True),
        # One that failed by itself stays as long as its Job does.
        ({"pod": ended(3, container="worker")}, False),
        ({"pod": pod(container="worker")}, False),
        ({"others": (pod(container="worker"),)}, False),
        ({"unread": ("pods: forbidden",)}, False),
    ],
)
def test_a_job_that_failed_and_whose_pods_are_gone_was_drained(facts, gone):
    verdict = Verdict(Phase.FAILED, state="Failed", reason="BackoffLimitExceeded", message="backoff limit", attempt=1)
    cause = classify(Evidence(JOB, {"metadata": {"name": "train-1"}}, verdict, "worker", **facts))
    assert (cause.error is exceptions.JobDeletedError) is gone
    deadline = replace(verdict, reason="DeadlineExceeded")
    assert classify(Evidence(JOB, {}, deadline, "worker", **facts)).error is not exceptions.JobDeletedError
