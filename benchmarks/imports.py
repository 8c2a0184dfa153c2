"""What importing every public operator, sensor and trigger adds to a DAG file that has ``airflow.sdk`` already.

``python -m benchmarks.imports [--repeats N]`` prints JSON, the cncf provider's Spark operator and sensor beside ours::

    {"ours": {"seconds": 0.02, "modules": 12, "heavy": []}, "cncf": {"seconds": 3.4, "modules": 1500, "heavy": [...]}}

Every figure is the median of several fresh interpreters: a module is imported only once in each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

from airflow_provider_sparkml.get_provider_info import get_provider_info
from benchmarks.progress import steps

CNCF = (
    "airflow.providers.cncf.kubernetes.operators.spark_kubernetes",
    "airflow.providers.cncf.kubernetes.sensors.spark_kubernetes",
    "airflow.providers.cncf.kubernetes.triggers.pod",
)
HEAVY = ("kubernetes", "kubernetes_asyncio", "airflow.providers.cncf", "aiohttp", "pandas", "numpy", "pyspark")
"""What no module that a DAG file imports may pull in."""

PROBE = """
import importlib, json, sys, time
from airflow.sdk import DAG, BaseOperator, task  # what every DAG file has anyway
before = set(sys.modules)
start = time.perf_counter()
for name in sys.argv[1:]:
    importlib.import_module(name)
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "added": sorted(set(sys.modules) - before)}))
"""


def public_modules() -> list[str]:
    """Return every module of operators, sensors, triggers and decorators that the provider declares."""
    info = get_provider_info()
    declared = [
        module
        for part in ("operators", "sensors", "triggers")
        for entry in info[part]
        for module in entry["python-modules"]
    ]
    declared += [entry["class-name"].rpartition(".")[0] for entry in info["task-decorators"]]
    # One module may serve several integrations.
    return list(dict.fromkeys(declared))


def probe(modules: list[str]) -> dict[str, Any]:
    """Import modules in a fresh interpreter; return seconds and the names of the modules that this added."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *modules], check=True, capture_output=True, text=True, timeout=120
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(modules: list[str], repeats: int) -> dict[str, Any]:
    """Return the median of several probes, and which heavy packages were among what came in."""
    probes = [probe(modules) for _ in steps(range(repeats), modules[0].rpartition(".")[0])]
    added = probes[-1]["added"]
    heavy = [name for name in HEAVY if any(each == name or each.startswith(f"{name}.") for each in added)]
    return {
        "seconds": round(statistics.median(each["seconds"] for each in probes), 3),
        "modules": len(added),
        "heavy": heavy,
    }


def main() -> None:
    """Measure both and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="fresh interpreters for each figure")
    repeats = parser.parse_args().repeats
    print(json.dumps({"ours": measure(public_modules(), repeats), "cncf": measure(list(CNCF), repeats)}))


if __name__ == "__main__":
    main()
