"""Runs ``horovodrun`` in the launcher's pod, and hands on the result that rank 0, in another pod, has printed.

``launch.py horovodrun …`` ends as ``horovodrun`` does. The line ``result: {…}`` of a rank becomes the termination
message of this container (the file that SPARKML_RESULT_PATH names), which is what the task returns.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

RESULT = re.compile(r"(?:^|<stdout>:)result: (\{.*\})$")
"""With the prefix that ``horovodrun`` puts before each line of a rank."""
TERMINATION_LOG = Path("/dev/termination-log")


def main(command: list[str]) -> int:
    """Run the command, and return its exit code."""
    if not command:
        sys.exit("usage: launch.py horovodrun OPTION... PROGRAM ARGUMENT...")
    result = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:

        def hand_on(number: int, frame: FrameType | None) -> None:
            process.send_signal(number)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, hand_on)
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if found := RESULT.search(line.rstrip()):
                result = found[1]
    path = Path(os.environ.get("SPARKML_RESULT_PATH") or TERMINATION_LOG)
    if result and process.returncode == 0 and (path != TERMINATION_LOG or path.is_file()):
        path.write_text(result, encoding="utf-8")
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
