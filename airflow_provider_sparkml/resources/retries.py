"""A job that its own controller tries again: left to Airflow alone, or refused, so that the two never multiply."""

from __future__ import annotations

from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.replicas import part_of


def refuse_retries(value: Any, off: Any, field: str) -> None:
    """Refuse a field by which a controller would try the job again.

    :param value: what the field is.
    :param off: what it must be for the controller to try once. What is of another type is left for the kind's check.
    :param field: its path.
    :raises InvalidManifestError: it is something else.
    """
    if isinstance(value, type(off)) and value != off:
        raise InvalidManifestError(
            f"{field} is {value!r}: the job's own controller would try it again, beneath Airflow's retries; set it to "
            f"{off!r}, or set retry_owner='operator' on the task"
        )


def set_off(part: Any, name: str, off: Any, field: str) -> None:
    """Set a field whose default makes a controller try the job again, in place; what is no mapping is for the check.

    :param part: the part of the manifest with the field.
    :param field: the part's path.
    :raises InvalidManifestError: the field is set, and to something else.
    """
    if isinstance(part, dict):
        refuse_retries(part.get(name), off, f"{field}.{name}")
        if part.get(name) is None:
            part[name] = off


def set_replicas_off(manifest: Manifest, field: str, types: tuple[str, ...]) -> None:
    """Let the controller restart no pod of these types of replicas, in place.

    :param field: field of the spec that has the replicas by type.
    :raises InvalidManifestError: a replica's ``restartPolicy`` is not ``Never``.
    """
    for name, replica in part_of(manifest, "spec", field).items():
        if name in types:
            set_off(replica, "restartPolicy", "Never", f"spec.{field}.{name}")


__all__ = ["refuse_retries", "set_off", "set_replicas_off"]
