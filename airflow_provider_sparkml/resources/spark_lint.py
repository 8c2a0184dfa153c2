"""What is accepted in a SparkApplication and yet does not do what it looks like; told as warnings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.replicas import part_of
from airflow_provider_sparkml.resources.spark_keys import VERSION, unknown_keys
from airflow_provider_sparkml.resources.spark_rules import conflicts, stated_version

_PROPERTY = re.compile(r"(?<![\w.])spark\.driver\.[\w.]*\w")
_FLAGS = {
    "--driver-memory": "spark.driver.memory",
    "--driver-cores": "spark.driver.cores",
    "--driver-java-options": "spark.driver.extraJavaOptions",
    "--driver-class-path": "spark.driver.extraClassPath",
}
_FIELDS = {
    "spark.driver.memory": "spec.driver.memory",
    "spark.driver.memoryOverhead": "spec.driver.memoryOverhead",
    "spark.driver.cores": "spec.driver.cores",
    "spark.driver.extraJavaOptions": "spec.driver.javaOptions",
}


def lint(manifest: Manifest) -> list[str]:
    """Return a warning for each setting that does nothing: at the wrong place, misspelt, or kept from working.

    The driver's JVM runs already when its program reads its arguments and variables: a setting of it there comes late.

    :param manifest: the rendered manifest.
    """
    spec = manifest.get("spec")
    if not isinstance(spec, Mapping):
        return []
    conf = spec.get("sparkConf")
    set_already = conf if isinstance(conf, Mapping) else {}
    warnings = []
    for field, text in _texts(spec):
        found = [*_PROPERTY.findall(text), *(key for flag, key in _FLAGS.items() if text.split("=")[0] == flag)]
        warnings += [
            f"{field} has {key}, which does nothing there: the driver runs already when its program reads it; "
            f"set {_FIELDS.get(key, f'spec.sparkConf[{key!r}]')}"
            for key in dict.fromkeys(found)
            if key not in set_already
        ]
    return [*warnings, *misspelt(manifest), *conflicts(manifest, fatal=False)]


def misspelt(manifest: Manifest) -> Iterator[str]:
    """Yield a warning for each property that Spark does not seem to know; Spark itself ignores those.

    :param manifest: of any kind with ``spec.sparkConf``.
    """
    conf, (_, stated) = part_of(manifest, "spec", "sparkConf"), stated_version(part_of(manifest, "spec"))
    other = "" if not stated or f"{stated}.".startswith(f"{VERSION}.") else f", and perhaps of {stated}"
    for key, near in unknown_keys(map(str, conf)).items():
        meant = f"did you mean {near!r}?" if near else "see if a plug-in of yours reads it"
        yield f"spec.sparkConf[{key!r}] is no property of Spark {VERSION}{other}, which ignores it; {meant}"


def _texts(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the arguments and the driver's variables, with where they are."""
    arguments, driver = spec.get("arguments"), spec.get("driver")
    for index, text in enumerate(arguments if isinstance(arguments, list) else ()):
        yield f"spec.arguments[{index}]", str(text)
    env = driver.get("env") if isinstance(driver, Mapping) else None
    for index, entry in enumerate(env if isinstance(env, list) else ()):
        if isinstance(entry, Mapping) and isinstance(entry.get("value"), str):
            yield f"spec.driver.env[{index}]", entry["value"]


__all__ = ["lint", "misspelt"]
