"""What every part of the API server shares: the objects, the types, and where logs and tokens are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from airflow_provider_sparkml.local.api.types import Registry, ResourceType
from airflow_provider_sparkml.local.store import Store
from airflow_provider_sparkml.resources.base import Manifest

LogPath = Callable[[str, str], Path]
"""UID of a pod and name of a container → the file with its log."""

AfterWrite = Callable[[ResourceType, Manifest, bool], None]
"""Called with the type, the object, and whether it was deleted, right after a change."""


@dataclass(slots=True, eq=False)
class Cluster:
    """The state of one API server.

    :param store: all objects.
    :param registry: all resource types.
    :param log_path: where the kubelet writes the logs.
    :param admin_token: bearer token of the cluster's administrator.
    :param signing_key: signs the tokens of ServiceAccounts.
    :param after_write: what the server itself does when objects change.
    """

    store: Store
    log_path: LogPath
    admin_token: str
    signing_key: bytes
    registry: Registry = field(default_factory=Registry)
    after_write: list[AfterWrite] = field(default_factory=list)
