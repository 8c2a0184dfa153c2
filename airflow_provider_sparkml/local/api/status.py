"""The API server's refusals: an exception that carries a Kubernetes ``Status``, and one constructor per reason.

The wording follows apimachinery's ``api/errors`` and ``util/validation/field``, since clients read it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_sparkml.resources.base import ApiResource


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason why an object is not valid.

    :param reason: ``FieldValueRequired``, ``FieldValueInvalid``, ``FieldValueNotSupported`` …
    :param field: dotted path of the field.
    :param message: what is wrong with it.
    """

    reason: str
    field: str
    message: str

    def to_json(self) -> dict[str, str]:
        """Return the cause as it stands in ``details.causes``."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


class StatusError(Exception):
    """A request was refused; carries the answer.

    :param code: HTTP status.
    :param reason: ``reason`` of the Status, or empty.
    :param message: for people.
    :param details: ``details`` of the Status, or ``None``.
    """

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def to_json(self) -> dict[str, Any]:
        """Return the ``Status`` object."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.code
        return status

    def body(self) -> bytes:
        """Return the ``Status`` object as JSON."""
        return json.dumps(self.to_json(), separators=(",", ":")).encode()


def success(api: ApiResource, name: str, uid: str) -> dict[str, Any]:
    """Return the ``Status`` that says that an object is deleted."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": _details(api, name, kind=api.plural) | {"uid": uid},
    }


def not_found(api: ApiResource, name: str) -> StatusError:
    """No object of that name."""
    return StatusError(404, "NotFound", f'{api.full_name} "{name}" not found', _details(api, name, kind=api.plural))


def already_exists(api: ApiResource, name: str) -> StatusError:
    """An object of that name exists."""
    message = f'{api.full_name} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _details(api, name, kind=api.plural))


def conflict(api: ApiResource, name: str, what: str, *, by_kind: bool = False) -> StatusError:
    """The object is not the one that the caller knew.

    :param by_kind: name the kind instead of the resource, as the server does for preconditions of a delete.
    """
    kind = api.kind if by_kind else api.plural
    full = f"{kind}.{api.group}" if api.group else kind
    message = f'Operation cannot be fulfilled on {full} "{name}": {what}'
    return StatusError(409, "Conflict", message, _details(api, name, kind=kind))


def modified(api: ApiResource, name: str) -> StatusError:
    """The resource version that the caller knew is no longer the newest."""
    what = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(api, name, what)


def invalid(api: ApiResource, name: str, causes: Sequence[Cause], *, by_plural: bool = False) -> StatusError:
    """The object breaks the rules of its type."""
    kind = api.plural if by_plural else api.kind
    full = f"{kind}.{api.group}" if api.group else kind
    texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = _details(api, name, kind=kind) | {"causes": [cause.to_json() for cause in causes]}
    return StatusError(422, "Invalid", f'{full} "{name}" is invalid: {text}', details)


def bad_request(message: str) -> StatusError:
    """The request makes no sense."""
    return StatusError(400, "BadRequest", message)


def forbidden(api: ApiResource, name: str, what: str) -> StatusError:
    """Authorization or admission refused the request."""
    subject = f'{api.full_name} "{name}"' if name else api.full_name
    return StatusError(403, "Forbidden", f"{subject} is forbidden: {what}", _details(api, name, kind=api.plural))


def unauthorized() -> StatusError:
    """The token is not accepted."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def expired(message: str) -> StatusError:
    """The resource version is too old."""
    return StatusError(410, "Expired", message)


def method_not_allowed() -> StatusError:
    """The resource does not know that verb."""
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, {})


def unsupported_media_type(accepted: Sequence[str]) -> StatusError:
    """The body's type is not one that the resource takes."""
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return StatusError(415, "UnsupportedMediaType", message)


def required(field: str, detail: str = "") -> Cause:
    """The field must be given."""
    return Cause("FieldValueRequired", field, f"Required value{': ' + detail if detail else ''}")


def bad_value(field: str, value: Any, detail: str) -> Cause:
    """The field's value breaks a rule."""
    return Cause("FieldValueInvalid", field, f"Invalid value: {json.dumps(value)}: {detail}")


def not_supported(field: str, value: Any, supported: Sequence[Any]) -> Cause:
    """The field's value is not one of those that exist."""
    values = ", ".join(json.dumps(each) for each in supported)
    message = f"Unsupported value: {json.dumps(value)}: supported values: {values}"
    return Cause("FieldValueNotSupported", field, message)


def duplicate(field: str, value: Any) -> Cause:
    """The value stands elsewhere in the list already."""
    return Cause("FieldValueDuplicate", field, f"Duplicate value: {json.dumps(value)}")


def field_forbidden(field: str, detail: str) -> Cause:
    """The field may not be set, or changed."""
    return Cause("FieldValueForbidden", field, f"Forbidden: {detail}")


def _details(api: ApiResource, name: str, *, kind: str) -> dict[str, Any]:
    """Return ``details`` without its empty parts."""
    details = {"name": name, "group": api.group, "kind": kind}
    return {key: value for key, value in details.items() if value}
