"""Which properties Spark knows, and which one a misspelt key was meant to be. Pure.

``spark_keys_4.3.txt`` is written by ``scripts/spark_keys.py`` from the registry and the classes of the genuine Spark.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

VERSION = "4.3"

PREFIXES = (
    "spark.executorEnv.",
    "spark.hadoop.",
    "spark.hive.",
    "spark.history.",
    "spark.kubernetes.driverEnv.",
    *(
        f"spark.kubernetes.{role}.{what}."
        for role in ("driver", "executor")
        for what in ("annotation", "label", "node.selector", "secretKeyRef", "secrets", "volumes")
    ),
    "spark.kubernetes.driver.service.annotation.",
    "spark.kubernetes.driver.service.label.",
    "spark.kubernetes.node.selector.",
    "spark.metrics.conf.",
    "spark.plugins.internal.conf.",
    "spark.shuffle.plugin.__config__.",
    "spark.sql.catalog.",
    "spark.ssl.",
)
"""What Spark completes by names of others; each is in its classes as it stands here."""

COMPOSED = (
    "spark.driver.resource.",
    "spark.executor.resource.",
    "spark.task.resource.",
    "spark.sql.streaming.stateStore.rocksdb.",
)
"""Prefixes that Spark itself composes (``ResourceID``, ``RocksDBConf``), so that its classes do not have them whole."""

THIRD_PARTIES = {
    "spark.celeborn.": "https://celeborn.apache.org/docs/latest/configuration/",
    "spark.rapids.": "https://nvidia.github.io/spark-rapids/docs/configs.html",
    "spark.sql.iceberg.": "https://iceberg.apache.org/docs/latest/spark-configuration/",
    "spark.rss.": "https://uniffle.apache.org/docs/client-guide/spark-client-guide",
    "spark.shuffle.s3.": "https://github.com/IBM/spark-s3-shuffle",
    "spark.shuffle.storage.": "https://docs.aws.amazon.com/glue/latest/dg/cloud-shuffle-storage-plugin.html",
    "spark.openlineage.": "https://openlineage.io/docs/integrations/spark/configuration/usage",
    "spark.databricks.delta.": "https://docs.delta.io",
}
"""Prefixes of plug-ins' properties, which Spark does not know, and where they are described."""


@cache
def known_keys() -> frozenset[str]:
    """Return the properties that Spark knows."""
    return frozenset(files(__package__).joinpath(f"spark_keys_{VERSION}.txt").read_text().split())


@cache
def _families() -> frozenset[str]:
    """Return the second words of Spark's properties: ``executor`` of ``spark.executor.cores``."""
    return frozenset(key.split(".")[1] for key in known_keys() if key.count(".") > 1)


def is_known(key: str) -> bool:
    """Whether Spark, or a plug-in named here, reads a property."""
    return key in known_keys() or key.startswith((*PREFIXES, *COMPOSED, *THIRD_PARTIES))


def nearest(key: str) -> str:
    """Return the property most like a key, or empty."""
    lower = {known.lower(): known for known in known_keys()}
    if key.lower() in lower:
        return lower[key.lower()]
    return next(iter(difflib.get_close_matches(key, known_keys(), n=1, cutoff=0.93)), "")


def unknown_keys(keys: Iterable[str]) -> dict[str, str]:
    """Return the keys that nobody seems to read, each with the property it may have been meant to be, or empty.

    A key that resembles none of Spark's, of a family of its own (``spark.acme.…``), is taken for the program's own.
    """
    found = {key: nearest(key) for key in keys if key.startswith("spark.") and not is_known(key)}
    return {key: near for key, near in found.items() if near or key.split(".")[1] in _families()}


__all__ = ["COMPOSED", "PREFIXES", "THIRD_PARTIES", "VERSION", "is_known", "known_keys", "nearest", "unknown_keys"]
