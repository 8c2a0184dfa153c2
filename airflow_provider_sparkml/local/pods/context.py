"""What the parts of a running pod share: the node they run on, and the pod's own places."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from airflow_provider_sparkml.local.images import ImageStore
from airflow_provider_sparkml.local.pods.environment import Lookup
from airflow_provider_sparkml.local.pods.memory import MemoryWatch
from airflow_provider_sparkml.local.pods.names import ClusterNames
from airflow_provider_sparkml.resources.base import Manifest

Tell = Callable[[Literal["Normal", "Warning"], str, str], None]
"""Records an event about a pod: type, reason and message."""

Mount = Callable[[], Awaitable[dict[str, Path]]]
"""Makes a pod's volumes and returns volume name → place; raises ``MountError`` while that is not possible."""


@dataclass(frozen=True)
class PodContext:
    """One pod on its node.

    :param pod: the pod; ``status.podIP`` and ``status.hostIP`` are set.
    :param root: the pod's own directory.
    :param node_env: variables that the node gives to every container.
    :param images: where images come from.
    :param memory: watches memory limits.
    :param names: the cluster's names.
    :param commands: directory of the commands that the node has for all images.
    :param lookup: finds ConfigMaps and Secrets of the pod's namespace.
    :param mount: makes the pod's volumes.
    :param refresh: brings the files of its volumes up to date.
    :param tell: records an event.
    :param dirty: is set whenever the status of a container changed.
    :param volumes: volume name → place, once they are made.
    """

    pod: Manifest
    root: Path
    node_env: dict[str, str]
    images: ImageStore
    memory: MemoryWatch
    names: ClusterNames
    commands: Path
    lookup: Lookup
    mount: Mount
    refresh: Callable[[], Awaitable[None]]
    tell: Tell
    dirty: asyncio.Event = field(default_factory=asyncio.Event)
    volumes: dict[str, Path] = field(default_factory=dict)

    def changed(self) -> None:
        """Say that the status of a container changed."""
        self.dirty.set()

    @property
    def address(self) -> str:
        """The pod's address."""
        return str(self.pod["status"]["podIP"])

    @property
    def restart_policy(self) -> str:
        """The pod's restart policy."""
        return str(self.pod["spec"].get("restartPolicy") or "Always")
