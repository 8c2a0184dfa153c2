"""Any kind of resource: when it has succeeded or failed, as conditions in the words of ``kubectl wait --for``."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import ApiResource, Manifest, Phase, Resource, Verdict
from airflow_provider_sparkml.resources.conditions import is_suspended
from airflow_provider_sparkml.resources.secret_values import is_secret

OBJECT_BYTES = 48 * 1024
"""Of how many bytes of JSON an object may be in an XCom; Airflow keeps these in its database."""

_CONDITION = re.compile(r"condition=([^=\s]+)(?:=([^=\s]+))?")
_JSONPATH = re.compile(r"(?:jsonpath=)?\{(.+?)\}(?:=(.+))?", re.DOTALL)
# The shared watch keeps no more of an object than these.
_ROOTS = re.compile(r"\.?(status|metadata)\b")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_FORMS = "write condition=Ready, condition=Ready=false, {.status.phase}=Ready, or {.status.url} for a field to be there"


@dataclass(frozen=True, slots=True)
class Expectation:
    """One condition that an object may meet.

    :param text: as its author wrote it.
    :param condition: type of an entry of ``status.conditions``; empty for a JSONPath.
    :param path: an RFC 9535 query; empty for a condition's type.
    :param value: what the condition's status, or a value found, has to be; ``None``: there has to be a value.
    """

    text: str
    condition: str = ""
    path: str = ""
    value: str | None = None

    @classmethod
    def parse(cls, field: str, text: Any) -> Expectation:
        """Return what a text means, in the forms of ``kubectl wait --for``.

        :param field: name of the parameter, for messages.
        :raises InvalidManifestError: it is in none of the forms, or its JSONPath is wrong.
        """
        if not isinstance(text, str):
            raise InvalidManifestError(f"{field} is {text!r}: {_FORMS}")
        if found := _CONDITION.fullmatch(text.strip()):
            return cls(text, condition=found[1], value=found[2] or "true")
        found = _JSONPATH.fullmatch(text.strip())
        if found is None:
            raise InvalidManifestError(f"{field} is {text!r}: {_FORMS}")
        path = found[1].strip()
        if not _ROOTS.match(path):
            raise InvalidManifestError(
                f"{field} is {text!r}: the path must begin with .status or .metadata, "
                "since a wait sees no other part of an object"
            )
        if "\\" in path:
            raise InvalidManifestError(f"{field} is {text!r}: write ['a.b'] for a name with a dot, not a\\.b")
        query = f"$.{path.removeprefix('.')}"
        _compile_checked(field, text, query)
        return cls(text, path=query, value=found[2])

    def met_by(self, obj: Manifest) -> Mapping[str, Any] | None:
        """Return what meets it in an object: the condition, or ``{"value": …}``; ``None`` when nothing does."""
        if self.condition:
            return self._condition_of(obj)
        for value in _compiled(self.path).findall(obj):
            if self.value is None or _text(value) == self.value.strip():
                return {"value": value}
        return None

    def _condition_of(self, obj: Manifest) -> Mapping[str, Any] | None:
        """Return the condition of the type and status, unless it is of a former generation of the object.

        As ``kubectl wait`` has it: without regard to case, and only when the controller has seen the newest spec.
        """
        generation = _count(obj["metadata"].get("generation"))
        for each in _conditions(obj):
            if str(each.get("type")).lower() != self.condition.lower():
                continue
            observed = _count(each.get("observedGeneration")) or _count(_status(obj).get("observedGeneration"))
            stale = 0 < observed < generation
            if str(each.get("status")).lower() == str(self.value).lower() and not stale:
                return dict(each)
        return None


@dataclass(frozen=True, slots=True)
class Rules:
    """How to read objects of any kind; JSON-safe, so that a trigger can carry it.

    :param api: the address of their type.
    :param success: any one of these met is success.
    :param failure: any one of these met is failure, also beside a success.
    """

    api: ApiResource
    success: tuple[str, ...]
    failure: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-safe dict; :meth:`from_json` is its inverse."""
        return {"api": asdict(self.api), "success": list(self.success), "failure": list(self.failure)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Rules:
        """Rebuild the rules from :meth:`to_json`."""
        return cls(ApiResource(**data["api"]), tuple(data["success"]), tuple(data["failure"]))

    def resource(self) -> Resource:
        """Return the kind as these rules describe it."""
        read = functools.partial(
            read_by, parse_expectations("success", self.success), parse_expectations("failure", self.failure)
        )
        return Resource(self.api, read, result=bounded)


def parse_expectations(field: str, texts: str | Sequence[str]) -> tuple[Expectation, ...]:
    """Return the conditions that a parameter gives.

    :param field: the parameter's name, for messages.
    :param texts: one condition or several.
    :raises InvalidManifestError: one of them is wrong.
    """
    given = [texts] if isinstance(texts, str) else texts
    if not isinstance(given, Sequence):
        raise InvalidManifestError(f"{field} is {texts!r}: {_FORMS}")
    return tuple(Expectation.parse(field, text) for text in given)


def checked_conditions(
    success: str | Sequence[str], failure: str | Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the conditions that a DAG's author gives, as texts.

    :raises InvalidManifestError: one of them is wrong, or none says what success is.
    """
    checked = [
        tuple(expected.text for expected in parse_expectations(field, texts))
        for field, texts in (("success", success), ("failure", failure))
    ]
    if not checked[0]:
        raise InvalidManifestError(f"success is {success!r}: give at least one condition; {_FORMS}")
    return checked[0], checked[1]


def read_by(success: Sequence[Expectation], failure: Sequence[Expectation], obj: Manifest) -> Verdict:
    """Return the verdict of an object: failed, succeeded, or where it stands."""
    created = obj["metadata"].get("creationTimestamp") or ""
    for phase, expectations in ((Phase.FAILED, failure), (Phase.SUCCEEDED, success)):
        for expected in expectations:
            met = expected.met_by(obj)
            if met is not None:
                return Verdict(
                    phase,
                    state=_state(obj),
                    reason=str(met.get("reason") or ""),
                    message=_message(obj, expected, met),
                    pending_since=created,
                    finished_at=str(met.get("lastTransitionTime") or ""),
                )
    phase = Phase.QUEUED if _is_queued(obj) else Phase.RUNNING if obj.get("status") else Phase.PENDING
    return Verdict(phase, state=_state(obj), queued_since=_queued_since(obj), pending_since=created)


def _queued_since(obj: Manifest) -> str:
    """Return since when an object waits: its condition ``Suspended`` says so, or it has no status yet; else unknown."""
    for condition in _conditions(obj):
        if condition.get("type") == "Suspended" and condition.get("status") == "True":
            return str(condition.get("lastTransitionTime") or "")
    return "" if obj.get("status") else obj["metadata"].get("creationTimestamp") or ""


def _state(obj: Manifest) -> str:
    """Return the kind's own word for where an object stands, as far as there is a custom for it."""
    status = _status(obj)
    for name in ("phase", "state"):
        if isinstance(status.get(name), str) and status[name]:
            return str(status[name])
    holding = ", ".join(str(each.get("type")) for each in _conditions(obj) if each.get("status") == "True")
    return holding or ("Unknown" if obj.get("status") else "")


# Of a kind that nobody has described, nothing is sure: not even that conditions are a list.


def _status(obj: Manifest) -> Mapping[str, Any]:
    """Return the status if it is a mapping, else an empty one."""
    status = obj.get("status")
    return status if isinstance(status, Mapping) else {}


def _conditions(obj: Manifest) -> Iterator[Mapping[str, Any]]:
    """Yield what of ``status.conditions`` is a condition."""
    found = _status(obj).get("conditions")
    yield from (each for each in (found if isinstance(found, list) else ()) if isinstance(each, Mapping))


def _count(value: Any) -> int:
    """Return a generation; 0 for what is none."""
    return value if isinstance(value, int) else 0


def _is_queued(obj: Manifest) -> bool:
    """Return whether the spec asks for the object to wait, in one of the places where kinds of jobs have that."""
    spec = obj.get("spec")
    return isinstance(spec, Mapping) and isinstance(spec.get("runPolicy") or {}, Mapping) and is_suspended(obj)


def _message(obj: Manifest, expected: Expectation, met: Mapping[str, Any]) -> str:
    """Return why an object has ended: the controller's sentence, or else the condition that was met."""
    said = met.get("message") or _status(obj).get("message")
    return str(said) if isinstance(said, str) and said else f"{expected.text} is met"


def bounded(obj: Manifest) -> Manifest:
    """Return what of an object goes into an XCom: never a Secret's values, no bookkeeping, no more than fits.

    Of an object that is larger than :data:`OBJECT_BYTES`, the largest parts are left out, and named in ``omitted``.
    """
    shown = {key: value for key, value in obj.items() if not (is_secret(obj) and key in ("data", "stringData"))}
    shown["metadata"] = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    annotations = shown["metadata"].get("annotations") or {}
    if _LAST_APPLIED in annotations:
        shown["metadata"]["annotations"] = {k: v for k, v in annotations.items() if k != _LAST_APPLIED}
    omitted = []
    while _size(shown) > OBJECT_BYTES:
        part = max((key for key in shown if key != "metadata"), key=lambda key: _size(shown[key]), default="")
        if not part or _size(shown["metadata"]) > OBJECT_BYTES:
            metadata = shown["metadata"]
            shown["metadata"] = {key: metadata[key] for key in ("name", "namespace", "uid") if key in metadata}
            omitted.append("metadata.*")
            continue
        omitted.append(part)
        del shown[part]
    return shown | {"omitted": sorted(omitted)} if omitted else shown


def with_object(result: dict[str, Any], resource: Resource) -> dict[str, Any]:
    """Return the result of a job of any kind in the words of the other generic operators.

    :param result: what :func:`airflow_provider_sparkml.jobs.finish.finish` returned.
    """
    told: dict[str, Any] = {key: result[key] for key in ("phase", "finished_at", "checkpoint_uri") if key in result}
    return {
        "name": result["name"],
        "kind": resource.api.kind,
        "namespace": result["namespace"],
        "uid": result["uid"],
        "object": result["result"],
        **told,
    }


def _size(value: Any) -> int:
    return len(json.dumps(value).encode())


def _text(value: Any) -> str:
    """Return a value as it is compared: text as it is, all else as JSON writes it."""
    return value.strip() if isinstance(value, str) else json.dumps(value)


@functools.lru_cache(maxsize=256)
def _compiled(path: str) -> Any:
    """Return a JSONPath compiled; the library is loaded by DAGs that use one, and by no others."""
    import jsonpath

    return jsonpath.compile(path)


def _compile_checked(field: str, text: str, path: str) -> None:
    """Compile a JSONPath, and tell what is wrong with it.

    :raises InvalidManifestError: it is no JSONPath.
    """
    from jsonpath import JSONPathError

    try:
        _compiled(path)
    except JSONPathError as error:
        problem = str(error).splitlines()[0]
        raise InvalidManifestError(f"{field} is {text!r}, whose JSONPath is wrong: {problem}; {_FORMS}") from error


__all__ = [
    "OBJECT_BYTES",
    "Expectation",
    "Rules",
    "bounded",
    "checked_conditions",
    "parse_expectations",
    "read_by",
    "with_object",
]
