"""How long the local cluster takes: from the command to a Kubernetes API that answers, and down again.

    python -m benchmarks.cluster_up [--runs 5]

JSON on stdout, in seconds, medians and maxima: ``up`` (``sparkml cluster up --detach`` in an empty folder until it
returns, when API server, controllers and kubelet are ready), ``again`` (the same on the state that is there), ``down``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.progress import steps

SPARKML = Path(sys.executable).with_name("sparkml")


def seconds(*arguments: str) -> float:
    """Run the command and return how long it took."""
    began = time.monotonic()
    subprocess.run([SPARKML, "cluster", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def main() -> None:
    """Parse the command line, measure, and print the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="how often (default: 5)")
    options = parser.parse_args()
    took: dict[str, list[float]] = {"up": [], "again": [], "down": []}
    for _ in steps(range(options.runs), "up and down"):
        with tempfile.TemporaryDirectory(prefix="sparkml-cluster-up-") as folder:
            state = f"--state-dir={folder}/state"
            for name in ("up", "again"):
                took[name].append(seconds("up", "--detach", state))
                took["down"].append(seconds("down", state))
    figures = {name: {"p50": statistics.median(many), "max": max(many)} for name, many in took.items()}
    rounded = {name: {key: round(value, 2) for key, value in each.items()} for name, each in figures.items()}
    print(json.dumps({"runs": options.runs, **rounded}))


if __name__ == "__main__":
    main()
