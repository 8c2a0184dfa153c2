"""One line says how far a Spark application is."""

from __future__ import annotations

import pytest

from airflow_provider_sparkml.jobs.progress import summarise


def job(status="RUNNING", tasks=10, done=4, stages=(0, 1), stages_done=1, name="parquet at etl.py:7", **more):
    return {
        "jobId": 0, "name": name, "status": status, "stageIds": list(stages), "numTasks": tasks,
        "numCompletedTasks": done, "numCompletedStages": stages_done, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("jobs", "line"),
    [
        ([], ""),
        ([job()], "Spark: 40 %, 4/10 tasks, 1/2 stages, 0/1 jobs; now: parquet at etl.py:7"),
        (
            [job(name="count at b.py:1"), job("SUCCEEDED", 10, 10, (2,), 1)],
            "Spark: 70 %, 14/20 tasks, 2/3 stages, 1/2 jobs; now: count at b.py:1",
        ),
        # Skipped tasks and stages are results that were there already.
        (
            [job("SUCCEEDED", 10, 6, (0, 1), 1, numSkippedTasks=4, numSkippedStages=1)],
            "Spark: 100 %, 6/6 tasks, 1/1 stages, 1/1 jobs",
        ),
        (
            [job("FAILED", 4, 1, (0,), 0, numFailedTasks=3)],
            "Spark: 25 %, 1/4 tasks, 0/1 stages, 1/1 jobs, 3 failed tasks",
        ),
        ([job("SUCCEEDED", 0, 0, (), 0)], "Spark: 100 %, 0/0 tasks, 0/0 stages, 1/1 jobs"),
    ],
)
def test_summarise(jobs, line):
    assert summarise(jobs) == line
