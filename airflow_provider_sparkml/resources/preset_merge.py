"""How presets are put into a manifest: each says what it sets, and what contradicts it is refused. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest, plain
from airflow_provider_sparkml.resources.fields import text

_JOINED = {
    "spark.driver.defaultJavaOptions": " ",
    "spark.executor.defaultJavaOptions": " ",
    "spark.kubernetes.driver.pod.excludedFeatureSteps": ",",
    "spark.plugins": ",",
}
"""Properties that are lists: what is there already stays in them."""

_Path = tuple[str, ...]


class Preset(Protocol):
    """Settings that belong together."""

    def to_patch(self) -> Mapping[str, Any]:
        """Return the part of a manifest that this sets."""


def with_presets(manifest: Manifest, presets: Iterable[Preset]) -> Manifest:
    """Return a copy of a manifest in which presets are set.

    What they set is added; lists grow. Nobody wins silently: a value that is there already must be the same.

    :param manifest: a SparkApplication.
    :param presets: applied in this order; the order makes no difference but in lists.
    :raises InvalidManifestError: a preset sets what is set otherwise; both sides and the field are named.
    """
    result = plain(manifest)
    owners: dict[_Path, str] = {}
    for preset in presets:
        if isinstance(preset, type) or not hasattr(preset, "to_patch"):
            raise InvalidManifestError(f"presets has {preset!r}, which is none: give objects such as Decommission()")
        _merge(result, preset.to_patch(), (), type(preset).__name__, owners)
    return result  # type: ignore[no-any-return]


def _merge(target: dict[str, Any], patch: Mapping[str, Any], at: _Path, preset: str, owners: dict[_Path, str]) -> None:
    """Put a patch into a mapping of ours.

    :param at: where the mapping is in the manifest.
    :param preset: whose patch it is.
    :param owners: which preset has set what so far.
    """
    for name, value in patch.items():
        path, old = (*at, name), target.get(name)
        if isinstance(value, Mapping) and (old is None or isinstance(old, dict)):
            _merge(target.setdefault(name, {}) if old is None else old, value, path, preset, owners)
            continue
        if old is None:
            target[name], owners[path] = plain(value), preset
        elif isinstance(value, (list, tuple)) and isinstance(old, list):
            target[name] = old + _new_items(old, value, path, preset)
        elif name in _JOINED and isinstance(old, str):
            target[name] = old if value in old.split(_JOINED[name]) else f"{old}{_JOINED[name]}{value}"
        elif text(old) != text(value):
            owner = owners.get(path, "the application")
            raise InvalidManifestError(
                f"{_written(path)}: {preset} sets it to {value!r}, but {owner} to {old!r}; leave one of them out"
            )


def _new_items(old: list[Any], value: Iterable[Any], path: _Path, preset: str) -> list[Any]:
    """Return the items that are not in a list yet.

    :raises InvalidManifestError: there is another one of the same name.
    """
    new = [plain(item) for item in value if plain(item) not in old]
    names = {item["name"] for item in old if isinstance(item, dict) and "name" in item and "mountPath" not in item}
    for item in new:
        if isinstance(item, dict) and "mountPath" not in item and item.get("name") in names:
            raise InvalidManifestError(
                f"{_written(path)}: {preset} adds {item['name']!r}, and another one of that name is there; rename it"
            )
    return new


def _written(path: _Path) -> str:
    """Return a path as messages write it."""
    if path[:2] == ("spec", "sparkConf") and len(path) == 3:
        return f"spec.sparkConf[{path[2]!r}]"
    return ".".join(path)


__all__ = ["Preset", "with_presets"]
