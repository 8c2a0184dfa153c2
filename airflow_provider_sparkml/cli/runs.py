"""`sparkml runs`: the runs that made models, one a line, from the manifests beside the models or from Airflow."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import typer

from airflow_provider_sparkml.cli.check import Format
from airflow_provider_sparkml.cli.output import print_table
from airflow_provider_sparkml.exceptions import RunsNotReadError
from airflow_provider_sparkml.resources.lineage import EXTRA, FILE, RunManifest, parse, parse_text

PAGE = 100
TOKEN = "AIRFLOW_API_TOKEN"  # noqa: S105 - the name of a variable
_SECTIONS = ("metrics", "parameters", "params", "inputs")
_PLAIN = ("image", "image_digest", "git_commit", "model_uri")
_ALWAYS = ("run_id", "finished_at")

Fields = dict[str, Any]


def runs(  # noqa: PLR0917 - a command's options are its interface
    places: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PLACE]...", help=f"Directories or URIs with models, searched for {FILE}."),
    ] = None,
    airflow_url: Annotated[
        str, typer.Option(metavar="URL", help=f"Read the events of Airflow's assets; the API token is in ${TOKEN}.")
    ] = "",
    dag: Annotated[str, typer.Option(metavar="DAG_ID", help="Only the runs of this DAG.")] = "",
    sort_by: Annotated[
        str, typer.Option(metavar="FIELD", help="Such as metrics.auc; the largest first.")
    ] = "finished_at",
    ascending: Annotated[bool, typer.Option("--ascending", help="The smallest first.")] = False,
    limit: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="So many lines at most.")] = 50,
    all_fields: Annotated[
        bool, typer.Option("--all", help="Also a column for each field that is the same in all runs.")
    ] = False,
    output: Annotated[Format, typer.Option("--output", "-o", help="How to print it.")] = Format.TABLE,
) -> None:
    """Compare the runs that made models: metrics, and what differs in parameters, data, code and image."""
    if not places and not airflow_url:
        raise RunsNotReadError("nowhere to look: name directories with models, or give --airflow-url")
    found = [each for place in places or () for each in beside_models(place)]
    if airflow_url:
        found += from_airflow(airflow_url)
    chosen = [each for each in unique(found) if dag in ("", each.dag_id)]
    ordered = in_order(chosen, sort_by, ascending=ascending)[:limit]
    if output is Format.JSON:
        typer.echo(json.dumps([each.to_json() for each in ordered], indent=2))
        return
    headings, rows, same = compared([flat(each) for each in ordered], every=all_fields)
    print_table(f"Runs, {len(ordered)} of {len(chosen)}", headings, rows)
    if same:
        typer.echo()
        print_table("The same in all of them", ("field", "value"), [(name, _cell(value)) for name, value in same])


def beside_models(place: str) -> Iterator[RunManifest]:
    """Yield the manifests in and below a directory, which may be a URI that fsspec knows (``s3://…``).

    :raises RunsNotReadError: there is no such directory, or nothing that can read such URIs.
    :raises InvalidManifestError: a file there is no run manifest.
    """
    from upath import UPath

    try:
        root = UPath(place)
        if root.is_file():
            files = [root]
        elif root.is_dir():
            files = sorted(root.rglob(FILE))
        else:
            raise RunsNotReadError(f"{place}: there is no such directory")
        for file in files:
            # A directory that is being written has a name with a dot; it will be renamed when it is whole.
            if not any(part.startswith(".") for part in file.relative_to(root).parts):
                yield parse_text(file.read_text(encoding="utf-8"), str(file))
    except (OSError, ImportError, UnicodeDecodeError) as error:
        raise RunsNotReadError(f"{place} cannot be read: {error}") from error


def from_airflow(url: str) -> Iterator[RunManifest]:
    """Yield the manifests in the events of all assets, the newest first.

    https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html#operation/get_asset_events

    :raises RunsNotReadError: Airflow does not answer, or refuses.
    """
    import httpx

    token = os.environ.get(TOKEN, "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
            seen, total = 0, 1
            while seen < total:
                query: dict[str, Any] = {"limit": PAGE, "offset": seen, "order_by": "-timestamp"}
                answer = client.get("/api/v2/assets/events", params=query).raise_for_status().json()
                page, total = answer["asset_events"], answer["total_entries"]
                yield from in_events(page)
                if not page:
                    return
                seen += len(page)
    except httpx.HTTPStatusError as error:
        hint = f"; put a token into ${TOKEN}" if error.response.status_code in (401, 403) else ""
        raise RunsNotReadError(f"{error.request.url} answered {error.response.status_code}{hint}") from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise RunsNotReadError(f"Airflow at {url} cannot be read: {error}") from error


def in_events(events: Iterable[Mapping[str, Any]]) -> Iterator[RunManifest]:
    """Yield the manifests in events of assets."""
    for event in events:
        data = (event.get("extra") or {}).get(EXTRA)
        if data is not None:
            yield parse(data, f"event {event.get('id')} of asset {event.get('name')}")


def unique(found: Iterable[RunManifest]) -> list[RunManifest]:
    """Return one manifest for each try and model: what an event tells is more than the file beside the model does."""
    best: dict[tuple[Any, ...], RunManifest] = {}
    for each in found:
        key = (each.dag_id, each.run_id, each.task_id, each.map_index, each.try_number, each.model_uri)
        if key not in best or (each.name and not best[key].name):
            best[key] = each
    return list(best.values())


def flat(manifest: RunManifest) -> Fields:
    """Return what is compared: field → value, those of mappings by their paths (``metrics.auc``)."""
    fields: Fields = {name: getattr(manifest, name) for name in _ALWAYS}
    for section in _SECTIONS:
        for name, value in getattr(manifest, section).items():
            fields[f"{section}.{name}"] = value
    return fields | {name: getattr(manifest, name) for name in _PLAIN}


def in_order(found: list[RunManifest], field: str, *, ascending: bool) -> list[RunManifest]:
    """Return runs sorted by a field, those without it, or with a number that is none (NaN), last.

    :raises RunsNotReadError: no run has the field.
    """
    values = [None if value != value else value for value in (flat(each).get(field) for each in found)]  # noqa: PLR0124
    if found and all(value in (None, "") for value in values):
        known = sorted({name for each in found for name in flat(each)})
        raise RunsNotReadError(f"no run has the field {field!r} to sort by; there are {', '.join(known)}")

    pairs = list(zip(values, found, strict=True))
    numbers = [pair for pair in pairs if isinstance(pair[0], int | float)]
    texts = [
        (str(value), each) for value, each in pairs if value not in (None, "") and not isinstance(value, int | float)
    ]
    ordered = [
        each for part in (numbers, texts) for _, each in sorted(part, key=lambda pair: pair[0], reverse=not ascending)
    ]
    return [*ordered, *(each for value, each in pairs if value in (None, ""))]


def compared(rows: list[Fields], *, every: bool) -> tuple[list[str], list[list[str]], list[tuple[str, Any]]]:
    """Return the headings and cells of the table, and what is the same in all runs.

    :param rows: each run's fields.
    :param every: a column for each field, also where it is the same in all.
    """
    names = list(
        dict.fromkeys(
            name
            for section in (*_ALWAYS, *_SECTIONS, *_PLAIN)
            for row in rows
            for name in row
            if name == section or name.startswith(f"{section}.")
        )
    )
    columns, same = [], []
    for name in names:
        first = rows[0].get(name)
        differs = any(row.get(name) != first for row in rows)
        if every or differs or name in _ALWAYS or name.startswith("metrics."):
            columns.append(name)
        elif first not in (None, ""):
            same.append((name, first))
    return columns, [[_cell(row.get(name)) for name in columns] for row in rows], same


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


__all__ = ["runs"]
