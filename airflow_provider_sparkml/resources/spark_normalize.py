"""Brings a rendered SparkApplication into the types its CRD asks for.

Templates render to text, so ``instances: "{{ params.executors }}"`` arrives as ``"2"``; and people write memory as
Kubernetes does (``512Mi``), where Spark reads only its own notation (``512m``).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.quantities import jvm_memory

_INTEGERS = {
    (): ("timeToLiveSeconds",),
    ("driver",): ("cores", "terminationGracePeriodSeconds"),
    ("executor",): ("cores", "instances", "terminationGracePeriodSeconds"),
    ("restartPolicy",): (
        "onFailureRetries",
        "onFailureRetryInterval",
        "onSubmissionFailureRetries",
        "onSubmissionFailureRetryInterval",
    ),
    ("dynamicAllocation",): ("initialExecutors", "minExecutors", "maxExecutors", "shuffleTrackingTimeout"),
}
_BOOLEANS = {(): ("suspend",), ("dynamicAllocation",): ("enabled", "shuffleTrackingEnabled")}
_TRUTH = {"true": True, "false": False}


def normalize(manifest: Manifest) -> Manifest:
    """Return a copy with numbers for numeric text, Spark's notation for memory, and text for conf and arguments.

    What cannot be converted stays as it is: :func:`~.spark_check.check` says what is wrong with it.

    :raises InvalidManifestError: a memory size is none.
    """
    result = copy.deepcopy(manifest)
    spec = result.get("spec")
    if not isinstance(spec, dict):
        return result
    for path, names in _INTEGERS.items():
        _convert(_at(spec, path), names, _integer)
    for path, names in _BOOLEANS.items():
        _convert(_at(spec, path), names, _boolean)
    for role in ("driver", "executor"):
        part = _at(spec, (role,))
        for name in ("memory", "memoryOverhead"):
            _convert(part, (name,), partial(_memory, field=f"spec.{role}.{name}"))
        _convert(part, ("coreRequest", "coreLimit"), _text)
    for conf in ("sparkConf", "hadoopConf"):
        if isinstance(spec.get(conf), Mapping):
            spec[conf] = {key: _text(value) for key, value in spec[conf].items()}
    if isinstance(spec.get("arguments"), (list, tuple)):
        spec["arguments"] = [_text(argument) for argument in spec["arguments"]]
    return result


def _at(spec: dict[str, Any], path: tuple[str, ...]) -> Any:
    """Return the part of the spec at a path of at most one step."""
    return spec.get(path[0]) if path else spec


def _convert(part: Any, names: tuple[str, ...], convert: Any) -> None:
    """Convert the named fields in place."""
    if isinstance(part, dict):
        for name in names:
            if part.get(name) is not None:
                part[name] = convert(part[name])


def _integer(value: Any) -> Any:
    """Return a number for a text of digits."""
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if text.isascii() and text.removeprefix("-").isdigit() else value


def _boolean(value: Any) -> Any:
    """Return a truth value for ``"true"`` or ``"False"``."""
    return _TRUTH.get(value.strip().lower(), value) if isinstance(value, str) else value


def _memory(value: Any, field: str) -> Any:
    """Return a memory size as Spark reads it.

    :raises InvalidManifestError: it is no memory size.
    """
    return jvm_memory(value, field) if isinstance(value, str) else value


def _text(value: Any) -> Any:
    """Return numbers and truth values as the text that Spark reads."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value


__all__ = ["normalize"]
