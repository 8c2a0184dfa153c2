"""Profiles and parameters from end to end: REST API of a real Airflow → variables of a pod → the task's result."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.test_example_dags import states, until_ended

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]


@pytest.fixture
def profile(airflow: Any, local_cluster: Path) -> Iterator[Any]:
    """Return a function that chooses a profile by the Variable."""
    chosen: list[str] = []

    def choose(name: str) -> None:
        if chosen:
            airflow.call("DELETE", "/variables/sparkml_profile")
        airflow.call("POST", "/variables", {"key": "sparkml_profile", "value": name})
        chosen.append(name)

    yield choose
    if chosen:
        airflow.call("DELETE", "/variables/sparkml_profile")


def test_the_run_wins_over_the_dag_and_the_dag_over_the_image(airflow: Any, profile: Any) -> None:
    answer = airflow.client.post("/dags/profile_env/dagRuns", json={"conf": {"core_limit": 0}, "logical_date": None})
    assert answer.status_code == 400, answer.text
    assert "core_limit" in answer.text

    profile("development")
    edited = airflow.trigger("profile_code")
    plain = airflow.trigger("profile_env")
    given = airflow.trigger("profile_env", core_limit=5, bucket_uri="s3a://bucket/of-the-run", unbuffered="9")
    for run in (plain, given, edited):
        assert until_ended(run) == "success", states(run)
    # Its program is on the volume alone, in a folder of this run's; and nobody but the image sets its variables.
    assert edited.xcom("edited")["result"] == {"PYTHONUNBUFFERED": "1", "Core_Limit": None, "Bucket_URI": None}
    assert plain.xcom("tell")["result"] == {
        "PYTHONUNBUFFERED": "2", "Core_Limit": "3", "Bucket_URI": "/data/of-the-dag",
    }  # fmt: skip
    assert given.xcom("tell")["result"] == {
        "PYTHONUNBUFFERED": "9", "Core_Limit": "5", "Bucket_URI": "s3a://bucket/of-the-run",
    }  # fmt: skip

    profile("production")
    refused = airflow.trigger("profile_env", unbuffered="9")
    refused.until("tell", "failed")
    log = refused.until_log("tell", "InvalidManifestError")
    assert re.search(r"spec\S+containers\[0\]\.env\[\d\] sets PYTHONUNBUFFERED, .* parameter 'unbuffered' says", log), (
        log
    )
