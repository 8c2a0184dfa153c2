"""What the local cluster reads from a Dockerfile. Pure."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field, replace

ROOTFS = ("rootfs/", "/")
"""Source and target of the ``COPY`` by which an image gets its programs."""


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """The last stage of a Dockerfile, as far as it concerns containers on the local cluster.

    :param base: ``FROM``: what it is built on.
    :param entrypoint: ``ENTRYPOINT``.
    :param command: ``CMD``.
    :param env: ``ENV``, without ``PATH``.
    :param workdir: ``WORKDIR``, or empty.
    :param runs: the ``RUN`` instructions after ``COPY rootfs/ /``.
    :param args: ``ARG`` with their defaults: variables of the build.
    :param labels: ``LABEL``.
    """

    base: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = ""
    runs: tuple[tuple[str, ...], ...] = ()
    args: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


def parse_dockerfile(text: str) -> Dockerfile:
    """Read a Dockerfile; instructions that do not concern containers here are passed over."""
    found, has_programs = Dockerfile(), False
    for line in _instructions(text):
        keyword, _, rest = line.partition(" ")
        rest = rest.strip()
        match keyword.upper():
            case "FROM":
                words = [word for word in rest.split() if not word.startswith("--")]
                found, has_programs = Dockerfile(base=words[0]), False
            case "ENTRYPOINT":
                found = replace(found, entrypoint=_words(rest), command=())  # as Docker does
            case "CMD":
                found = replace(found, command=_words(rest))
            case "WORKDIR":
                found = replace(found, workdir=rest)
            case "ENV":
                env = {**found.env, **_assignments(rest)}
                env.pop("PATH", None)
                found = replace(found, env=env)
            case "ARG" if "=" in rest:
                found = replace(found, args={**found.args, **_assignments(rest)})
            case "LABEL":
                found = replace(found, labels={**found.labels, **_assignments(rest)})
            case "COPY":
                has_programs = has_programs or tuple(rest.split()[-2:]) == ROOTFS
            case "RUN" if has_programs:
                found = replace(found, runs=(*found.runs, _words(rest)))
            case _:
                pass
    return found


def _instructions(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]


def _words(value: str) -> tuple[str, ...]:
    """Read the exec form ``["a", "b"]``, or the shell form, as Docker does."""
    return tuple(json.loads(value)) if value.startswith("[") else ("/bin/sh", "-c", value)


def _assignments(value: str) -> dict[str, str]:
    words = shlex.split(value)
    if words and "=" not in words[0]:  # the old form: ENV KEY the whole rest
        return {words[0]: value.partition(" ")[2].strip()}
    return dict(word.split("=", 1) for word in words)
