"""The Spark programs as tests see them: a process inside the image ``spark`` that runs one after the other."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_sparkml.local.images import Image, ImageStore, default_cache, default_folders
from airflow_provider_sparkml.local.java import find_java_home

# A JVM that lives for a minute spends more on compiling well than it gains by it.
SUBMIT = (
    "--master local[2] --driver-memory 1g --conf spark.ui.enabled=false --conf spark.ui.showConsoleProgress=false "
    "--driver-java-options '-XX:TieredStopAtLevel=1 -XX:+UseSerialGC'"
)


def image(name: str) -> Image:
    """Return an image of the project, built if need be."""
    return asyncio.run(ImageStore(default_folders(), default_cache()).pull(name))


@dataclass(frozen=True)
class Run:
    """How a program ended.

    :param code: its exit code.
    :param out: what it wrote to stdout.
    :param err: what it wrote to stderr.
    :param message: what it left in the file of SPARKML_RESULT_PATH.
    """

    code: int
    out: str
    err: str
    message: str

    @property
    def result(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        assert len(self.message.encode()) <= 4096
        result: dict[str, Any] = json.loads(self.message)
        return result

    @property
    def error(self) -> str:
        assert self.code == 1, (self.code, self.out, self.err)
        assert self.err == f"{self.message}\n"
        return self.message.removeprefix("error: ")


class Programs:
    """The programs of the image ``spark``, run by the process of ``program_host.py``.

    :param directory: for the process's log and the results.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        spark = image("spark")
        host = Path(__file__).with_name("program_host.py")
        self._log = (directory / "host.log").open("w")
        self._process = subprocess.Popen(
            [str(spark.prefix / "bin" / "python"), str(host), str(spark.rootfs[0] / "opt" / "sparkml")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ
            | {
                "JAVA_HOME": str(find_java_home(default_cache())),
                "PYSPARK_SUBMIT_ARGS": f"{SUBMIT} pyspark-shell",
                "SPARK_LOCAL_IP": "127.0.0.1",
                "TMPDIR": str(directory),
            },
        )

    def ask(self, **request: Any) -> Any:
        """Send a request to the process and return its answer."""
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        print(json.dumps(request), file=pipe_in, flush=True)
        line = pipe_out.readline()
        assert line, f"the programs' process died; see {self._log.name}"
        return json.loads(line)

    def run(self, program: str, *argv: str | Path, **options: Any) -> Run:
        """Run a program with its command line."""
        result = self._directory / "result"
        result.unlink(missing_ok=True)
        done = self.ask(program=program, argv=[str(word) for word in argv], result=str(result), **options)
        return Run(**done, message=result.read_text() if result.exists() else "")

    def parquet(self, path: Path) -> list[dict[str, Any]]:
        """Read a parquet directory."""
        rows: list[dict[str, Any]] = self.ask(parquet=str(path))
        return rows

    def close(self) -> None:
        """End the process, and with it the JVM."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        finally:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._log.close()
