"""What a task knows of the run that makes a model: before its job, for the program, and after it, for the asset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import Asset, conf

from airflow_provider_sparkml.resources.lineage import EXTRA, RunManifest

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context


def run_manifest(context: Context, model_uri: str) -> RunManifest:
    """Return what is known of a run before its job: the try, the commit of the code, the params, and the model's place.

    Values of params whose names Airflow holds to be sensitive, and secrets that it knows, are masked
    (https://airflow.apache.org/docs/apache-airflow/stable/security/secrets/mask-sensitive-values.html).

    :param model_uri: where the model is going to be.
    """
    from airflow.providers.common.compat.sdk import redact

    ti = context["ti"]
    params = {name: context["params"][name] for name in context.get("params") or {}}
    bundle = getattr(ti, "bundle_instance", None)
    return RunManifest(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        try_number=ti.try_number,
        git_commit=str(getattr(bundle, "version", None) or conf.get("sparkml", "git_commit", fallback="")),
        params=json.loads(json.dumps(redact(params), default=str)),
        model_uri=model_uri,
    )


def tell_assets(context: Context, manifest: Mapping[str, Any]) -> None:
    """Put a run's manifest into the events of the assets that are the task's outlets."""
    events = context["outlet_events"]
    for outlet in context["task"].outlets:
        if isinstance(outlet, Asset):
            events[outlet].extra[EXTRA] = dict(manifest)


def openlineage_of(kind: str, result: Mapping[str, Any]) -> OperatorLineage[Any, Any]:
    """Return what OpenLineage's listener sends of a job that succeeded; only its provider calls this.

    The job is the run facet ``externalQuery``, by Spark's id where it has one, else by its name. With a ``model_uri``
    the run manifest is the run facet ``sparkml``, the model an output, and each input a data set whose version is its
    fingerprint (https://openlineage.io/docs/spec/facets/).

    :param kind: the job's kind.
    :param result: the task's result.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset, ExternalQueryRunFacet, RunFacet
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.facet_v2 import dataset_version_dataset

    job = f"{kind} {result['namespace']}/{result['name']}"
    query = str(result.get("spark_application_id") or job)
    facets: dict[str, Any] = {"externalQuery": ExternalQueryRunFacet(externalQueryId=query, source=job)}
    made = result.get(EXTRA)
    if not made:
        return OperatorLineage(run_facets=facets)
    facets["sparkml"] = RunFacet().with_additional_properties(**made)
    inputs = [
        Dataset(
            *_dataset(name), facets={"version": dataset_version_dataset.DatasetVersionDatasetFacet(str(fingerprint))}
        )
        for name, fingerprint in made["inputs"].items()
    ]
    return OperatorLineage(inputs=inputs, outputs=[Dataset(*_dataset(made["model_uri"]))], run_facets=facets)


def _dataset(uri: str) -> tuple[str, str]:
    """Return namespace and name of a data set (https://openlineage.io/docs/spec/naming/)."""
    parts = urlsplit(uri)
    if not parts.scheme:
        return "sparkml", uri
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else parts.scheme, parts.path.strip("/") or "/"


__all__ = ["openlineage_of", "run_manifest", "tell_assets"]
