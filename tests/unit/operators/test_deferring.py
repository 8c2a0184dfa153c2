"""Parameters that every waiting operator has."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.operators.deferring import timeout_seconds
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator


@pytest.mark.parametrize(
    ("given", "expected"), [(None, None), (90, 90.0), (0.5, 0.5), (datetime.timedelta(minutes=2), 120.0)]
)
def test_time_outs_are_seconds(given: Any, expected: float | None) -> None:
    assert timeout_seconds("startup_timeout", given) == expected


@pytest.mark.parametrize("given", [0, -1, True, "60", datetime.timedelta(0), float("nan")])
@pytest.mark.parametrize("name", ["queue_timeout", "startup_timeout"])
def test_a_bad_time_out_is_named_when_the_dag_is_parsed(name: str, given: Any) -> None:
    with pytest.raises(InvalidManifestError, match=f"^{name} is .*: give a positive timedelta or seconds"):
        SparkApplicationOperator(task_id="t", application={}, **{name: given})


def test_a_bad_policy_is_named_with_the_good_ones() -> None:
    with pytest.raises(InvalidManifestError, match=r"on_finish is .remove.: set it to one of delete, "):
        SparkApplicationOperator(task_id="t", application={}, on_finish="remove")  # type: ignore[arg-type]


@pytest.mark.parametrize(("given", "expected"), [(None, True), (True, True), (False, False)])
def test_deferrable(monkeypatch: pytest.MonkeyPatch, given: bool | None, expected: bool) -> None:
    monkeypatch.delenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", raising=False)
    assert SparkApplicationOperator(task_id="t", application={}, deferrable=given).deferrable is expected
