"""`sparkml runs`: manifests beside models and from Airflow's API, compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner, Result

from airflow_provider_sparkml.cli import app
from airflow_provider_sparkml.resources.lineage import RunManifest

FIRST = RunManifest(
    "d",
    "run-1",
    "train",
    finished_at="2026-11-22T10:00:00Z",
    image="i:1",
    git_commit="1f3a9c2",
    metrics={"auc": 0.7, "loss": 0.5},
    parameters={"depth": 5},
    inputs={"flights": "f"},
    model_uri="pvc://c/1",
)
SECOND = replace(
    FIRST, run_id="run-2", finished_at="2026-11-23T10:00:00Z", metrics={"auc": 0.65}, parameters={"depth": 8}
)


def runs(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(app, ["runs", *arguments], env={"COLUMNS": "200", **env})


def write(folder: Path, *manifests: RunManifest) -> Path:
    for number, each in enumerate(manifests):
        place = folder / f"model-{number}"
        place.mkdir(parents=True)
        (place / "run.json").write_text(json.dumps(each.to_json()))
    return folder


def test_what_differs_is_a_column_and_the_rest_is_told_once(tmp_path: Path) -> None:
    result = runs(str(write(tmp_path, FIRST, SECOND)))
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.output.splitlines()]
    assert lines[0] == ["Runs,", "2", "of", "2:"]
    assert lines[1] == ["RUN_ID", "FINISHED_AT", "METRICS.AUC", "METRICS.LOSS", "PARAMETERS.DEPTH"]
    assert lines[2] == ["run-2", "2026-11-23T10:00:00Z", "0.65", "8"], "the newest first, and no loss is no column less"
    assert lines[3] == ["run-1", "2026-11-22T10:00:00Z", "0.7", "0.5", "5"]
    assert ["git_commit", "1f3a9c2"] in lines
    assert ["inputs.flights", "f"] in lines


@pytest.mark.parametrize(
    ("options", "order"),
    [
        (("--sort-by", "metrics.auc"), ["run-1", "run-2"]),
        (("--sort-by", "metrics.auc", "--ascending"), ["run-2", "run-1"]),
        (("--sort-by", "metrics.loss"), ["run-1", "run-2"]),
        (("--limit", "1"), ["run-2"]),
        (("--dag", "other"), []),
    ],
)
def test_sorted_and_cut(tmp_path: Path, options: tuple[str, ...], order: list[str]) -> None:
    found = json.loads(runs(str(write(tmp_path, FIRST, SECOND)), "-o", "json", *options).output)
    assert [each["run_id"] for each in found] == order


def test_a_run_that_diverged_comes_last(tmp_path: Path) -> None:
    made = [replace(FIRST, run_id=str(auc), metrics={"auc": auc}) for auc in (0.9, float("nan"), 0.95)]
    folder = write(tmp_path, *made)
    for options, order in (((), ["0.95", "0.9", "nan"]), (("--ascending",), ["0.9", "0.95", "nan"])):
        found = json.loads(runs(str(folder), "-o", "json", "--sort-by", "metrics.auc", *options).output)
        assert [each["run_id"] for each in found] == order


def test_no_runs_are_an_empty_table(tmp_path: Path) -> None:
    result = runs(str(tmp_path))
    assert (result.exit_code, result.output.strip()) == (0, "Runs, 0 of 0: none")


def test_what_is_being_written_is_not_looked_at(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    staging = tmp_path / ".model-1.part"
    staging.mkdir()
    (staging / "run.json").write_text("{")
    assert [each["run_id"] for each in json.loads(runs(str(tmp_path), "-o", "json").output)] == ["run-1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nowhere to look"),
        (("{folder}/nothing",), "nothing: there is no such directory"),
        (("s3://bucket/models",), "s3://bucket/models cannot be read: "),
        (
            ("{folder}", "--sort-by", "metrics.f1"),
            "no run has the field 'metrics.f1' to sort by; there are finished_at, ",
        ),
        (("{folder}/broken",), "broken/run.json: not JSON"),
        (("--airflow-url", "http://127.0.0.1:1"), "Airflow at http://127.0.0.1:1 cannot be read"),
    ],
)
def test_errors_name_the_cause(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "run.json").write_text('{"version": 1, "dag')
    folder = write(tmp_path / "folder", FIRST)
    given = [each.format(folder=folder) if "broken" not in each else str(broken) for each in arguments]
    result = runs(*given)
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
    assert message in result.output
    assert "Traceback" not in result.output


# --- Airflow's API ---


@pytest.fixture
def airflow() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An API server with asset events in pages, which wants a token."""
    events: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers.get("Authorization") == "Bearer t"
            query = parse_qs(urlsplit(self.path).query)
            start, size = int(query["offset"][0]), int(query["limit"][0])
            body = {"asset_events": events[start : start + size], "total_entries": len(events)}
            text = json.dumps(body if allowed else {"detail": "no"}).encode()
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", events
    server.shutdown()
    thread.join()
    server.server_close()


def test_all_pages_of_airflows_events_are_read(airflow: Any) -> None:
    url, events = airflow
    for number in range(1005):
        made = replace(FIRST, run_id=f"run-{number}", metrics={"auc": number / 1005})
        events.append({"id": number, "name": "model", "extra": {"run_manifest": made.to_json()}})
        events.append({"id": -number, "name": "data", "extra": {}})
    result = runs(
        "--airflow-url", url, "-o", "json", "--limit", "2000", "--sort-by", "metrics.auc", AIRFLOW_API_TOKEN="t"
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert len(found) == 1005
    assert found[0]["run_id"] == "run-1004"


def test_an_event_tells_more_than_the_file_and_a_run_is_shown_once(airflow: Any, tmp_path: Path) -> None:
    url, events = airflow
    whole = replace(FIRST, name="job-1", image_digest="sha256:1")
    events.append({"id": 1, "name": "model", "extra": {"run_manifest": whole.to_json()}})
    (found,) = json.loads(
        runs(str(write(tmp_path, FIRST)), "--airflow-url", url, "-o", "json", AIRFLOW_API_TOKEN="t").output
    )
    assert found["image_digest"] == "sha256:1"


def test_a_token_is_asked_for(airflow: Any) -> None:
    result = runs("--airflow-url", airflow[0])
    assert result.exit_code == 1
    assert "answered 401; put a token into $AIRFLOW_API_TOKEN" in result.output
