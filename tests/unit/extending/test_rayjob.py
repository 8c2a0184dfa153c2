"""The example of docs/extending.md: one module makes a kind that has everything the shipped ones have."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sparkml.resources.base import Phase, resource_for

EXAMPLE = Path(__file__).with_name("rayjob.py")


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


def test_the_kind_is_known_by_its_name(example: dict[str, Any]) -> None:
    assert resource_for("ray.io/v1", "RayJob") == example["RAY_JOB"]


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        (None, Phase.PENDING),
        ({"jobStatus": "RUNNING"}, Phase.RUNNING),
        ({"jobStatus": "SUCCEEDED"}, Phase.SUCCEEDED),
        ({"jobStatus": "STOPPED"}, Phase.FAILED),
        ({"jobStatus": "NEW"}, Phase.UNKNOWN),
    ],
)
def test_its_status_is_read(example: dict[str, Any], status: dict[str, str] | None, phase: Phase) -> None:
    obj = {"metadata": {"creationTimestamp": "2026-11-22T10:00:00Z"}, "status": status}
    assert example["RAY_JOB"].read(obj).phase is phase


def test_its_operator_takes_a_manifest_like_any_other(example: dict[str, Any]) -> None:
    manifest = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "r"}, "spec": {}}
    operator = example["RayJobOperator"](task_id="ray", job=manifest, namespace="ns")
    assert operator.manifest() == manifest
    assert operator.trigger_class.resource is example["RAY_JOB"]


def test_it_stays_one_short_module() -> None:
    lines = EXAMPLE.read_text().splitlines()
    operator = next(index for index, line in enumerate(lines) if line.startswith("class RayJobOperator"))
    assert len(lines) - operator <= 30
