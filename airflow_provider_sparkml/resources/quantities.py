"""Resource quantities: as Kubernetes writes them (``512Mi``, ``500m``, ``0.5``) and as Spark's JVM flags read them."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

from airflow_provider_sparkml.exceptions import InvalidManifestError

_NUMBER = r"[+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_QUANTITY = re.compile(rf"({_NUMBER})(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|n|u|[eE][+-]?[0-9]+)?")
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
# Spark's JavaUtils.byteStringAs: whole numbers only, every unit is binary, upper and lower case alike.
_JVM = re.compile(r"[0-9]+(b|k|kb|m|mb|g|gb|t|tb|p|pb)?", re.IGNORECASE)
_JVM_UNITS = {"": 2**20, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_MIB = 2**20


def parse_quantity(text: str, field: str) -> Decimal:
    """Return a Kubernetes quantity as a number: cores, or bytes.

    :param text: the quantity, such as ``500m`` or ``1.5Gi``.
    :param field: for the message.
    :raises InvalidManifestError: it is not one.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise InvalidManifestError(
            f"{field} is {text!r}, which is no Kubernetes quantity: write for example '500m', '0.5', '2' or '512Mi'"
        )
    number, unit = Decimal(match[1]), match[2] or ""
    if unit in _BINARY:
        return number * _BINARY[unit]
    if unit[:1] in ("e", "E") and len(unit) > 1:
        return number.scaleb(int(unit[1:]))
    return number.scaleb(_DECIMAL.get(unit, 0))


def is_jvm_memory(text: str) -> bool:
    """Whether Spark itself reads the text as a memory size (``512m``, ``2g``)."""
    return _JVM.fullmatch(text.strip()) is not None


def jvm_memory(text: str, field: str) -> str:
    """Return a memory size as Spark reads it, from Spark's own notation or from a Kubernetes quantity.

    What Spark can read stays as it is: there ``512m`` and ``512M`` both mean 512 MiB. A Kubernetes quantity becomes
    whole MiB, rounded up.

    :param text: ``2g``, ``512Mi``, ``1.5Gi`` …
    :param field: for the message.
    :raises InvalidManifestError: it is neither.
    """
    if is_jvm_memory(text):
        return text.strip()
    mebibytes = (parse_quantity(text, field) / _MIB).to_integral_value(rounding=ROUND_CEILING)
    if mebibytes < 1:
        raise InvalidManifestError(f"{field} is {text!r}, less than one MiB: write for example '512Mi' or '2Gi'")
    return f"{mebibytes}m"


def memory_bytes(text: str, field: str) -> int:
    """Return a memory size in bytes, in Spark's notation (without a unit: MiB) or as a Kubernetes quantity.

    :raises InvalidManifestError: it is neither.
    """
    stripped = text.strip().lower()
    if is_jvm_memory(stripped):
        digits = stripped.rstrip("bkmgtp")
        unit = stripped[len(digits) :]
        return int(digits) * _JVM_UNITS[unit if unit == "b" else unit.rstrip("b")]
    return int(parse_quantity(text, field))


__all__ = ["is_jvm_memory", "jvm_memory", "memory_bytes", "parse_quantity"]
