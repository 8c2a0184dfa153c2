"""The error in a log: a Python traceback, a Java exception, or one of the sentences everybody meets once."""

from __future__ import annotations

import re
from collections.abc import Sequence

_RANK = re.compile(r"^\[(?:default|rank)\d+\]: ?")
"""What torch begins each line of a traceback with, once its process group is there."""
_TRACEBACK = "Traceback (most recent call last):"
_PYTHON_ERROR = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Warning|[A-Z]\w*)?(:|$)")
_JAVA_ERROR = re.compile(r'^(Exception in thread "[^"]*"|Caused by:|[Ee]rror:|ERROR .*?:) ?(.*)')
_LINE_CHARS = 500

# What a line of the log means in practice.
_ADVICE: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"can't open file|NoSuchFileException|No such file or directory|\(No such file"),
        "That file is not in the image or on a volume: check mainApplicationFile (local:/// is a path in the image).",
    ),
    (
        re.compile(r"ModuleNotFoundError|ImportError"),
        "Install that package in the image (requirements.txt), for driver and executors alike.",
    ),
    (
        re.compile(r"ClassNotFoundException|NoClassDefFoundError|Failed to load class|NoSuchMethodError"),
        "Check mainClass, and that the jars fit the image's Spark and Scala versions.",
    ),
    (
        re.compile(r"PATH_NOT_FOUND|Path does not exist"),
        "The input is not where the program looks: check its arguments and mounts.",
    ),
    (
        re.compile(r"^[\w./-]+: error: "),
        "The program refuses its arguments: correct spec.arguments.",
    ),
    (
        re.compile(r"AccessDenied|403 Forbidden|Permission denied"),
        "The program may not read or write there: check its credentials and service account.",
    ),
)
_DEFAULT_ADVICE = "Read the log; the program has to be changed, or its arguments."


def error_line(log: Sequence[str]) -> tuple[str, str]:
    """Return the line of a log that names the error, empty when none does, and what to try."""
    log = [_RANK.sub("", line) for line in log]
    said = _python_error(log) or _java_error(log) or _known_line(log)
    for pattern, advice in _ADVICE:
        if pattern.search(said):
            return said, advice
    return said, _DEFAULT_ADVICE


def excerpt(log: Sequence[str], lines: int, most: int) -> list[str]:
    """Return the last lines of a log; more of them where a Python traceback would be cut, up to a limit."""
    start = max(0, len(log) - lines)
    traceback = _last_traceback(log)
    if traceback is not None:
        start = max(min(start, traceback), len(log) - most, 0)
    return [line[:_LINE_CHARS] for line in log[start:]]


def _last_traceback(log: Sequence[str]) -> int | None:
    """Return the index of the last traceback's first line."""
    return next((index for index in reversed(range(len(log))) if log[index].endswith(_TRACEBACK)), None)


def _python_error(log: Sequence[str]) -> str:
    """Return the last line of the last traceback; of py4j's errors, with the Java exception that follows it."""
    start = _last_traceback(log)
    if start is None:
        return ""
    for index in range(start + 1, len(log)):
        line = log[index]
        if line and not line[0].isspace() and _PYTHON_ERROR.match(line):
            java = log[index + 1] if index + 1 < len(log) and log[index + 1].startswith(": ") else ""
            return f"{line.strip()}{f' {java[2:].strip()}' if java else ''}"[:_LINE_CHARS]
    return ""


def _java_error(log: Sequence[str]) -> str:
    """Return the first line of the last Java exception; its innermost cause when there are several."""
    for line in reversed(log):
        found = _JAVA_ERROR.match(line)
        if found:
            return (found[2] or line).strip()[:_LINE_CHARS]
    return ""


def _known_line(log: Sequence[str]) -> str:
    """Return the last line that one of the known sentences is in."""
    for line in reversed(log):
        if any(pattern.search(line) for pattern, _ in _ADVICE):
            return line.strip()[:_LINE_CHARS]
    return ""


__all__ = ["error_line", "excerpt"]
