"""The garbage collector: what belongs to a deleted object goes with it, before it, or stays, as the deletion says.

The rules are those of kube-controller-manager's garbage collector
(https://kubernetes.io/docs/concepts/architecture/garbage-collection/).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from airflow_provider_sparkml.client.client import KubernetesClient, Propagation
from airflow_provider_sparkml.exceptions import ApiError, ConflictError, NotFoundError
from airflow_provider_sparkml.local.controllers.collectable import BUILTIN, DEFINITION, defined_by
from airflow_provider_sparkml.local.controllers.dependents import FOREGROUND, ORPHAN, Graph, Node, Owner
from airflow_provider_sparkml.local.controllers.runtime import changes, pause
from airflow_provider_sparkml.resources.base import ApiResource, Manifest

log = logging.getLogger(__name__)

WORKERS = 4


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What has become of an object's owners.

    :param solid: there, and to stay.
    :param dangling: gone, or another object has the name now.
    :param waiting: being deleted in the foreground: they wait for their dependents.
    """

    solid: tuple[Owner, ...] = ()
    dangling: tuple[Owner, ...] = ()
    waiting: tuple[Owner, ...] = ()


class GarbageCollector:
    """Watches everything that can belong to something; :meth:`run` ends with its task.

    :param client: the API server.
    """

    def __init__(self, client: KubernetesClient) -> None:
        self._client = client
        self._graph = Graph()
        self._types: dict[tuple[str, str], ApiResource] = {}
        self._following: dict[str, asyncio.Task[None]] = {}
        self._unsynced: set[ApiResource] = set()
        self._synced = asyncio.Event()
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._failures: dict[str, int] = {}

    async def run(self) -> None:
        """Collect garbage for ever."""
        async with asyncio.TaskGroup() as tasks:
            for api in BUILTIN:
                self._begin(api, tasks)
            tasks.create_task(self._follow_definitions(tasks), name="garbage collector watches definitions")
            for number in range(WORKERS):
                tasks.create_task(self._work(), name=f"garbage collector {number}")

    # --- what there is ---------------------------------------------------------------------------------------------

    def _begin(self, api: ApiResource, tasks: asyncio.TaskGroup) -> None:
        """Follow a type."""
        if api.full_name in self._following:
            return
        self._types[(api.group, api.kind)] = api
        self._unsynced.add(api)
        self._synced.clear()
        task = tasks.create_task(self._follow(api), name=f"garbage collector watches {api.full_name}")
        self._following[api.full_name] = task

    async def _follow_definitions(self, tasks: asyncio.TaskGroup) -> None:
        """Follow the types that come, and forget those that go."""
        self._unsynced.add(DEFINITION)
        self._types[(DEFINITION.group, DEFINITION.kind)] = DEFINITION
        types: dict[str, ApiResource] = {}
        async with aclosing(self._changes(DEFINITION)) as changed:
            async for uid, definition in changed:
                self._take(DEFINITION, uid, definition)
                defined = None if definition is None else defined_by(definition)
                if defined is not None:
                    types[uid] = defined
                    self._begin(defined, tasks)
                elif definition is None and uid in types:
                    self._end(types.pop(uid))

    def _end(self, api: ApiResource) -> None:
        """Forget a type, and all objects of it."""
        self._following.pop(api.full_name).cancel()
        del self._types[(api.group, api.kind)]
        self._is_synced(api)
        for uid in self._graph.of_type(api):
            self._concern(self._graph.drop(uid))

    async def _follow(self, api: ApiResource) -> None:
        """Know a type's objects for ever."""
        async with aclosing(self._changes(api)) as changed:
            async for uid, obj in changed:
                self._take(api, uid, obj)

    def _changes(self, api: ApiResource) -> AsyncGenerator[tuple[str, Manifest | None], None]:
        return changes(self._client, api, listed=partial(self._is_synced, api))

    def _is_synced(self, api: ApiResource) -> None:
        """Take note that a type's objects are all known: before, nobody can be said to have no dependents."""
        self._unsynced.discard(api)
        if not self._unsynced:
            self._synced.set()

    def _take(self, api: ApiResource, uid: str, obj: Manifest | None) -> None:
        self._concern(self._graph.drop(uid) if obj is None else self._graph.put(Node.of(api, obj)))

    def _concern(self, uids: set[str]) -> None:
        """Have objects looked at."""
        for uid in uids - self._queued:
            self._queued.add(uid)
            self._queue.put_nowait(uid)

    # --- what to do ------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            uid = await self._queue.get()
            await self._synced.wait()
            self._queued.discard(uid)
            node = self._graph.get(uid)
            if node is not None:
                await self._try(node, self._tend)

    async def _try(self, node: Node, act: Callable[[Node], Awaitable[None]]) -> None:
        """Do something for an object; when that fails, look at it again a little later."""
        try:
            await act(node)
            self._failures.pop(node.uid, None)
        except NotFoundError:
            return
        except ApiError as error:
            failures = self._failures.get(node.uid, 0)
            self._failures[node.uid] = failures + 1
            if not isinstance(error, ConflictError):
                log.warning("garbage collector: %s: %s; again in %.1f s", node, error, pause(failures))
            asyncio.get_running_loop().call_later(pause(failures), self._concern, {node.uid})

    async def _tend(self, node: Node) -> None:
        """Bring an object nearer to what its owners' and its own deletion ask for."""
        if node.lets_dependents_go:
            for dependent in self._graph.dependents(node.uid):
                await self._disown(dependent, {node.uid})
            await self._remove_finalizer(node, ORPHAN)
        elif node.waits_for_dependents:
            # Each dependent is looked at by itself: it may have another owner, who stays.
            self._concern({each.uid for each in self._graph.dependents(node.uid) if not each.deleting})
            if not self._graph.blocking_dependents(node.uid):
                await self._remove_finalizer(node, FOREGROUND)
        elif node.owners and not node.deleting:
            await self._collect(node)

    async def _collect(self, node: Node) -> None:
        """Delete an object that nobody owns any more, or take those off who do not own it any more."""
        verdicts = await self._judge(node)
        gone = {owner.uid for owner in (*verdicts.dangling, *verdicts.waiting)}
        if not gone:
            return
        if verdicts.solid:
            await self._disown(node, gone)
        elif len(gone) == len({owner.uid for owner in node.owners}):
            # Its own dependents are to be gone as well before the owner that waits goes.
            foreground = bool(verdicts.waiting) and bool(self._graph.dependents(node.uid))
            propagation: Propagation = "Foreground" if foreground else "Background"
            await self._client.delete(
                node.api, node.name, node.namespace or None, uid=node.uid, propagation=propagation
            )

    async def _judge(self, node: Node) -> Verdicts:
        """Ask the API server for every owner; one whose type is not known is left alone."""
        found: dict[str, list[Owner]] = {"solid": [], "dangling": [], "waiting": []}
        for owner in node.owners:
            verdict = await self._judge_owner(node, owner)
            if verdict:
                found[verdict].append(owner)
        return Verdicts(*(tuple(found[verdict]) for verdict in ("solid", "dangling", "waiting")))

    async def _judge_owner(self, node: Node, owner: Owner) -> str:
        api = self._types.get((owner.api_version.rpartition("/")[0], owner.kind))
        if api is None:
            return ""
        known = self._graph.get(owner.uid)
        if known is not None and not known.deleting:
            return "solid"  # should it be gone by now, we shall hear of it
        try:
            obj = await self._client.get(api, owner.name, node.namespace if api.namespaced else None)
        except NotFoundError:
            return "dangling"
        live = Node.of(api, obj)
        if live.uid != owner.uid:
            return "dangling"
        return "waiting" if live.waits_for_dependents else "solid"

    async def _disown(self, node: Node, uids: set[str]) -> None:
        """Take owners off an object."""
        obj = await self._client.get(node.api, node.name, node.namespace or None)
        meta = obj["metadata"]
        if meta["uid"] != node.uid:
            return
        owners = [each for each in meta.get("ownerReferences") or () if each["uid"] not in uids]
        await self._patch(node, obj, {"ownerReferences": owners or None})

    async def _remove_finalizer(self, node: Node, finalizer: str) -> None:
        """Say that the dependents are dealt with."""
        obj = await self._client.get(node.api, node.name, node.namespace or None)
        if obj["metadata"]["uid"] == node.uid:
            finalizers = [each for each in obj["metadata"].get("finalizers") or () if each != finalizer]
            await self._patch(node, obj, {"finalizers": finalizers or None})

    async def _patch(self, node: Node, obj: Manifest, change: Manifest) -> None:
        """Change an object's metadata, unless somebody else changed it meanwhile."""
        version = {"uid": node.uid, "resourceVersion": obj["metadata"]["resourceVersion"]}
        await self._client.patch(node.api, node.name, {"metadata": change | version}, node.namespace or None)
