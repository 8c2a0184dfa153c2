"""Rewrites a container's paths to where the files really are, since pods share the host's file system."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# A directory of the image that the host has as well: only the files in it are the image's own.
SYSTEM_DIRECTORIES = frozenset(
    f"{root}/{part}".rstrip("/")
    for root in ("", "/usr", "/usr/local")
    for part in ("", "bin", "etc", "home", "lib", "opt", "root", "run", "sbin", "share", "srv", "tmp", "var")
)

# Where a path may begin in a text: not inside a longer path, but after the scheme of a local URI. Java writes `:` in
# a properties file as `\:`.
BEGIN = r"(?:(?<=file://)|(?<=local://)|(?<=file\\://)|(?<=local\\://)|(?<![\w./~\-]))"
END = r"(?![\w\-]|\.[\w\-])"

# Spark properties that describe the paths of pods yet to be made; the kubelet rewrites them in those pods.
OTHER_PODS_PATHS = re.compile(r"spark\.kubernetes\.(driver|executor)\.(volumes|secrets)\.")


@dataclass(frozen=True)
class PathMap:
    """What a container sees at which path.

    :param mounts: mount path in the container → file or directory on the host.
    :param rootfs: folders of the image that a container sees at ``/``; the first that has a path counts.
    """

    mounts: Mapping[str, Path]
    rootfs: Sequence[Path] = ()

    def host_path(self, path: str) -> Path | None:
        """Return where a path of the container is on the host, or ``None`` when it is the same there."""
        for prefix, place in self._places.items():
            if path == prefix or path.startswith(f"{prefix}/"):
                return place / path[len(prefix) :].lstrip("/")
        return None

    def rewrite(self, text: str) -> str:
        """Return the text with every path that is mounted or in the image replaced by the one on the host."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: str(self._places[match.group()]), text)

    def rewrite_argument(self, text: str) -> str:
        """Return a program's argument rewritten; a property that says where other pods mount something stays."""
        return text if OTHER_PODS_PATHS.match(text) else self.rewrite(text)

    def rewrite_properties(self, text: str) -> str:
        """Return a Java properties file with the paths in its values rewritten."""
        lines = text.splitlines(keepends=True)
        return "".join(map(self.rewrite_argument, lines))

    @cached_property
    def _places(self) -> dict[str, Path]:
        """Paths in the container → places on the host, the longest first: a mount may lie inside another."""
        places = {prefix: place for prefix, place in self.mounts.items() if prefix != "/"}
        hidden = tuple(f"{prefix}/" for prefix in places)  # what is mounted there covers what the image has
        for folder in self.rootfs:
            for path in folder.rglob("*"):
                name = f"/{path.relative_to(folder)}"
                if not name.startswith(hidden) and (path.is_file() or name not in SYSTEM_DIRECTORIES):
                    places.setdefault(name, path)
        return dict(sorted(places.items(), key=lambda item: len(item[0]), reverse=True))

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        if not self._places:
            return None
        return re.compile(f"{BEGIN}(?:{'|'.join(map(re.escape, self._places))}){END}")
