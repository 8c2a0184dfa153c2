"""Who belongs to whom: the graph of owners and dependents that the garbage collector decides by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from airflow_provider_sparkml.resources.base import ApiResource, Manifest

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner reference.

    :param blocking: whether an owner that is deleted in the foreground waits for this dependent.
    """

    api_version: str
    kind: str
    name: str
    uid: str
    blocking: bool


@dataclass(frozen=True, slots=True)
class Node:
    """What the garbage collector remembers of an object.

    :param api: its type.
    :param owners: its owner references.
    :param deleting: whether it has a deletion time.
    :param finalizers: what it waits for before it goes.
    """

    api: ApiResource
    namespace: str
    name: str
    uid: str
    owners: tuple[Owner, ...]
    deleting: bool
    finalizers: tuple[str, ...]

    @classmethod
    def of(cls, api: ApiResource, obj: Manifest) -> Node:
        """Return what is worth remembering of an object."""
        meta = obj["metadata"]
        owners = tuple(
            Owner(each["apiVersion"], each["kind"], each["name"], each["uid"], bool(each.get("blockOwnerDeletion")))
            for each in meta.get("ownerReferences") or ()
        )
        return cls(
            api,
            meta.get("namespace", ""),
            meta["name"],
            meta["uid"],
            owners,
            bool(meta.get("deletionTimestamp")),
            tuple(meta.get("finalizers") or ()),
        )

    @property
    def waits_for_dependents(self) -> bool:
        """Whether it is being deleted in the foreground."""
        return self.deleting and FOREGROUND in self.finalizers

    @property
    def lets_dependents_go(self) -> bool:
        """Whether it is being deleted so that its dependents stay."""
        return self.deleting and ORPHAN in self.finalizers

    def __str__(self) -> str:
        return f"{self.api.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.api.kind} {self.name}"


class Graph:
    """All objects by UID, and the dependents of each owner."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._dependents: dict[str, set[str]] = defaultdict(set)

    def get(self, uid: str) -> Node | None:
        """Return an object, or ``None``."""
        return self._nodes.get(uid)

    def dependents(self, uid: str) -> list[Node]:
        """Return what names an object as owner."""
        return [self._nodes[each] for each in self._dependents.get(uid, ())]

    def blocking_dependents(self, uid: str) -> list[Node]:
        """Return what an object that is deleted in the foreground waits for."""
        return [
            node for node in self.dependents(uid) if any(owner.uid == uid and owner.blocking for owner in node.owners)
        ]

    def of_type(self, api: ApiResource) -> set[str]:
        """Return the UIDs of all objects of a type."""
        return {uid for uid, node in self._nodes.items() if node.api == api}

    def put(self, node: Node) -> set[str]:
        """Remember an object as it is now; return the UIDs of those that this concerns."""
        former = self._nodes.get(node.uid)
        if former == node:
            return set()
        self._unlink(former)
        self._nodes[node.uid] = node
        for owner in node.owners:
            self._dependents[owner.uid].add(node.uid)
        # Owners wait for it no longer when it names them no longer; dependents must know that it is on its way.
        concerned = {node.uid, *self._owners_of(former, node)}
        if node.deleting:
            concerned |= self._dependents.get(node.uid, set())
        return concerned

    def drop(self, uid: str) -> set[str]:
        """Forget an object; return the UIDs of those that this concerns."""
        node = self._nodes.pop(uid, None)
        self._unlink(node)
        return {*self._dependents.get(uid, ()), *self._owners_of(node)}

    def _unlink(self, node: Node | None) -> None:
        for owner in node.owners if node else ():
            dependents = self._dependents[owner.uid]
            dependents.discard(node.uid if node else "")
            if not dependents:
                del self._dependents[owner.uid]

    @staticmethod
    def _owners_of(*nodes: Node | None) -> Iterable[str]:
        return {owner.uid for node in nodes if node for owner in node.owners}
