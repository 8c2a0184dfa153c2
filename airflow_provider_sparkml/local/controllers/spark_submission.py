"""Runs the genuine spark-submit for a SparkApplication, with files that are gone when it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_sparkml.exceptions import LocalClusterError
from airflow_provider_sparkml.local.controllers.spark_properties import (
    Target,
    format_properties,
    submission_arguments,
    submission_properties,
)
from airflow_provider_sparkml.local.controllers.spark_templates import pod_template
from airflow_provider_sparkml.local.images import ImageStore
from airflow_provider_sparkml.local.pods.paths import PathMap
from airflow_provider_sparkml.local.processes import TiedProcess
from airflow_provider_sparkml.resources.base import Manifest

IMAGE = "spark"
"""The image whose spark-submit is used for every application, as an operator uses the one it carries."""

MESSAGE_LINES = 30
NOT_A_REASON = re.compile(
    r"\s+at |\s+\.\.\. \d+ more|WARNING: Using incubator|Using Spark's default|\S+ \S+ (INFO|WARN) "
)
ALREADY_EXISTS = "code=409"


class SubmissionError(LocalClusterError):
    """spark-submit refused, or failed; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What one kind of application is to spark-submit.

    :param properties: files of the pod templates by role → Spark properties.
    :param template: ``driver`` or ``executor`` → its pod template.
    :param arguments: file of the properties → arguments.
    """

    properties: Callable[[dict[str, Path]], dict[str, str]]
    template: Callable[[str], Manifest]
    arguments: Callable[[Path], list[str]]


@dataclass(frozen=True, slots=True)
class Submitter:
    """Submits applications.

    :param images: holds the image with spark-submit.
    :param java_home: the Java that runs it.
    :param target: the API server and the credentials for it.
    """

    images: ImageStore
    java_home: Path
    target: Target

    async def submit(self, app: Manifest, submission_id: str, *, progress: Callable[[str], None]) -> None:
        """Submit an application; when this is cancelled, spark-submit ends with it.

        :param submission_id: identity of this submission, put on all its pods.
        :param progress: is told how far the installation of Spark is, when that is still to be done.
        :raises SubmissionError: when spark-submit fails.
        :raises InvalidManifestError: when the application cannot be submitted as it is.
        :raises ImageBuildError: when Spark cannot be installed.
        """
        await self.run(
            Submission(
                properties=lambda templates: submission_properties(app, submission_id, self.target, templates),
                template=lambda role: pod_template(app, role),
                arguments=lambda properties: submission_arguments(app, properties, self.target),
            ),
            progress=progress,
        )

    async def run(self, submission: Submission, *, progress: Callable[[str], None]) -> None:
        """Run spark-submit; see :meth:`submit`."""
        image = await self.images.pull(IMAGE, progress=progress)
        async with _directory() as place:
            templates = {role: place / f"{role}.yaml" for role in ("driver", "executor")}
            properties = submission.properties(templates)
            for role, path in templates.items():
                path.write_text(json.dumps(submission.template(role)))  # JSON is YAML
            properties_file = place / "spark.properties"
            properties_file.write_text(format_properties(properties))
            # The image's own way of running spark-submit.
            entrypoint = [PathMap({}, image.rootfs).rewrite(word) for word in image.entrypoint]
            argv = [*entrypoint, "submit", *submission.arguments(properties_file)]
            await _run(argv, self._env(image.prefix, place), place)

    def _env(self, prefix: Path, place: Path) -> dict[str, str]:
        return {
            "PATH": f"{prefix / 'bin'}:{os.defpath}",
            "HOME": str(place),
            "JAVA_HOME": str(self.java_home),
            "LANG": "C.UTF-8",
            # Nobody's ~/.kube/config may have a say in this.
            "KUBECONFIG": str(place / "no-kubeconfig"),
        }


async def _run(argv: list[str], env: dict[str, str], place: Path) -> None:
    log = place / "output.log"
    process = await TiedProcess.start(argv, env=env, cwd=place, log=log)
    try:
        code = await process.wait()
    finally:
        await asyncio.shield(process.stop(grace_seconds=0))
    if code == 0:
        return
    output = await asyncio.to_thread(log.read_text, errors="replace")
    if "pods" in output and ALREADY_EXISTS in output:
        raise SubmissionError("driver pod already exist")
    raise SubmissionError(f"failed to run spark-submit: {reason(output) or f'exit code {code}'}")


def reason(output: str) -> str:
    """Return why spark-submit failed: what it wrote but stack frames and the log of its ordinary course."""
    lines = [line for line in output.splitlines() if line.strip() and not NOT_A_REASON.match(line)]
    return "\n".join(lines[-MESSAGE_LINES:])


@contextlib.asynccontextmanager
async def _directory() -> AsyncIterator[Path]:
    place = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="spark-submit-"))
    try:
        yield place
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
