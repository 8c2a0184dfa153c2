"""What controllers do with the objects that they make for others: find them, make them once, tell of them, end them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import AlreadyExistsError, ApiError, LocalClusterError, NotFoundError
from airflow_provider_sparkml.local.controllers.runtime import controller_of, now, owner_reference, record_event
from airflow_provider_sparkml.resources.base import ApiResource, Manifest

log = logging.getLogger(__name__)

MESSAGE_CHARACTERS = 1024
"""Longest message of an event."""


class OccupiedError(LocalClusterError):
    """An object that a controller needs has the name of one that belongs to somebody else."""


@dataclass(frozen=True, slots=True)
class Note:
    """An event to record about an object."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


def parse_time(text: str) -> datetime:
    """Return the time that Kubernetes wrote as RFC 3339."""
    return datetime.fromisoformat(text).astimezone(UTC)


def belongs_to(obj: Manifest, owner: Manifest) -> bool:
    """Whether an object's controller is this very owner."""
    reference = controller_of(obj)
    return reference is not None and reference["uid"] == owner["metadata"]["uid"]


def is_deleting(obj: Manifest) -> bool:
    """Whether an object has a deletion time."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def selector_of(labels: Mapping[str, str]) -> str:
    """Return the label selector that wants all of the labels."""
    return ",".join(f"{name}={value}" for name, value in labels.items())


async def find(client: KubernetesClient, api: ApiResource, name: str, namespace: str) -> Manifest | None:
    """Return an object, or ``None``."""
    try:
        return await client.get(api, name, namespace)
    except NotFoundError:
        return None


async def owned(
    client: KubernetesClient, api: ApiResource, owner: Manifest, labels: Mapping[str, str]
) -> list[Manifest]:
    """Return the objects that have these labels and belong to ``owner``, by name."""
    listing = await client.list(api, owner["metadata"]["namespace"], label_selector=selector_of(labels))
    return sorted(
        (obj for obj in listing.items if belongs_to(obj, owner)), key=lambda obj: str(obj["metadata"]["name"])
    )


async def ensure(client: KubernetesClient, api: ApiResource, manifest: Manifest, owner: Manifest) -> Manifest:
    """Return the object of the manifest's name, made now if there is none.

    :raises OccupiedError: when it belongs to somebody else.
    """
    namespace, name = owner["metadata"]["namespace"], manifest["metadata"]["name"]
    found = await find(client, api, name, namespace)
    if found is None:
        meta = manifest["metadata"] | {"ownerReferences": [owner_reference(owner)]}
        try:
            return await client.create(api, manifest | {"metadata": meta}, namespace)
        except AlreadyExistsError:
            found = await client.get(api, name, namespace)
    if not belongs_to(found, owner):
        text = f'Resource "{name}" of Kind "{api.kind}" already exists and is not managed by {owner["kind"]}'
        raise OccupiedError(text)
    return found


async def delete(client: KubernetesClient, api: ApiResource, obj: Manifest, *, foreground: bool = False) -> None:
    """Delete this very object; one that is gone, or on its way, is none of our business."""
    if not is_deleting(obj):
        meta = obj["metadata"]
        propagation: Literal["Foreground", "Background"] = "Foreground" if foreground else "Background"
        await client.delete(api, meta["name"], meta["namespace"], uid=meta["uid"], propagation=propagation)


async def write_status(client: KubernetesClient, api: ApiResource, obj: Manifest, status: Mapping[str, Any]) -> None:
    """Store a status that changed; somebody else's change meanwhile is a conflict, and the object is looked at anew."""
    if status != (obj.get("status") or {}):
        await client.replace(api, {**obj, "status": status}, obj["metadata"].get("namespace"), subresource="status")


async def tell(client: KubernetesClient, obj: Manifest, notes: Iterable[Note], *, source: str) -> None:
    """Record events; one that cannot be recorded holds up nobody."""
    for note in notes:
        message = note.message if len(note.message) <= MESSAGE_CHARACTERS else f"{note.message[:1021]}..."
        try:
            await record_event(client, obj, note.kind, reason=note.reason, message=message, source=source)
        except ApiError as error:
            log.warning("event %s of %s %s: %s", note.reason, obj["kind"], obj["metadata"]["name"], error)


# --- conditions ------------------------------------------------------------------------------------------------------


def find_condition(status: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """Return a status' condition of this type, or ``None``."""
    conditions: list[dict[str, Any]] = status.get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), None)


def is_true(status: Mapping[str, Any], kind: str) -> bool:
    """Whether the condition of this type is there and true."""
    condition = find_condition(status, kind)
    return condition is not None and condition["status"] == "True"


def put_condition(
    status: dict[str, Any], kind: str, value: bool, reason: str, message: str, *, stamps: tuple[str, ...] = ()
) -> bool:
    """Put a condition into a status, where it was or else last; return whether it said something else before.

    :param stamps: further fields that take the time of the change, such as ``lastProbeTime``.
    """
    known = find_condition(status, kind)
    text = "True" if value else "False"
    if known is not None and (known["status"], known.get("reason"), known.get("message")) == (text, reason, message):
        return False
    at = now()
    since = known["lastTransitionTime"] if known is not None and known["status"] == text else at
    condition = {"type": kind, "status": text, "reason": reason, "message": message, "lastTransitionTime": since}
    condition |= dict.fromkeys(stamps, at)
    conditions = list(status.get("conditions") or ())
    if known is None:
        conditions.append(condition)
    else:
        conditions[conditions.index(known)] = condition
    status["conditions"] = conditions
    return True
