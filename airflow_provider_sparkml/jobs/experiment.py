"""Waiting for an Experiment whose trials are in a queue: Kueue admits each, and the Experiment does not tell."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
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
STALLED_SECONDS = 600.0
"""How long Katib may take to make the next trial while all that are there are deactivated."""


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
    has deactivated as many as Katib lets run at once, since trials that never end leave no room for others. Where there
    are fewer, Katib is about to make more, unless its algorithm waits for those: then it is given some time.
    """
    trials = _Trials(hub, resource, log)
    resource = replace(resource, read=trials.read)
    return await wait(client, trials, resource, ref, deadlines, log=log, on_change=on_change, queue=trials)


@dataclass(frozen=True, slots=True)
class Held:
    """What Kueue says of a trial's newest job.

    :param admission: what is told of it; ``None`` where it is admitted, has ended, or has no Workload yet.
    :param since: RFC 3339 time of the last that happened to it.
    """

    admission: Admission | None
    since: str


def held(workloads: Sequence[Manifest], trial: str) -> Held:
    """Return what Kueue says of a trial, by all Workloads of its jobs.

    A job that was deleted by hand is made anew, and its Workload with it. An elastic one has a second Workload as long
    as that is not admitted.

    :param workloads: at least one.
    :param trial: its name, which its job has as well.
    """

    def job(workload: Manifest) -> str:
        owners = workload["metadata"].get("ownerReferences") or ()
        return next((str(each.get("uid")) for each in owners if each.get("name") == trial), "")

    newest = max(workloads, key=lambda each: str(each["metadata"].get("creationTimestamp")))
    its = [each for each in workloads if job(each) == job(newest)]
    waiting = [each for each in its if not _is_over(each)]
    last = max(map(_last_change, its))
    if not waiting or any(_holds(each, "Admitted") for each in waiting):
        return Held(None, last)
    return Held(read_admission(newest if newest in waiting else waiting[-1]), last)


def queued(experiment: Manifest, verdict: Verdict, trials: Mapping[str, Held], *, ran: bool = False) -> Verdict:
    """Return the verdict on an Experiment that runs, ``QUEUED`` where none of its trials may.

    After a trial has ended, Katib takes a moment to make the next: those that are there are not all that will be. Nor
    do they tell since when nothing runs, unless the newest of them was made after the last end, or none has ended: then
    the queue's clock is the wait's own.

    :param experiment: the Experiment.
    :param verdict: what its own status says.
    :param trials: what Kueue says of each trial of which it says anything.
    :param ran: whether a trial has been seen running.
    """
    names = unfinished(experiment)
    found = {name: trials[name] for name in names if name in trials}
    admissions = {name: each.admission for name, each in found.items() if each.admission is not None}
    if verdict.phase is not Phase.RUNNING or not names or len(admissions) < len(names):
        return verdict
    lines = [f"trial {name}: {_line(admission)}" for name, admission in admissions.items()]
    if len(lines) > _TOLD:
        lines[_TOLD:] = ["…"]
    refused = len(names) >= _wanted(experiment) and all(each.deactivated for each in admissions.values())
    known = len(names) >= _parallel(experiment) or len(names) >= (experiment["status"].get("trials") or 0)
    return replace(
        verdict,
        phase=Phase.QUEUED,
        reason=admissions[names[0]].deactivated if refused else "",
        message="; ".join([verdict.message, *lines]),
        queued_since=max(each.since for each in found.values()) if known and not ran else "",
    )


def unfinished(experiment: Manifest) -> list[str]:
    """Return the names of the trials that have not ended."""
    status = experiment.get("status") or {}
    return [*(status.get("runningTrialList") or ()), *(status.get("pendingTrialList") or ())]


def _parallel(experiment: Manifest) -> int:
    """Return how many trials Katib lets run at once."""
    return int((experiment.get("spec") or {}).get("parallelTrialCount") or _PARALLEL)


def _wanted(experiment: Manifest) -> int:
    """Return how many trials there are to be now."""
    most = (experiment.get("spec") or {}).get("maxTrialCount")
    done = sum(experiment["status"].get(each) or 0 for each in _DONE)
    return _parallel(experiment) if most is None else min(_parallel(experiment), int(most) - done)


def _is_over(workload: Manifest) -> bool:
    """Return whether a workload holds nobody back any more."""
    return bool(workload["metadata"].get("deletionTimestamp")) or _holds(workload, "Finished")


def _last_change(workload: Manifest) -> str:
    """Return when a workload was made, admitted or taken back, or had ended: what came last."""
    times = [_condition(workload, kind).get("lastTransitionTime") for kind in ("Admitted", "Finished")]
    return max(str(each) for each in (workload["metadata"].get("creationTimestamp"), *times) if each)


def _holds(workload: Manifest, kind: str) -> bool:
    return _condition(workload, kind).get("status") == "True"


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
        self._workloads: dict[str, list[Manifest]] = {}  # by trial
        self._ran = False  # whether a trial has been seen running
        self._stalled: tuple[frozenset[str], float] | None = None  # deactivated trials, and since when nothing happens
        self._refused = Admission()  # what is said of these
        self._told: set[str] = set()
        self._refusal = ""
        self._refusal_told = False

    async def follow(
        self, api: ApiResource, namespace: str | None, name: str, *, label_selector: str = ""
    ) -> AsyncGenerator[Manifest | None, None]:
        """Yield the Experiment whenever it, or a Workload of its trials, has changed; no labels select these."""
        watched, latest = [Watched(api, name)], list[Manifest | None]()
        if not self._refusal:
            watched.append(Watched(WORKLOAD, matching=f'"name":"{name}-'))
        while True:
            try:
                async with aclosing(merged(self._hub, namespace, watched)) as changes:
                    async for which, obj in changes:
                        if which.api == api:
                            latest = [obj]
                        elif obj is not None:
                            self._take(obj["items"], name)
                        if latest:
                            self._tell(latest[0])
                            yield latest[0]
            except (ForbiddenError, ResourceTypeNotFoundError) as error:
                if len(watched) == 1:
                    raise
                watched.pop()
                self._workloads = {}
                self._refusal = str(error)

    def read(self, experiment: Manifest) -> Verdict:
        """Return the verdict; an Experiment is queued while all trials that are there are."""
        trials = self._trials(experiment)
        verdict = queued(experiment, self._resource.read(experiment), trials, ran=self._ran)
        self._ran = self._ran or any(each.admission is None for each in trials.values())
        said = [each.admission for each in trials.values() if each.admission is not None]
        stalled = verdict.phase is Phase.QUEUED and all(each.deactivated for each in said)
        names = frozenset(trials)
        if not stalled:
            self._stalled = None
        elif self._stalled is None or self._stalled[0] != names:
            self._stalled = (names, time.monotonic())
            self._refused = replace(said[0], message=f"{verdict.message}; Katib makes no other trial meanwhile")
        return verdict

    async def visit(self, queue: str) -> Admission | None:
        """Return the refusal if Katib has made no other trial for long while all that are there are deactivated."""
        stalled = self._stalled
        return self._refused if stalled is not None and time.monotonic() - stalled[1] > STALLED_SECONDS else None

    def _trials(self, experiment: Manifest) -> dict[str, Held]:
        """Return what Kueue says of each trial that has not ended."""
        return {name: held(self._workloads[name], name) for name in unfinished(experiment) if name in self._workloads}

    def _take(self, workloads: Iterable[Manifest], experiment: str) -> None:
        """Keep the Workloads of trials: the job of one has its name."""
        self._workloads = {}
        for workload in workloads:
            for owner in workload["metadata"].get("ownerReferences") or ():
                if str(owner.get("name")).startswith(f"{experiment}-"):
                    self._workloads.setdefault(owner["name"], []).append(workload)

    def _tell(self, experiment: Manifest | None) -> None:
        """Tell, once, of each trial that will never run unless somebody does something, and of what cannot be seen."""
        if experiment is None:
            return
        if self._refusal and not self._refusal_told and QUEUE_NAME in (experiment["metadata"].get("labels") or {}):
            self._log.info("Whether Kueue keeps its trials waiting will not be seen: %s", self._refusal)
            self._refusal_told = True
        for name, trial in self._trials(experiment).items():
            if trial.admission is not None and trial.admission.deactivated and name not in self._told:
                self._told.add(name)
                self._log.warning("Kueue: trial %s: %s; only spec.active lets it go on", name, _line(trial.admission))


__all__ = ["STALLED_SECONDS", "Held", "held", "queued", "unfinished", "wait_for_trials"]
