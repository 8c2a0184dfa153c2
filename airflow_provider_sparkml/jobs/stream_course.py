"""What is waited for and done until a stream is healthy, or stopped, on a worker or in a triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.exceptions import (
    ApiError,
    ApplicationError,
    ConflictError,
    ExecutionTimeoutError,
    ForbiddenError,
    NotFoundError,
)
from airflow_provider_sparkml.jobs.advice import advise
from airflow_provider_sparkml.jobs.cleanup import delete_job, kill
from airflow_provider_sparkml.jobs.finish import explain, reread
from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.jobs.outcome import Deadlines, Outcome
from airflow_provider_sparkml.jobs.streams import Change, Plan, amend, rolled_back
from airflow_provider_sparkml.jobs.wait import Follows, OnChange, wait
from airflow_provider_sparkml.resources.base import ApiResource, Manifest, Phase, Resource, ResourceRef, Verdict
from airflow_provider_sparkml.resources.core import POD
from airflow_provider_sparkml.resources.spark import API, SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_stream import (
    STOP,
    Record,
    attempts_of,
    missing,
    read_stream,
    stop_step,
    submission_of,
)

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient
    from airflow_provider_sparkml.client.watch import WatchHub

_CHANGED = "TakenOver"
_ROLLED_BACK = "RolledBack"


async def tend(
    client: KubernetesClient,
    hub: WatchHub,
    resource: Resource,
    ref: ResourceRef,
    deadlines: Deadlines,
    *,
    log: JobLog,
    on_change: OnChange | None = None,
    plan: Plan,
) -> Outcome:
    """Bring a stream to be healthy: stop the version in force, start the one that follows, roll back if it must be.

    It may be cancelled and started anew, in another process too: what was done stands on the object.

    :param plan: what version is to be in force, when it is healthy, and what to do when it does not become so.
    :return: ``SUCCEEDED`` when the version is in force and healthy; :func:`conclude` tells what else there is.
    """
    course = _Course(client, hub, resource, ref, deadlines, log, on_change, plan)
    while True:
        obj = await reread(client, resource, ref)
        record = None if obj is None else Record.of(obj)
        if obj is None or record is None:
            return Outcome(ref, Verdict(Phase.UNKNOWN), deleted=True)
        is_wanted = (record.following or record.current).hash == plan.version
        is_back = _was_rolled_back(record, plan.version)
        if not is_wanted and not is_back:
            return Outcome(ref, Verdict(Phase.FAILED, reason=_CHANGED, message="another task has changed it"))
        outcome = await (course.replace(record) if record.following else course.start(record))
        if outcome is None:
            continue
        is_changed = outcome.verdict.reason == _CHANGED
        if is_changed and not is_back and await course.was_rolled_back():
            continue  # by another task, which waits for the same version
        if is_back and not is_wanted and not is_changed:
            return replace(outcome, verdict=replace(outcome.verdict, reason=_ROLLED_BACK))
        return outcome


async def until_stopped(
    client: KubernetesClient,
    hub: WatchHub,
    resource: Resource,
    ref: ResourceRef,
    deadlines: Deadlines,
    *,
    log: JobLog,
    on_change: OnChange | None = None,
) -> Outcome:
    """Wait until a stream has stopped, asking its driver to; once its time is up, it is deleted.

    :return: ``SUCCEEDED``, with ``expired="execution"`` when it had to be deleted.
    """
    obj = await reread(client, resource, ref)
    record = None if obj is None else Record.of(obj)
    if obj is None or record is None:
        return Outcome(ref, Verdict(Phase.SUCCEEDED), deleted=True)
    course = _Course(client, hub, resource, ref, deadlines, log, on_change, Plan())
    outcome = await course.stop(record)
    if outcome.expired and time.time() >= (record.stop_until or 0.0):
        log.warning("%s has not stopped by itself in time: deleting it", ref)
        await kill(client, API, ref, log=log)
        return replace(outcome, verdict=Verdict(Phase.SUCCEEDED))
    return outcome


async def conclude_stop(client: KubernetesClient, outcome: Outcome) -> dict[str, Any]:
    """Return how a stream has stopped: ``name, namespace, stopped``.

    :param outcome: of :func:`until_stopped`.
    :raises ConflictError: somebody has started it again meanwhile.
    :raises ExecutionTimeoutError: the task's own time was up first.
    """
    ref, verdict = outcome.ref, outcome.verdict
    if outcome.expired and verdict.phase is not Phase.SUCCEEDED:
        raise ExecutionTimeoutError(
            f"{ref} had not stopped within execution_timeout\nIt is still asked to; a retry goes on waiting."
        )
    if verdict.reason == _CHANGED:
        raise ConflictError(f"another task has started {ref} again meanwhile", status=409)
    stopped = "deleted" if outcome.expired or outcome.deleted else "gracefully"
    return {"name": ref.name, "namespace": ref.namespace, "stopped": stopped}


async def conclude(
    client: KubernetesClient, outcome: Outcome, *, by: str, roll_back: bool, log: JobLog
) -> dict[str, Any]:
    """Turn the outcome of :func:`tend` into the task's result, or into the exception that says what is wrong.

    :param by: key of the task's chain of attempts.
    :param roll_back: whether a first version that does not become healthy is deleted.
    :return: ``name, namespace, uid, version, start, restarts, submission_id`` and the application's facts.
    :raises StreamRolledBackError: the version before is in force again.
    :raises JobFailedError: the subclass says why.
    :raises ConflictError: another task has changed the stream meanwhile.
    """
    ref, resource = outcome.ref, SPARK_APPLICATION
    obj = await reread(client, resource, ref)
    record = None if obj is None else Record.of(obj)
    if obj is None or record is None:
        raise await explain(client, resource, replace(outcome, deleted=True, expired=""), None, kept=False, log=log)
    if outcome.verdict.reason == _CHANGED:
        raise ConflictError(f"another task has started, stopped or upgraded {ref} meanwhile", status=409)
    if outcome.verdict.reason == _ROLLED_BACK:
        raise rolled_back(ref.name, (record.failed or {}).get("why", ""))
    if outcome.verdict.phase is Phase.SUCCEEDED:
        return {
            "name": ref.name,
            "namespace": ref.namespace,
            "uid": ref.uid,
            "version": record.current.hash,
            "checkpoint_location": record.current.checkpoint,
            "start": record.start,
            "restarts": max(0, attempts_of(obj) - 1),
            **resource.facts(obj),
        }
    error = await _unhealthy(client, outcome, obj, log)
    is_first = not record.proven and record.by == by and record.former is None
    if roll_back and is_first and outcome.expired != "execution":
        log.info("%s has never been healthy, and there is no version before it: deleting it", ref)
        await delete_job(client, resource, ref, log)
    raise error


async def _unhealthy(client: KubernetesClient, outcome: Outcome, obj: Manifest, log: JobLog) -> Exception:
    """Return the exception that says why a stream is not healthy."""
    ref, verdict = outcome.ref, outcome.verdict
    if outcome.expired == "execution":
        return ExecutionTimeoutError(
            f"{ref} was not healthy within execution_timeout; it was {verdict.phase}: {verdict.message}\n"
            "Nothing was taken back but an upgrade that had only begun; a retry goes on with the stream."
        )
    if verdict.phase is Phase.FAILED and verdict.state in ("COMPLETED", "SUCCEEDING"):
        return ApplicationError(f"{ref} is no stream that goes on: {verdict.message}")
    return await explain(client, SPARK_APPLICATION, outcome, obj, kept=True, log=log)


@dataclass(frozen=True, slots=True)
class _Course:
    """The steps of one stream."""

    client: KubernetesClient
    hub: WatchHub
    resource: Resource
    ref: ResourceRef
    deadlines: Deadlines
    log: JobLog
    on_change: OnChange | None
    plan: Plan

    async def replace(self, record: Record) -> Outcome | None:
        """Stop the version in force, and put the one that follows into force; ``None``: go on."""
        outcome = await self.stop(record)
        if outcome.verdict.reason == _CHANGED:
            return None  # look again
        if outcome.deleted or (outcome.expired and not self._is_past(record.stop_until)):
            return outcome
        if outcome.expired:
            self.log.warning("%s has not stopped by itself in time: the operator is to end it", self.ref)

        def upgrade(obj: Manifest, now: Record) -> Change:
            if now.following is None:
                return None  # somebody else has done it
            upgraded = now.upgraded(now.following, submission_of(obj), now.by, time.time())
            self.log.info("%s: version %s is put into force", self.ref, upgraded.current.hash)
            return upgraded, upgraded.spec()

        await self._amend(upgrade)
        return None

    async def stop(self, record: Record) -> Outcome:
        """Wait until the stream has stopped, and see to it that it does."""
        stopping = _Stopping(self.client, self.hub, self.ref, self.log)
        # Its log is days long, perhaps, and was never this task's to show.
        resource = replace(self.resource, read=stopping.read, log_source=_no_log)
        return await self._wait(stopping, resource, record.stop_until)

    async def start(self, record: Record) -> Outcome | None:
        """Wait until the version in force is healthy; ``None``: the version before it is in force now, go on."""
        plan = self.plan
        attempts = plan.attempts if record.start == plan.start else 0
        since = max(record.started_at, plan.since)
        until = None if plan.startup_seconds is None else since + plan.startup_seconds
        starting = _Starting(self.hub, record, plan, attempts)
        outcome = await self._wait(starting, replace(self.resource, read=starting.read), until)
        if outcome.verdict.phase is Phase.SUCCEEDED:
            await self._amend(lambda obj, now: _confirmed(obj, now, outcome.verdict.submission_id))
            return outcome
        if outcome.deleted or outcome.verdict.reason == _CHANGED:
            return outcome
        if outcome.expired:
            if not self._is_past(until):
                return outcome
            outcome = replace(outcome, expired="startup")
        if not plan.roll_back or record.proven or record.former is None:
            return outcome
        return await self._roll_back(record, outcome)

    async def was_rolled_back(self) -> bool:
        """Whether the version that is wanted was tried, and the one before it is in force again."""
        obj = await reread(self.client, self.resource, self.ref)
        record = None if obj is None else Record.of(obj)
        return record is not None and _was_rolled_back(record, self.plan.version)

    async def _roll_back(self, record: Record, outcome: Outcome) -> Outcome | None:
        obj = await reread(self.client, self.resource, self.ref)
        if obj is None:
            return replace(outcome, deleted=True, expired="")
        why = str(await _unhealthy(self.client, outcome, obj, self.log))
        self.log.warning("%s is rolled back: %s", self.ref, why.splitlines()[0])

        def back(at: Manifest, now: Record) -> Change:
            if now.start != record.start or now.former is None:
                return None
            changed = now.rolled_back(why[:8000], submission_of(at), time.time())
            return changed, changed.spec()

        await self._amend(back)
        return None

    async def _wait(self, follows: Follows, resource: Resource, until: float | None) -> Outcome:
        """Wait as for any job, by another reading of the object and with one deadline more."""
        limits = [limit for limit in (until, self.deadlines.execute_until) if limit is not None]
        deadlines = Deadlines(execute_until=min(limits, default=None))
        return await wait(self.client, follows, resource, self.ref, deadlines, log=self.log, on_change=self.on_change)

    async def _amend(self, decide: Any) -> None:
        obj = await reread(self.client, self.resource, self.ref)
        if obj is not None:
            await amend(self.client, obj, decide)

    def _is_past(self, until: float | None) -> bool:
        return until is not None and time.time() >= until


def _was_rolled_back(record: Record, version: str) -> bool:
    """Whether a version was tried, and the one before it is in force again."""
    return record.following is None and (record.failed or {}).get("hash") == version


def _no_log(obj: Manifest) -> None:
    """Follow no log."""


def _confirmed(obj: Manifest, record: Record, submission: str) -> Change:
    """Return the record with a submission noted as healthy; nothing, when it is another one by now."""
    if submission_of(obj) != submission or record.following or (record.proven and record.healthy == submission):
        return None
    return replace(record, healthy=submission, proven=True), None


class _Starting:
    """Follows a stream that starts, and says when it has been running for long enough."""

    def __init__(self, hub: WatchHub, record: Record, plan: Plan, attempts: int) -> None:
        self._hub = hub
        self._start = record.start
        self._plan = plan
        self._attempts = attempts
        self._since: tuple[str, float] | None = None

    async def follow(
        self, api: ApiResource, namespace: str | None, name: str, *, label_selector: str = ""
    ) -> AsyncGenerator[Manifest | None, None]:
        """Yield the object whenever it has changed, and once more when it could be healthy."""
        changes = self._hub.follow(api, namespace, name, label_selector=label_selector, fresh=True)
        async with aclosing(changes):
            latest, pending = None, asyncio.ensure_future(anext(changes))
            try:
                while True:
                    done, _ = await asyncio.wait({pending}, timeout=self._left())
                    if done:
                        latest, pending = pending.result(), asyncio.ensure_future(anext(changes))
                    yield latest
            finally:
                pending.cancel()
                await asyncio.wait({pending})

    def _left(self) -> float | None:
        """Return in how many seconds the stream could be healthy."""
        if self._since is None:
            return None
        return max(0.0, self._since[1] + self._plan.min_uptime - time.monotonic()) + 0.01

    def read(self, obj: Manifest) -> Verdict:
        """Return the verdict on the stream; ``SUCCEEDED`` when it is healthy."""
        record = Record.of(obj)
        if record is None or record.start != self._start or record.following or record.stop_until is not None:
            return Verdict(Phase.FAILED, reason=_CHANGED, message="another task has changed it")
        verdict = read_stream(obj, record, attempts=self._attempts, max_restarts=self._plan.max_restarts)
        lacks = missing(obj, record)
        if verdict.phase is not Phase.RUNNING or lacks:
            self._since = None
            return replace(verdict, message=verdict.message or lacks) if verdict.phase is Phase.RUNNING else verdict
        if self._since is None or self._since[0] != verdict.submission_id:
            self._since = (verdict.submission_id, time.monotonic())
        up = time.monotonic() - self._since[1]
        if record.healthy == verdict.submission_id or up >= self._plan.min_uptime:
            self._since = None
            return replace(verdict, phase=Phase.SUCCEEDED, message="")
        return replace(verdict, message=f"complete; healthy when it has run so for {self._plan.min_uptime:g} s")


class _Stopping:
    """Follows a stream that is to stop, and does at each change what is to be done for it."""

    def __init__(self, client: KubernetesClient, hub: WatchHub, ref: ResourceRef, log: JobLog) -> None:
        self._client = client
        self._hub = hub
        self._ref = ref
        self._log = log
        self._asked = ""  # the submission whose driver was asked

    async def follow(
        self, api: ApiResource, namespace: str | None, name: str, *, label_selector: str = ""
    ) -> AsyncGenerator[Manifest | None, None]:
        """Yield the object after each change, once that was acted upon."""
        changes = self._hub.follow(api, namespace, name, label_selector=label_selector, fresh=True)
        async with aclosing(changes):
            async for obj in changes:
                if obj is not None and obj["metadata"]["uid"] == self._ref.uid:
                    await self._act(obj)
                yield obj

    def read(self, obj: Manifest) -> Verdict:
        """Return the verdict on the stop: ``SUCCEEDED`` when the stream is down."""
        verdict, record = SPARK_APPLICATION.read(obj), Record.of(obj)
        if record is None or record.stop_until is None:
            return Verdict(Phase.FAILED, reason=_CHANGED, message="another task has started it again")
        if stop_step(obj, record) == "done":
            return replace(verdict, phase=Phase.SUCCEEDED, message="stopped")
        return replace(verdict, phase=Phase.RUNNING, message="stopping")

    async def _act(self, obj: Manifest) -> None:
        record = Record.of(obj)
        step = "done" if record is None or record.stop_until is None else stop_step(obj, record)
        if step == "ask" and not await self._ask(obj):
            step = "suspend"
        if step == "suspend":
            await self._suspend(obj)

    async def _suspend(self, obj: Manifest) -> None:
        """Suspend it as it was seen; one that has changed since, and perhaps was started again, will be seen again."""
        seen = {key: obj["metadata"][key] for key in ("uid", "resourceVersion")}
        patch = {"metadata": seen, "spec": {"suspend": True}}
        try:
            await self._client.patch(API, self._ref.name, patch, self._ref.namespace)
        except ConflictError:
            return
        self._log.info("%s: suspended, so that the operator does not start it again", self._ref)

    async def _ask(self, obj: Manifest) -> bool:
        """Ask the driver, each one once, by an annotation of its pod; return whether that can be done at all."""
        submission, source = submission_of(obj), SPARK_APPLICATION.log_source(obj)
        if source is None or self._asked == submission:
            return True
        mark = {"metadata": {"annotations": {STOP: datetime.now(UTC).isoformat(timespec="seconds")}}}
        try:
            await self._client.patch(POD, source.pod, mark, self._ref.namespace)
        except ForbiddenError as error:
            advice = advise(error, "patch", POD, self._ref.namespace)
            self._log.warning(
                "The driver cannot be asked to stop, so it is ended by the operator: %s\n%s", error, advice
            )
            return False
        except NotFoundError:
            return True  # it has ended just now
        except ApiError as error:
            self._log.warning("The driver was not asked to stop yet: %s", error)
            return True
        self._asked = submission
        self._log.info("%s: pod %s was asked to stop its queries (annotation %s)", self._ref, source.pod, STOP)
        return True


__all__ = ["conclude", "conclude_stop", "tend", "until_stopped"]
