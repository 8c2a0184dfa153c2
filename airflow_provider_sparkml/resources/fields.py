"""Fields of a manifest: converted to the types that a CRD asks for, and refused by their paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError

_TRUTH = {"true": True, "false": False}
# RFC 1035, 2.3.1.
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_MAX_LABEL = 63


def integer(value: Any) -> Any:
    """Return a number for a text of digits; anything else as it is."""
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if text.isascii() and text.removeprefix("-").isdigit() else value


def number(value: Any) -> Any:
    """Return a whole or a finite floating-point number for a text that is one; anything else as it is."""
    whole = integer(value)
    if not isinstance(whole, str) or "_" in whole:  # Python alone reads 1_0
        return whole
    try:
        found = float(whole)
    except ValueError:
        return value
    return found if found - found == 0 else value


def boolean(value: Any) -> Any:
    """Return a truth value for ``"true"`` or ``"False"``; anything else as it is."""
    return _TRUTH.get(value.strip().lower(), value) if isinstance(value, str) else value


def text(value: Any) -> Any:
    """Return numbers and truth values as text; anything else as it is."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value


def texts(value: Any) -> Any:
    """Return a list with :func:`text` of its items; anything else as it is."""
    return [text(item) for item in value] if isinstance(value, (list, tuple)) else value


def convert(part: Any, names: Iterable[str], conversion: Callable[[Any], Any]) -> None:
    """Convert the named fields of a mapping in place, where they are set."""
    if isinstance(part, dict):
        for name in names:
            if part.get(name) is not None:
                part[name] = conversion(part[name])


def is_whole(value: Any) -> bool:
    """Whether the value is a whole number, and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def mapping(value: Any, field: str) -> Mapping[str, Any]:
    """Return a mapping, empty for what is absent.

    :raises InvalidManifestError: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidManifestError(f"{field} is {value!r}: it must be a mapping")
    return value


def items(value: Any, field: str) -> list[Any]:
    """Return a list, empty for what is absent.

    :raises InvalidManifestError: it is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidManifestError(f"{field} is {value!r}: it must be a list")
    return value


def number_faults(part: Mapping[str, Any], least: Mapping[str, int], field: str) -> Iterator[str]:
    """Yield the fields that are set but not whole numbers of at least this size."""
    for name, low in least.items():
        value = part.get(name)
        if value is not None and (not is_whole(value) or value < low):
            yield f"{field}.{name} is {value!r}: set it to a whole number, at least {low}"


def name_faults(manifest: Mapping[str, Any], longest_suffix: str = "", longest: int = _MAX_LABEL) -> Iterator[str]:
    """Yield what is wrong with ``metadata.name``, where it is set.

    :param longest_suffix: what the controller appends for the names of pods, which are host names.
    :param longest: how long the name may be with that.
    """
    name = mapping(manifest.get("metadata"), "metadata").get("name")
    if name in (None, ""):
        return
    if not isinstance(name, str) or not _DNS_1035.fullmatch(name):
        yield (
            f"metadata.name is {name!r}: use lower-case letters, digits and '-', begin with a letter and end with a "
            "letter or digit"
        )
    elif len(name) + len(longest_suffix) > longest:
        ending = f" with {longest_suffix!r}, which its pods' names end in," if longest_suffix else ""
        yield (
            f"metadata.name is {name!r}:{ending} it is longer than {longest}; "
            f"take at most {longest - len(longest_suffix)} characters"
        )


def refuse(faults: Iterable[str]) -> None:
    """Refuse a manifest for the first of its faults.

    :raises InvalidManifestError: there is one.
    """
    for fault in faults:
        raise InvalidManifestError(fault)


__all__ = [
    "boolean",
    "convert",
    "integer",
    "is_whole",
    "items",
    "mapping",
    "name_faults",
    "number",
    "number_faults",
    "refuse",
    "text",
    "texts",
]
