"""The values in the manifest of a Kubernetes Secret: found, hidden where a manifest is shown, taken out of messages."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from typing import Any

HIDDEN = "***"
"""What stands for a value; Airflow's masker writes the same."""
_PARTS = ("data", "stringData")
_SHORTEST = 4
"""A value that is shorter stands in too many words to be taken out of a text."""


def is_secret(manifest: Any) -> bool:
    """Whether a manifest is a Secret's; also one whose apiVersion was forgotten."""
    return (
        isinstance(manifest, Mapping)
        and manifest.get("kind") == "Secret"
        and "/" not in str(manifest.get("apiVersion") or "")
    )


def values_of(manifest: Any) -> list[str]:
    """Return the values of a Secret, as text and in base64, longest first; of any other manifest none."""
    if not is_secret(manifest):
        return []
    found: set[str] = set()
    for part in _PARTS:
        values = manifest.get(part)
        for value in values.values() if isinstance(values, Mapping) else ():
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            found |= {text, base64.b64encode(text.encode()).decode()} if part == "stringData" else {text, _plain(text)}
    # As they stand in JSON and in a representation, too.
    found |= {json.dumps(text)[1:-1] for text in found}
    return sorted(filter(None, found), key=len, reverse=True)


def _plain(encoded: str) -> str:
    """Return what a base64 text stands for, empty for what is no text."""
    try:
        return base64.b64decode(encoded).decode()
    except (binascii.Error, ValueError):
        return ""


def hidden(manifest: Any) -> Any:
    """Return a copy of a Secret's manifest that may be shown; of any other, the manifest itself."""
    if not is_secret(manifest):
        return manifest
    shown = {key: value for key, value in manifest.items() if key not in _PARTS}
    for part in _PARTS:
        values = manifest.get(part)
        if values is not None:
            shown[part] = dict.fromkeys(values, HIDDEN) if isinstance(values, Mapping) else HIDDEN
    return shown


def scrubbed(text: str, values: Iterable[str]) -> str:
    """Return a text without these values.

    :param values: as :func:`values_of` returns them.
    """
    for value in values:
        if len(value) >= _SHORTEST:
            text = text.replace(value, HIDDEN)
    return text


__all__ = ["HIDDEN", "hidden", "is_secret", "scrubbed", "values_of"]
