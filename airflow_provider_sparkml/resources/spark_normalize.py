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
from airflow_provider_sparkml.resources.fields import boolean, convert, integer, text
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
        convert(_at(spec, path), names, integer)
    for path, names in _BOOLEANS.items():
        convert(_at(spec, path), names, boolean)
    for role in ("driver", "executor"):
        part = _at(spec, (role,))
        for name in ("memory", "memoryOverhead"):
            convert(part, (name,), partial(_memory, field=f"spec.{role}.{name}"))
        convert(part, ("coreRequest", "coreLimit"), text)
    for conf in ("sparkConf", "hadoopConf"):
        if isinstance(spec.get(conf), Mapping):
            spec[conf] = {key: text(value) for key, value in spec[conf].items()}
    if isinstance(spec.get("arguments"), (list, tuple)):
        spec["arguments"] = [text(argument) for argument in spec["arguments"]]
    return result


def _at(spec: dict[str, Any], path: tuple[str, ...]) -> Any:
    """Return the part of the spec at a path of at most one step."""
    return spec.get(path[0]) if path else spec


def _memory(value: Any, field: str) -> Any:
    """Return a memory size as Spark reads it.

    :raises InvalidManifestError: it is no memory size.
    """
    return jvm_memory(value, field) if isinstance(value, str) else value


__all__ = ["normalize"]
