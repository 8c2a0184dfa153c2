"""References of container images: parsed as a container runtime does, and told apart by whether they can change.

The grammar, and what is the registry in a name: ``reference/reference.go`` and ``normalize.go`` of
github.com/distribution/reference; digests: ``algorithm.go`` of github.com/opencontainers/go-digest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from airflow_provider_sparkml.exceptions import InvalidManifestError

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")
_DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}
"""Algorithms of digests, and how many hexadecimal digits each gives."""
_LONGEST = 255
DEFAULT_REGISTRY = "docker.io"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A reference of a container image, taken apart.

    :param registry: host and port of its registry; ``docker.io`` where none is named.
    :param repository: its path there; ``library/…`` for Docker's own images.
    :param tag: its tag, or empty.
    :param digest: its digest with the algorithm (``sha256:…``), or empty.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.registry}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def is_versioned(self) -> bool:
        """Whether it names one version: by digest, or by a tag that is not the moving ``latest``."""
        return bool(self.digest) or self.tag not in ("", "latest")


def parse_image(text: str, field: str = "image") -> ImageReference:
    """Return the parts of an image reference.

    The part before the first ``/`` is a registry if it has a ``.`` or a ``:``, is ``localhost``, or has an upper-case
    letter; so ``localhost:5000/spark`` has no tag, and ``team/spark:5000`` has the tag ``5000``.

    :param text: ``[registry[:port]/]repository[:tag][@digest]``.
    :param field: for the message.
    :raises InvalidManifestError: it is no image reference.
    """
    name, at, digest = text.partition("@")
    head, slash, rest = name.partition("/")
    if slash and (any(mark in head for mark in ".:[") or head == "localhost" or head != head.lower()):
        registry, path = head, rest
    else:
        registry, path = "", name
    repository, colon, tag = path.partition(":")
    full = repository if slash else f"library/{repository}"
    faults = (
        (registry and not _HOST.fullmatch(registry), f"{registry!r} is no registry"),
        (not _PATH.fullmatch(repository), f"{repository!r} is no repository, which has lower-case letters"),
        (colon and not _TAG.fullmatch(tag), f"{tag!r} is no tag"),
        (at and not _is_digest(digest), f"{digest!r} is no digest"),
        (len(registry) + len(full) + 1 > _LONGEST, f"its name is longer than {_LONGEST} characters"),
    )
    for fault, reason in faults:
        if fault:
            raise InvalidManifestError(
                f"{field} is {text!r}, which is no image: {reason}; write for example "
                "'registry.example.com:5000/team/spark:4.3.0'"
            )
    return ImageReference(registry or DEFAULT_REGISTRY, full, tag, digest)


def _is_digest(text: str) -> bool:
    algorithm, _, digits = text.partition(":")
    return len(digits) == _DIGITS.get(algorithm) and re.fullmatch("[0-9a-f]+", digits) is not None


__all__ = ["ImageReference", "parse_image"]
