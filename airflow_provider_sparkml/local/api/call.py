"""A request as the API understands it: the path, verb and query of HTTP → resource, subresource, name and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_provider_sparkml.local.api.status import Cause, StatusError, bad_request

_FLAGS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


@dataclass(frozen=True, slots=True)
class User:
    """Who asks.

    :param name: such as ``system:serviceaccount:default:spark``.
    :param groups: such as ``system:masters``.
    """

    name: str
    groups: tuple[str, ...]
    uid: str = ""


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


@dataclass(frozen=True, slots=True)
class Target:
    """What a path points at.

    :param group: API group, empty for the core group.
    :param plural: the resource.
    :param namespace: empty for objects without one, and for all namespaces.
    :param name: empty for the whole collection.
    :param subresource: such as ``status``, ``log``, ``proxy``.
    :param rest: what follows the subresource, from ``/`` on: the path that a proxy forwards.
    """

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""


def parse_path(path: str) -> Target | None:
    """Return what a decoded path points at, or ``None`` when it is no resource."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    if rest[0] == "namespaces" and group == "":
        if len(rest) <= 2:
            return Target(group, version, "namespaces", rest[1] if len(rest) == 2 else "", *rest[1:2])
        if len(rest) == 3 and rest[2] in ("status", "finalize"):
            return Target(group, version, "namespaces", rest[1], rest[1], rest[2])
    namespace = ""
    if rest[0] == "namespaces":
        if len(rest) < 3:
            return None
        namespace, rest = rest[1], rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    return Target(group, version, rest[0], namespace, name, subresource, "/" + "/".join(rest[3:]))


@dataclass(frozen=True, slots=True)
class Call:
    """One request for a resource.

    :param verb: as RBAC has it: ``get``, ``list``, ``watch``, ``create``, ``update``, ``patch``, ``delete`` …
    :param manager: who owns the fields that this request sets.
    """

    verb: str
    target: Target
    user: User
    query: Mapping[str, str] = field(default_factory=dict)
    manager: str = "unknown"

    def flag(self, name: str) -> bool:
        """Return a boolean parameter.

        :raises StatusError: 400 when it is something else.
        """
        text = self.query.get(name, "")
        if not text:
            return False
        try:
            return _FLAGS[text.lower()]
        except KeyError:
            raise bad_request(f'strconv.ParseBool: parsing "{text}": invalid syntax') from None

    def number(self, name: str) -> int | None:
        """Return a parameter that is a whole number of 0 or more, or ``None``.

        :raises StatusError: 400 when it is something else.
        """
        text = self.query.get(name, "")
        if not text:
            return None
        try:
            value = int(text)
        except ValueError:
            raise bad_request(f'{name}: strconv.ParseInt: parsing "{text}": invalid syntax') from None
        if value < 0:
            raise bad_request(f"{name}: must be greater than or equal to 0, not {value}")
        return value

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be stored.

        :raises StatusError: 422 when ``dryRun`` is something else than ``All``.
        """
        text = self.query.get("dryRun", "")
        if text in ("", "All"):
            return text == "All"
        cause = Cause("FieldValueNotSupported", "dryRun", f'Unsupported value: "{text}": supported values: "All"')
        raise StatusError(
            422, "Invalid", f"dryRun: {cause.message}", {"kind": "CreateOptions", "causes": [cause.to_json()]}
        )

    @property
    def field_validation(self) -> str:
        """``Strict``, ``Warn`` or ``Ignore``; a server warns unless it is told otherwise.

        :raises StatusError: 422 for another word.
        """
        text = self.query.get("fieldValidation", "") or "Warn"
        if text in ("Strict", "Warn", "Ignore"):
            return text
        message = f'Unsupported value: "{text}": supported values: "", "Ignore", "Warn", "Strict"'
        cause = Cause("FieldValueNotSupported", "fieldValidation", message)
        raise StatusError(
            422, "Invalid", f"fieldValidation: {message}", {"kind": "CreateOptions", "causes": [cause.to_json()]}
        )


def verb_of(method: str, target: Target, query: Mapping[str, str]) -> str:
    """Return the verb of a request, as RBAC has it."""
    single = bool(target.name)
    match method:
        case "GET" | "HEAD":
            if query.get("watch", "").lower() in ("1", "true", "t"):
                return "watch"
            return "get" if single else "list"
        case "DELETE":
            return "delete" if single else "deletecollection"
        case _:
            return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(method, method.lower())
