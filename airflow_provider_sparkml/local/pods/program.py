"""What a container executes: argv, variables and working directory, with every path where the files really are."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_sparkml.local.images import Image
from airflow_provider_sparkml.local.pods.context import PodContext
from airflow_provider_sparkml.local.pods.environment import ContainerConfigError, container_env, expand
from airflow_provider_sparkml.local.pods.names import INSIDE
from airflow_provider_sparkml.local.pods.paths import PathMap
from airflow_provider_sparkml.local.pods.volumes import container_mounts
from airflow_provider_sparkml.resources.base import Manifest

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TERMINATION_LOG = "/dev/termination-log"
COMMANDS = {"/usr/bin/ssh": "ssh", "/usr/sbin/sshd": "sshd"}
"""Programs that images have at these paths, and that the node itself has for them here."""

HOME_MOUNT = re.compile(r"/(?:root|home/[^/]+)/([^/]+)")
MESSAGE_BYTES = 4096
MESSAGE_FROM_LOG_BYTES = 2048
MESSAGE_FROM_LOG_LINES = 80


@dataclass(frozen=True, slots=True)
class Program:
    """A container's program, ready to be started.

    :param argv: program and arguments.
    :param env: all its variables.
    :param cwd: its working directory.
    :param paths: what the container sees where; for other commands that run in it.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: Path
    paths: PathMap


async def build_program(context: PodContext, spec: Manifest, image: Image) -> Program:
    """Return what a container executes, and make the directories it needs.

    :param spec: the container's entry in the pod's spec.
    :raises ContainerConfigError: when a ConfigMap, a Secret or the command is missing.
    :raises MountError: when it mounts what the pod does not have.
    """
    place = container_directory(context.root, spec)
    (place / "tmp").mkdir(parents=True, exist_ok=True)
    (place / "work").mkdir(exist_ok=True)
    message = message_file(context.root, spec)
    node_env = {
        **context.node_env,
        "PATH": f"{image.prefix / 'bin'}:{context.node_env['PATH']}",
        "HOME": str(place),
        "TMPDIR": str(place / "tmp"),
        # Programs write their result here; on a cluster its default, /dev/termination-log, is mounted.
        "SPARKML_RESULT_PATH": str(message),
    }
    env = await container_env(context.pod, spec, {**node_env, **image.env}, context.lookup)
    mounts = container_mounts(spec, context.volumes, env)
    if service_account := context.volumes.get(SERVICE_ACCOUNT):
        mounts.setdefault(SERVICE_ACCOUNT, service_account)
    mounts[spec.get("terminationMessagePath") or TERMINATION_LOG] = message
    mounts = {path: context.commands / name for path, name in COMMANDS.items()} | mounts
    _link_home(place, mounts)
    copies = _redirect_properties(place, mounts)
    paths = PathMap(mounts, image.rootfs)
    _copy_properties(copies, paths)
    command = spec.get("command") or list(image.entrypoint)
    arguments = spec.get("args") or ([] if spec.get("command") else list(image.command))
    await context.names.known(env, (*command, *arguments), context.pod)
    env = {name: context.names.rewrite(name, value, context.pod) for name, value in env.items()}
    words = [expand(word, env) for word in (*command, *arguments)]
    argv = [paths.rewrite_argument(context.names.rewrite("", word, context.pod)) for word in words]
    if not argv:
        raise ContainerConfigError("no command specified: neither the container nor its image has one")
    # What the node gives are paths of the host already.
    env = {name: value if node_env.get(name) == value else paths.rewrite(value) for name, value in env.items()}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(INSIDE), env.get("PYTHONPATH"))))
    cwd = paths.host_path(spec.get("workingDir") or image.workdir or "/") or place / "work"
    return Program(argv, env, cwd, paths)


def _redirect_properties(place: Path, mounts: dict[str, Path]) -> dict[Path, Path]:
    """Give the container copies of mounted directories with properties files; return original → copy, still to be made.

    Spark's configuration reaches its pods as such a file in a ConfigMap, and names paths of the container.
    """
    copies: dict[Path, Path] = {}
    for mount_path, source in mounts.items():
        if source.is_dir() and any(source.glob("*.properties")):
            copies[source] = mounts[mount_path] = place / "properties" / str(len(copies))
    return copies


def _copy_properties(copies: dict[Path, Path], paths: PathMap) -> None:
    for source, copy in copies.items():
        shutil.rmtree(copy, ignore_errors=True)  # of the container's former run
        shutil.copytree(source, copy)
        for file in copy.glob("*.properties"):
            text = file.read_text()
            file.unlink()  # it is read-only
            file.write_text(paths.rewrite_properties(text))


def _link_home(home: Path, mounts: dict[str, Path]) -> None:
    """Let programs find below their home what is mounted below that of a user of the image, such as ``/root/.ssh``."""
    for mount_path, place in mounts.items():
        if match := HOME_MOUNT.fullmatch(mount_path):
            link = home / match[1]
            link.unlink(missing_ok=True)
            link.symlink_to(place)


def container_directory(root: Path, spec: Manifest) -> Path:
    """Return the directory of a container in its pod's."""
    return root / "containers" / str(spec["name"])


def message_file(root: Path, spec: Manifest) -> Path:
    """Return the file that a container sees at its ``terminationMessagePath``."""
    return container_directory(root, spec) / "termination-log"


def log_file(root: Path, spec: Manifest) -> Path:
    """Return the file that a container's output goes to."""
    return root / f"{spec['name']}.log"


def termination_message(root: Path, spec: Manifest, exit_code: int) -> str:
    """Return what a container left to say at its end: the last 4,096 bytes of its message file.

    With ``terminationMessagePolicy: FallbackToLogsOnError`` the end of the log stands in for an empty message.
    """
    message = _tail(message_file(root, spec), MESSAGE_BYTES)
    if message or exit_code == 0 or spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        return message
    lines = _tail(log_file(root, spec), MESSAGE_FROM_LOG_BYTES).splitlines(keepends=True)
    return "".join(lines[-MESSAGE_FROM_LOG_LINES:])


def _tail(path: Path, limit: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - limit))
            return file.read(limit).decode(errors="replace")
    except FileNotFoundError:
        return ""
