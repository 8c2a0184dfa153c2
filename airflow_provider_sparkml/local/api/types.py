"""What the API server must know of a resource type, built in or defined by a CRD."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_provider_sparkml.local.api.metadata import subdomain
from airflow_provider_sparkml.local.api.status import Cause
from airflow_provider_sparkml.resources.base import ApiResource, Manifest

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
COMMON_FIELDS = frozenset({"metadata.name", "metadata.namespace"})

Schema = dict[str, Any]
"""An OpenAPI v3 schema as Kubernetes writes it, every reference resolved."""


async def no_schema() -> Schema | None:
    """Know of no schema: such a type takes any field."""
    return None


def _nothing(obj: Manifest) -> None:
    """Leave the object as it is."""


def _no_rules(obj: Manifest, old: Manifest | None) -> list[Cause]:
    """Accept any object."""
    return []


def _same(obj: Manifest) -> Manifest:
    """Return the object as it is stored."""
    return obj


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``.

    :param name: its heading.
    :param type: ``string``, ``integer``, ``boolean``, ``date``, ``number``.
    :param value: the object → the cell.
    :param priority: 0 is always shown, 1 with ``-o wide``.
    """

    name: str
    value: Callable[[Manifest], Any]
    type: str = "string"
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ResourceType:
    """One resource type in one version.

    :param api: its address.
    :param singular: its name in the singular.
    :param short_names: what kubectl takes for it.
    :param categories: groups such as ``all``.
    :param verbs: what can be done with it.
    :param status: whether ``status`` is a subresource, written apart from the rest.
    :param scale: paths of ``spec.replicas``, ``status.replicas`` and the selector, when it has ``scale``.
    :param subresources: further subresources, ``(name, kind, verbs)``.
    :param fill: puts the type's defaults into an object.
    :param check: the object, and what it replaces → what is wrong with it.
    :param name_rule: field and name → what is wrong with the name.
    :param selectable: fields that field selectors can use → their paths.
    :param schema: gives the schema, when it has one; may take a while the first time.
    :param columns: for ``kubectl get``.
    :param generation: whether changes of the spec are counted in ``metadata.generation``.
    :param unconditional_update: whether an update may come without a resource version.
    :param returns_deleted: whether a delete answers with the object rather than a Status.
    :param custom: whether a CRD defines it.
    :param hub: ``apiVersion`` in which it is stored.
    :param present: stored object → the same in this version, ``None`` where that is as stored.
    :param absorb: an object of this version → as it is stored.
    """

    api: ApiResource
    singular: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    status: bool = False
    scale: tuple[str, str, str] | None = None
    subresources: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    fill: Callable[[Manifest], None] = _nothing
    check: Callable[[Manifest, Manifest | None], list[Cause]] = _no_rules
    name_rule: Callable[[str, str], list[Cause]] = subdomain
    selectable: Mapping[str, str] = field(default_factory=dict)
    schema: Callable[[], Awaitable[Schema | None]] = no_schema
    columns: tuple[Column, ...] = ()
    generation: bool = False
    unconditional_update: bool = True
    returns_deleted: bool = False
    custom: bool = False
    present: Callable[[Manifest], Manifest] | None = None
    absorb: Callable[[Manifest], Manifest] = _same
    storage_group: str | None = None

    @property
    def storage(self) -> str:
        """Where its objects are kept: the same for all versions."""
        group = self.api.group if self.storage_group is None else self.storage_group
        return f"{group}/{self.api.plural}"

    @property
    def selectable_fields(self) -> frozenset[str]:
        """All fields that a field selector may name."""
        return COMMON_FIELDS | self.selectable.keys()

    def fields_of(self, obj: Manifest) -> dict[str, str]:
        """Return the values of the selectable fields that the object has."""
        values = {name: dig(obj, path) for name, path in self.selectable.items()}
        return {name: _text(value) for name, value in values.items() if value is not None}


def dig(obj: Any, path: str) -> Any:
    """Return the value at a dotted path, or ``None``."""
    for part in path.split("."):
        if not isinstance(obj, dict):
            return None
        obj = obj.get(part)
    return obj


def _text(value: Any) -> str:
    """Return a value as field selectors write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def age(timestamp: str | None) -> str:
    """Return how long ago a time was, in kubectl's short form."""
    if not timestamp:
        return "<unknown>"
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds())
    return short_duration(max(seconds, 0))


def short_duration(seconds: int) -> str:
    """Return a duration as kubectl prints it: two units where the second matters (apimachinery ``HumanDuration``)."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    for below, number, unit, rest, small in (
        (120, seconds, "s", 0, ""),
        (600, minutes, "m", seconds % 60, "s"),
        (3 * 3600, minutes, "m", 0, ""),
        (8 * 3600, hours, "h", minutes % 60, "m"),
        (48 * 3600, hours, "h", 0, ""),
        (8 * 86400, days, "d", hours % 24, "h"),
    ):
        if seconds < below:
            return f"{number}{unit}{rest}{small}" if rest else f"{number}{unit}"
    return f"{days}d"


AGE = Column("Age", lambda obj: age(obj["metadata"].get("creationTimestamp")), description="Time since its creation.")


class Registry:
    """All resource types, by address."""

    def __init__(self) -> None:
        self._types: dict[tuple[str, str, str], ResourceType] = {}
        self.preferred: dict[str, str] = {}
        self.generation = 0  # counts changes, so that what is derived from the types can be kept until one

    def add(self, kind: ResourceType) -> None:
        """Serve a type; its group's first version is the preferred one."""
        self._types[(kind.api.group, kind.api.version, kind.api.plural)] = kind
        self.preferred.setdefault(kind.api.group, kind.api.version)
        self.generation += 1

    def remove(self, group: str, plural: str) -> None:
        """Serve a type no longer, in any version."""
        self._types = {key: kind for key, kind in self._types.items() if (key[0], key[2]) != (group, plural)}
        if not any(key[0] == group for key in self._types):
            self.preferred.pop(group, None)
        self.generation += 1

    def find(self, group: str, version: str, plural: str) -> ResourceType | None:
        """Return the type at an address, or ``None``."""
        return self._types.get((group, version, plural))

    def all(self) -> list[ResourceType]:
        """Return every type, in every version."""
        return list(self._types.values())

    def stored(self) -> list[ResourceType]:
        """Return every type once, in the version in which it is stored."""
        return list({kind.storage: kind for kind in reversed(self._types.values()) if kind.present is None}.values())
