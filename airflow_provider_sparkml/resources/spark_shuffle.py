"""Presets for shuffle files: where executors keep what they exchange, and what is left of it when one goes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import present

MANAGER, IO_PLUGIN = "spark.shuffle.manager", "spark.shuffle.sort.io.plugin.class"
S3_MANAGER = "org.apache.spark.shuffle.sort.S3ShuffleManager"
S3_IO = "org.apache.spark.shuffle.S3ShuffleDataIO"
CHOPPER_IO = "com.amazonaws.spark.shuffle.io.cloud.ChopperPlugin"
CELEBORN_MANAGER = "org.apache.spark.shuffle.celeborn.SparkShuffleManager"
CELEBORN_IO = "org.apache.spark.shuffle.celeborn.CelebornShuffleDataIO"
UNIFFLE_MANAGER = "org.apache.spark.shuffle.RssShuffleManager"
UNIFFLE_IO = "org.apache.spark.shuffle.RssShuffleDataIo"
CLAIMS_IO = "org.apache.spark.shuffle.KubernetesLocalDiskShuffleDataIO"
_KRYO = {"spark.serializer": "org.apache.spark.serializer.KryoSerializer"}
_URI = re.compile(r"[a-z][a-z0-9+.-]*:/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShuffleClaims:
    """Each executor has a volume of its own for its shuffle files, which a new executor takes over from a lost one.

    https://spark.apache.org/docs/latest/running-on-kubernetes.html#local-storage

    :param size: size of each volume, as a quantity.
    :param storage_class: class of the volumes.
    :param mount_path: where it is mounted; the last two folders are those that Spark looks for to recover files.
    :param recover: whether a new executor uses the files that it finds in the volume.
    """

    size: str
    storage_class: str
    mount_path: str = "/data/spark-x/executor-x"
    recover: bool = True

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets."""
        volume = "spark.kubernetes.executor.volumes.persistentVolumeClaim.spark-local-dir-1"
        conf = {
            f"{volume}.options.claimName": "OnDemand",
            f"{volume}.options.storageClass": self.storage_class,
            f"{volume}.options.sizeLimit": self.size,
            f"{volume}.mount.path": self.mount_path,
            f"{volume}.mount.readOnly": "false",
            "spark.kubernetes.driver.ownPersistentVolumeClaim": "true",
            "spark.kubernetes.driver.reusePersistentVolumeClaim": "true",
        }
        return _conf(conf | present({IO_PLUGIN: CLAIMS_IO if self.recover else ""}))


@dataclass(frozen=True, slots=True)
class ShuffleInMemory:
    """Shuffle files are kept in the pods' memory (tmpfs): give executors as much more overhead as they need for it."""

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets."""
        return _conf({"spark.kubernetes.local.dirs.tmpfs": "true"})


@dataclass(frozen=True, slots=True)
class S3Shuffle:
    """Shuffle files are kept in an object store by IBM's plug-in, for Spark 3.2 to 3.5.

    Its jar and Hadoop's connector have to be in the image. A driver that is killed leaves its files: let the bucket
    remove old ones. https://github.com/IBM/spark-s3-shuffle

    :param root: such as ``s3a://bucket/shuffle``.
    """

    root: str

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets."""
        return _conf(
            {
                MANAGER: S3_MANAGER,
                IO_PLUGIN: S3_IO,
                "spark.shuffle.s3.rootDir": directory(self.root, "S3Shuffle.root"),
                # The object store checks what it keeps itself.
                "spark.shuffle.checksum.enabled": "false",
            }
        )


@dataclass(frozen=True, slots=True)
class ChopperShuffle:
    """Shuffle files are kept in S3 by the Cloud Shuffle Storage Plugin of AWS.

    Its jar replaces a class of Spark's, so it has to come first in the image's class path.
    https://docs.aws.amazon.com/glue/latest/dg/cloud-shuffle-storage-plugin.html

    :param storage_path: such as ``s3://bucket/shuffle``.
    """

    storage_path: str

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets."""
        path = directory(self.storage_path, "ChopperShuffle.storage_path")
        return _conf({IO_PLUGIN: CHOPPER_IO, "spark.shuffle.storage.path": path})


@dataclass(frozen=True, slots=True)
class CelebornShuffle:
    """Shuffle data go to a cluster of Apache Celeborn; its client's jar has to be in the image.

    https://celeborn.apache.org/docs/latest/deploy/

    :param masters: hosts and ports of its masters: ``["celeborn-master-0.celeborn:9097"]``.
    :param replicate: whether everything is kept twice.
    :param dynamic_allocation: whether executors come and go (Spark 3.5 and later); give
        ``DynamicAllocation(shuffle_tracking=False, …)``, too.
    """

    masters: Sequence[str]
    replicate: bool = True
    dynamic_allocation: bool = False

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets."""
        conf = {
            MANAGER: CELEBORN_MANAGER,
            "spark.celeborn.master.endpoints": _addresses(self.masters, "CelebornShuffle.masters"),
            "spark.celeborn.client.push.replicate.enabled": str(self.replicate).lower(),
            "spark.shuffle.service.enabled": "false",
            "spark.sql.adaptive.localShuffleReader.enabled": "false",
        }
        return _conf(conf | _KRYO | present({IO_PLUGIN: CELEBORN_IO if self.dynamic_allocation else ""}))


@dataclass(frozen=True, slots=True)
class UniffleShuffle:
    """Shuffle data go to a cluster of Apache Uniffle, for Spark up to 3.5; its client's jar has to be in the image.

    https://uniffle.apache.org/docs/client-guide/spark-client-guide

    :param coordinators: hosts and ports: ``["rss-coordinator-0:19999"]``.
    :param dynamic_allocation: whether executors come and go (Spark 3.5); give
        ``DynamicAllocation(shuffle_tracking=False, …)``, too.
    """

    coordinators: Sequence[str]
    dynamic_allocation: bool = False

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets."""
        conf = {
            MANAGER: UNIFFLE_MANAGER,
            "spark.rss.coordinator.quorum": _addresses(self.coordinators, "UniffleShuffle.coordinators"),
        }
        return _conf(conf | _KRYO | present({IO_PLUGIN: UNIFFLE_IO if self.dynamic_allocation else ""}))


@dataclass(frozen=True, slots=True)
class FallbackStorage:
    """An executor that goes hands its shuffle files on, and puts what finds no place into an object store.

    :param path: such as ``s3a://bucket/fallback``.
    """

    path: str

    def to_patch(self) -> dict[str, Any]:
        """Return what this sets."""
        storage = "spark.storage.decommission"
        path = directory(self.path, "FallbackStorage.path")
        return _conf(
            {
                "spark.decommission.enabled": "true",
                f"{storage}.enabled": "true",
                f"{storage}.shuffleBlocks.enabled": "true",
                # Spark takes it only with the separator at its end.
                f"{storage}.fallbackStorage.path": f"{path.rstrip('/')}/",
                f"{storage}.fallbackStorage.cleanUp": "true",
            }
        )


def directory(uri: str, field: str) -> str:
    """Return a URI that has a scheme; a template is not looked into.

    :raises InvalidManifestError: it has none.
    """
    if "{{" not in uri and not _URI.match(uri):
        raise InvalidManifestError(
            f"{field} is {uri!r}: write a URI with its scheme, such as 's3a://bucket/path' or 'file:///data/path'"
        )
    return uri


def _addresses(hosts: Sequence[str], field: str) -> str:
    """Return hosts and ports as one value.

    :raises InvalidManifestError: there is none, or it is one text.
    """
    if isinstance(hosts, str) or not hosts:
        raise InvalidManifestError(f"{field} is {hosts!r}: give a list of 'host:port'")
    return ",".join(hosts)


def _conf(conf: dict[str, Any]) -> dict[str, Any]:
    """Return a patch of properties."""
    return {"spec": {"sparkConf": conf}}


__all__ = [
    "CELEBORN_IO",
    "CELEBORN_MANAGER",
    "CHOPPER_IO",
    "CLAIMS_IO",
    "IO_PLUGIN",
    "MANAGER",
    "S3_IO",
    "S3_MANAGER",
    "UNIFFLE_IO",
    "UNIFFLE_MANAGER",
    "CelebornShuffle",
    "ChopperShuffle",
    "FallbackStorage",
    "S3Shuffle",
    "ShuffleClaims",
    "ShuffleInMemory",
    "UniffleShuffle",
    "directory",
]
