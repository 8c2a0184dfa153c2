"""Profiles: what a development and a production cluster ask of the manifest of a job, whatever its kind."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.code import CodeVolume, with_code
from airflow_provider_sparkml.resources.containers import Part, confs, parts
from airflow_provider_sparkml.resources.fields import refuse
from airflow_provider_sparkml.resources.images import parse_image
from airflow_provider_sparkml.resources.replicas import part_of

NAME = "sparkml_profile"
"""The connection's extra, and the Variable, that choose a profile."""

# Where in a text an absolute path of a program may begin, and how such a path ends.
_PROGRAM = re.compile(r"(?<![\w./~\-])(/[\w.@+/\-]+\.(?:py|pyc|jar|sh|[rR]|scala|whl|egg))(?![\w\-])")
_RELATIVE = re.compile(r"(?![-/])[\w.@+/\-]+\.(?:py|pyc|jar|sh|[rR]|scala|whl|egg)")
_LOCAL = "local://"
_SEARCH_PATHS = ("PYTHONPATH", "CLASSPATH", "SPARK_DIST_CLASSPATH", "SPARK_EXTRA_CLASSPATH")
_CLASS_PATHS = ("spark.driver.extraClassPath", "spark.executor.extraClassPath")
_IMAGE_CONFS = tuple(f"spark.kubernetes.{role}container.image" for role in ("", "driver.", "executor."))
_CONF_MOUNT = re.compile(r"spark\.kubernetes\.(driver|executor)\.(volumes\.[^.]+\.[^.]+\.mount\.path|secrets\.[^.]+)")
# Lists of a part whose entries are mounted, and the field that says where.
_MOUNTS = {"volumeMounts": "mountPath", "configMaps": "path", "secrets": "path"}
_FETCHED_CONFS = ("spark.jars", "spark.jars.packages", "spark.submit.pyFiles", "spark.archives")
_PARAM = re.compile(r"\bparams(?:\.(\w+)|\[['\"]([^'\"]+)['\"]\])")
_ENV_CONFS = ("spark.kubernetes.driverEnv.", "spark.executorEnv.")
_SECRET_ENV_CONFS = tuple(f"spark.kubernetes.{role}.secretKeyRef." for role in ("driver", "executor"))


class Profile(StrEnum):
    """What a cluster is for.

    ``DEVELOPMENT``: code on a volume that people edit. ``PRODUCTION``: only what is in an image of a fixed version.
    """

    DEVELOPMENT = "development"
    PRODUCTION = "production"


def profile_named(name: Any) -> Profile:
    """Return the profile of a name.

    :raises ValueError: there is none; the message names those that there are.
    """
    try:
        return Profile(name.strip() if isinstance(name, str) else name)
    except ValueError:
        known = " or ".join(repr(str(each)) for each in Profile)
        raise ValueError(f"is {name!r}, which is no profile: set it to {known}, or remove it") from None


def names_of(value: Any, field: str) -> tuple[str, ...]:
    """Return the names in a list.

    :raises InvalidManifestError: it is no list of names.
    """
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) and name for name in value):
        raise InvalidManifestError(f"{field} is {value!r}: give a list of variables' names, such as ['JAVA_HOME']")
    return tuple(value)


def apply_profile(
    manifest: Manifest,
    profile: Profile | None,
    *,
    code: CodeVolume | None = None,
    locked_env: Collection[str] = (),
    template: Any = None,
) -> Manifest:
    """Return a job's manifest as its profile wants it.

    :param manifest: the rendered manifest of a job of any kind.
    :param profile: the profile; ``None`` where none was chosen: then the code is the image's own, as in production, and
        nothing is refused.
    :param code: where the code is.
    :param locked_env: variables that the image sets and nobody may override; production refuses who does.
    :param template: the manifest before it was rendered, where there is one: it tells who sets a variable.
    :raises InvalidManifestError: production does not allow it; the message names field, value and fix.
    """
    if profile is Profile.PRODUCTION:
        if code is not None:
            refuse(_overlaps(manifest, code))
        refuse(_locked_faults(manifest, locked_env, template))
    if code is not None:
        manifest = with_code(manifest, code, mounted=profile is Profile.DEVELOPMENT)
    if profile is Profile.PRODUCTION:
        refuse(production_faults(manifest))
    return manifest


def production_faults(manifest: Manifest) -> Iterator[str]:
    """Yield what production does not allow in a manifest of any kind: moving images, and code from outside of them.

    :param manifest: the rendered manifest.
    """
    spec = manifest.get("spec")
    for part in parts(spec):
        yield from _image_faults(part.value.get("image"), f"{part.path}.image")
    yield from _fetched_faults(spec)
    programs = dict(_programs(spec))
    for conf in confs(spec):
        yield from _conf_faults(conf, programs)
    for part in parts(spec):
        for path, place in _mounts(part):
            for program, field in programs.items():
                if _within(program, place):
                    yield (
                        f"{path} is {place!r}, and {field} runs {program!r} from there: profile 'production' "
                        "runs only what is in the image; put it there, or mount the volume elsewhere"
                    )


def _conf_faults(conf: Part, programs: Mapping[str, str]) -> Iterator[str]:
    """Yield the Spark properties that bring in another image, another pod, or code from a volume."""
    for key, value in conf.value.items():
        field = f"{conf.path}[{key!r}]"
        if key in _IMAGE_CONFS:
            yield from _image_faults(value, field)
        elif key.endswith(".podTemplateFile"):
            yield (
                f"{field} is {value!r}, a pod that nobody can check here: profile 'production' takes what the manifest "
                "itself says; put it there"
            )
        elif _CONF_MOUNT.fullmatch(key) and isinstance(value, str):
            for program, named in programs.items():
                if _within(program, value):
                    yield (
                        f"{field} is {value!r}, and {named} runs {program!r} from there: profile 'production' runs "
                        "only what is in the image; put it there, or mount the volume elsewhere"
                    )


def _image_faults(image: Any, field: str) -> Iterator[str]:
    if isinstance(image, str) and image and not parse_image(image, field).is_versioned:
        yield (
            f"{field} is {image!r}, which can be another image tomorrow: profile 'production' takes a version's tag "
            "(not latest), or a digest (…@sha256:…)"
        )


def _fetched_faults(spec: Any) -> Iterator[str]:
    """Yield the programs that Spark would fetch from somewhere else when it starts."""
    for path, application in _applications(spec):
        for field, file in _files(path, application):
            if not file.startswith(_LOCAL):
                yield (
                    f"{field} is {file!r}, which is not in the image: profile 'production' runs only what is; put it "
                    "there, and write local:///…"
                )
        if packages := part_of(application, "deps").get("packages"):
            yield (
                f"{path}.deps.packages is {packages!r}: they would be fetched when it starts, and profile 'production' "
                "runs only what is in the image; put them there"
            )
    for conf in confs(spec):
        for key in _FETCHED_CONFS:
            for file in _split(conf.value.get(key), ","):
                if not file.startswith(_LOCAL):
                    yield (
                        f"{conf.path}[{key!r}] is {file!r}: it would be fetched when it starts, and profile "
                        "'production' runs only what is in the image; put it there"
                    )


def _programs(spec: Any) -> Iterator[tuple[str, str]]:
    """Yield the paths of the programs that a job runs, and by which field."""
    for path, application in _applications(spec):
        for field, file in _files(path, application):
            yield file.removeprefix(_LOCAL), field
    for conf in confs(spec):
        for key, separator in [(key, ",") for key in _FETCHED_CONFS] + [(key, ":") for key in _CLASS_PATHS]:
            for file in _split(conf.value.get(key), separator):
                yield file.removeprefix(_LOCAL), f"{conf.path}[{key!r}]"
        for key, value in conf.value.items():
            if any(key == f"{start}{name}" for start in _ENV_CONFS for name in _SEARCH_PATHS):
                yield from ((found, f"{conf.path}[{key!r}]") for found in _split(value, ":"))
    for part in parts(spec):
        yield from _programs_of(part)


def _mounts(part: Part) -> Iterator[tuple[str, str]]:
    """Yield field and place of whatever a part mounts."""
    for name, field in _MOUNTS.items():
        for path, mount in part.entries(name):
            if isinstance(mount.get(field), str):
                yield f"{path}.{field}", mount[field]


def _programs_of(part: Part) -> Iterator[tuple[str, str]]:
    command, directory = part.texts("command"), part.value.get("workingDir")
    if command and command[0].startswith("/"):
        yield command[0], f"{part.path}.command"
    for name in ("command", "args"):
        for text in part.texts(name):
            for found in _PROGRAM.findall(text):
                yield found, f"{part.path}.{name}"
            if isinstance(directory, str) and _RELATIVE.fullmatch(text):
                yield posixpath.join(directory, text), f"{part.path}.{name}"
    if isinstance(directory, str) and "-m" in (*command, *part.texts("args")):
        yield directory, f"{part.path}.workingDir"
    for path, name, value in _set_by(part):
        if name in _SEARCH_PATHS:
            for found in _split(value, ":"):
                yield found, f"{path} ({name})"


def _files(path: str, application: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield field and name of each file that has an application's code; ``deps.files`` are data."""
    deps = part_of(application, "deps")
    named = {"mainApplicationFile": [application.get("mainApplicationFile")]} | {
        f"deps.{name}": deps.get(name) for name in ("jars", "pyFiles", "archives")
    }
    for name, files in named.items():
        for file in files if isinstance(files, list) else ():
            if isinstance(file, str) and file:
                yield f"{path}.{name}", file


def _applications(value: Any, path: str = "spec") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the specs of SparkApplications below a value: the manifest's own, a schedule's, or a trial's."""
    if isinstance(value, Mapping):
        if "mainApplicationFile" in value:
            yield path, value
        for within in (("template",), ("trialTemplate", "trialSpec", "spec")):
            if nested := part_of(value, *within):
                yield from _applications(nested, ".".join((path, *within)))


def _overlaps(manifest: Manifest, code: CodeVolume) -> Iterator[str]:
    """Yield mounts that would hide the code that the image has."""
    spec = manifest.get("spec")
    mounts = [mount for part in parts(spec) for mount in _mounts(part)]
    mounts += [
        (f"{conf.path}[{key!r}]", value)
        for conf in confs(spec)
        for key, value in conf.value.items()
        if _CONF_MOUNT.fullmatch(key) and isinstance(value, str)
    ]
    for path, place in mounts:
        if _within(place, code.mount_path) or _within(code.mount_path, place):
            yield (
                f"{path} is {place!r}, and the image's code is at {code.mount_path!r}: profile 'production' runs that "
                "code, so nothing may be mounted over it; mount the volume elsewhere"
            )


def _locked_faults(manifest: Manifest, locked: Collection[str], template: Any) -> Iterator[str]:
    """Yield who sets a variable that only the image may set."""
    origins = {part.path: part for part in parts(template.get("spec"))} if isinstance(template, Mapping) else {}
    for part in parts(manifest.get("spec")) if locked else ():
        for path, name, _ in _set_by(part):
            if name in locked:
                yield (
                    f"{path} sets {name}, {_origin(origins.get(part.path), name)}: profile 'production' has it from "
                    "the image alone (locked_env); remove it here, or take it out of locked_env"
                )
        for path, source in part.entries("envFrom"):
            prefix = source.get("prefix") or ""
            if reached := [name for name in locked if name.startswith(str(prefix))]:
                yield (
                    f"{path} may set {reached[0]}, whatever is in it: profile 'production' has it from the image alone "
                    "(locked_env); name the variables that are needed in env"
                )
    for conf in confs(manifest.get("spec")) if locked else ():
        for key in conf.value:
            name = _variable_of(key)
            if name in locked:
                yield (
                    f"{conf.path}[{key!r}] sets {name}: profile 'production' has it from the image alone (locked_env); "
                    "remove it here, or take it out of locked_env"
                )


def _variable_of(key: str) -> str:
    """Return the variable that a Spark property sets; empty for another property."""
    prefixes = (*_ENV_CONFS, *_SECRET_ENV_CONFS)
    return next((key.removeprefix(each) for each in prefixes if key.startswith(each)), "")


def _set_by(part: Part) -> Iterator[tuple[str, Any, Any]]:
    """Yield path, name and value of each variable that a part sets by name."""
    for path, entry in part.entries("env"):
        yield path, entry.get("name"), entry.get("value")
    for field in ("envVars", "envSecretKeyRefs"):
        found = part.value.get(field)
        for name, value in found.items() if isinstance(found, Mapping) else ():
            yield f"{part.path}.{field}[{name!r}]", name, value


def _origin(part: Part | None, name: str) -> str:
    """Return who sets a variable, by what stood there before the templates were rendered."""
    for _, known, value in _set_by(part) if part is not None else ():
        if known == name and isinstance(value, str):
            if found := _PARAM.search(value):
                return f"to what the run's parameter {found[1] or found[2]!r} says"
            if "dag_run.conf" in value:
                return "to what the run's conf says"
            return "by a template of the DAG" if "{{" in value else "as the DAG says"
    return "as the manifest says"


def _within(path: str, place: str) -> bool:
    """Whether a path is a place, or below it."""
    path, place = posixpath.normpath(path), posixpath.normpath(place)
    return path == place or path.startswith(f"{place.rstrip('/')}/")


def _split(value: Any, separator: str) -> Sequence[str]:
    """Return the items of a list that is written as text."""
    return [item.strip() for item in value.split(separator) if item.strip()] if isinstance(value, str) else []


__all__ = ["NAME", "Profile", "apply_profile", "names_of", "production_faults", "profile_named"]
