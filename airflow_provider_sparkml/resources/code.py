"""Code on a volume: mounted over the image's own copy where people edit it, left out where the image is what runs."""

from __future__ import annotations

import copy
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.containers import pod_specs
from airflow_provider_sparkml.resources.fields import boolean
from airflow_provider_sparkml.resources.replicas import part_of
from airflow_provider_sparkml.resources.spark_volumes import Volume

VOLUME = "sparkml-code"
"""What the volume is called in pods."""
_MANAGER = "airflow-provider-sparkml/code"
"""Whose runtime patch of a TrainJob it is."""
_NODE = "node"
"""What a runtime calls its training job, and the container in it."""
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_FILES = ("jars", "pyFiles", "files", "archives")
"""Lists of files in a SparkApplication's ``spec.deps``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeVolume:
    """A job's code on a PersistentVolumeClaim, in the place where its image has it.

    Under the profile ``development`` it is mounted there, over the image's own copy; else the image's own copy runs.
    So one path is right in both. All fields may be templates.

    :param claim: name of the PersistentVolumeClaim.
    :param mount_path: where the image has the code, and where it is mounted: an absolute path.
    :param sub_path: folder of the volume that has the code; all of it when empty.
    :param read_only: mount it read-only.
    """

    claim: str
    mount_path: str
    sub_path: str = ""
    read_only: bool | str = False

    @property
    def volume(self) -> Volume:
        """The volume, with where it is mounted."""
        return Volume.claim(
            self.claim, self.mount_path, name=VOLUME, sub_path=self.sub_path, read_only=bool(self.read_only)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields, for Airflow to template; ``CodeVolume(**fields)`` is its inverse."""
        return asdict(self)

    @classmethod
    def rendered(cls, fields: Mapping[str, Any]) -> CodeVolume:
        """Return the volume that rendered fields stand for.

        :raises InvalidManifestError: one of them cannot be used.
        """
        try:
            code = cls(**{**fields, "read_only": boolean(fields.get("read_only", False))})
        except (AttributeError, TypeError):
            raise InvalidManifestError(
                f"code is {fields!r}: give a CodeVolume, or its claim, mount_path, sub_path and read_only"
            ) from None
        path, sub = code.mount_path, code.sub_path
        if not isinstance(code.claim, str) or not code.claim:
            raise InvalidManifestError(
                f"code.claim is {code.claim!r}: set it to the PersistentVolumeClaim with the code"
            )
        if not isinstance(path, str) or not path.startswith("/") or posixpath.normpath(path) in ("/", "//"):
            raise InvalidManifestError(
                f"code.mount_path is {path!r}: set it to the absolute path where the image has the code, such as '/app'"
            )
        if not isinstance(sub, str) or sub.startswith("/") or ".." in sub.split("/"):
            raise InvalidManifestError(f"code.sub_path is {sub!r}: set it to a folder of the volume, such as 'jobs/a'")
        if not isinstance(code.read_only, bool):
            raise InvalidManifestError(f"code.read_only is {code.read_only!r}: set it to True or False")
        return cls(**{**asdict(code), "mount_path": posixpath.normpath(path)})


def with_code(manifest: Manifest, code: CodeVolume, *, mounted: bool) -> Manifest:
    """Return a copy of a job's manifest that finds its code where ``code`` says.

    Files of a SparkApplication that are named by a relative path are those below ``mount_path``. Containers that say no
    working directory get that one, so that a relative path in their command is one below it, too; a TrainJob has no
    place for a working directory.

    :param manifest: the rendered manifest of a job of any kind.
    :param code: the volume.
    :param mounted: mount it; else the image has the code there.
    :raises InvalidManifestError: a relative path leads out of it, or something else is mounted there.
    """
    result = copy.deepcopy(manifest)
    _place(result, code, mounted)
    return result


def _place(manifest: Any, code: CodeVolume, mounted: bool) -> None:
    """Put the code into a manifest, in place; what is no mapping is left for the check."""
    spec = manifest.get("spec") if isinstance(manifest, dict) else None
    if isinstance(spec, dict):
        _PLACES.get(str(manifest.get("kind")), _in_pods)(spec, code, mounted)


def _in_spark(spec: dict[str, Any], code: CodeVolume, mounted: bool) -> None:
    if isinstance(main := spec.get("mainApplicationFile"), str):
        spec["mainApplicationFile"] = resolve(main, code, "spec.mainApplicationFile")
    deps = part_of(spec, "deps")
    for name in _FILES:
        if isinstance(files := deps.get(name), list):
            field = f"spec.deps.{name}"
            deps[name] = [resolve(each, code, field) if isinstance(each, str) else each for each in files]
    if not mounted:
        return
    spec["volumes"] = _added(spec.get("volumes"), code.volume.to_volume())
    for role in ("driver", "executor"):
        part = spec.get(role)
        if isinstance(part, dict):
            _mount(part, code, f"spec.{role}")


def _in_train_job(spec: dict[str, Any], code: CodeVolume, mounted: bool) -> None:
    if not mounted:
        return
    mounts = [{"name": _NODE, "volumeMounts": [code.volume.to_mount()]}]
    pod = {"volumes": [code.volume.to_volume()], "containers": mounts}
    jobs = [{"name": _NODE, "template": {"spec": {"template": {"spec": pod}}}}]
    patch = {"manager": _MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": jobs}}}}
    spec["runtimePatches"] = _added(spec.get("runtimePatches"), patch)


def _in_trials(spec: dict[str, Any], code: CodeVolume, mounted: bool) -> None:
    template = spec.get("trialTemplate")
    if isinstance(template, dict):
        _place(template.get("trialSpec"), code, mounted)


def _in_pods(spec: dict[str, Any], code: CodeVolume, mounted: bool) -> None:
    for pod in pod_specs(spec):
        if mounted:
            pod["volumes"] = _added(pod.get("volumes"), code.volume.to_volume())
        for container in pod["containers"]:
            if isinstance(container, dict):
                container.setdefault("workingDir", code.mount_path)
                if mounted:
                    _mount(container, code, f"container {container.get('name')}")


_PLACES: dict[str, Callable[[dict[str, Any], CodeVolume, bool], None]] = {
    "SparkApplication": _in_spark,
    "TrainJob": _in_train_job,
    "Experiment": _in_trials,
}


def _mount(part: dict[str, Any], code: CodeVolume, field: str) -> None:
    """Mount the code in a container or a role, in place.

    :raises InvalidManifestError: something is mounted there already.
    """
    mounts = part.get("volumeMounts")
    for mount in mounts if isinstance(mounts, list) else ():
        taken = mount.get("mountPath") if isinstance(mount, dict) else None
        if isinstance(taken, str) and posixpath.normpath(taken) == code.mount_path:
            raise InvalidManifestError(
                f"{field}.volumeMounts mounts {mount.get('name')!r} at {taken!r}, where the code is to be mounted: "
                "leave one of them out"
            )
    part["volumeMounts"] = _added(mounts, code.volume.to_mount())


def _added(items: Any, item: dict[str, Any]) -> Any:
    """Return a list with one more item; what is no list is left for the check."""
    if items is not None and not isinstance(items, list):
        return items
    return [*(items or []), item]


def resolve(file: str, code: CodeVolume, field: str) -> str:
    """Return a file of a SparkApplication as Spark finds it in the pod: a relative path is one below the code.

    :raises InvalidManifestError: it leads out of it.
    """
    if not file or file.startswith("/") or _SCHEME.match(file):
        return file
    path = posixpath.normpath(file)
    if path.split("/")[0] in ("..", "."):
        raise InvalidManifestError(
            f"{field} is {file!r}, which is not below the code: relative paths begin at {code.mount_path!r}"
        )
    return f"local://{code.mount_path}/{path}"


__all__ = ["VOLUME", "CodeVolume", "resolve", "with_code"]
