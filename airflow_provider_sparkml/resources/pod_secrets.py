"""What a job's pods take from a Kubernetes Secret: only its name stands in the manifest, never a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import present
from airflow_provider_sparkml.resources.spark_volumes import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A Kubernetes Secret of the job's namespace, and what its pods take from it; the kubelet alone reads the values.

    .. code-block:: python

        Secret(name="warehouse", env={"DB_PASSWORD": "password"})
        Secret(name="warehouse", env_from=True, prefix="DB_")
        Secret(name="warehouse-tls", mount_path="/etc/warehouse")

    :param name: its name. It must be there before the pods start; ``kubectl create secret generic``, or
        :class:`~airflow_provider_sparkml.operators.kubernetes.KubernetesApplyOperator`, makes it.
    :param env: environment variable → key of the Secret.
    :param env_from: whether every key is an environment variable.
    :param prefix: what those of ``env_from`` begin with.
    :param mount_path: directory with a file for each key.
    :raises InvalidManifestError: nothing is taken from it, or ``prefix`` is given for nothing.
    """

    name: str
    env: Mapping[str, str] = field(default_factory=dict)
    env_from: bool = False
    prefix: str = ""
    mount_path: str = ""

    def __post_init__(self) -> None:
        if not (self.env or self.env_from or self.mount_path):
            raise InvalidManifestError(
                f"secret {self.name!r} is used for nothing: give env={{variable: key}}, env_from=True or mount_path"
            )
        if self.prefix and not self.env_from:
            raise InvalidManifestError(
                f"prefix of secret {self.name!r} is {self.prefix!r}, but env_from is False: set it, or leave prefix out"
            )

    def to_volume(self) -> Volume:
        """Return its files as a volume; only for one with ``mount_path``."""
        volume = f"secret-{self.name}".replace(".", "-")
        return Volume.secret(self.name, self.mount_path, name=volume, read_only=True)


def secret_env(secrets: Iterable[Secret]) -> list[dict[str, Any]]:
    """Return the entries of a container's ``env``."""
    return [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": key}}}
        for secret in secrets
        for variable, key in secret.env.items()
    ]


def secret_env_from(secrets: Iterable[Secret]) -> list[dict[str, Any]]:
    """Return a container's ``envFrom``."""
    return [
        present({"prefix": secret.prefix}) | {"secretRef": {"name": secret.name}}
        for secret in secrets
        if secret.env_from
    ]


def secret_volumes(secrets: Iterable[Secret]) -> list[Volume]:
    """Return the volumes of those that are mounted."""
    return [secret.to_volume() for secret in secrets if secret.mount_path]


__all__ = ["Secret", "secret_env", "secret_env_from", "secret_volumes"]
