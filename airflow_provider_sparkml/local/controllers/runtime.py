"""How a controller runs: watched changes become keys, each key is reconciled by itself, failures are tried again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeVar

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import AlreadyExistsError, ApiError, ConflictError, GoneError
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import EVENT

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace and name of the object that a controller looks after."""

Reconcile = Callable[[str, str], Awaitable[float | None]]
"""Brings the world nearer to one object's spec; returns after how many seconds to look again, if at all.

It reads what it needs from the API server anew, so that it never acts on an old copy.
"""

FIRST_RETRY_SECONDS = 0.1
LAST_RETRY_SECONDS = 10.0


def own_key(obj: Manifest) -> Iterable[Key]:
    """Return the object's own key."""
    yield obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def owner_key(kind: str) -> Callable[[Manifest], Iterable[Key]]:
    """Return a function that maps an object to the key of the controller of this kind that owns it."""

    def keys(obj: Manifest) -> Iterable[Key]:
        owner = controller_of(obj)
        if owner and owner["kind"] == kind:
            yield obj["metadata"]["namespace"], owner["name"]

    return keys


def controller_of(obj: Manifest) -> Manifest | None:
    """Return the owner reference marked ``controller``, or ``None``."""
    owners: list[Manifest] = obj["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def owner_reference(owner: Manifest) -> Manifest:
    """Return the reference by which an object belongs to ``owner`` and is deleted with it."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def now() -> str:
    """Return the present time as Kubernetes writes it: RFC 3339 in UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Source:
    """A type to watch.

    :param api: the type.
    :param keys: which of the controller's objects a change of such an object concerns.
    """

    api: ApiResource
    keys: Callable[[Manifest], Iterable[Key]] = own_key


class Controller:
    """Runs ``reconcile`` for every object that changed, in all namespaces, until it is cancelled.

    :param name: for the log.
    :param client: the API server.
    :param sources: what to watch.
    :param reconcile: called for one key at a time; different keys run side by side.
    :param workers: how many keys are reconciled at once.
    """

    def __init__(
        self, name: str, client: KubernetesClient, sources: Sequence[Source], reconcile: Reconcile, *, workers: int = 4
    ) -> None:
        self.name = name
        self.sources = sources
        self._client = client
        self._reconcile = reconcile
        self._slots = asyncio.Semaphore(workers)
        self._woken: dict[Key, asyncio.Event] = {}

    async def run(self) -> None:
        """Watch and reconcile for ever."""
        await run_controllers(self._client, [self])

    def wake(self, key: Key, tasks: asyncio.TaskGroup) -> None:
        """Have a key reconciled, by a task of the group, as soon as there is a slot."""
        if key in self._woken:
            self._woken[key].set()
        else:
            self._woken[key] = asyncio.Event()
            tasks.create_task(self._tend(key), name=f"{self.name} {'/'.join(key)}")

    async def _tend(self, key: Key) -> None:
        """Reconcile one key until nothing is left to do for it."""
        woken = self._woken[key]
        failures = 0
        while True:
            woken.clear()
            try:
                async with self._slots:
                    again = await self._reconcile(*key)
                failures = 0
            except Exception as error:  # noqa: BLE001 - one object's trouble must not stop the others
                again = pause(failures)
                failures += 1
                self._report(key, error, again)
            if again is None and not woken.is_set():
                del self._woken[key]
                return
            try:
                async with asyncio.timeout(again):  # wait_for may swallow a cancellation (cpython#86296)
                    await woken.wait()
            except TimeoutError:
                continue

    def _report(self, key: Key, error: Exception, again: float) -> None:
        what = f"{self.name}: {'/'.join(key)}: {error}; again in {again:.1f} s"
        if isinstance(error, ConflictError):  # somebody was quicker: the ordinary course of things
            log.debug(what)
        elif isinstance(error, ApiError):
            log.warning(what)
        else:
            log.error(what, exc_info=error)


async def run_controllers(client: KubernetesClient, controllers: Sequence[Controller]) -> None:
    """Run controllers side by side for ever, with one watch for each type that any of them looks at."""
    listeners: dict[ApiResource, list[tuple[Controller, Source]]] = {}
    for controller in controllers:
        for source in controller.sources:
            listeners.setdefault(source.api, []).append((controller, source))
    async with asyncio.TaskGroup() as tasks:
        for api, pairs in listeners.items():
            tasks.create_task(_follow(client, api, pairs, tasks), name=f"controllers watch {api.plural}")


async def _follow(
    client: KubernetesClient, api: ApiResource, pairs: Sequence[tuple[Controller, Source]], tasks: asyncio.TaskGroup
) -> None:
    def concerned(obj: Manifest) -> Iterable[tuple[Controller, Key]]:
        return ((controller, key) for controller, source in pairs for key in source.keys(obj))

    async with aclosing(changed_keys(client, api, concerned)) as changed:
        async for controller, key in changed:
            controller.wake(key, tasks)


Concerned = TypeVar("Concerned", bound=Hashable)


async def changed_keys(
    client: KubernetesClient, api: ApiResource, keys: Callable[[Manifest], Iterable[Concerned]]
) -> AsyncGenerator[Concerned, None]:
    """Yield whom every change of a type concerns, at first all whom its objects concern, for ever.

    :param keys: an object → whom it concerns; a change concerns those of before it, too.
    """
    known: dict[str, tuple[Concerned, ...]] = {}
    async with aclosing(changes(client, api)) as changed:
        async for uid, obj in changed:
            before = known.pop(uid, ())
            if obj is not None:
                known[uid] = tuple(keys(obj))
            for key in dict.fromkeys((*before, *known.get(uid, ()))):
                yield key


async def changes(
    client: KubernetesClient, api: ApiResource, *, listed: Callable[[], None] = lambda: None
) -> AsyncGenerator[tuple[str, Manifest | None], None]:
    """Yield every object of a type with its UID, as it is now and after each change, for ever; ``None``: it has gone.

    After a cut or a 410 all objects are listed again, and what went meanwhile is yielded, too.

    :param listed: called each time that all objects have been yielded.
    """
    known: set[str] = set()
    failures = 0
    while True:
        try:
            listing = await client.list(api)
            failures = 0
            before, known = known, {obj["metadata"]["uid"] for obj in listing.items}
            for uid in before - known:
                yield uid, None
            for obj in listing.items:
                yield obj["metadata"]["uid"], obj
            listed()
            version = listing.resource_version
            while True:
                async with aclosing(client.watch(api, None, resource_version=version)) as events:
                    async for event in events:
                        obj = event["object"]
                        version = obj["metadata"]["resourceVersion"]
                        if event["type"] == "BOOKMARK":
                            continue
                        uid = obj["metadata"]["uid"]
                        if event["type"] == "DELETED":
                            known.discard(uid)
                            yield uid, None
                        else:
                            known.add(uid)
                            yield uid, obj
        except GoneError:
            continue
        except ApiError as error:
            log.warning("watch of %s: %s; again in %.1f s", api.full_name, error, pause(failures))
            await asyncio.sleep(pause(failures))
            failures += 1


def pause(failures: int) -> float:
    """Return how many seconds to wait after so many failures and one more."""
    return min(FIRST_RETRY_SECONDS * 2.0 ** min(failures, 10), LAST_RETRY_SECONDS)


async def record_event(
    client: KubernetesClient,
    obj: Manifest,
    kind: Literal["Normal", "Warning"],
    *,
    reason: str,
    message: str,
    source: str,
) -> None:
    """Tell what happened to an object as an Event; the same thing told again is counted, not repeated.

    :param obj: the object it happened to.
    :param kind: ``Normal`` or ``Warning``.
    :param reason: a CamelCase word.
    :param message: a sentence.
    :param source: name of the controller.
    """
    meta = obj["metadata"]
    digest = hashlib.sha256(f"{meta['uid']}/{kind}/{reason}/{message}".encode()).hexdigest()[:16]
    name, namespace, when = f"{meta['name'][:200]}.{digest}", meta["namespace"], now()
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "namespace": namespace,
            "name": meta["name"],
            "uid": meta["uid"],
        },
        "type": kind,
        "reason": reason,
        "message": message,
        "source": {"component": source},
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
    }
    try:
        await client.create(EVENT, event, namespace)
    except AlreadyExistsError:
        told = await client.get(EVENT, name, namespace)
        await client.patch(EVENT, name, {"count": told.get("count", 1) + 1, "lastTimestamp": when}, namespace)
