"""What CI runs: three make targets, one after the other, and the result of all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUMMARY = "======== 12 passed, 1 skipped in 61.20s (0:01:01) ========"


def run_ci(folder: Path, *, test: int, demo: int, training: int) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run `.ci/run` with a `make` that only writes down what it was called with."""
    calls = folder / "calls"
    fake = folder / "make"
    fake.write_text(
        f"#!/bin/sh\necho \"$* CI=$CI stdin=$(cat | wc -c | tr -d ' ')\" >>{calls}\n"
        f'if [ "$1" = test ]; then echo "{SUMMARY}"; exit {test}; fi\n'
        f'if [ "$1" = demo ]; then echo "the demo"; exit {demo}; fi\n'
        f'echo "======== 3 passed in 9.00s ========"; exit {training}\n'
    )
    fake.chmod(0o755)
    result = subprocess.run(
        [ROOT / ".ci/run"],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        input="not for make",
        capture_output=True,
        text=True,
        check=False,
    )
    return result, calls.read_text().splitlines()


def test_exactly_the_tests_the_demo_and_the_training(tmp_path: Path) -> None:
    result, calls = run_ci(tmp_path, test=0, demo=0, training=0)
    assert calls == ["test CI=true stdin=0", "demo CI=true stdin=0", "test-training CI=true stdin=0"]
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1] == SUMMARY


@pytest.mark.parametrize(("test", "demo", "training"), [(1, 0, 0), (0, 1, 0), (0, 0, 2), (2, 2, 2)])
def test_it_fails_when_any_fails(tmp_path: Path, test: int, demo: int, training: int) -> None:
    result, calls = run_ci(tmp_path, test=test, demo=demo, training=training)
    assert result.returncode != 0
    assert len(calls) == 3
    assert result.stdout.splitlines()[-1] == SUMMARY
