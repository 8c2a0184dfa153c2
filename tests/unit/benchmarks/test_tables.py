"""The benchmarks' tables: what `make bench` prints has the form, and from its figures the text, of the README's."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import tables

README = Path(__file__).parents[3] / "benchmarks" / "README.md"
COST = {"requests_per_min": 4.0, "cpu_percent": 0.03, "p99_s": 0.0012, "max_s": 0.0012}
TRAINING = {"requests_per_min": 4, "cpu_percent": 0.03, "p50_s": 0.0014}
RUNS = {
    "deferral": {
        "apps": 1000, "kind": "SparkApplication",
        "ours": {**COST, "kib_per_task": 7.2, "p50_s": 0.0009},
        "cncf": {
            "requests_per_min": 12276.0, "cpu_percent": 75.7, "kib_per_task": 710.3,
            "p50_s": 3.2312, "p99_s": 5.84, "max_s": 5.8412,
        },
    },
    "deferral-MPIJob": {
        "apps": 1000, "kind": "MPIJob", "ours": {**TRAINING, "kib_per_task": 5.1, "p99_s": 0.0023, "max_s": 0.0023},
    },
    "deferral-TrainJob": {
        "apps": 1000, "kind": "TrainJob", "ours": {**TRAINING, "kib_per_task": 9.8, "p99_s": 0.0029, "max_s": 0.0029},
    },
    "imports": {
        "ours": {"seconds": 0.105, "modules": 105, "heavy": []},
        "cncf": {
            "seconds": 2.221, "modules": 2071,
            "heavy": ["kubernetes", "kubernetes_asyncio", "airflow.providers.cncf", "aiohttp"],
        },
    },
    "overhead": {
        "runs": 5,
        "by_hand": {"wall": 10.47},
        "ours": {
            "wall": 12.5, "to_task_start": 0.4, "to_spark_submit": 0.8, "spark_submitted_to_end": 10.0,
            "end_to_task_success": 1.81, "overhead": 2.03,
        },
        "cncf": {"wall": 18.13, "to_task_start": 0.4, "overhead": 7.66},
    },
    "cluster_up": {
        "runs": 5,
        "up": {"p50": 1.9, "max": 2.21}, "again": {"p50": 1.7, "max": 2.0}, "down": {"p50": 1.01, "max": 1.3},
    },
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, run in RUNS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(run))
    return tmp_path


def shape(text: str) -> list[list[str]]:
    """Return the head of each table of a text, and what its rows are called."""
    found: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not inside:
                found.append(cells)
            elif not set(line) <= set("|-"):
                found[-1].append(cells[0])
        inside = line.startswith("|")
    return found


def test_they_have_the_form_of_the_readme_s(folder: Path) -> None:
    assert shape("\n\n".join(tables.tables(folder).values())) == shape(README.read_text())


def test_figures_are_written_as_one_reads_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tables", str(folder)])
    tables.main()
    printed = capsys.readouterr().out.splitlines()
    for row in (
        "| this provider | 4 | 0.03 % | 7.2 KiB | 0.9 ms | 1.2 ms | 1.2 ms |",
        "| cncf provider's trigger | 12,276 | 75.7 % | 710 KiB | 3.23 s | 5.84 s | 5.84 s |",
        "| this provider | 0.105 | 105 | none |",
        "| `spark-submit` by hand | 10.5 s | | | 10.5 s | |",
        "| this provider | 12.5 s | 2.0 s | 0.8 s | 10.0 s | 1.8 s |",
        "| cncf provider | 18.1 s | 7.7 s | | | |",
        "| down | 1.0 s | 1.3 s |",
    ):
        assert row in printed


def test_a_benchmark_that_has_not_run_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "overhead.json").unlink()
    monkeypatch.setattr(sys, "argv", ["tables", str(folder)])
    with pytest.raises(SystemExit):
        tables.main()
    assert "overhead.json: `make bench` writes it" in capsys.readouterr().err
