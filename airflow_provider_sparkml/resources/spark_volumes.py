"""Typed builder of the volumes of a SparkApplication, and of where its pods mount them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import plain, present


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume of the application, mounted where ``mount_path`` says in the driver and the executors.

    Use :meth:`claim`, :meth:`empty_dir`, :meth:`host_path`, :meth:`config_map` or :meth:`secret`. Volumes other than
    ``spark-local-dir-*`` are put in by the operator's webhook.

    :param name: name of the volume.
    :param mount_path: where it is mounted.
    :param source: the volume's source, as a pod spec has it.
    :param read_only: whether it is mounted read-only.
    :param sub_path: folder within the volume.
    :param roles: who mounts it.
    """

    name: str
    mount_path: str
    source: Mapping[str, Any]
    read_only: bool = False
    sub_path: str = ""
    roles: Sequence[Literal["driver", "executor"]] = ("driver", "executor")

    @classmethod
    def claim(cls, claim: str, mount_path: str, *, name: str = "data", **options: Any) -> Volume:
        """Mount a PersistentVolumeClaim."""
        return cls(name=name, mount_path=mount_path, source={"persistentVolumeClaim": {"claimName": claim}}, **options)

    @classmethod
    def empty_dir(cls, mount_path: str, *, name: str = "scratch", size_limit: str = "", **options: Any) -> Volume:
        """Mount an empty directory that lives as long as the pod; ``size_limit`` is a quantity such as ``1Gi``."""
        source = {"emptyDir": {"sizeLimit": size_limit} if size_limit else {}}
        return cls(name=name, mount_path=mount_path, source=source, **options)

    @classmethod
    def host_path(cls, path: str, mount_path: str, *, name: str = "host", **options: Any) -> Volume:
        """Mount a directory of the node."""
        return cls(name=name, mount_path=mount_path, source={"hostPath": {"path": path}}, **options)

    @classmethod
    def config_map(cls, config_map: str, mount_path: str, *, name: str = "config", **options: Any) -> Volume:
        """Mount a ConfigMap as files."""
        return cls(name=name, mount_path=mount_path, source={"configMap": {"name": config_map}}, **options)

    @classmethod
    def secret(cls, secret: str, mount_path: str, *, name: str = "secret", **options: Any) -> Volume:
        """Mount a Secret as files."""
        return cls(name=name, mount_path=mount_path, source={"secret": {"secretName": secret}}, **options)

    def to_volume(self) -> dict[str, Any]:
        """Return the entry of ``spec.volumes``."""
        return {"name": self.name, **plain(self.source)}

    def to_mount(self) -> dict[str, Any]:
        """Return the entry of a role's ``volumeMounts``."""
        mount: dict[str, Any] = {"name": self.name, "mountPath": self.mount_path}
        return mount | present({"readOnly": self.read_only, "subPath": self.sub_path})


def volumes_of(volumes: Iterable[Volume]) -> list[dict[str, Any]]:
    """Return the ``volumes`` of a pod, each once: it may be mounted in several places.

    :raises InvalidManifestError: two that differ have one name.
    """
    found: dict[str, dict[str, Any]] = {}
    for volume in volumes:
        one = volume.to_volume()
        if found.setdefault(volume.name, one) != one:
            raise InvalidManifestError(
                f"volumes has two by the name of {volume.name!r}, {found[volume.name]} and {one}: give one of them "
                "another name="
            )
    return list(found.values())


__all__ = ["Volume", "volumes_of"]
