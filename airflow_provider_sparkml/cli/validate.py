"""`sparkml validate`: manifests checked strictly, with line numbers, without a cluster or by one's dry run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from airflow_provider_sparkml.cli.check import PATIENCE, ContextOption, KubeconfigOption, NamespaceOption
from airflow_provider_sparkml.cli.documents import field_of, read_documents
from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.exceptions import (
    AlreadyExistsError,
    ApiError,
    ApiUnavailableError,
    InvalidManifestError,
    UnauthorizedError,
    UnknownResourceError,
)
from airflow_provider_sparkml.jobs.objects import find_type
from airflow_provider_sparkml.local.api.validation import Problem, local_type, problems_of
from airflow_provider_sparkml.resources.base import Manifest, Resource, resource_for
from airflow_provider_sparkml.resources.manifests import check_document
from airflow_provider_sparkml.resources.naming import PREFIX
from airflow_provider_sparkml.resources.profiles import Profile, production_faults
from airflow_provider_sparkml.resources.secret_values import scrubbed, values_of
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_scheduled import SCHEDULED_SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_webhook import webhook_fields

_UNNAMED = "to-be-named"
"""Name for the dry run of a job that its operator will name."""


def validate(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="YAML or JSON files of manifests; - is standard input.")
    ],
    *,
    server: Annotated[
        bool, typer.Option("--server", help="Let the API server check them, in a dry run; so do the next two options.")
    ] = False,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    namespace: NamespaceOption = None,
    profile: Annotated[
        Profile | None, typer.Option("--profile", help="Check what the tasks of a cluster of this profile check, too.")
    ] = None,
) -> None:
    """Check manifests strictly. Ends with 0 when all are valid, else with 1, as kubectl does."""
    ask = server or kubeconfig is not None or context is not None
    if not asyncio.run(_validate(files, kubeconfig, context, namespace, profile, ask=ask)):
        raise typer.Exit(1)


async def _validate(
    files: list[Path],
    kubeconfig: Path | None,
    context: str | None,
    namespace: str | None,
    profile: Profile | None,
    *,
    ask: bool,
) -> bool:
    """Print what is wrong with each document, or that it is valid; return whether all are."""
    valid = True
    async with _client(kubeconfig, context, ask=ask) as client:
        for file in files:
            try:
                documents = read_documents(file)
                if not documents:
                    raise InvalidManifestError(f"{file}: there is no object in it")
            except InvalidManifestError as error:
                typer.echo(str(error), err=True)
                valid = False
                continue
            for document in documents:
                problems = await problems_in(document.content, client, namespace, profile)
                valid = valid and not problems
                for field, message in sorted(problems, key=lambda problem: document.line_of(problem[0])):
                    typer.echo(document.at(field, message), err=True)
                if not problems:
                    name = (document.content.get("metadata") or {}).get("name") or "(to be named by its task)"
                    typer.echo(document.at("", f"{document.content['kind']} {name} is valid"))
                    for field, message in notes_on(document.content):
                        typer.echo(document.at(field, message), err=True)
    return valid


@asynccontextmanager
async def _client(kubeconfig: Path | None, context: str | None, *, ask: bool) -> AsyncIterator[KubernetesClient | None]:
    if not ask:
        yield None
        return
    async with KubernetesClient(kubeconfig_file(kubeconfig, context), timeouts=PATIENCE) as client:
        yield client


async def problems_in(
    content: Any, client: KubernetesClient | None, namespace: str | None, profile: Profile | None = None
) -> list[Problem]:
    """Return what is wrong with a document: paths of fields, and messages.

    :param content: what was parsed.
    :param client: whose API server checks it as well; ``None`` to go by the schemas that come with this package.
    :param profile: the profile of the cluster that it is for.
    """
    try:
        manifest = check_document(content, "manifest")
        resource = _known(manifest)
        # As it will be sent: an operator's task converts values of the wrong type and the right meaning.
        sent = manifest if resource is None else resource.normalize(manifest)
    except InvalidManifestError as error:
        message = str(error).removeprefix("manifest: ")
        return [(field_of(message), message)]
    own = [] if resource is None else _own(sent, resource)
    if profile is Profile.PRODUCTION:
        own += _by_production(sent)
    if client is not None:
        others = await _by_server(sent, client, namespace, may_lack_name=resource is not None)
    else:
        others = await _by_schema(sent, known=resource is not None)
    told = {field for field, _ in own}
    values = values_of(manifest)
    found = [*own, *(problem for problem in others if problem[0] not in told)]
    return [(field, scrubbed(message, values)) for field, message in found]


def notes_on(manifest: Manifest) -> list[Problem]:
    """Return what a valid manifest may yet not do: warnings of its kind, and fields that need an operator's webhook.

    :param manifest: one in which :func:`problems_in` finds nothing.
    """
    resource = _known(manifest)
    if resource is None:
        return []
    warnings = [(field_of(message), f"warning: {message}") for message in resource.lint(resource.normalize(manifest))]
    fields = webhook_fields(manifest) if resource in (SPARK_APPLICATION, SCHEDULED_SPARK_APPLICATION) else []
    if fields:
        said = f"note: {', '.join(fields)}: without the Spark operator's webhook these are ignored, and nobody says so"
        warnings.append((fields[0], said))
    values = values_of(manifest)
    return [(field, scrubbed(message, values)) for field, message in warnings]


def _own(manifest: Manifest, resource: Resource) -> list[Problem]:
    """Return what the kind's own check, the one before each submission, has against a manifest."""
    try:
        resource.check(manifest)
    except InvalidManifestError as error:
        return [(field_of(str(error)), str(error))]
    return []


def _by_production(manifest: Manifest) -> list[Problem]:
    """Return what production does not allow in a manifest."""
    problems: list[Problem] = []
    try:
        problems.extend((field_of(fault), fault) for fault in production_faults(manifest))
    except InvalidManifestError as error:
        problems.append((field_of(str(error)), str(error)))
    return problems


def _known(manifest: Manifest) -> Resource | None:
    """Return the description of the manifest's kind, if it is a kind of jobs that this package knows."""
    try:
        return resource_for(manifest["apiVersion"], manifest["kind"])
    except UnknownResourceError:
        return None


async def _by_schema(manifest: Manifest, *, known: bool) -> list[Problem]:
    """Return what the schema that comes with this package has against a manifest.

    :param known: whether the kind has a check of its own.
    """
    api_version, kind = manifest["apiVersion"], manifest["kind"]
    found = local_type(api_version, kind)
    if found is None:
        said = f"kind {kind!r} of apiVersion {api_version!r} is not known here: let an API server check it (--server)"
        return [] if known else [("kind", said)]
    problems = [(field, f"{field}: {said}") for field, said in await problems_of(found, manifest)]
    if not known and not _name_of(manifest):
        problems.append(("metadata", "metadata.name: give a name"))
    return problems


async def _by_server(
    manifest: Manifest, client: KubernetesClient, namespace: str | None, *, may_lack_name: bool
) -> list[Problem]:
    """Return what the API server has against a manifest, in a dry run.

    :param may_lack_name: whether the object is one that its task will name.
    :raises ApiError: it cannot be asked.
    """
    metadata = manifest.get("metadata") or {}
    if may_lack_name and not _name_of(manifest):
        manifest = {**manifest, "metadata": {**metadata, "name": _UNNAMED}}
    where = namespace or metadata.get("namespace")
    try:
        api = await find_type(client, manifest["apiVersion"], manifest["kind"])
        try:
            await client.create(api, manifest, where, dry_run=True)
        except AlreadyExistsError:
            await client.apply(api, manifest, where, field_manager=PREFIX, force=True, dry_run=True)
    except (ApiUnavailableError, UnauthorizedError):
        raise
    except (ApiError, InvalidManifestError) as error:
        causes = [(field, f"{field}: {said}") for _, field, said in getattr(error, "causes", ()) if field]
        first, *_ = str(error).splitlines()
        return causes or [(field_of(first), first)]
    return []


def _name_of(manifest: Manifest) -> str:
    metadata = manifest.get("metadata") or {}
    return str(metadata.get("name") or metadata.get("generateName") or "")
