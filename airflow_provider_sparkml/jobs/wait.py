"""Waiting for a job to end: one coroutine, awaited by the trigger when deferred and by the worker when not."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from airflow_provider_sparkml.exceptions import (
    ApiError,
    ApiUnavailableError,
    ForbiddenError,
    NotFoundError,
    ResourceTypeNotFoundError,
)
from airflow_provider_sparkml.jobs.advice import controller_of, explained
from airflow_provider_sparkml.jobs.follow import FollowedLog
from airflow_provider_sparkml.jobs.kueue import DEACTIVATED, QUEUE_NAME, Admission, QueueWatch
from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.jobs.outcome import Deadlines, Expired, Outcome, epoch
from airflow_provider_sparkml.jobs.pods import locate, resolve
from airflow_provider_sparkml.jobs.progress import Progress
from airflow_provider_sparkml.jobs.rounds import Rounds, rounds
from airflow_provider_sparkml.jobs.startup import began_at, held_back_by, is_over
from airflow_provider_sparkml.jobs.warning_events import WarningEvents
from airflow_provider_sparkml.resources.base import (
    ApiResource,
    LogSource,
    Manifest,
    Phase,
    Resource,
    ResourceRef,
    Verdict,
)
from airflow_provider_sparkml.resources.core import POD

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient


class Follows(Protocol):
    """What a wait needs of a watch; :class:`~airflow_provider_sparkml.client.watch.WatchHub` has it."""

    def follow(
        self, api: ApiResource, namespace: str | None, name: str, *, label_selector: str = ""
    ) -> AsyncGenerator[Manifest | None, None]:
        """Yield the object as it is now, then each change; ``None`` when absent."""


class Queue(Protocol):
    """Where a wait asks whether a ``QUEUED`` job waits in vain; by default its own Workload says so."""

    async def visit(self, queue: str) -> Admission | None:
        """Return where the job stands; ``None`` where nobody says. ``queue`` is what its label names."""


OnChange = Callable[[Manifest], Awaitable[None]]
"""What a caller of :func:`wait` does with a changed object."""
UNTOUCHED_SECONDS = 30.0
"""After how long without any status a wait says that no controller seems to care."""
RUNNING_EVENTS_SECONDS = 60.0
"""How often a running job's events are looked at; before it runs, in every visit."""
_API_AWAY_SECONDS = 10.0
_TYPE_AWAY_SECONDS = 60.0


async def wait(
    client: KubernetesClient,
    hub: Follows,
    resource: Resource,
    ref: ResourceRef,
    deadlines: Deadlines,
    *,
    log: JobLog,
    on_change: OnChange | None = None,
    queue: Queue | None = None,
) -> Outcome:
    """Wait until a job ends, is deleted, or a deadline passes; tell the task's log what happens meanwhile.

    It costs no request and no timer of its own but one for the deadline: the hub's shared watch brings every change.
    It may be cancelled and started anew, in another process too: all it knows it reads from the object.

    :param client: the cluster.
    :param hub: the shared watch, a :class:`~airflow_provider_sparkml.client.watch.WatchHub`.
    :param resource: the kind.
    :param ref: the job.
    :param deadlines: when to give up. The job is left as it is then: :func:`~.finish.finish` deletes it.
    :param log: the task's log: phase changes, warning events, the main container's log, progress.
    :param on_change: awaited with the object whenever its phase, its run or its facts have changed, at the end too;
        what it raises ends the wait.
    :param queue: who knows of the queue of a kind that Kueue does not.
    :return: how it ended; a failed job is an outcome too.
    :raises ForbiddenError: reading the job is not allowed.
    """
    job = WatchedJob(client, resource, ref, deadlines, log, on_change=on_change, queue=queue)
    job.rounds.join(job)
    try:
        with explained("watch", resource.api, ref.namespace):
            outcome = await _until_end(job, hub)
        return await job.finish(outcome)
    finally:
        # Cancelled or not, nothing that this wait opened outlives it.
        await job.rounds.leave(job)
        await job.close()


async def _until_end(job: WatchedJob, hub: Follows) -> Outcome:
    """Follow the object until it says how the wait ends, or the deadline in force does."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            selector = job.resource.watch_selector
            changes = hub.follow(job.resource.api, job.ref.namespace, job.ref.name, label_selector=selector)
            async with asyncio.timeout(None) as limit, aclosing(changes):
                job.give_up = functools.partial(_expire, limit)
                async for obj in changes:
                    ended = await job.observe(obj)
                    if ended is not None:
                        return ended
                    due = job.due()
                    limit.reschedule(None if due is None else loop.time() + due - time.time())
        except TimeoutError:
            if not limit.expired():
                raise
            expired = await job.settle()
            if expired is not None:
                return expired
            # The wall clock was set back meanwhile, or another deadline is in force: it is not time yet.


class WatchedJob:
    """One job as one wait knows it; small, since a triggerer holds a thousand."""

    __slots__ = (
        "_began", "_client", "_created", "_deadlines", "_earlier", "_events", "_events_due", "_facts", "_followed",
        "_gang", "_hinted", "_known", "_log", "_look_again", "_looked", "_on_change", "_pod", "_progress", "_queue",
        "_queue_name", "_ran", "_refused", "_rest", "_since", "_source", "_told", "_verdict", "give_up", "ref",
        "resource", "rounds",
    )  # fmt: skip

    def __init__(
        self,
        client: KubernetesClient,
        resource: Resource,
        ref: ResourceRef,
        deadlines: Deadlines,
        log: JobLog,
        *,
        on_change: OnChange | None = None,
        queue: Queue | None = None,
    ) -> None:
        self.resource = resource
        self.ref = ref
        self.rounds: Rounds = rounds()
        self._client = client
        self._deadlines = deadlines
        self._log = log
        self._on_change = on_change
        # Of the object only what visits need: as a dict it would be the largest part of a wait.
        self._source: LogSource | None = None
        self._rest: tuple[str, tuple[str, int] | None] = ("", None)
        self._created: float | None = None
        self._queue_name = ""
        self._facts = 0
        self._verdict = self._known = Verdict(Phase.UNKNOWN)
        self._ran: str | None = None
        self._told = ""
        self._events_due = 0.0
        self._hinted = False
        self._pod = ("", "")
        # Made in the first visit that needs them: in a crowd most waits never do.
        self._followed: FollowedLog | None = None
        self._progress: Progress | None = None
        self._events: WarningEvents | None = None
        self._queue = queue
        self._refused: Admission | None = None
        # Since when this wait sees it in its phase, for objects that do not say.
        self._since = ""
        # What its pods have told: the gang scheduler that holds them back, and since when they could start.
        self._gang = self._began = ""
        self._looked = False
        self._look_again = 0.0
        self._earlier: dict[int, str] = {}
        self.give_up: Callable[[], None] = _nothing

    async def observe(self, obj: Manifest | None) -> Outcome | None:
        """Take note of the object as it is now; return the outcome if it ends the wait."""
        if obj is None or obj["metadata"]["uid"] != self.ref.uid:
            # The shared cache may still be behind a creation that is only milliseconds old, so the API has the word.
            obj = await self._read()
            if obj is None:
                self._log.warning("%s was deleted while it was %s", self.ref, self._verdict.phase)
                return Outcome(self.ref, self._verdict, deleted=True)
        moved = self._take_in(obj)
        if moved and self._on_change is not None:
            await self._on_change(obj)
        if self._verdict.phase.is_terminal:
            return Outcome(self.ref, self._verdict, earlier=self._earlier_runs())
        if self._verdict.phase is Phase.QUEUED and self._verdict.reason.startswith(DEACTIVATED):
            return Outcome(self.ref, self._verdict, expired="queue")
        if moved:
            self.rounds.urge(self)
        return None

    def _take_in(self, obj: Manifest) -> bool:
        """Keep what matters of the object, and tell what is new; return whether phase, run or facts have changed."""
        before, self._verdict = self._verdict, self._since_it_ran(self.resource.read(obj))
        if self._verdict.message and self._verdict.attempt:
            self._earlier[self._verdict.attempt] = self._verdict.message.splitlines()[0]
        if self._verdict.phase is not Phase.UNKNOWN:
            if self._verdict.phase is not self._known.phase:
                self._looked = False
                self._since = datetime.now(UTC).isoformat()
            self._known = self._verdict
        facts, self._facts = self._facts, hash(repr(self.resource.facts(obj)))
        self._source = self.resource.log_source(obj)
        self._created = epoch(obj["metadata"].get("creationTimestamp", ""))
        self._queue_name = (obj["metadata"].get("labels") or {}).get(QUEUE_NAME, "")
        self._tell(describe(self._verdict, obj))
        now = self._verdict
        return (before.phase, before.submission_id, facts) != (now.phase, now.submission_id, self._facts)

    def _earlier_runs(self) -> tuple[str, ...]:
        """Return what was last said of each earlier run of the job by its own operator, as far as this wait saw it."""
        return tuple(f"run {run}: {said}" for run, said in self._earlier.items() if run < self._verdict.attempt)

    def _since_it_ran(self, verdict: Verdict) -> Verdict:
        """Return the verdict without start-up clock where this run has been seen running: it has lost a pod of many."""
        if verdict.phase is Phase.RUNNING:
            self._ran = verdict.submission_id
        elif verdict.phase is Phase.QUEUED:
            self._ran = None
        elif verdict.phase is Phase.PENDING and self._ran == verdict.submission_id:
            return replace(verdict, pending_since="")
        return verdict

    def deadline(self) -> tuple[float, Expired] | None:
        """Return the deadline in force now, as epoch seconds and its name; UNKNOWN leaves the one before it running."""
        known = self._known
        if known.phase is Phase.PENDING:
            known = self._queued() if self._gang else replace(known, pending_since=self._pending_since())
        elif known.phase is Phase.QUEUED and not known.queued_since:
            known = replace(known, queued_since=self._since)
        return self._deadlines.next(known)

    def _pending_since(self) -> str:
        """Return the start-up clock: not before the pods could start, where they were asked; empty: it has run."""
        since = self._known.pending_since
        return self._began if since and (epoch(self._began) or 0.0) > (epoch(since) or 0.0) else since

    def _queued(self) -> Verdict:
        """Return the verdict on a PENDING job whose pods are held back."""
        return replace(self._known, phase=Phase.QUEUED, queued_since=self._pending_since() or self._since)

    def due(self) -> float | None:
        """Return when to :meth:`settle`, as epoch seconds: at the deadline in force, and at the queue's while PENDING.

        Only then is it asked whether a gang scheduler holds it back, and it is in a queue after all.
        """
        found = [self.deadline()]
        if self._known.phase is Phase.PENDING and not self._looked and not self._queue_name:
            found.append(self._deadlines.next(self._queued()))
        times = [deadline[0] for deadline in found if deadline is not None]
        return max(min(times), self._look_again) if times else None

    async def settle(self) -> Outcome | None:
        """Return how the wait ends now that it is due; of a job that has not started, its pods are asked first."""
        expired = self.expired()
        if self._known.phase is Phase.PENDING and (expired is None or expired.expired in ("startup", "queue")):
            if not await self._look_at_pods():
                self._look_again = time.time() + _API_AWAY_SECONDS
                return None
            self._looked = True
            expired = self.expired()
        if expired is not None and expired.expired and expired.verdict is self._verdict:
            phase = self._verdict.phase
            self._log.warning("%s: the %s deadline has passed while it was %s", self.ref, expired.expired, phase)
        return expired

    async def _look_at_pods(self) -> bool:
        """Take note of what the job's pods tell of its start-up; return ``False`` while the API server is away."""
        api, namespace = self.resource.api, self.ref.namespace
        try:
            obj = await self._client.get(api, self.ref.name, namespace)
            selector = self.resource.pod_selector(obj)
            if not selector:
                return True  # the kind cannot tell which are its own; all there are would say nothing of it
            pods = (await self._client.list(POD, namespace, label_selector=selector)).items
        except ApiUnavailableError:
            return False
        except ApiError as error:
            self._log.warning("Whether its pods have started was not seen: %s", str(error).splitlines()[0])
            return True
        before, self._gang, self._began = self._gang, held_back_by(pods), began_at(pods)
        if self._gang and not before:
            self._log.info("%s: its pods are in the queue of %s, so queue_timeout counts", self.ref, self._gang)
        if before and not self._gang:
            self._log.info("%s: %s has let its pods go", self.ref, before)
        if is_over(pods):
            self._ran, self._known = self._known.submission_id, replace(self._known, pending_since="")
        return True

    def expired(self) -> Outcome | None:
        """Return the outcome if the deadline in force has passed; an end that was seen comes first."""
        if self._verdict.phase.is_terminal:
            return Outcome(self.ref, self._verdict)
        if self._refused is not None and self._verdict.phase is Phase.QUEUED:
            why = replace(self._verdict, reason=self._refused.deactivated, message=self._refused.message)
            return Outcome(self.ref, why, expired="queue")
        deadline = self.deadline()
        if deadline is None or deadline[0] > time.time():
            return None
        return Outcome(self.ref, self._verdict, expired=deadline[1])

    async def visit(self) -> None:
        """Fetch live detail; the rounds say when. Nothing in here fails the wait; only Kueue's refusal ends it."""
        verdict = self._verdict
        if verdict.phase.is_terminal:
            return
        self._hint()
        await self._visit_events(verdict)
        if verdict.phase is Phase.QUEUED:
            await self._visit_queue()
        if verdict.phase is Phase.PENDING and self._gang:
            await self._look_at_pods()
            if not self._gang:
                self.give_up()  # another deadline is in force now
        if verdict.phase is not Phase.RUNNING:
            return
        if self._followed is None or self._progress is None:
            self._followed = FollowedLog(self._client, self.ref, self.rounds, self._log)
            self._progress = Progress(self._client, self.ref.namespace, self._log)
        await self._followed.visit(verdict.submission_id, await self._resolved(self._followed))
        await self._progress.visit(verdict.submission_id, await self._rest_address(verdict))

    async def _resolved(self, followed: FollowedLog) -> LogSource | None:
        """Return where the log is now; ``None`` while it is not there, or is followed and known by its labels only."""
        source = self._source
        if source is None or followed.refused:
            return None
        if source.selector and followed.is_open:
            return None  # another pod follows only when this one's log has ended
        try:
            return await resolve(self._client, self.ref.namespace, source)
        except ForbiddenError as error:
            followed.refuse(error)
        except ApiError:
            pass  # the next visit asks again
        return None

    async def _rest_address(self, verdict: Verdict) -> tuple[str, int] | None:
        """Return where this run has its REST API, read once per run from the whole object: the watch omits its spec."""
        if self._source is None:
            return None
        run = f"{verdict.submission_id}/{self._source.pod}"
        if self._rest[0] != run:
            try:
                obj = await self._client.get(self.resource.api, self.ref.name, self.ref.namespace)
            except ApiError:
                return None
            self._rest = (run, self.resource.progress(obj))
        return self._rest[1]

    async def _visit_queue(self) -> None:
        """Tell why the job is not admitted; end the wait when it never will be."""
        if self._queue is None:
            self._queue = QueueWatch(self._client, self.ref, self._log)
        admission = await self._queue.visit(self._queue_name)
        # Asked anew each time: somebody may have activated it again meanwhile.
        self._refused = admission if admission is not None and admission.deactivated else None
        if self._refused is not None:
            self.give_up()

    async def _visit_events(self, verdict: Verdict) -> None:
        """Tell new warning events: of the job, and of its main pod until that runs; while it runs less often."""
        now = asyncio.get_running_loop().time()
        if verdict.phase is Phase.RUNNING and now < self._events_due:
            return
        self._events_due = now + RUNNING_EVENTS_SECONDS
        if self._events is None:
            self._events = WarningEvents(self._client, self.ref.namespace, self._log)
        pod_uid = "" if verdict.phase is Phase.RUNNING else await self._pod_uid()
        await self._events.visit(self.ref.uid, *([pod_uid] if pod_uid else []))

    async def finish(self, outcome: Outcome) -> Outcome:
        """Read the followed log to its end, and return the outcome with that noted."""
        if self._followed is None or outcome.deleted:
            return outcome
        return replace(outcome, log_shown=await self._followed.finish())

    async def close(self) -> None:
        """End the log stream, if one is open."""
        if self._followed is not None:
            await self._followed.close()

    async def _read(self) -> Manifest | None:
        """Ask the API server itself for the job; ``None`` when it is gone."""
        api, namespace = self.resource.api, self.ref.namespace
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            try:
                with explained("get", api, namespace):
                    obj = await self._client.get(api, self.ref.name, namespace)
            except ResourceTypeNotFoundError:
                # As long as an API server that has just started may take to serve all types, it is no deletion.
                if loop.time() > begun + _TYPE_AWAY_SECONDS:
                    raise
                await asyncio.sleep(_API_AWAY_SECONDS)
                continue
            except NotFoundError:
                return None
            except ApiUnavailableError:
                # The client has used up its retries. The job goes on without the API server, and so does its wait.
                await asyncio.sleep(_API_AWAY_SECONDS)
                continue
            return obj if obj["metadata"]["uid"] == self.ref.uid else None

    async def _pod_uid(self) -> str:
        """Return the UID of the main pod, read once per pod; empty while there is none."""
        source = self._source
        if source is None:
            return ""
        key = f"{self._verdict.submission_id}/{source.pod}"
        if self._pod[0] != key:
            try:
                pod = await locate(self._client, self.ref.namespace, source)
            except ForbiddenError:
                self._pod = (key, "")  # it stays so; what is lost by it is told at the end
                return ""
            except ApiError:
                pod = None
            if pod is None:
                # Not there yet, or not ours to read: the job's own events remain.
                return ""
            self._pod = (key, pod["metadata"]["uid"])
        return self._pod[1]

    def _tell(self, line: str) -> None:
        """Write the line on where the job stands, if it is new."""
        if line == self._told:
            return
        self._told = line
        deadline = self.deadline()
        until = (
            f"; {deadline[1]} deadline {_clock(deadline[0])}"
            if deadline and not self._verdict.phase.is_terminal
            else ""
        )
        self._log.info("%s: %s%s", self.ref, line, until)

    def _hint(self) -> None:
        """Say once that nobody seems to act on the job."""
        created = self._created
        if self._hinted or self._verdict.state or created is None or time.time() - created < UNTOUCHED_SECONDS:
            return
        self._hinted = True
        api = self.resource.api
        self._log.warning(
            "%s has no status after %d s: no controller has touched it. Is %s running, does it watch namespace %s, "
            "is its webhook reachable? kubectl describe %s -n %s %s",
            self.ref, time.time() - created, controller_of(api.group, api.kind), self.ref.namespace,
            api.full_name, self.ref.namespace, self.ref.name,
        )  # fmt: skip


def describe(verdict: Verdict, obj: Manifest) -> str:
    """Return one line on where a job stands: phase, the kind's own word for it, attempt, and why."""
    metadata = obj.get("metadata", {})
    parts = [str(verdict.phase)]
    if verdict.state and verdict.state != verdict.phase:
        parts.append(f"({verdict.state})")
    if verdict.attempt > 1:
        parts.append(f"attempt {verdict.attempt}")
    if metadata.get("deletionTimestamp"):
        parts.append("being deleted")
    line = " ".join(parts)
    why = ": ".join(
        part for part in (verdict.reason, verdict.message) if part not in ("", verdict.state, "BeingDeleted")
    )
    if verdict.phase is Phase.QUEUED and not why:
        queue = (metadata.get("labels") or {}).get(QUEUE_NAME)
        why = (
            f"waiting for Kueue to admit it from queue {queue} (kubectl get workloads -n {metadata.get('namespace')})"
            if queue
            else "suspended: it starts when somebody, or a queue, sets spec.suspend to false"
        )
    return f"{line}: {why}" if why else line


def _nothing() -> None:
    """Do nothing."""


def _expire(limit: asyncio.Timeout) -> None:
    """Let a time-out expire at once; one that expires or has ended already needs no more."""
    with suppress(RuntimeError):
        limit.reschedule(0.0)


def _clock(moment: float) -> str:
    """Return epoch seconds as a wall-clock time in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


__all__ = ["Deadlines", "Follows", "Outcome", "WatchedJob", "describe", "wait"]
