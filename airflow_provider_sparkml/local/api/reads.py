"""Reading collections: selection, pages, and one consistent moment over all pages of a list."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_sparkml.local.api.call import Call
from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.selectors import FieldSelector, Selector, parse_fields, parse_labels
from airflow_provider_sparkml.local.api.status import StatusError, bad_request, expired
from airflow_provider_sparkml.local.api.types import ResourceType
from airflow_provider_sparkml.local.store import Record, TooOldError, encode


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a collection are asked for."""

    labels: Selector
    fields: FieldSelector

    def matches(self, record: Record) -> bool:
        """Return whether an object is among them."""
        return self.labels.matches(record.labels) and self.fields.matches(record.field)

    @property
    def name(self) -> str | None:
        """The one object's name, when only one is asked for."""
        return self.fields.value_of("metadata.name")


def selection_of(call: Call, kind: ResourceType) -> Selection:
    """Return what a request selects.

    :raises StatusError: 400 for a malformed selector.
    """
    fields = parse_fields(call.query.get("fieldSelector", ""), kind.selectable_fields)
    if call.target.name:  # a watch of one object
        fields = FieldSelector((*fields.terms, ("metadata.name", call.target.name, True)))
    return Selection(parse_labels(call.query.get("labelSelector", "")), fields)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a collection.

    :param records: its objects.
    :param version: the moment at which the collection was so.
    :param token: asks for the next part; empty at the end.
    :param remaining: how many objects follow, or ``None`` when a selector keeps that from being known.
    """

    records: list[Record]
    version: int
    token: str = ""
    remaining: int | None = None


def list_page(cluster: Cluster, call: Call, kind: ResourceType) -> Page:
    """Return the part of a collection that a request asks for.

    :raises StatusError: 400 for a malformed request, 410 for a token whose moment is forgotten.
    """
    selection = selection_of(call, kind)
    limit = call.number("limit")
    namespace = call.target.namespace or None
    version, after = _start(cluster, call)
    try:
        records = (
            cluster.store.select(kind.storage, namespace)
            if version == cluster.store.version
            else cluster.store.select_at(kind.storage, namespace, version)
        )
    except TooOldError:
        message = (
            "The provided continue parameter is too old to display a consistent list result. You can start a new list "
            "without the continue parameter."
        )
        raise expired(message) from None
    if after is not None:
        records = [record for record in records if record.key > after]
    if selection.labels or selection.fields:
        records = [record for record in records if selection.matches(record)]
    if not limit or len(records) <= limit:
        return Page(records, version)
    selected = bool(selection.labels or selection.fields)
    token = encode({"v": "meta.k8s.io/v1", "rv": version, "start": "/".join(records[limit - 1].key)})
    text = base64.urlsafe_b64encode(token).rstrip(b"=").decode()
    return Page(records[:limit], version, text, None if selected else len(records) - limit)


def _start(cluster: Cluster, call: Call) -> tuple[int, tuple[str, str] | None]:
    """Return the moment to show, and the key after which to begin."""
    token = call.query.get("continue", "")
    wanted = call.query.get("resourceVersion", "")
    if token:
        if wanted not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        return _decode_token(token)
    version = parse_version(wanted)
    if version > cluster.store.version:
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        message = f"Too large resource version: {version}, current: {cluster.store.version}"
        raise StatusError(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})
    if call.query.get("resourceVersionMatch") == "Exact" and version:
        return version, None
    return cluster.store.version, None


def _decode_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        data = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, _, name = data["start"].partition("/")
        return int(data["rv"]), (namespace, name)
    except (ValueError, binascii.Error, KeyError, TypeError, AttributeError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from None


def parse_version(text: str) -> int:
    """Return a resource version as a number, 0 for none.

    :raises StatusError: 500, as a real server answers, when it is no number.
    """
    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        message = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise StatusError(500, "", message)
    return int(text)


def list_body(kind: ResourceType, page: Page, present: Callable[[Record], bytes]) -> bytes:
    """Return a list as JSON, out of the JSON of its objects."""
    meta: dict[str, object] = {"resourceVersion": str(page.version)}
    if page.token:
        meta["continue"] = page.token
        if page.remaining is not None:
            meta["remainingItemCount"] = page.remaining
    head = {"kind": f"{kind.api.kind}List", "apiVersion": kind.api.api_version, "metadata": meta}
    return encode(head)[:-1] + b',"items":[' + b",".join(map(present, page.records)) + b"]}"
