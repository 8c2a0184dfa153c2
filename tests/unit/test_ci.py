"""What CI runs: two make targets, the one after the other, and the result of both."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUMMARY = "======== 12 passed, 1 skipped in 61.20s (0:01:01) ========"


def run_ci(folder: Path, *, test: int, demo: int) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run `.ci/run` with a `make` that only writes down what it was called with."""
    calls = folder / "calls"
    fake = folder / "make"
    fake.write_text(
        f"#!/bin/sh\necho \"$* CI=$CI stdin=$(cat | wc -c | tr -d ' ')\" >>{calls}\n"
        f'if [ "$1" = test ]; then echo "{SUMMARY}"; exit {test}; fi\necho "the demo"; exit {demo}\n'
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


def test_exactly_make_test_and_then_make_demo(tmp_path: Path) -> None:
    result, calls = run_ci(tmp_path, test=0, demo=0)
    assert calls == ["test CI=true stdin=0", "demo CI=true stdin=0"]
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1] == SUMMARY


@pytest.mark.parametrize(("test", "demo"), [(1, 0), (0, 1), (2, 2)])
def test_it_fails_when_either_fails(tmp_path: Path, test: int, demo: int) -> None:
    result, calls = run_ci(tmp_path, test=test, demo=demo)
    assert result.returncode != 0
    assert len(calls) == 2
    assert result.stdout.splitlines()[-1] == SUMMARY
