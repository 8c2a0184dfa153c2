"""What a template says of the parameters that it uses."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_sparkml.operators.search_parameters import used_parameters

PARAMETERS = {"lr": [1], "depth": [2]}


@pytest.mark.parametrize(
    ("value", "used"),
    [
        ("--lr", []),
        ("{{ params.kept }} {{ params['other'] }}", []),
        ("params.trial.lr", []),  # no template
        ("{{ params.trial.lr }}", ["lr"]),
        ("{{ params.trial['depth'] }} {{ params['trial'].lr * 2 }}", ["depth", "lr"]),
        ({"a": [{"b": "{% if params.trial.lr > 1 %}x{% endif %}"}]}, ["lr"]),
        ("{{ (params.trial.lr | float).real }}", ["lr"]),
        # All of them, perhaps.
        ("{{ params.trial | tojson }}", [None]),
        ("{{ params.trial.items() | list }}", [None]),
        ("{{ params.trial.copy() }}", [None]),
        ("{{ params.get('trial') }}", [None]),
        ("{{ params['tri' ~ 'al'].lr }}", [None]),
        ("{{ args_of(params) }}", [None]),
        ("{{ task.params.trial.lr }}", [None]),
        ("{{ params.trial.lr", [None]),
        ({"a": ("{{ params.trial.lr }}", 3, None)}, ["lr"]),
    ],
)
def test_what_is_used(value: Any, used: list[str | None]) -> None:
    assert list(dict.fromkeys(used_parameters(value, PARAMETERS))) == used


def test_what_another_task_returns_may_use_any() -> None:
    with DAG("d", schedule=None):
        assert list(used_parameters({"a": [task(lambda: 1, task_id="t")()]}, PARAMETERS)) == [None]
