"""The recorded answers of a real API server, sent to this one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPLAY = Path(__file__).parents[2].parent / "shared" / "wire" / "replay.py"


@pytest.mark.skipif(not REPLAY.exists(), reason="the recorded answers are not here: no ../shared/wire")
def test_no_difference_to_a_real_api_server(start_api_server: Callable[..., Any]) -> None:
    server = start_api_server()
    command = [sys.executable, str(REPLAY), "--kubeconfig", str(server.kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines()[-1] == "87 passed, 0 failed", done.stdout + done.stderr
