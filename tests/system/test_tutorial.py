"""The tutorial's own program, DAG and commands, run as they are written; tasks are started from the command line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.spark, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
STATE = "--state-dir .state/tutorial/cluster"


def blocks(heading: str, language: str) -> list[str]:
    """Return the blocks of code below a heading."""
    _, _, below = TUTORIAL.partition(f"\n## {heading}\n")
    section, _, _ = below.partition("\n## ")
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def commands(block: str) -> str:
    """Return the commands of a console; the images of the folder come beside those of the checkout."""
    script = "\n".join(line.removeprefix("$ ") for line in block.splitlines())
    return re.sub(r"^(sparkml (images build|cluster up))", r"\1 --images images", script, flags=re.MULTILINE)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Runs commands in a folder that stands for the checkout, and returns what they print."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    env["PATH"] = f"{SCRIPTS}:{env['PATH']}"

    def run(script: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", script], check=False, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=400
        )
        assert done.returncode == 0, f"{script}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done.stdout + done.stderr

    yield run
    run(f"sparkml cluster down {STATE}")


def test_a_program_and_a_dag_of_ones_own(shell: Callable[[str], str], tmp_path: Path) -> None:
    shutil.copy(ROOT / "LICENSE", tmp_path)
    make, build = map(commands, blocks("A program of your own", "console"))
    (program,) = blocks("A program of your own", "python")
    (dag,) = blocks("A DAG of your own", "python")
    shell(make)
    (tmp_path / "images/words/rootfs/opt/words/count.py").write_text(program)
    (tmp_path / ".state/tutorial/dags").mkdir(parents=True)
    (tmp_path / ".state/tutorial/dags/words.py").write_text(dag)
    shell(build)
    (start,) = map(commands, blocks("A DAG of your own", "console"))
    start, standalone = start.rsplit("\n", 1)
    assert standalone == "airflow standalone"
    exports = "\n".join(line for line in start.splitlines() if line.startswith("export "))
    shell(f"{start}\nairflow db migrate")

    log = shell(f"{exports}\nairflow dags test words")
    (told,) = blocks("A DAG of your own", "text")
    (counted,) = re.findall(r"returned `words-count-\w+-1 (counted \d+ words)`", " ".join(TUTORIAL.split()))
    assert counted in log
    assert re.search(r"\[driver\] \{'words': .*\}", told)[0] in log

    failed = shell(f"""{exports}\nairflow dags test words --conf '{{"path": "/opt/words/absent.txt"}}' || true""")
    (message,) = blocks("A failure on purpose", "text")
    for line in (message.splitlines()[0], message.splitlines()[-1]):
        assert line in failed, failed[-6000:]
