"""Waiting for an Experiment whose trials are in a queue: Kueue admits each, and the Experiment does not tell."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.exceptions import ForbiddenError, ResourceTypeNotFoundError
from airflow_provider_sparkml.jobs.kueue import QUEUE_NAME, WORKLOAD, Admission, read_admission
from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.jobs.merged import Watched, merged
from airflow_provider_sparkml.jobs.outcome import Deadlines, Outcome
from airflow_provider_sparkml.jobs.wait import OnChange, wait
from airflow_provider_sparkml.resources.base import ApiResource, Manifest, Phase, Resource, ResourceRef, Verdict

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient
    from airflow_provider_sparkml.client.watch import WatchHub

_TOLD = 3
"""Of how many waiting trials the reasons are told."""
_PARALLEL = 3
"""Katib's default of ``parallelTrialCount`` (DefaultTrialParallelCount in experiment_defaults.go)."""
_DONE = ("trialsSucceeded", "trialsFailed", "trialsKilled", "trialsEarlyStopped")
"""What Katib counts as done when it makes more trials (ReconcileTrials in experiment_controller.go)."""


async def wait_for_trials(
    client: KubernetesClient,
    hub: WatchHub,
    resource: Resource,
    ref: ResourceRef,
    deadlines: Deadlines,
    *,
    log: JobLog,
    on_change: OnChange | None = None,
) -> Outcome:
    """Wait until an Experiment ends, or a deadline passes; see :func:`~.wait.wait`.

    While Kueue has admitted none of the trials that are there, the Experiment is ``QUEUED``; so it is for good when it
    has deactivated as many as Katib lets run at once, since trials that never end leave no room for others.
    """
    trials = _Trials(hub, resource, log)
    return await wait(client, trials, replace(resource, read=trials.read), ref, deadlines, log=log, on_change=on_change)


def queued(experiment: Manifest, verdict: Verdict, workloads: Mapping[str, Manifest]) -> Verdict:
    """Return the verdict on an Experiment that runs, ``QUEUED`` where none of its trials may.

    After a trial has ended, Katib takes a moment to make the next: those that are there are not all that will be. Nor
    do they tell since when nothing runs, unless the newest of them was made after the last end, or none has ended: then
    the queue's clock is the wait's own.

    :param experiment: the Experiment.
    :param verdict: what its own status says.
    :param workloads: the Workload of each trial's job, by the trial's name, which is the job's as well.
    """
    trials = _unfinished(experiment)
    found = {name: workloads[name] for name in trials if name in workloads and not _is_admitted(workloads[name])}
    if verdict.phase is not Phase.RUNNING or not trials or len(found) < len(trials):
        return verdict
    admissions = {name: read_admission(workload) for name, workload in found.items()}
    lines = [f"trial {name}: {_line(admission)}" for name, admission in admissions.items()]
    if len(lines) > _TOLD:
        lines[_TOLD:] = ["…"]
    refused = len(trials) >= _wanted(experiment) and all(each.deactivated for each in admissions.values())
    known = len(trials) >= _parallel(experiment) or len(trials) >= (experiment["status"].get("trials") or 0)
    return replace(
        verdict,
        phase=Phase.QUEUED,
        reason=admissions[trials[0]].deactivated if refused else "",
        message="; ".join([verdict.message, *lines]),
        queued_since=max(map(_held_since, found.values())) if known else "",
    )


def _unfinished(experiment: Manifest) -> list[str]:
    """Return the names of the trials that have not ended."""
    status = experiment.get("status") or {}
    return [*(status.get("runningTrialList") or ()), *(status.get("pendingTrialList") or ())]


def _parallel(experiment: Manifest) -> int:
    """Return how many trials Katib lets run at once."""
    return int((experiment.get("spec") or {}).get("parallelTrialCount") or _PARALLEL)


def _wanted(experiment: Manifest) -> int:
    """Return how many trials there are to be now; where a search has no more to suggest there are fewer, for good."""
    most = (experiment.get("spec") or {}).get("maxTrialCount")
    done = sum(experiment["status"].get(each) or 0 for each in _DONE)
    return _parallel(experiment) if most is None else min(_parallel(experiment), int(most) - done)


def current(workloads: Collection[Manifest], trial: str) -> Manifest:
    """Return the Workload that tells of a trial: of its newest job, and an admitted one where that has several.

    A job that was deleted by hand is made anew, and an elastic one has a second Workload until that is admitted.

    :param workloads: those of the trial's jobs that are neither finished nor being deleted, at least one.
    :param trial: its name.
    """

    def job(workload: Manifest) -> str:
        owners = workload["metadata"].get("ownerReferences") or ()
        return next((str(each.get("uid")) for each in owners if each.get("name") == trial), "")

    newest = max(workloads, key=lambda each: str(each["metadata"].get("creationTimestamp")))
    return next((each for each in workloads if job(each) == job(newest) and _is_admitted(each)), newest)


def _is_over(workload: Manifest) -> bool:
    """Return whether a workload holds nobody back any more."""
    being_deleted = workload["metadata"].get("deletionTimestamp")
    return bool(being_deleted) or _condition(workload, "Finished").get("status") == "True"


def _is_admitted(workload: Manifest) -> bool:
    return _condition(workload, "Admitted").get("status") == "True"


def _held_since(workload: Manifest) -> str:
    """Return since when a workload is not admitted: from its beginning, or since it was taken back."""
    return str(_condition(workload, "Admitted").get("lastTransitionTime") or workload["metadata"]["creationTimestamp"])


def _condition(workload: Manifest, kind: str) -> Mapping[str, Any]:
    conditions = (workload.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def _line(admission: Admission) -> str:
    if admission.deactivated:
        return f"its workload is deactivated ({admission.deactivated}): {admission.message}"
    return admission.line or "waits for Kueue"


class _Trials:
    """Follows an Experiment together with the Workloads of its trials, as if they were one object."""

    def __init__(self, hub: WatchHub, resource: Resource, log: JobLog) -> None:
        self._hub = hub
        self._resource = resource
        self._log = log
        self._workloads: dict[str, dict[str, Manifest]] = {}  # of each trial, by UID
        self._told: set[str] = set()
        self._refusal = ""
        self._refusal_told = False

    async def follow(
        self, api: ApiResource, namespace: str | None, name: str, *, label_selector: str = ""
    ) -> AsyncGenerator[Manifest | None, None]:
        """Yield the Experiment whenever it, or a Workload of its trials, has changed; no labels select these."""
        watched, latest = [Watched(api, name)], list[Manifest | None]()
        if not self._refusal:
            watched.append(Watched(WORKLOAD, containing=f'"name":"{name}-'))
        while True:
            try:
                async with aclosing(merged(self._hub, namespace, watched)) as changes:
                    async for which, obj in changes:
                        if which.api == api:
                            latest = [obj]
                        elif obj is None or not self._take(obj, name):
                            continue
                        if latest:
                            self._tell(latest[0])
                            yield latest[0]
            except (ForbiddenError, ResourceTypeNotFoundError) as error:
                if len(watched) == 1:
                    raise
                watched.pop()
                self._workloads.clear()
                self._refusal = str(error)

    def read(self, experiment: Manifest) -> Verdict:
        """Return the verdict; an Experiment is queued while all trials that are there are."""
        return queued(experiment, self._resource.read(experiment), self._current())

    def _current(self) -> dict[str, Manifest]:
        """Return the Workload of each trial that has one."""
        return {trial: current(found.values(), trial) for trial, found in self._workloads.items() if found}

    def _take(self, workload: Manifest, experiment: str) -> bool:
        """Keep the Workload of a trial; return whether it is one: its job has the trial's name."""
        owners = [str(each.get("name")) for each in workload["metadata"].get("ownerReferences") or ()]
        trials = [name for name in owners if name.startswith(f"{experiment}-")]
        for trial in trials:
            found = self._workloads.setdefault(trial, {})
            if _is_over(workload):
                found.pop(workload["metadata"]["uid"], None)
            else:
                found[workload["metadata"]["uid"]] = workload
        return bool(trials)

    def _tell(self, experiment: Manifest | None) -> None:
        """Tell, once, of each trial that will never run unless somebody does something, and of what cannot be seen."""
        if experiment is None:
            return
        if self._refusal and not self._refusal_told and QUEUE_NAME in (experiment["metadata"].get("labels") or {}):
            self._log.info("Whether Kueue keeps its trials waiting will not be seen: %s", self._refusal)
            self._refusal_told = True
        workloads = self._current()
        for name in _unfinished(experiment):
            admission = read_admission(workloads[name]) if name in workloads else Admission()
            if admission.deactivated and name not in self._told:
                self._told.add(name)
                self._log.warning("Kueue: trial %s: %s; only spec.active lets it go on", name, _line(admission))


__all__ = ["current", "queued", "wait_for_trials"]
