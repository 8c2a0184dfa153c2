"""What a refused request means: the API server's answer → one of the public exceptions, cause first."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from airflow_provider_sparkml.exceptions import (
    AlreadyExistsError,
    ApiError,
    ApiUnavailableError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidObjectError,
    NamespaceNotFoundError,
    NotFoundError,
    QuotaExceededError,
    ResourceTypeNotFoundError,
    UnauthorizedError,
)

_STRICT_DECODING = re.compile(r'(unknown|duplicate) field "([^"]+)"')
_WRITES = frozenset({"create", "replace", "patch", "apply"})
_LONGEST_TEXT = 500

Causes = tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """What a request was for, in the words of RBAC, so that an error can name it.

    :param verb: ``get``, ``list``, ``watch``, ``create``, ``replace``, ``patch``, ``apply``, ``delete``, ``proxy`` …
    :param resource: ``plural.group`` of the type, with ``/subresource`` where there is one.
    :param namespace: the namespace, or empty.
    :param name: the object's name, or empty.
    """

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        target = f"{self.resource} {self.name}" if self.name else self.resource
        return f"{self.verb} {target}" + (f" in namespace {self.namespace}" if self.namespace else "")


@dataclass(frozen=True, slots=True)
class _Refusal:
    """An answer that is no success.

    :param status: HTTP status.
    :param reason: ``reason`` of the ``Status`` object, or empty.
    :param said: its message on one line, or whatever text came instead.
    :param details: its ``details``.
    """

    status: int
    reason: str
    said: str
    details: dict[str, Any]

    def causes(self) -> Causes:
        """Return ``(reason, field, message)`` of each cause; strict decoding names its fields in the message alone."""
        listed = self.details.get("causes") or []
        if not listed and "strict decoding error" in self.said:
            found = _STRICT_DECODING.findall(self.said)
            return tuple(("FieldValueInvalid", field, f"{what} field") for what, field in found)
        return tuple((str(c.get("reason", "")), str(c.get("field", "")), str(c.get("message", ""))) for c in listed)


def error_from_answer(call: Call, status: int, body: bytes) -> ApiError:
    """Return the exception for an answer of 300 or more.

    :param call: what the request was for.
    :param status: the HTTP status.
    :param body: a ``Status`` object as JSON; from proxies, or for an unknown path, any text.
    """
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or answer.get("kind") != "Status":
        answer = {"message": body.decode(errors="replace")[:_LONGEST_TEXT]}
    return error_from_status(call, status, answer)


def error_from_status(call: Call, status: int, answer: dict[str, Any]) -> ApiError:
    """Return the exception for a ``Status`` object.

    The rules are those of the API server's own answers (apimachinery ``pkg/api/errors``).
    """
    # On one line, so that whoever sees only an exception's first line sees all of the cause.
    said = " ".join(str(answer.get("message") or "no message").split())
    refusal = _Refusal(status, str(answer.get("reason") or ""), said, answer.get("details") or {})
    error, cause = _classify(call, refusal)
    at = f"{call}: HTTP {status} {refusal.reason}".rstrip()
    return error(f"{cause} ({at})", status=status, reason=refusal.reason, causes=refusal.causes())


def _classify(call: Call, refusal: _Refusal) -> tuple[type[ApiError], str]:
    """Return the exception's class and the cause to open its message with."""
    status, said = refusal.status, refusal.said
    if status == 404:
        return _classify_not_found(call, refusal)
    if status in (400, 413, 422) and call.verb in _WRITES:
        fields = "; ".join(f"{field}: {message}" if field else message for _, field, message in refusal.causes())
        return InvalidObjectError, fields or said
    if status == 403 and "exceeded quota" in said:
        return QuotaExceededError, said
    if status == 409 and refusal.reason == "AlreadyExists":
        return AlreadyExistsError, said
    if status == 429 or status >= 500:
        return ApiUnavailableError, said
    by_status = {401: UnauthorizedError, 403: ForbiddenError, 409: ConflictError, 410: GoneError}
    return by_status.get(status, ApiError), said


def _classify_not_found(call: Call, refusal: _Refusal) -> tuple[type[ApiError], str]:
    """Tell a missing object, a missing namespace and a missing type apart."""
    if refusal.details.get("kind") == "namespaces":
        return NamespaceNotFoundError, refusal.said
    if call.verb == "proxy" or refusal.details.get("name"):
        return NotFoundError, refusal.said
    # An unknown type is no object's absence: a real API server answers the plain text "404 page not found".
    return (
        ResourceTypeNotFoundError,
        f"the API server does not know the resource type {call.resource}: install its CustomResourceDefinition, "
        f"or check apiVersion; it said: {refusal.said}",
    )
