"""A local copy of one collection of objects, kept equal to the API server's by list and watch."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_sparkml.client.transport import backoff
from airflow_provider_sparkml.exceptions import ApiError, ApiUnavailableError, GoneError, InvalidConnectionError
from airflow_provider_sparkml.resources.base import ApiResource, Manifest

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient

log = logging.getLogger(__name__)

REFUSAL_GRACE_SECONDS = 60.0
"""How long a copy that was once complete bears 401, 403 and 404: RBAC and CRDs come back late after a restart."""
_WATCH_SECONDS = (240, 360)
_SETTLED_SECONDS = 0.5
_POLLS_BEFORE_WATCH = 30
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# What the functions of resources/ read of a spec; the rest can be large and is never looked at while waiting.
_SPEC_KEPT = (
    "suspend",
    "active",
    "sparkConf",
    "restartPolicy",
    "runPolicy",
    "maxTrialCount",
    "parallelTrialCount",
    "objective",
    "clusterTolerations",
)


class Entry(NamedTuple):
    """One object, in little memory: as dicts it would take several times as much.

    :param version: its resourceVersion; Kubernetes makes them comparable integers within a type (KEP-5504).
    :param data: its :func:`essentials` as JSON.
    """

    version: int
    data: bytes

    @classmethod
    def of(cls, obj: Manifest) -> Entry:
        """Return the entry of an object."""
        return cls(
            _number(obj["metadata"].get("resourceVersion", "")),
            json.dumps(essentials(obj), separators=(",", ":")).encode(),
        )

    def load(self) -> Manifest:
        """Return the object; each call returns one of its own."""
        obj: Manifest = json.loads(self.data)
        return obj


def essentials(obj: Manifest) -> Manifest:
    """Return what a wait reads of an object: its metadata without bookkeeping, its status, and little of its spec."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    if _LAST_APPLIED in (metadata.get("annotations") or {}):
        metadata["annotations"] = {k: v for k, v in metadata["annotations"].items() if k != _LAST_APPLIED}
    spec = obj.get("spec") or {}
    return {
        "apiVersion": obj.get("apiVersion"),
        "kind": obj.get("kind"),
        "metadata": metadata,
        "spec": {key: spec[key] for key in _SPEC_KEPT if key in spec},
        "status": obj.get("status") or {},
    }


class Reflector:
    """Lists a collection, then watches it, and goes on through every fault that can heal.

    A broken watch is resumed from the last version seen; a version too old for that (410) means listing anew, and
    what differs from the copy is told as changes. Where watching is forbidden, it lists again and again instead.

    :param client: the cluster.
    :param api: the type.
    :param namespace: where; ``None`` for all namespaces.
    :param label_selector: selects some of the collection; all of it when empty.
    :param poll_seconds: pause between two lists where watching is forbidden.
    :param changed: told each change: the name and the entry, and whether the object is gone (with its last entry, or
        ``None`` when it went unseen).
    :param listed: told when the copy is complete for the first time.
    """

    def __init__(
        self,
        client: KubernetesClient,
        api: ApiResource,
        namespace: str | None,
        *,
        label_selector: str = "",
        poll_seconds: float,
        changed: Callable[[str, Entry | None, bool], None],
        listed: Callable[[], None],
    ) -> None:
        self.entries: dict[str, Entry] = {}
        self.complete = False
        self._client = client
        self._api = api
        self._namespace = namespace
        self._label_selector = label_selector
        self._poll_seconds = poll_seconds
        self._changed = changed
        self._listed = listed
        self._learned: dict[str, Entry] | None = None  # by GET, while a list is under way
        self._version = ""
        self._current = False  # whether a watch may go on from _version
        self._settled = False  # whether the present watch has proved to work
        self._failures = 0  # in a row
        self._announced = False  # whether the outage has been logged
        self._refused_since: float | None = None
        self._polls_left = 0
        self._polling = False

    def __str__(self) -> str:
        where = f"namespace {self._namespace}" if self._namespace else "all namespaces"
        return f"{self._api.full_name} in {where}{f' ({self._label_selector})' if self._label_selector else ''}"

    async def run(self) -> None:
        """Keep the copy up to date until cancelled.

        :raises ApiError: the server refuses in a way that does not heal.
        :raises InvalidConnectionError: the credentials cannot be used.
        """
        while True:
            try:
                if not self._current:
                    await self._list()
                if self._polls_left:
                    await self._wait_for_poll()
                else:
                    await self._watch()
            except GoneError as error:
                log.info("the watch of %s has fallen too far behind; listing anew: %s", self, error)
                self._current = False
                if self._failures:
                    await asyncio.sleep(backoff(self._failures))
                self._failures += 1
            except (ApiError, InvalidConnectionError) as error:
                await self._endure(error)

    def learn(self, name: str, obj: Manifest) -> bool:
        """Take in an object read by a GET, which may be ahead of the watch or behind it; tell whether it exists."""
        entry, known = Entry.of(obj), self.entries.get(name)
        if known is None and 0 < entry.version <= _number(self._version):
            return False  # what the watch has seen by now includes its deletion
        if known is None or known.version < entry.version:
            self.entries[name] = entry
            if self._learned is not None:
                self._learned[name] = entry
            self._changed(name, entry, False)
        return True

    async def _list(self) -> None:
        """Make the copy equal to a list, and tell the differences."""
        self._learned = {}
        try:
            found = await self._client.list(self._api, self._namespace, label_selector=self._label_selector)
            listed = {obj["metadata"]["name"]: Entry.of(obj) for obj in found.items}
            # What a GET found meanwhile may be newer than the list, though not what it found before: etcd may have been
            # restored since.
            newer = {k: v for k, v in self._learned.items() if v.version > _number(found.resource_version)}
        finally:
            self._learned = None
        before, self.entries = self.entries, listed | newer
        self._version, self._current = found.resource_version, True
        self._refused_since = None
        for name, entry in self.entries.items():
            if before.get(name) != entry:
                self._changed(name, entry, False)
        for name in before.keys() - self.entries.keys():
            self._changed(name, None, True)
        if not self.complete:
            self.complete = True
            self._listed()

    async def _watch(self) -> None:
        """Follow one watch to its end."""
        self._settled = False
        proof: list[asyncio.TimerHandle] = []
        events = self._client.watch(
            self._api,
            self._namespace,
            resource_version=self._version,
            label_selector=self._label_selector,
            timeout_seconds=random.randint(*_WATCH_SECONDS),  # noqa: S311 - so that not all end at the same moment
            # A watch that is accepted and cut at once is no working one.
            on_open=lambda: proof.append(asyncio.get_running_loop().call_later(_SETTLED_SECONDS, self._settle)),
        )
        try:
            async with aclosing(events):
                async for event in events:
                    self._apply(event["type"], event["object"])
                    self._settle()
        except ApiError as error:
            if error.status in (403, 405):
                self._poll_instead(error)
                return
            # Only a lost connection, or 429, leaves the version in order: nobody knows what else the server dislikes.
            self._current = error.status in (0, 429)
            raise
        finally:
            for timer in proof:
                timer.cancel()
        if not self._settled:
            raise ApiUnavailableError(f"the server ended the watch of {self} at once")

    def _apply(self, kind: str, obj: Manifest) -> None:
        """Take in one event."""
        self._version = obj["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return
        name, entry = obj["metadata"]["name"], Entry.of(obj)
        known = self.entries.get(name)
        if known is not None and known.version > entry.version:
            return  # a GET was ahead of the watch
        if kind == "DELETED":
            self.entries.pop(name, None)
            self._changed(name, entry, True)
        elif known != entry:
            self.entries[name] = entry
            self._changed(name, entry, False)

    def _poll_instead(self, error: ApiError) -> None:
        """Give up watching for a while."""
        if not self._polling:
            log.warning("watching %s is refused, so it is listed every %g s: %s", self, self._poll_seconds, error)
        self._polling = True
        self._polls_left = _POLLS_BEFORE_WATCH

    async def _wait_for_poll(self) -> None:
        """Let the next round list; after many of them it tries to watch once more."""
        self._settle()
        self._polls_left -= 1
        self._current = False
        await asyncio.sleep(self._poll_seconds)

    def _settle(self) -> None:
        """Note that the copy is being kept up to date again."""
        self._settled = True
        self._failures = 0
        if self._announced:
            self._announced = False
            log.info("%s is in sight again", self)

    async def _endure(self, error: ApiError | InvalidConnectionError) -> None:
        """Pause after a failure, or raise it when it will not heal."""
        self._failures += 1
        if not isinstance(error, ApiUnavailableError):
            self._refused_since = self._refused_since or time.monotonic()
            if not self.complete or time.monotonic() - self._refused_since > REFUSAL_GRACE_SECONDS:
                raise error
        if self._failures > 1 and not self._announced:
            self._announced = True
            log.warning("lost sight of %s, trying on: %s", self, error)
        asked = error.retry_after if isinstance(error, ApiUnavailableError) else 0.0
        await asyncio.sleep(max(asked, backoff(self._failures)))


def _number(version: str) -> int:
    """Return a resourceVersion as a number, 0 when it is none."""
    return int(version) if version.isdigit() else 0
