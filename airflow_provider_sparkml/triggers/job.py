"""The trigger of every kind of job: awaits the verdict, and deletes the job when its deferred task is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_sparkml.hooks.kubernetes import Cluster, KubernetesApiHook
from airflow_provider_sparkml.resources.base import Manifest, Resource, ResourceRef
from airflow_provider_sparkml.triggers.deferral import event_of

if TYPE_CHECKING:
    from airflow_provider_sparkml.jobs.log import JobLog
    from airflow_provider_sparkml.jobs.outcome import Outcome
    from airflow_provider_sparkml.jobs.wait import OnChange

Waiter = Callable[..., Awaitable["Outcome"]]
"""A coroutine function with the signature of :func:`airflow_provider_sparkml.jobs.wait.wait`."""


class JobTrigger(BaseTrigger):
    """Waits until a job has ended, was deleted, or a deadline passes; its event is the outcome.

    All it knows is in its arguments and in the job's object, so it may be stopped and started anew anywhere.

    :param ref: the job, as ``ResourceRef.to_json`` gives it.
    :param deadlines: when to give up, as ``Deadlines.to_json`` gives it: absolute, so that a restart resets nothing.
    :param kubernetes_conn_id: the Airflow connection to the cluster.
    :param may_delete: whether a kill deletes the object; not one that was there before the task.
    """

    resource: Resource
    """The kind; set by each subclass."""

    def __init__(
        self,
        *,
        ref: dict[str, str],
        deadlines: dict[str, float | None],
        kubernetes_conn_id: str | None,
        may_delete: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ref = ref
        self.deadlines = deadlines
        self.kubernetes_conn_id = kubernetes_conn_id
        self.may_delete = may_delete

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that rebuild this trigger; subclasses need no other."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "ref": self.ref,
                "deadlines": self.deadlines,
                "kubernetes_conn_id": self.kubernetes_conn_id,
                "may_delete": self.may_delete,
            },
        )

    @classmethod
    def links(cls, obj: Manifest) -> dict[str, str]:
        """Return the operator links that the job's object gives, as URLs by XCom key; an empty URL for none."""
        return {}

    def waiter(self) -> Waiter:
        """Return what waits for this kind."""
        from airflow_provider_sparkml.jobs.wait import wait

        return wait

    async def wait(self, cluster: Cluster, log: JobLog, on_change: OnChange) -> Outcome:
        """Wait; the triggerer and a task that does not defer both await this.

        :param on_change: awaited with the object whenever there may be something new to link to.
        """
        from airflow_provider_sparkml.jobs.outcome import Deadlines

        return await self.waiter()(
            cluster.client,
            cluster.hub,
            self.resource,
            ResourceRef(**self.ref),
            Deadlines(**self.deadlines),
            log=log,
            on_change=on_change,
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire once: ``{"outcome": …}``, or ``{"error": …}`` when the wait itself broke."""
        yield await event_of(self, self._wait_in_triggerer())

    async def _wait_in_triggerer(self) -> Outcome:
        async with KubernetesApiHook(self.kubernetes_conn_id).connect() as cluster:
            return await self.wait(cluster, self.log, self._push_links)

    async def _push_links(self, obj: Manifest) -> None:
        if self.task_instance is not None:
            await push_links(self.task_instance, self.links(obj), self.log)

    async def on_kill(self) -> None:
        """Delete the job, because a person marked or cleared the deferred task.

        Airflow also calls this when a trigger merely moves to another triggerer (apache/airflow#73454). Then the task
        is still deferred, somebody else waits for the job already, and it must live.
        """
        from airflow_provider_sparkml.jobs.cleanup import kill

        ref = ResourceRef(**self.ref)
        if not self.may_delete:
            self.log.info("%s is left as it is: it was there before this task", ref)
            return
        state = await self._task_state()
        if state == "deferred":
            self.log.info("%s is left running: its task is still deferred, so only the trigger has moved", ref)
            return
        self.log.info("The task is %s now: deleting %s", state or "cleared", ref)
        async with KubernetesApiHook(self.kubernetes_conn_id).connect() as cluster:
            await kill(cluster.client, self.resource.api, ref, log=self.log)

    async def _task_state(self) -> str | None:
        """Return the state of the task instance; ``None`` when it has none, as after a clear, or is gone."""
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        ti = self.task_instance
        if ti is None:
            return None
        # A synchronous request to the triggerer's parent; on the event loop's thread it would block the loop.
        states = await asyncio.to_thread(
            RuntimeTaskInstance.get_task_states,
            dag_id=ti.dag_id,
            task_ids=[ti.task_id],
            run_ids=[ti.run_id],
            map_index=ti.map_index,
        )
        # Airflow adds the map index to the key of a mapped task's instance.
        key = ti.task_id if ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"
        state = states.get(ti.run_id, {}).get(key)
        return None if state is None else str(state)


async def push_links(ti: Any, links: Mapping[str, str], log: JobLog) -> None:
    """Write operator links to the XComs the web page reads them from; on a worker as well as in the triggerer.

    :param ti: the task instance: anything with ``dag_id``, ``task_id``, ``run_id`` and ``map_index``.
    :param links: URLs by XCom key.
    :param log: the task's log.
    """
    from airflow.sdk.execution_time.xcom import XCom

    map_index = -1 if ti.map_index is None else ti.map_index
    for key, url in links.items():
        try:
            await XCom.aset(
                key=key, value=url, dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=map_index
            )
        except Exception as error:  # noqa: BLE001 - whatever Airflow's API says, a link is not worth a job
            log.warning("The link %s could not be stored: %s: %s", key, type(error).__name__, error)


__all__ = ["JobTrigger", "Waiter", "push_links"]
