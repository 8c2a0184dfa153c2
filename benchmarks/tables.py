"""The tables of this folder's README.md, as markdown, from the JSON that one run of the benchmarks has left.

``python -m benchmarks.tables FOLDER`` reads ``imports.json``, ``deferral.json``, ``deferral-MPIJob.json``,
``deferral-TrainJob.json``, ``overhead.json`` and ``cluster_up.json``; ``make bench`` writes them and calls it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

OURS, PEER = "this provider", "cncf provider"
CONTENDERS = {"ours": OURS, "cncf": f"{PEER}'s trigger"}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of markdown."""
    lines = [list(head), *(list(row) for row in rows)]
    body = ["| " + " | ".join(line) + " |" for line in lines]
    body.insert(1, "|" + "---|" * len(lines[0]))
    return "\n".join(line.replace("  ", " ") for line in body)


def figure(value: float) -> str:
    """Return a number with three digits that count, and no fraction from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def delay(seconds: float) -> str:
    """Return a time in milliseconds, or in seconds if it is that long."""
    return f"{figure(seconds)} s" if seconds >= 1 else f"{figure(seconds * 1000)} ms"


def tenths(seconds: float) -> str:
    """Return a time in seconds, to a tenth."""
    return f"{seconds:.1f} s"


def deferral(runs: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Return what waiting costs, a row for each contender of each run.

    :param runs: the JSON of ``benchmarks.deferral``.
    :param names: contender, or a run's kind → what its row is called.
    """
    rows, apps = [], 0
    for run in runs:
        apps = run["apps"]
        for contender in (name for name in CONTENDERS if name in run):
            cost = run[contender]
            rows.append(
                [
                    names.get(run["kind"]) or names[contender],
                    f"{cost['requests_per_min']:,.0f}",
                    f"{figure(cost['cpu_percent'])} %",
                    f"{figure(cost['kib_per_task'])} KiB",
                    *(delay(cost[each]) for each in ("p50_s", "p99_s", "max_s")),
                ]
            )
    return table([f"{apps:,} tasks", "requests/min", "CPU of one core", "memory per task", "p50", "p99", "max"], rows)


def imports(run: Mapping[str, Any]) -> str:
    """Return what imports cost, from the JSON of ``benchmarks.imports``."""
    rows = [
        [
            name,
            f"{run[key]['seconds']:.3f}",
            f"{run[key]['modules']:,}",
            ", ".join(f"`{each}`" for each in run[key]["heavy"]) or "none",
        ]
        for key, name in (("ours", OURS), ("cncf", f"{PEER}'s Spark operator"))
    ]
    return table(["", "seconds", "modules", "heavy ones"], rows)


def overhead(run: Mapping[str, Any]) -> str:
    """Return what Airflow adds to a Spark job, from the JSON of ``benchmarks.overhead``."""
    hand = run["by_hand"]
    parts = ("overhead", "to_spark_submit", "spark_submitted_to_end", "end_to_task_success")
    rows = [["`spark-submit` by hand", tenths(hand["wall"]), "", "", tenths(hand["wall"]), ""]]
    for key, name in (("ours", OURS), ("cncf", PEER)):
        took = run[key]
        rows.append([name, tenths(took["wall"]), *(tenths(took[part]) if part in took else "" for part in parts)])
    return table(["", "wall", "over by hand", "until submitted", "submitted → ended", "ended → task success"], rows)


def cluster_up(run: Mapping[str, Any]) -> str:
    """Return how soon the local cluster is there, from the JSON of ``benchmarks.cluster_up``."""
    rows = [
        [name, tenths(run[key]["p50"]), tenths(run[key]["max"])]
        for key, name in (("up", "up"), ("again", "up again"), ("down", "down"))
    ]
    return table(["", "median", "max"], rows)


def tables(folder: Path) -> dict[str, str]:
    """Return title → table, in the order of the README.

    :param folder: has the JSON of each benchmark.
    :raises FileNotFoundError: when one has not run.
    """

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
        return found

    kinds = ("MPIJob", "TrainJob")
    return {
        "`deferral`: what a waiting task costs": deferral([read("deferral")], CONTENDERS),
        "`deferral --kind …`": deferral((read(f"deferral-{kind}") for kind in kinds), {kind: kind for kind in kinds}),
        "`imports`: what a DAG file pays": imports(read("imports")),
        "`overhead`: what Airflow adds to a Spark job": overhead(read("overhead")),
        "`cluster_up`: how soon the local cluster is there": cluster_up(read("cluster_up")),
    }


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the JSON of the benchmarks is")
    folder = parser.parse_args().folder
    try:
        found = tables(folder)
    except FileNotFoundError as error:
        parser.error(f"no {error.filename}: `make bench` writes it")
    for title, text in found.items():
        print(f"## {title}\n\n{text}\n")


if __name__ == "__main__":
    main()
