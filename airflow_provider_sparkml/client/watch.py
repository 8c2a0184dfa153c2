"""The shared watch: many tasks follow single objects at the price of one watch per type and namespace."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextvars import Context
from typing import TYPE_CHECKING

from airflow_provider_sparkml.client.reflector import Entry, Reflector
from airflow_provider_sparkml.client.transport import backoff
from airflow_provider_sparkml.exceptions import (
    ApiUnavailableError,
    ForbiddenError,
    NotFoundError,
    ResourceTypeNotFoundError,
)
from airflow_provider_sparkml.resources.base import ApiResource, Manifest

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient

log = logging.getLogger(__name__)

LINGER_SECONDS = 30.0
"""How long a watch outlives its last follower: tasks come and go, and each new watch costs a whole list."""


class WatchHub:
    """Lets many tasks of one event loop follow objects; what they wait for costs no task, timer or request of its own.

    :param client: the cluster; closing it is the caller's.
    :param poll_seconds: pause between two lists where watching is forbidden.
    """

    def __init__(self, client: KubernetesClient, *, poll_seconds: float = 10.0) -> None:
        self._client = client
        self._poll_seconds = poll_seconds
        self._shared: dict[tuple[ApiResource, str | None, str], _SharedWatch] = {}

    async def follow(
        self, api: ApiResource, namespace: str | None, name: str, *, label_selector: str = "", fresh: bool = False
    ) -> AsyncGenerator[Manifest | None, None]:
        """Yield the object as it is now, or ``None`` when there is none, and then each change.

        An object is yielded without what a wait never reads (:func:`~.reflector.essentials`). A slow consumer is given
        the newest state only, but always the last one before a deletion. ``None`` means deleted, or not there; another
        object of the same name may follow, so compare UIDs. An object created before this was called is found, even
        when the watch has not heard of it yet. Outages of the API server are waited out, and logged.

        :param namespace: of the object; ``None`` for cluster-wide types only.
        :param label_selector: selects the object among those of its type, where most are of no interest, as among all
            pods of a namespace. Those who name the same share a watch.
        :param fresh: ask the API server for the object first, so that nothing is yielded which is older than this call.
            The copy may be behind, by the length of an outage even. It matters for an object that was just changed; of
            one that was just created, there is nothing older.
        :raises ApiError: the API server refuses in a way that does not heal: 401, 403, or no such type.
        :raises InvalidConnectionError: the credentials cannot be used.
        """
        watch = self._watch(api, namespace, label_selector)
        follower = watch.join(name)
        try:
            if fresh:
                known = follower.newest
                if await watch.find(name) is False and follower.newest is known:
                    follower.lose()
            while True:
                entry = await follower.take()
                if entry is not None:
                    yield entry.load()
                elif not await watch.find(name):
                    yield None
        finally:
            watch.leave(name, follower)

    async def follow_all(self, api: ApiResource, namespace: str | None) -> AsyncGenerator[list[Manifest], None]:
        """Yield all objects there are, and then those that change, as many at once as have changed meanwhile.

        A slow consumer is given the newest state of each, and of one that was deleted its last; nothing is said of the
        deletion itself. Objects and outages are as in :meth:`follow`, whose watch this shares.

        :param namespace: of the objects; ``None`` for cluster-wide types only.
        :raises ApiError: the API server refuses in a way that does not heal: 401, 403, or no such type.
        :raises InvalidConnectionError: the credentials cannot be used.
        """
        watch = self._watch(api, namespace)
        crowd = watch.join_all()
        try:
            while True:
                yield [entry.load() for entry in await crowd.take()]
        finally:
            watch.leave_all(crowd)

    async def follow_matching(
        self, api: ApiResource, namespace: str | None, text: str
    ) -> AsyncGenerator[list[Manifest], None]:
        """Yield all objects there are whose compact JSON has a text in it, and all of them anew when any has changed.

        The others cost next to nothing: they are not even decoded. Objects, outages and errors are as in
        :meth:`follow_all`. What is yielded again because it has not changed is the same object: do not change any.

        :param namespace: of the objects; ``None`` for cluster-wide types only.
        :param text: ``"name":"search-`` for objects that name anything which begins so.
        """
        watch = self._watch(api, namespace)
        selection = watch.join_matching(text.encode())
        loaded: dict[str, tuple[Entry, Manifest]] = {}
        try:
            while True:
                entries, before = await selection.take(), loaded
                loaded = {
                    name: before[name] if name in before and before[name][0] is entry else (entry, entry.load())
                    for name, entry in entries.items()
                }
                yield [obj for _, obj in loaded.values()]
        finally:
            watch.leave_matching(selection)

    def _watch(self, api: ApiResource, namespace: str | None, label_selector: str = "") -> _SharedWatch:
        if api.namespaced and not namespace:
            raise ValueError(f"{api.full_name} can be followed in one namespace only: name it")
        key = (api, namespace, label_selector)
        watch = self._shared.get(key)
        if watch is None:
            watch = self._shared[key] = _SharedWatch(self, *key)
        return watch

    async def close(self) -> None:
        """End all watches; whoever still follows gets ``ApiUnavailableError``."""
        tasks = [watch.end(ApiUnavailableError("the watch was closed")) for watch in list(self._shared.values())]
        await asyncio.gather(*tasks, return_exceptions=True)


class _SharedWatch:
    """One reflector and those who follow its objects, by name."""

    def __init__(self, hub: WatchHub, api: ApiResource, namespace: str | None, label_selector: str) -> None:
        self._hub = hub
        self._key = (api, namespace, label_selector)
        self._api = api
        self._namespace = namespace
        self._followers: defaultdict[str, set[_Follower]] = defaultdict(set)
        self._crowds: set[_Crowd] = set()
        self._selections: set[_Selection] = set()
        self._linger: asyncio.TimerHandle | None = None
        self._reflector = Reflector(
            hub._client,
            api,
            namespace,
            label_selector=label_selector,
            poll_seconds=hub._poll_seconds,
            changed=self._changed,
            listed=self._listed,
        )
        # With a context of its own: it serves all tasks, and must not log into that of whoever came first.
        self._task = asyncio.get_running_loop().create_task(
            self._reflector.run(), name=f"watch {self._reflector}", context=Context()
        )
        self._task.add_done_callback(self._ended)

    def join(self, name: str) -> _Follower:
        """Add a follower; it is offered what is known now, or as soon as anything is."""
        self._stay()
        follower = _Follower()
        self._followers[name].add(follower)
        if self._reflector.complete:
            follower.offer(self._reflector.entries.get(name))
        return follower

    def leave(self, name: str, follower: _Follower) -> None:
        """Remove a follower; the last one ends the watch after a while."""
        self._followers[name].discard(follower)
        if not self._followers[name]:
            del self._followers[name]
        self._go()

    def join_all(self) -> _Crowd:
        """Add a follower of all objects; it is offered what is known now, or as soon as the copy is complete."""
        self._stay()
        crowd = _Crowd()
        self._crowds.add(crowd)
        for name, entry in self._reflector.entries.items():
            crowd.offer(name, entry, gone=False)
        return crowd

    def leave_all(self, crowd: _Crowd) -> None:
        """Remove a follower of all objects."""
        self._crowds.discard(crowd)
        self._go()

    def join_matching(self, text: bytes) -> _Selection:
        """Add a follower of all objects with a text in them; it takes what there is when the copy is complete."""
        self._stay()
        selection = _Selection(self._reflector, text)
        self._selections.add(selection)
        return selection

    def leave_matching(self, selection: _Selection) -> None:
        """Remove a follower of all objects with a text in them."""
        self._selections.discard(selection)
        self._go()

    def _stay(self) -> None:
        """Note that somebody follows."""
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def _go(self) -> None:
        """Let the watch end after a while when nobody follows any more."""
        if not (self._followers or self._crowds or self._selections or self._task.done()):
            loop = asyncio.get_running_loop()
            self._linger = loop.call_later(LINGER_SECONDS, self.end, ApiUnavailableError("the watch was idle"))

    async def find(self, name: str) -> bool | None:
        """Ask the API server for an object; if it is there and the copy is behind, its followers are offered it.

        :return: whether it is there; ``None`` where nobody says.
        """
        failures = 0
        while True:
            try:
                obj = await self._hub._client.get(self._api, name, self._namespace)
            except (ForbiddenError, ResourceTypeNotFoundError):
                # Who may list but not get, and a type that is not served for a moment: the list has the word.
                return None
            except NotFoundError:
                return False
            except ApiUnavailableError as error:
                failures += 1
                await asyncio.sleep(max(error.retry_after, backoff(failures)))
            else:
                return self._reflector.learn(name, obj)

    def end(self, error: Exception) -> asyncio.Task[None]:
        """End the watch, telling followers why; returns the task, which may take a moment to end."""
        if self._linger is not None:
            self._linger.cancel()
        if self._hub._shared.get(self._key) is self:
            del self._hub._shared[self._key]
        followers = (each for group in self._followers.values() for each in group)
        for waiter in (*self._crowds, *self._selections, *followers):
            waiter.fail(error)
        self._task.cancel()
        return self._task

    def _changed(self, name: str, entry: Entry | None, gone: bool) -> None:
        for crowd in self._crowds:
            crowd.offer(name, entry, gone=gone)
        for selection in self._selections:
            selection.offer(name, entry, gone=gone)
        for follower in self._followers.get(name, ()):
            if entry is not None:
                follower.offer(entry)
            if gone:
                follower.offer(None)

    def _listed(self) -> None:
        for name, group in self._followers.items():
            for follower in group:
                follower.offer(self._reflector.entries.get(name))
        for selection in self._selections:
            selection.begin()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # Also a fault of our own: a follower that hears nothing any more would wait for ever.
            self.end(error if isinstance(error, Exception) else RuntimeError(repr(error)))


class _Waiter:
    """One who waits for something to be offered, or for an error."""

    __slots__ = ("_error", "_waiter")

    def __init__(self) -> None:
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def fail(self, error: Exception) -> None:
        """Note that nothing will come any more."""
        self._error = error
        self._wake()

    async def _wait(self) -> None:
        """Wait for the next offer.

        :raises Exception: nothing will come any more.
        """
        if self._error is not None:
            raise copy.copy(self._error)  # a copy each, since raising adds to an exception's traceback
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Follower(_Waiter):
    """One waiter for one object, with room for the newest state and a deletion after it."""

    __slots__ = ("_gone", "newest")

    def __init__(self) -> None:
        super().__init__()
        self.newest: Entry | None = None
        self._gone = False

    def offer(self, entry: Entry | None) -> None:
        """Note a newer state, or that the object is gone."""
        if entry is not None:
            self.newest, self._gone = entry, False
        else:
            self._gone = True
        self._wake()

    def lose(self) -> None:
        """Note that the object is gone, and its newest state out of date."""
        self.newest, self._gone = None, True
        self._wake()

    async def take(self) -> Entry | None:
        """Return the newest state not taken yet, then ``None`` if the object is gone; wait while there is neither."""
        while True:
            if self.newest is not None:
                entry, self.newest = self.newest, None
                return entry
            if self._gone:
                self._gone = False
                return None
            await self._wait()


class _Crowd(_Waiter):
    """One waiter for all objects, with room for the newest state of each, and the last one of each that is gone."""

    __slots__ = ("_last", "_newest")

    def __init__(self) -> None:
        super().__init__()
        self._newest: dict[str, Entry] = {}
        self._last: list[Entry] = []

    def offer(self, name: str, entry: Entry | None, *, gone: bool) -> None:
        """Note a newer state of an object, or its last one; another object of its name may follow."""
        if entry is not None:
            self._newest[name] = entry
        if gone and name in self._newest:
            self._last.append(self._newest.pop(name))
        self._wake()

    async def take(self) -> list[Entry]:
        """Return the states not taken yet, at least one; wait while there is none."""
        while not self._newest and not self._last:
            await self._wait()
        taken = [*self._last, *self._newest.values()]
        self._newest, self._last = {}, []
        return taken


class _Selection(_Waiter):
    """One waiter for all objects with a text in them, with room for those that there are."""

    __slots__ = ("_changed", "_entries", "_reflector", "_text")

    def __init__(self, reflector: Reflector, text: bytes) -> None:
        super().__init__()
        self._reflector = reflector
        self._text = text
        self._entries: dict[str, Entry] | None = None  # until the first are taken
        self._changed = False

    def begin(self) -> None:
        """Note that the copy is complete."""
        self._wake()

    def offer(self, name: str, entry: Entry | None, *, gone: bool) -> None:
        """Note a change of any object."""
        if self._entries is None:
            return
        if entry is None or gone or self._text not in entry.data:
            if self._entries.pop(name, None) is None:
                return
        else:
            self._entries[name] = entry
        self._changed = True
        self._wake()

    async def take(self) -> dict[str, Entry]:
        """Return all there are; wait for the copy to be complete, and from then on for a change."""
        while self._entries is None:
            if self._reflector.complete:
                found = self._reflector.entries.items()
                self._entries = {name: entry for name, entry in found if self._text in entry.data}
                return self._entries
            await self._wait()
        while not self._changed:
            await self._wait()
        self._changed = False
        return self._entries
