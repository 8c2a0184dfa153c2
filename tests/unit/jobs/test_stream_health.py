"""Batches as Spark's REST API tells them."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.jobs.stream_health import newest_batches

RUN = "d0df73f8-eeb9-4b2a-82b3-a454b6025963"


QUERY = "5a9ff1a0-1111-4b2a-82b3-a454b6025963"


def job(batch: int, *, name: str = "", at: str = "07:37:46") -> Any:
    """Return a job as Spark 4.3 describes it."""
    title = f"{name}<br/>" if name else ""
    description = f"{title}id = {QUERY}<br/>runId = {RUN}<br/>batch = {batch}"
    return {"description": description, "jobGroup": RUN, "submissionTime": f"2026-11-23T{at}.092GMT"}


def test_the_newest_batch_of_each_query() -> None:
    jobs = [job(4, name="a"), job(5, name="a", at="07:37:50"), job(5, name="a"), job(0), {"description": None}, {}]
    assert newest_batches(jobs) == {
        "a": {"batch": 5, "began": "2026-11-23T07:37:50.092Z"},
        QUERY: {"batch": 0, "began": "2026-11-23T07:37:46.092Z"},
    }


@pytest.mark.parametrize("description", ["count at a.py:1", "batch = 7", ""])
def test_other_jobs_are_no_batches(description: str) -> None:
    assert newest_batches([{"description": description}]) == {}
