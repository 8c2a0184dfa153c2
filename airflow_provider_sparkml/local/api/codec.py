"""Bodies of requests: JSON or YAML → objects, with Kubernetes' complaints about what is neither."""

from __future__ import annotations

import json
from typing import Any

import yaml

from airflow_provider_sparkml.local.api import protobuf
from airflow_provider_sparkml.local.api.status import bad_request, unsupported_media_type

JSON = "application/json"
YAML = "application/yaml"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

LARGEST_BODY = 3 * 1024 * 1024
"""Bytes of the largest body that a real API server takes."""


def media_type(header: str) -> str:
    """Return a Content-Type without its parameters; JSON when there is none."""
    return header.partition(";")[0].strip().lower() or JSON


def decode_object(body: bytes, content_type: str, kind: str) -> dict[str, Any]:
    """Return the object that a create or update sends.

    :param kind: the kind that is expected, for the message.
    :raises StatusError: 400 when it is no object, 415 when the body is of another type.
    """
    media = media_type(content_type)
    if media in (YAML, "text/yaml"):
        return decode_yaml(body)
    if media == protobuf.MEDIA_TYPE:
        return protobuf.decode(body)
    if media not in (JSON, "text/json", "application/octet-stream", "text/plain", "application/x-www-form-urlencoded"):
        raise unsupported_media_type([JSON, YAML, protobuf.MEDIA_TYPE])
    unrecognized = f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; "
    try:
        obj = json.loads(body)
    except ValueError as error:
        text = body.decode(errors="replace")[:100]
        raise bad_request(f"{unrecognized}json parse error: {error} ({text})") from None
    if not isinstance(obj, dict):
        raise bad_request(f"{unrecognized}json parse error: json: cannot unmarshal {type(obj).__name__} into an object")
    return obj


def decode_yaml(body: bytes) -> dict[str, Any]:
    """Return the object in a YAML body (JSON is YAML, too).

    :raises StatusError: 400 when it is no object.
    """
    try:
        # Most bodies called YAML are JSON in truth, which the JSON parser reads a hundred times faster.
        obj = json.loads(body) if body[:1] == b"{" else yaml.load(body, Loader=_Loader)  # noqa: S506 - a safe loader
    except ValueError as error:
        raise bad_request(f"error decoding YAML: {error}") from None
    except yaml.YAMLError as error:
        raise bad_request(f"error decoding YAML: {' '.join(str(error).split())}") from None
    if not isinstance(obj, dict):
        raise bad_request("error decoding YAML: the body is not an object")
    return obj


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML in which times stay text, as in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def decode_patch(body: bytes, media: str) -> Any:
    """Return the document of a patch.

    :raises StatusError: 400 when it cannot be parsed.
    """
    if media == APPLY_PATCH:
        return decode_yaml(body)
    try:
        patch = json.loads(body)
    except ValueError as error:
        raise bad_request(f"error decoding patch: {error}") from None
    if isinstance(patch, list) != (media == JSON_PATCH):
        raise bad_request(
            f"error decoding patch: a {'list of operations' if media == JSON_PATCH else 'JSON object'} is expected"
        )
    return patch
