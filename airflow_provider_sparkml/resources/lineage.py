"""The run manifest: what made a model, as one JSON object that travels with its asset's event and lies beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.containers import parts

VERSION = 1
FILE = "run.json"
"""Name of the file beside the model."""
ENV = "SPARKML_RUN_MANIFEST"
"""Variable with what is known before the job runs, as JSON."""
MODEL_ENV = "SPARKML_MODEL_URI"
"""Variable with the place of the model."""
EXTRA = "run_manifest"
"""Where an asset's event and a task's result have it."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_FROM_PROGRAM = ("metrics", "parameters", "inputs")


@dataclass(frozen=True, slots=True)
class RunManifest:
    """What made a model.

    :param dag_id: Airflow's DAG; with the next four, the try that made it.
    :param run_id: the DAG run.
    :param task_id: the task.
    :param map_index: index of a mapped task's instance, else -1.
    :param try_number: the try, from 1.
    :param kind: kind of the job, such as ``SparkApplication``.
    :param namespace: the job's namespace.
    :param name: the job's name; not in the file beside the model.
    :param spark_application_id: Spark's own id of the application, where there is one.
    :param started_at: when the job started, RFC 3339.
    :param finished_at: when it ended, RFC 3339.
    :param image: the main container's image, as its manifest has it.
    :param image_digest: what the reference was resolved to on the node: ``sha256:…``, else the runtime's own id. In
        the file beside the model only where ``image`` names it, since a program cannot see it.
    :param git_commit: version of the DAG's bundle (a commit, where that is a git bundle), else
        ``[sparkml] git_commit``.
    :param params: the DAG run's params, sensitive values masked.
    :param parameters: what the program was fitted with (hyper-parameters), by its own account.
    :param inputs: data set → fingerprint, by the program's account.
    :param metrics: metric → value, by the program's account.
    :param model_uri: where the model is.
    :param version: of this format.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    try_number: int = 1
    kind: str = ""
    namespace: str = ""
    name: str = ""
    spark_application_id: str = ""
    started_at: str = ""
    finished_at: str = ""
    image: str = ""
    image_digest: str = ""
    git_commit: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    model_uri: str = ""
    version: int = VERSION

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-safe data."""
        return asdict(self)

    def before(self, manifest: Mapping[str, Any]) -> RunManifest:
        """Return it with what a job's manifest tells before the job runs: kind, namespace, and image.

        The digest is known before only where the image is named by it.
        """
        image = next(_images(manifest.get("spec") or {}), "")
        return replace(
            self,
            kind=str(manifest.get("kind") or ""),
            namespace=str((manifest.get("metadata") or {}).get("namespace") or ""),
            image=image,
            image_digest=image.partition("@")[2],
        )

    def completed(self, kind: str, result: Mapping[str, Any]) -> RunManifest:
        """Return it with what is known after the job: its name and times, its image, and what the program told.

        :param kind: the job's kind.
        :param result: the task's result. Of its own ``result``, the mappings ``metrics``, ``parameters`` and
            ``inputs`` are taken.
        """
        names = ("namespace", "name", "spark_application_id", "started_at", "finished_at", "image", "image_digest")
        known: dict[str, Any] = {name: str(result.get(name) or "") for name in names}
        told = result.get("result")
        own = told if isinstance(told, Mapping) else {}
        known |= {name: dict(own[name]) for name in _FROM_PROGRAM if isinstance(own.get(name), Mapping)}
        return replace(self, kind=kind, **known)


def _images(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield images of a job, that of its main container first: a Spark driver's own, then what holds for all roles."""
    driver, conf = spec.get("driver"), spec.get("sparkConf")
    conf = conf if isinstance(conf, Mapping) else {}
    found = [
        driver.get("image") if isinstance(driver, Mapping) else None,
        spec.get("image"),
        conf.get("spark.kubernetes.driver.container.image"),
        conf.get("spark.kubernetes.container.image"),
        *(part.value.get("image") for part in parts(spec)),
    ]
    yield from (str(image) for image in found if image)


def parse(data: Any, where: str) -> RunManifest:
    """Read a run manifest.

    :param data: JSON data. Fields that this version does not know are left out.
    :param where: names the file or event in errors.
    :raises InvalidManifestError: it is no run manifest; the message names the field.
    """
    if not isinstance(data, Mapping):
        raise InvalidManifestError(f"{where}: a run manifest is a JSON object, this is {type(data).__name__}")
    if data.get("version") != VERSION:
        raise InvalidManifestError(
            f"{where}: version is {data.get('version')!r}, and not {VERSION}: it is no run manifest that this release "
            "of sparkml reads"
        )
    values: dict[str, Any] = {}
    for each in fields(RunManifest):
        if each.name not in data:
            continue
        wanted = {"str": str, "int": int}.get(str(each.type), Mapping)
        value = data[each.name]
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise InvalidManifestError(f"{where}: {each.name} is {value!r}, and should be of type {wanted.__name__}")
        values[each.name] = value
    for name in ("dag_id", "run_id", "task_id"):
        if not values.get(name):
            raise InvalidManifestError(f"{where}: {name} is missing: it does not say which run made the model")
    return RunManifest(**values)


def parse_text(text: str, where: str) -> RunManifest:
    """Read a run manifest from the text of a file.

    :raises InvalidManifestError: it is not JSON, for example half-written, or no run manifest.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise InvalidManifestError(f"{where}: not JSON ({error}): was it written whole?") from error
    return parse(data, where)


def digest_of(image_id: str) -> str:
    """Return the digest in a container's ``imageID``; where a runtime gives none, the id itself.

    The forms: https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/#containerstatus-v1-core
    """
    found = _DIGEST.search(image_id)
    return found[0] if found else image_id


__all__ = ["ENV", "EXTRA", "FILE", "MODEL_ENV", "VERSION", "RunManifest", "digest_of", "parse", "parse_text"]
