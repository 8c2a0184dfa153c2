"""The smallest Spark program: computes π by throwing darts, and returns it as its result."""

from __future__ import annotations

import argparse
import random

from outputs import elapsed, positive_int, run, say, write_result
from session import spark_session

DARTS = 100_000
"""Darts that each task throws."""


def hits(seed: int) -> int:
    """Throw the darts of one task; return how many fell into the quarter of a circle."""
    darts = random.Random(seed)  # a seed of its own: forked workers would otherwise throw alike
    return sum(darts.random() ** 2 + darts.random() ** 2 < 1 for _ in range(DARTS))


def main(argv: list[str]) -> None:
    """Throw, count and divide."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("partitions", type=positive_int, nargs="?", default=4, help=f"tasks; {DARTS:,} darts each")
    partitions = parser.parse_args(argv).partitions
    with spark_session("pi") as spark:
        say(f"throwing {partitions * DARTS:,} darts in {partitions} tasks")
        pi = 4 * spark.sparkContext.parallelize(range(partitions), partitions).map(hits).sum() / (partitions * DARTS)
    say(f"π is about {pi}")
    write_result({"pi": pi, "darts": partitions * DARTS, "seconds": elapsed()})


if __name__ == "__main__":
    run(main)
