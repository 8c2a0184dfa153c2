"""Puts a pod's volumes on the host's disk: each becomes a directory or a file."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from airflow_provider_sparkml.exceptions import LocalClusterError
from airflow_provider_sparkml.local.pods.environment import Lookup, expand, field_value, object_data, resource_value
from airflow_provider_sparkml.resources.base import Manifest

TokenSource = Callable[[str | None], Awaitable[str]]
"""Audience → a token of the pod's service account."""

ClaimSource = Callable[[str], Awaitable[Path]]
"""Name of a PersistentVolumeClaim → the directory that is its volume."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a volume.

    :param mode: its permissions; never for others than the user, and writable for nobody.
    """

    content: bytes
    mode: int | None = None


class MountError(LocalClusterError):
    """A volume cannot be mounted; a kubelet tries again until it can."""


class Volumes:
    """Makes the volumes of one pod.

    :param pod: the pod.
    :param root: directory for those volumes that live and die with the pod.
    :param lookup: finds ConfigMaps and Secrets.
    :param token: makes tokens of the pod's service account.
    :param claim: finds the directories of claims.
    """

    def __init__(self, pod: Manifest, root: Path, *, lookup: Lookup, token: TokenSource, claim: ClaimSource) -> None:
        self._pod = pod
        self._root = root
        self._lookup = lookup
        self._token = token
        self._claim = claim

    async def make(self) -> dict[str, Path]:
        """Return volume name → its place, having filled it.

        :raises MountError: when something it needs is missing, or its type cannot be had here.
        """
        return {volume["name"]: await self._make(volume) for volume in self._pod["spec"].get("volumes") or ()}

    async def _make(self, volume: Manifest) -> Path:
        place = self._root / str(volume["name"])
        match [kind for kind in volume if kind != "name"]:
            case ["emptyDir"] | []:
                place.mkdir(parents=True, exist_ok=True)
                return place
            case ["hostPath"]:
                return _host_path(volume["hostPath"])
            case ["persistentVolumeClaim"]:
                return await self._claim(volume["persistentVolumeClaim"]["claimName"])
            case ["configMap" | "secret" | "downwardAPI" | "projected"]:
                shutil.rmtree(place, ignore_errors=True)  # a former try may have left a part
                return _write(place, await self._content(volume), _default_mode(volume))
            case kinds:
                raise MountError(f"volume {volume['name']!r}: the local cluster has no {' or '.join(kinds)} volumes")

    async def refresh(self) -> None:
        """Write the files of ConfigMaps and Secrets anew where they changed; one that is gone stays as it was."""
        for volume in self._pod["spec"].get("volumes") or ():
            if volume.keys() & {"configMap", "secret", "projected"}:
                with contextlib.suppress(MountError):
                    _write(self._root / str(volume["name"]), await self._content(volume), _default_mode(volume))

    async def _content(self, volume: Manifest) -> dict[str, File]:
        """Return relative path → file of a volume made from objects."""
        if "projected" not in volume:
            return await self._files(volume)
        files: dict[str, File] = {}
        for source in volume["projected"].get("sources") or ():
            files |= await self._files(source)
        return files

    async def _files(self, source: Manifest) -> dict[str, File]:
        """Return relative path → file of one source of files."""
        match source:
            case {"configMap": spec}:
                return await self._object_files("ConfigMap", spec, spec["name"])
            case {"secret": spec}:
                return await self._object_files("Secret", spec, spec.get("secretName") or spec["name"])
            case {"downwardAPI": spec}:
                items = spec.get("items") or ()
                return {item["path"]: File(self._downward(item).encode(), item.get("mode")) for item in items}
            case {"serviceAccountToken": spec}:
                return {spec["path"]: File((await self._token(spec.get("audience"))).encode())}
        raise MountError(f"the local cluster cannot project {', '.join(source)} into a volume")

    async def _object_files(self, kind: str, spec: Manifest, name: str) -> dict[str, File]:
        found = await self._lookup(kind, name)
        if found is None:
            if spec.get("optional"):
                return {}
            raise MountError(f'{kind.lower()} "{name}" not found')
        data = object_data(found)
        items = spec.get("items")
        if items is None:
            return {key: File(content) for key, content in data.items()}
        missing = [item["key"] for item in items if item["key"] not in data]
        if missing and not spec.get("optional"):
            raise MountError(f'{kind.lower()} "{name}" has no key {", ".join(missing)}')
        return {item["path"]: File(data[item["key"]], item.get("mode")) for item in items if item["key"] in data}

    def _downward(self, item: Manifest) -> str:
        if "fieldRef" in item:
            return field_value(self._pod, item["fieldRef"]["fieldPath"])
        return resource_value(self._pod, {"name": ""}, item["resourceFieldRef"])


def sources_of(pod: Manifest) -> set[tuple[str, str]]:
    """Return kind and name of every ConfigMap and Secret that a volume of the pod is made from."""
    found = set()
    for volume in pod["spec"].get("volumes") or ():
        for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
            if "configMap" in source:
                found.add(("ConfigMap", str(source["configMap"]["name"])))
            if "secret" in source:
                found.add(("Secret", str(source["secret"].get("secretName") or source["secret"].get("name"))))
    return found


def _default_mode(volume: Manifest) -> int:
    (source,) = (spec for kind, spec in volume.items() if kind != "name")
    return int(source.get("defaultMode") or 0o400)


def _write(place: Path, files: dict[str, File], default_mode: int) -> Path:
    """Write files that changed, each whole at every moment."""
    place.mkdir(parents=True, mode=0o700, exist_ok=True)
    for name, file in files.items():
        path = place / _inside(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.read_bytes() == file.content:
            continue
        beside = path.with_name(f".{path.name}.new")
        beside.unlink(missing_ok=True)
        beside.write_bytes(file.content)
        beside.chmod((file.mode or default_mode) & 0o500 | 0o400)
        beside.replace(path)
    return place


def container_mounts(container: Manifest, volumes: dict[str, Path], env: dict[str, str]) -> dict[str, Path]:
    """Return mount path → place on the host for one container.

    :param env: the container's variables, for ``subPathExpr``.
    :raises MountError: when a mount names no volume of the pod, or its sub-path leaves the volume.
    """
    mounts = {}
    for mount in container.get("volumeMounts") or ():
        if mount["name"] not in volumes:
            raise MountError(f"container {container['name']!r} mounts {mount['name']!r}, which is no volume of the pod")
        place = volumes[mount["name"]]
        if sub_path := mount.get("subPath") or expand(mount.get("subPathExpr") or "", env):
            place = place / _inside(sub_path)
            if not place.exists():  # as a kubelet does, a sub-path that is absent becomes a directory
                place.mkdir(parents=True)
        mounts[mount["mountPath"].rstrip("/") or "/"] = place
    return mounts


def _host_path(spec: Manifest) -> Path:
    path, kind = Path(spec["path"]), spec.get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch(exist_ok=True)
    elif (kind == "Directory" and not path.is_dir()) or (kind == "File" and not path.is_file()):
        raise MountError(f"hostPath type check failed: {path} is not a {kind.lower()}")
    return path


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise MountError(f"path {name!r} must be relative and may not contain '..'")
    return path
