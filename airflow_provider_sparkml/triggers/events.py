"""Triggers for ``AssetWatcher``: an asset is updated, and DAGs start, whenever a job has ended, whoever created it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import SharedStreamProducer

from airflow_provider_sparkml.exceptions import ApiError, InvalidConnectionError, InvalidManifestError
from airflow_provider_sparkml.hooks.kubernetes import KubernetesApiHook
from airflow_provider_sparkml.resources.base import Manifest, Phase, Resource, Verdict
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_apache import APACHE_SPARK_APPLICATION

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors
    from airflow.triggers.shared_stream import AdvanceItem

ENDS = (str(Phase.SUCCEEDED), str(Phase.FAILED))
KEY = "sparkml_ended"
"""Key in the asset's state store of which ends have become events."""
OVERLAP_SECONDS = 600.0
"""How far behind the newest known end an end may have come that is told of later: clocks differ, controllers lag."""
RETRY_SECONDS = 60.0
MOST_UNKNOWN = 1000
"""How many ends are kept whose time is not known."""
UNKNOWN = 0.0
"""When a job ended whose status does not say it."""


class JobEventTrigger(BaseEventTrigger):
    """Fires once for each job that ends, as long as an asset is watched; the base of every kind's trigger.

    Which ends have become events is kept in the state store of the asset, so a triggerer that is restarted repeats none
    and makes up for those that it missed, provided their objects are still there. What had ended before the asset was
    first watched is no event. An asset's event has the job in ``extra["payload"]``: ``kind``, ``name``, ``namespace``,
    ``uid``, ``submission_id``, ``phase``, ``state``, ``message``, ``started_at``, ``finished_at`` and ``labels``.

    :param namespace: where to look; the connection's namespace when ``None``.
    :param name: which names count: a pattern with ``*`` and ``?``.
    :param labels: labels that a job must have.
    :param phases: which ends count: ``SUCCEEDED``, ``FAILED`` or both.
    :param kubernetes_conn_id: the Airflow connection to the cluster.
    :raises InvalidManifestError: ``phases`` has something else.
    """

    resource: ClassVar[Resource]
    """The kind; set by each subclass."""

    def __init__(
        self,
        *,
        namespace: str | None = None,
        name: str = "*",
        labels: Mapping[str, str] | None = None,
        phases: Sequence[str] = ENDS,
        kubernetes_conn_id: str | None = KubernetesApiHook.default_conn_name,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if isinstance(phases, str) or not phases or set(phases) - set(ENDS):
            raise InvalidManifestError(f"phases is {phases!r}: give a list of {' and '.join(ENDS)}, or of one of them")
        self.namespace = namespace
        self.name = name
        self.labels = dict(labels or {})
        self.phases = [str(phase) for phase in phases]
        self.kubernetes_conn_id = kubernetes_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that rebuild this trigger."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "namespace": self.namespace,
                "name": self.name,
                "labels": self.labels,
                "phases": self.phases,
                "kubernetes_conn_id": self.kubernetes_conn_id,
            },
        )

    def shared_stream_key(self) -> str:
        """Return a key of its own: Airflow's streams say what became of an event, and the watch is shared anyway."""
        return repr(self.serialize())

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> _Ends:
        """Return what tells of ends, and hears which of them Airflow has stored."""
        return _Ends(cls(**kwargs))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each end that was none yet."""
        memory = await _Memory.load(self.asset_state_store, self.log)
        async for batch in shared_stream:
            fresh = {memory.key(obj, verdict): (obj, verdict) for obj, verdict in batch.ends}
            for key, (obj, verdict) in fresh.items():
                if self.wants(obj, verdict) and memory.is_new(key, verdict):
                    batch.told[key] = memory.note(key, verdict)
                    yield TriggerEvent(self.payload(obj, verdict))  # type: ignore[no-untyped-call]
            if batch.told:
                batch.memory = memory

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Do the same without Airflow's streams, which know what was stored: an event counts as soon as it is taken."""
        producer = self.create_shared_stream_producer(self.serialize()[1])

        async def batches() -> AsyncGenerator[_Batch, None]:
            async with aclosing(producer.open_stream()) as stream:
                async for batch, _ in stream:
                    yield batch
                    await batch.stored()

        async with aclosing(batches()) as stream:
            async for event in self.filter_shared_stream(stream):
                yield event

    def wants(self, obj: Manifest, verdict: Verdict) -> bool:
        """Whether a job that has ended is one of those that count."""
        metadata = obj["metadata"]
        return (
            str(verdict.phase) in self.phases
            and fnmatchcase(metadata["name"], self.name)
            and self.labels.items() <= (metadata.get("labels") or {}).items()
        )

    def payload(self, obj: Manifest, verdict: Verdict) -> dict[str, Any]:
        """Return what an event says of a job."""
        metadata = obj["metadata"]
        return {
            "kind": self.resource.api.kind,
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata["uid"],
            "submission_id": verdict.submission_id,
            "phase": str(verdict.phase),
            "state": verdict.state,
            "message": verdict.message,
            "started_at": verdict.started_at,
            "finished_at": verdict.finished_at,
            "labels": dict(metadata.get("labels") or {}),
        }


class SparkApplicationEventTrigger(JobEventTrigger):
    """Updates an asset whenever a SparkApplication ends, whoever created it.

    .. code-block:: python

        from airflow.sdk import DAG, Asset, AssetWatcher, task
        from airflow_provider_sparkml.triggers.events import SparkApplicationEventTrigger

        ended = SparkApplicationEventTrigger(namespace="etl", name="nightly-*", phases=["SUCCEEDED"])
        nightly = Asset("nightly_etl", watchers=[AssetWatcher(name="nightly_etl_ended", trigger=ended)])

        with DAG("after_nightly_etl", schedule=nightly):

            @task
            def report(triggering_asset_events=None):
                for event in triggering_asset_events.for_asset(name="nightly_etl"):
                    print(event.extra["payload"]["name"], event.extra["payload"]["finished_at"])

            report()

    All parameters: see :class:`JobEventTrigger`.
    """

    resource = SPARK_APPLICATION


class ApacheSparkApplicationEventTrigger(JobEventTrigger):
    """Updates an asset whenever a SparkApplication of the Apache Spark operator ends, whoever created it.

    Of an application that its operator removes at once (``ttlAfterStopMillis: 0``) the end may be missed.

    .. code-block:: python

        from airflow.sdk import Asset, AssetWatcher
        from airflow_provider_sparkml.triggers.events import ApacheSparkApplicationEventTrigger

        ended = ApacheSparkApplicationEventTrigger(namespace="etl", phases=["SUCCEEDED"])
        report = Asset("report", watchers=[AssetWatcher(name="report_ended", trigger=ended)])

    All parameters: see :class:`JobEventTrigger`.
    """

    resource = APACHE_SPARK_APPLICATION


@dataclass(slots=True)
class _Batch:
    """Jobs that have ended, seen at one moment.

    :param ends: each with its verdict.
    :param told: key of each that became an event, and when it ended.
    :param memory: what has to keep that, once Airflow has stored the events.
    """

    ends: list[tuple[Manifest, Verdict]]
    told: dict[str, float] = field(default_factory=dict)
    memory: _Memory | None = None

    async def stored(self) -> None:
        """Keep what was told: its events are in Airflow's database."""
        if self.memory is not None:
            await self.memory.keep(self.told)


class _Ends(SharedStreamProducer):
    """Yields the jobs that have ended, all that are there at first; keeps in mind those whose events are stored."""

    def __init__(self, trigger: JobEventTrigger) -> None:
        self._trigger = trigger

    async def open_stream(self) -> AsyncGenerator[tuple[_Batch, _Batch], None]:
        """Yield batches for ever; what the API server refuses is asked for again later, since a watcher has no task."""
        from airflow.sdk.exceptions import AirflowNotFoundException

        trigger, read = self._trigger, self._trigger.resource.read
        while True:
            try:
                async with KubernetesApiHook(trigger.kubernetes_conn_id).connect() as cluster:
                    namespace = trigger.namespace or await cluster.default_namespace()
                    async with aclosing(cluster.hub.follow_all(trigger.resource.api, namespace)) as changes:
                        async for objects in changes:
                            ends = [(obj, verdict) for obj in objects if (verdict := read(obj)).phase.is_terminal]
                            if ends:
                                batch = _Batch(ends)
                                yield batch, batch
            except (ApiError, InvalidConnectionError, AirflowNotFoundException) as error:
                trigger.log.error(
                    "%s cannot be watched, trying again in %g s: %s", trigger.resource.api.kind, RETRY_SECONDS, error
                )
                await asyncio.sleep(RETRY_SECONDS)

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Keep in mind what Airflow has stored; what it has not is told again after a restart."""
        for item in batch:
            if item.outcome.is_clean:
                await item.broker_payload.stored()


@dataclass(slots=True)
class _Memory:
    """Which ends have become events.

    :param store: the asset's state; ``None`` where there is none, and then only this process knows.
    :param since: epoch seconds; what ended before is no event.
    :param kept: key → when it ended, of those that are stored; old ones are covered by ``since``.
    :param noted: the same of those that were told, stored or not yet.
    """

    store: AssetStateStoreAccessors | None
    since: float
    kept: dict[str, float] = field(default_factory=dict)
    noted: dict[str, float] = field(default_factory=dict)

    @classmethod
    async def load(cls, store: AssetStateStoreAccessors | None, log: Any) -> _Memory:
        """Return what the asset's state says; an asset that is watched for the first time begins now."""
        memory = cls(store, float(int(time.time())))  # Kubernetes tells times in whole seconds
        if store is None:
            return memory
        state: Any = None
        while True:
            try:
                state = await store.aget(KEY)
                break
            except ValueError:
                # Airflow gives one trigger to all assets whose watchers are alike; then no asset's state is its own.
                log.warning("Several assets share this watcher: a restart of the triggerer may repeat or miss an event")
                memory.store = None
                return memory
            except Exception as error:  # noqa: BLE001 - whatever Airflow's API says, a watcher has no task to fail
                log.error("The asset's state could not be read, trying again in %g s: %s", RETRY_SECONDS, error)
                await asyncio.sleep(RETRY_SECONDS)
        if isinstance(state, dict):
            memory.since, memory.kept = float(state["since"]), dict(state["kept"])
            memory.noted = dict(memory.kept)
        else:
            await memory.keep({})
        return memory

    @staticmethod
    def key(obj: Manifest, verdict: Verdict) -> str:
        """Return what tells this end from any other, of the same object too."""
        return f"{obj['metadata']['uid']}/{verdict.submission_id}/{verdict.attempt}"

    def is_new(self, key: str, verdict: Verdict) -> bool:
        """Whether an end has not become an event, and did not come before there was anybody to tell."""
        ended = _end_of(verdict)
        return key not in self.noted and (ended == UNKNOWN or ended >= self.since)

    def note(self, key: str, verdict: Verdict) -> float:
        """Take note of an end that becomes an event, and return when it was."""
        ended = self.noted[key] = _end_of(verdict)
        return ended

    async def keep(self, told: Mapping[str, float]) -> None:
        """Store that these are events now; those long past are covered by a later ``since``."""
        self.kept |= told
        newest = max(self.kept.values(), default=UNKNOWN)
        # A clock that is ahead must not hide what ends before its time.
        self.since = max(self.since, min(newest, time.time()) - OVERLAP_SECONDS)
        self.kept, self.noted = self._recent(self.kept), self._recent(self.noted)
        if self.store is None:
            return
        state: Any = {"since": self.since, "kept": self.kept}
        try:
            await self.store.aset(KEY, state)
        except Exception as error:  # noqa: BLE001 - whatever Airflow's API says: the next end is kept with this one
            log.warning("What was told could not be kept: a restart now would repeat it: %s", error)

    def _recent(self, ends: Mapping[str, float]) -> dict[str, float]:
        """Return those that ``since`` does not cover."""
        unknown = [key for key, ended in ends.items() if ended == UNKNOWN][-MOST_UNKNOWN:]
        return {key: ended for key, ended in ends.items() if ended >= self.since} | dict.fromkeys(unknown, UNKNOWN)


def _end_of(verdict: Verdict) -> float:
    """Return when a job ended, in epoch seconds; ``UNKNOWN`` where its status does not say."""
    from airflow_provider_sparkml.jobs.outcome import epoch

    return epoch(verdict.finished_at) or UNKNOWN


__all__ = ["ApacheSparkApplicationEventTrigger", "JobEventTrigger", "SparkApplicationEventTrigger"]
