"""Kinds that there are of several versions, or of several operators: the class for an ``apiVersion``."""

from __future__ import annotations

from typing import TypeVar

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.triggers.job import JobTrigger
from airflow_provider_sparkml.triggers.sensor import JobSensorTrigger

T = TypeVar("T", bound=type[JobTrigger] | type[JobSensorTrigger])


def of_version(api_version: str, *classes: T) -> T:
    """Return the class whose kind has this ``apiVersion``.

    :raises InvalidManifestError: there is none.
    """
    by_version = {each.resource.api.api_version: each for each in classes}
    if api_version not in by_version:
        raise InvalidManifestError(f"api_version is {api_version!r}: set it to {' or '.join(map(repr, by_version))}")
    return by_version[api_version]


__all__ = ["of_version"]
