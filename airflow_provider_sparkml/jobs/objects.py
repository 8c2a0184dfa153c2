"""Single objects of any kind: their types found, applied as they should be, and what of them goes into an XCom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.exceptions import (
    ApiError,
    ConflictError,
    InvalidManifestError,
    NotFoundError,
    ResourceTypeNotFoundError,
    UnknownResourceError,
)
from airflow_provider_sparkml.jobs.advice import explained
from airflow_provider_sparkml.resources import core
from airflow_provider_sparkml.resources.base import ApiResource, Manifest, resource_for
from airflow_provider_sparkml.resources.custom import bounded
from airflow_provider_sparkml.resources.secret_values import scrubbed, values_of

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient


async def find_type(client: KubernetesClient, api_version: str, kind: str) -> ApiResource:
    """Return the address of a type: of those that this package knows at once, of any other by API discovery.

    :param api_version: ``apiVersion`` of its objects.
    :param kind: their ``kind``.
    :raises ResourceTypeNotFoundError: the API server does not serve it.
    """
    for known in vars(core).values():
        if isinstance(known, ApiResource) and (known.api_version, known.kind) == (api_version, kind):
            return known
    try:
        return resource_for(api_version, kind).api
    except UnknownResourceError:
        return await discover(client, api_version, kind)


async def discover(client: KubernetesClient, api_version: str, kind: str) -> ApiResource:
    """Ask the API server for the address of a type (``/apis/<group>/<version>``).

    :raises ResourceTypeNotFoundError: it does not serve it.
    """
    group, _, version = api_version.rpartition("/")
    try:
        served = await client.read_path(f"/apis/{group}/{version}" if group else f"/api/{version}")
    except NotFoundError as error:
        raise _not_served(api_version, kind, "serves no kind of that apiVersion") from error
    for each in served.get("resources") or ():
        if each["kind"] == kind and "/" not in each["name"]:
            return ApiResource(group, version, each["name"], kind, bool(each["namespaced"]))
    kinds = sorted({each["kind"] for each in served.get("resources") or () if "/" not in each["name"]})
    raise _not_served(api_version, kind, f"serves there: {', '.join(kinds)}")


def _not_served(api_version: str, kind: str, instead: str) -> ResourceTypeNotFoundError:
    return ResourceTypeNotFoundError(
        f"the API server does not know kind {kind!r} of apiVersion {api_version!r}; it {instead}\n"
        "Correct kind and apiVersion, or install the CustomResourceDefinition. Check: kubectl api-resources",
        status=404,
    )


async def apply_object(
    client: KubernetesClient, api: ApiResource, manifest: Manifest, namespace: str, *, field_manager: str, force: bool
) -> Manifest:
    """Apply one object on the server's side, and return it as stored.

    :param field_manager: who owns the applied fields.
    :param force: take over fields that others own.
    :raises InvalidManifestError: it has no name, or a field is wrong.
    :raises ConflictError: others own fields of it; the message names field and owner of each.
    """
    name = (manifest.get("metadata") or {}).get("name")
    if not name:
        raise InvalidManifestError(
            f"metadata.name of the {api.kind} is {name!r}: give a name; the API server applies no object without one"
        )
    try:
        with explained("patch", api, namespace), values_hidden(manifest):
            return await client.apply(api, manifest, namespace, field_manager=field_manager, force=force)
    except ConflictError as error:
        owned = "; ".join(f"{field}: {said}" for _, field, said in error.causes if field)
        raise ConflictError(
            f"{api.kind} {name} has fields that others own: {owned or error}\n"
            "Leave these fields out of the manifest, or take them over with force_conflicts=True.",
            status=error.status, reason=error.reason, causes=error.causes,
        ) from error  # fmt: skip


@contextmanager
def values_hidden(manifest: Manifest) -> Iterator[None]:
    """Take a Secret's values out of what the API server says about it; it quotes what it refuses."""
    try:
        yield
    except ApiError as error:
        values = values_of(manifest)
        if values:
            error.args = (scrubbed(str(error), values),)
            error.causes = tuple(
                (reason, scrubbed(field, values), scrubbed(said, values)) for reason, field, said in error.causes
            )
        raise


def described(obj: Manifest) -> dict[str, Any]:
    """Return what an operator tells of an object: ``name, kind, namespace, uid, object``.

    ``namespace`` is empty for cluster-wide kinds; of ``object`` see :func:`~.resources.custom.bounded`.
    """
    metadata = obj["metadata"]
    return {
        "name": metadata["name"],
        "kind": obj["kind"],
        "namespace": metadata.get("namespace", ""),
        "uid": metadata["uid"],
        "object": bounded(obj),
    }


__all__ = ["apply_object", "described", "discover", "find_type", "values_hidden"]
