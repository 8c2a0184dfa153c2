"""Spark's REST API is asked through the API server's pod proxy, and what it says is told when it is new."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from airflow_provider_sparkml.jobs.progress import Progress
from airflow_provider_sparkml.resources.core import POD
from tests.integration.jobs.conftest import limited_client

JOB = {
    "jobId": 0, "name": "count at etl.py:7", "status": "RUNNING", "stageIds": [0], "numTasks": 4,
    "numCompletedTasks": 1, "numCompletedStages": 0,
}  # fmt: skip


class Spark:
    """A driver's REST API."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"/api/v1/applications": [{"id": "app-1"}]}
        self.asked: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if request.path not in self.answers:
            return web.Response(status=404, text="no such app")
        return web.json_response(self.answers[request.path])


@pytest.fixture
async def spark() -> AsyncIterator[Spark]:
    spark = Spark()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", spark.handle)
    async with TestServer(app) as server:
        spark.port = server.port
        yield spark


@pytest.fixture
async def address(start, operator, client, namespace, spark) -> tuple[str, int]:
    pod = (await operator.run((await start()).ref.name))["metadata"]["name"]
    body = {"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
    await client.patch(POD, pod, body, namespace, subresource="status")
    return pod, spark.port


async def test_a_line_when_it_says_something_new(airflow, namespace, told, spark, address):
    progress = Progress(airflow, namespace, told)
    told.lines.clear()
    await progress.visit("s1", address)
    assert told.lines == []
    spark.answers["/api/v1/applications/app-1/jobs"] = [JOB]
    await progress.visit("s1", address)
    await progress.visit("s1", address)
    spark.answers["/api/v1/applications/app-1/jobs"] = [{**JOB, "numCompletedTasks": 2}]
    await progress.visit("s1", address)
    assert told.lines == [
        "Spark: 25 %, 1/4 tasks, 0/1 stages, 0/1 jobs; now: count at etl.py:7",
        "Spark: 50 %, 2/4 tasks, 0/1 stages, 0/1 jobs; now: count at etl.py:7",
    ]
    assert spark.asked.count("/api/v1/applications") == 1


async def test_a_rerun_is_another_application(airflow, namespace, told, spark, address):
    progress = Progress(airflow, namespace, told)
    for run in ("app-1", "app-2"):
        spark.answers = {"/api/v1/applications": [{"id": run}], f"/api/v1/applications/{run}/jobs": [JOB]}
        await progress.visit(run, address)
    assert len([line for line in told.lines if line.startswith("Spark: ")]) == 2


async def test_a_driver_whose_server_is_not_up_is_asked_again(airflow, namespace, told, spark, address):
    progress = Progress(airflow, namespace, told)
    pod, port = address
    told.lines.clear()
    await progress.visit("s1", (pod, 1))
    await progress.visit("s1", ("not-there", port))
    assert told.lines == []
    spark.answers["/api/v1/applications/app-1/jobs"] = [JOB]
    await progress.visit("s1", address)
    assert len(told.lines) == 1


async def test_another_program_on_that_port_ends_it(airflow, namespace, told, spark, address):
    progress = Progress(airflow, namespace, told)
    spark.answers["/api/v1/applications"] = {"not": "spark"}
    await progress.visit("s1", address)
    await progress.visit("s1", address)
    assert told.text.count("answers on port") == len(spark.asked) == 1


async def test_403_is_told_once_and_ends_it(api_server, client, namespace, told, address):
    async with limited_client(api_server, client, namespace, ["get"]) as limited:
        progress = Progress(limited, namespace, told)
        await progress.visit("s1", address)
        await progress.visit("s1", address)
    assert told.text.count("No progress will be shown") == 1
    assert "kubectl auth can-i get pods --subresource=proxy" in told.text
