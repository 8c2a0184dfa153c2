"""The containers in a manifest of any kind, found by what they look like: images, variables, mounts and programs.

Every kind keeps them elsewhere: pod templates of replicas, a Spark role's own fields, a trainer, a nested trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

# What has these fields is a container, or is like one: a SparkApplication's role, a TrainJob's trainer.
_TEXTS = ("image", "workingDir")
_LISTS = ("env", "envFrom", "volumeMounts", "command", "args", "configMaps", "secrets")
_MAPPINGS = ("envVars", "envSecretKeyRefs")
# Names and values that people choose, and the volumes of a pod, where `image` is something else.
_OPAQUE = frozenset(
    {"metadata", "labels", "annotations", "nodeSelector", "matchLabels", "sparkConf", "hadoopConf", "volumes"}
)
_SUBMIT_OPTIONS = {
    "--jars": "spark.jars",
    "--packages": "spark.jars.packages",
    "--py-files": "spark.submit.pyFiles",
    "--archives": "spark.archives",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a manifest that is a container, or is like one.

    :param path: where it is: ``spec.driver``, ``spec.template.spec.containers[0]``.
    :param value: the part itself.
    """

    path: str
    value: Mapping[str, Any]

    def texts(self, name: str) -> list[str]:
        """Return the texts in a list of it, such as its ``command``; none where there is no such list."""
        found = self.value.get(name)
        return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []

    def entries(self, name: str) -> list[tuple[str, Mapping[str, Any]]]:
        """Return paths and values of the mappings in a list of it, such as its ``env``."""
        found = self.value.get(name)
        items = enumerate(found) if isinstance(found, list) else ()
        return [(f"{self.path}.{name}[{index}]", item) for index, item in items if isinstance(item, Mapping)]


def parts(value: Any, path: str = "spec") -> Iterator[Part]:
    """Yield all containers, and what is like them, below a value, in the order of the manifest.

    :param value: a manifest's ``spec``.
    :param path: where it is.
    """
    if isinstance(value, Mapping):
        if _is_part(value):
            yield Part(path, value)
        for key, item in value.items():
            if key not in _OPAQUE:
                yield from parts(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from parts(item, f"{path}[{index}]")


def confs(value: Any, path: str = "spec") -> Iterator[Part]:
    """Yield all Spark properties below a value: the mappings named ``sparkConf``, and ``--conf`` in arguments."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "sparkConf" and isinstance(item, Mapping):
                yield Part(f"{path}.{key}", item)
            elif key in ("command", "args") and isinstance(item, list):
                found = dict(_options(item))
                if found:
                    yield Part(f"{path}.{key}", found)
            elif key not in _OPAQUE:
                yield from confs(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from confs(item, f"{path}[{index}]")


def _options(words: list[Any]) -> Iterator[tuple[str, str]]:
    """Yield the Spark properties that options of ``spark-submit`` set."""
    for word, after in pairwise(map(str, words)):
        if word in ("--conf", "-c") and "=" in after:
            name, _, said = after.partition("=")
            yield name, said
        elif word in _SUBMIT_OPTIONS:
            yield _SUBMIT_OPTIONS[word], after


def pod_specs(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all pod specs below a value: the mappings with a list of ``containers``."""
    if isinstance(value, dict):
        if isinstance(value.get("containers"), list):
            yield value
        for key, item in value.items():
            if key not in _OPAQUE:
                yield from pod_specs(item)
    elif isinstance(value, list):
        for item in value:
            yield from pod_specs(item)


def _is_part(value: Mapping[str, Any]) -> bool:
    return (
        any(isinstance(value.get(name), str) for name in _TEXTS)
        or any(isinstance(value.get(name), list) for name in _LISTS)
        or any(isinstance(value.get(name), Mapping) for name in _MAPPINGS)
    )


__all__ = ["Part", "confs", "parts", "pod_specs"]
