"""Whether a cluster is ready for this package's jobs: checks that only look, each with its finding and its fix."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.exceptions import (
    ApiError,
    ForbiddenError,
    InvalidConnectionError,
    InvalidManifestError,
    NotFoundError,
    ResourceTypeNotFoundError,
)
from airflow_provider_sparkml.jobs.advice import advise
from airflow_provider_sparkml.jobs.findings import Finding, Status, unseen
from airflow_provider_sparkml.jobs.preflight_spark import check_spark_operator
from airflow_provider_sparkml.jobs.rights import (
    KNATIVE,
    KUEUE,
    RESOURCE_QUOTA,
    ROLES,
    SHARED_RIGHTS,
    SPARK_FEATURES,
    Feature,
    Right,
    rights_of,
)
from airflow_provider_sparkml.resources.base import ApiResource, Manifest, Resource, known_resources
from airflow_provider_sparkml.resources.core import NAMESPACE, POD, SECRET, SERVICE_ACCOUNT
from airflow_provider_sparkml.resources.quantities import parse_quantity

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient

SPARK = "SparkApplication"
SPARK_ACCOUNT = "spark"
DRIVER_ROLE = ROLES / "driver.yaml"
_PULL_SECRETS = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")
_REQUESTS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the cluster has to be ready for.

    :param namespace: where jobs go.
    :param kinds: kinds of jobs that have to work.
    :param service_account: the drivers'; empty to leave it out.
    :param image_pull_secret: one that jobs name; those of the service account are looked at in any case.
    """

    namespace: str
    kinds: tuple[str, ...] = (SPARK,)
    service_account: str = SPARK_ACCOUNT
    image_pull_secret: str = ""


def check_wanted(kinds: Iterable[str]) -> tuple[str, ...]:
    """Return the kinds if this package knows them.

    :raises InvalidManifestError: it does not.
    """
    known = sorted({_name(resource) for resource in known_resources()})
    for kind in kinds:
        if kind not in known:
            raise InvalidManifestError(f"kinds has {kind!r}: give some of {', '.join(known)}")
    return tuple(kinds)


def _name(resource: Resource) -> str:
    """Return what ``kinds`` calls a kind: of the two kinds of SparkApplication the word alone means Kubeflow's."""
    return resource.api.full_name if resource.api.group == "spark.apache.org" else resource.api.kind


async def preflight(client: KubernetesClient, wanted: Wanted) -> list[Finding]:
    """Look at everything that jobs need, change nothing, and return what was found; never raises for what is missing.

    :param wanted: what the cluster has to be ready for.
    """
    server, version = await check_server(client)
    if server.status is Status.FAILED:
        return [server]
    try:
        kinds, served = await check_kinds(client, wanted)
        findings = [server, *kinds]
        needed = [resource for resource in served if _name(resource) in wanted.kinds]
        if any(_name(resource) == SPARK for resource in needed):
            findings += await check_spark_operator(client, version, wanted.namespace)
        namespace = await check_namespace(client, wanted.namespace)
        findings.append(namespace)
        if namespace.status is not Status.FAILED:
            findings += await check_rights(client, needed, wanted.namespace)
            if any(_name(resource) == SPARK for resource in needed):
                findings += await check_features(client, wanted.namespace)
            findings += await check_service_account(client, wanted)
            findings.append(await check_quota(client, wanted.namespace))
    except ApiError as error:
        # Neither missing nor forbidden: the server itself fails.
        first, *_ = str(error).splitlines()
        return [server, Finding("API server", Status.FAILED, first, "Try again; if it stays, look at the API server.")]
    return findings


async def check_server(client: KubernetesClient) -> tuple[Finding, str]:
    """Return whether the API server answers these credentials, and its ``gitVersion``."""
    check = "API server"
    try:
        version = str((await client.read_path("/version")).get("gitVersion", ""))
        await client.can_i("get", POD, "default")  # /version answers anybody
    except (ApiError, InvalidConnectionError) as error:
        first, *_ = str(error).splitlines()
        fix = "Check server, certificate and credentials of the kubeconfig or connection: kubectl auth whoami"
        return Finding(check, Status.FAILED, first, fix), ""
    return Finding(check, Status.OK, f"reachable, version {version}"), version


async def check_kinds(client: KubernetesClient, wanted: Wanted) -> tuple[list[Finding], list[Resource]]:
    """Return which of the kinds that this package knows are served, in its versions, and their descriptions."""
    by_kind: dict[str, list[Resource]] = {}
    for resource in known_resources():
        by_kind.setdefault(_name(resource), []).append(resource)
    groups = {each["name"]: [v["version"] for v in each["versions"]] for each in await _groups(client)}
    findings, served, absent = [], [], []
    for kind, versions in sorted(by_kind.items()):
        there = [resource for resource in versions if await _serves(client, groups, resource.api)]
        served += there
        if there:
            findings.append(Finding(kind, Status.OK, ", ".join(each.api.api_version for each in there)))
        elif kind in wanted.kinds:
            findings.append(_missing(versions, groups, wanted.namespace))
        else:
            absent.append(kind)
    if absent:
        detail = f"not installed: {', '.join(absent)}"
        fix = "Only tasks of these kinds need them: install what you want to use."
        findings.append(Finding("other kinds", Status.WARNING, detail, fix))
    return findings, served


async def _groups(client: KubernetesClient) -> list[dict[str, Any]]:
    """Return the API groups; some clusters let only cluster users see them."""
    return list((await client.read_path("/apis")).get("groups") or ())


async def _serves(client: KubernetesClient, groups: Mapping[str, list[str]], api: ApiResource) -> bool:
    """Return whether the API server serves a type."""
    if api.version not in groups.get(api.group, ()):
        return False
    listed = await client.read_path(f"/apis/{api.group}/{api.version}")
    return any(each["name"] == api.plural and each["kind"] == api.kind for each in listed.get("resources") or ())


def _missing(versions: list[Resource], groups: Mapping[str, list[str]], namespace: str) -> Finding:
    """Return the finding for a kind that is needed and not served."""
    api = versions[0].api
    needs = " or ".join(each.api.api_version for each in versions)
    there = [f"{api.group}/{version}" for version in groups.get(api.group, ())]
    detail = f"not served: this package speaks {needs}; the cluster has {', '.join(there) or f'no {api.group}'}"
    return Finding(api.kind, Status.FAILED, detail, advise(ResourceTypeNotFoundError(""), "get", api, namespace))


async def check_namespace(client: KubernetesClient, namespace: str) -> Finding:
    """Return whether the namespace is there, and not about to go."""
    check = "namespace"
    try:
        found = await client.get(NAMESPACE, namespace)
    except NotFoundError:
        fix = f"kubectl create namespace {namespace}"
        return Finding(check, Status.FAILED, f"{namespace} does not exist", fix)
    except ForbiddenError:
        return Finding(check, Status.UNKNOWN, f"{namespace} may not be seen by these credentials; the rest tells")
    if (found.get("status") or {}).get("phase") == "Terminating":
        return Finding(check, Status.FAILED, f"{namespace} is being deleted", "Choose another, or wait and create it.")
    return Finding(check, Status.OK, f"{namespace} exists")


async def check_rights(client: KubernetesClient, needed: Iterable[Resource], namespace: str) -> list[Finding]:
    """Return for each type whether every verb that this package uses is allowed (``SelfSubjectAccessReview``)."""
    groups = {each["name"] for each in await _groups(client)}
    rights = dict.fromkeys(right for resource in needed for right in rights_of(resource))
    rights |= dict.fromkeys((*SHARED_RIGHTS, *KUEUE))
    # What belongs to something that is not installed is asked for by nobody.
    asked = [right for right in rights if right not in (*KUEUE, KNATIVE) or right.api.group in groups]
    allowed = await _allowed(client, asked, namespace)
    return [judge_right(right, verbs, namespace) for right, verbs in allowed]


async def check_features(client: KubernetesClient, namespace: str) -> list[Finding]:
    """Return for each feature that has a role of its own what of it is allowed."""
    groups = {"", *(each["name"] for each in await _groups(client))}
    return [
        judge_feature(
            feature,
            await _allowed(client, [right for right in feature.rights if right.api.group in groups], namespace),
            namespace,
        )
        for feature in SPARK_FEATURES
    ]


async def _allowed(client: KubernetesClient, rights: Iterable[Right], namespace: str) -> list[tuple[Right, set[str]]]:
    """Return which verbs of each right are allowed."""
    slots = asyncio.Semaphore(_REQUESTS_AT_ONCE)

    async def allowed(right: Right, verb: str) -> bool:
        async with slots:
            return await client.can_i(verb, right.api, namespace, subresource=right.subresource)

    async def verbs_of(right: Right) -> tuple[Right, set[str]]:
        verbs = (*right.verbs, *right.optional)
        answers = await asyncio.gather(*(allowed(right, verb) for verb in verbs))
        return right, {verb for verb, yes in zip(verbs, answers, strict=True) if yes}

    return list(await asyncio.gather(*(verbs_of(right) for right in rights)))


def judge_right(right: Right, allowed: set[str], namespace: str) -> Finding:
    """Return the finding for one type of which these verbs are allowed."""
    check = f"right: {right.name}"
    missing = [verb for verb in right.verbs if verb not in allowed]
    lost = [verb for verb in right.optional if verb not in allowed]
    fix = f"Add to the Role of the connection's user in namespace {namespace}: {right.rule([*missing, *lost])}"
    if missing:
        return Finding(check, Status.FAILED, f"not allowed: {', '.join([*missing, *lost])}", fix)
    if lost:
        return Finding(check, Status.WARNING, f"not allowed: {', '.join(lost)}; {right.loss}", fix)
    return Finding(check, Status.OK, ", ".join((*right.verbs, *right.optional)))


def judge_feature(feature: Feature, allowed: Iterable[tuple[Right, set[str]]], namespace: str) -> Finding:
    """Return the finding for a feature: what of it works with these verbs of its rights; nothing else needs them.

    :param allowed: of each right the verbs that are allowed.
    """
    needed: dict[str, list[str]] = {}
    lost: dict[str, list[str]] = {}
    losses: dict[str, None] = {}
    for right, verbs in allowed:
        if missing := [verb for verb in right.verbs if verb not in verbs]:
            needed.setdefault(", ".join(missing), []).append(right.name)
        if without := [verb for verb in right.optional if verb not in verbs]:
            lost.setdefault(", ".join(without), []).append(right.name)
            losses[right.loss] = None
    fix = f"Only {feature.tasks} needs it: kubectl apply -n {namespace} -f {ROLES / feature.role}"
    if needed:
        detail = f"{feature.tasks} does not work: not allowed: {_listed(needed)}"
        return Finding(feature.name, Status.WARNING, detail, fix)
    if lost:
        detail = f"{feature.tasks} works with less: not allowed: {_listed(lost)}; {'; '.join(losses)}"
        return Finding(feature.name, Status.WARNING, detail, fix)
    return Finding(feature.name, Status.OK, f"all that {feature.tasks} uses is allowed")


def _listed(verbs: Mapping[str, list[str]]) -> str:
    """Return verbs → resources as a text."""
    return "; ".join(f"{each} on {', '.join(resources)}" for each, resources in verbs.items())


async def check_service_account(client: KubernetesClient, wanted: Wanted) -> list[Finding]:
    """Return whether the drivers' service account is there, and the image pull secrets."""
    namespace, name, check = wanted.namespace, wanted.service_account, "service account"
    findings: list[Finding] = []
    secrets = [wanted.image_pull_secret] if wanted.image_pull_secret else []
    if name and SPARK in wanted.kinds:
        try:
            account = await client.get(SERVICE_ACCOUNT, name, namespace)
        except NotFoundError:
            renamed = "" if name == SPARK_ACCOUNT else f"sed 's/name: {SPARK_ACCOUNT}$/name: {name}/' {DRIVER_ROLE} | "
            fix = f"{renamed}kubectl apply -n {namespace} -f {'-' if renamed else DRIVER_ROLE}"
            findings.append(Finding(check, Status.FAILED, f"{name} does not exist in {namespace}", fix))
        except ForbiddenError as error:
            findings.append(unseen(check, error, f"kubectl get serviceaccount {name} -n {namespace}"))
        else:
            findings.append(Finding(check, Status.OK, f"{name} exists"))
            secrets += [each["name"] for each in account.get("imagePullSecrets") or ()]
    return [*findings, *[await _check_pull_secret(client, secret, namespace) for secret in dict.fromkeys(secrets)]]


async def _check_pull_secret(client: KubernetesClient, name: str, namespace: str) -> Finding:
    """Return whether a Secret can be used to pull images; its values are never looked at."""
    check = "image pull secret"
    create = f"kubectl create secret docker-registry {name} -n {namespace} --docker-server=… --docker-username=…"
    try:
        secret = await client.get(SECRET, name, namespace)
    except NotFoundError:
        return Finding(check, Status.FAILED, f"{name} does not exist in {namespace}", create)
    except ForbiddenError as error:
        return unseen(check, error, f"kubectl get secret {name} -n {namespace}")
    if secret.get("type") not in _PULL_SECRETS:
        return Finding(check, Status.FAILED, f"{name} is of type {secret.get('type')}, which pulls no images", create)
    return Finding(check, Status.OK, f"{name} exists")


async def check_quota(client: KubernetesClient, namespace: str) -> Finding:
    """Return whether a ResourceQuota of the namespace leaves room."""
    check, look = "quota", f"kubectl describe resourcequota -n {namespace}"
    try:
        quotas = (await client.list(RESOURCE_QUOTA, namespace)).items
    except ForbiddenError as error:
        return unseen(check, error, look)
    full = [line for quota in quotas for line in used_up(quota)]
    if full:
        fix = f"Nothing more is admitted until something ends: {look}"
        return Finding(check, Status.FAILED, f"used up: {'; '.join(full)}", fix)
    names = ", ".join(quota["metadata"]["name"] for quota in quotas)
    return Finding(check, Status.OK, f"there is room in {names}" if names else "there is none")


_COMPUTE = ("cpu", "memory")
_NEEDED = frozenset(
    {*_COMPUTE, *(f"{part}.{name}" for part in ("requests", "limits") for name in _COMPUTE)}
    | {f"{prefix}{name}" for prefix in ("", "count/") for name in ("pods", "services", "configmaps")}
)
"""Resources of a quota that jobs take up."""


def used_up(quota: Manifest) -> list[str]:
    """Return what that jobs need of a ResourceQuota is used up: ``compute: pods 10 of 10``.

    A quota with scopes is left out: it counts some pods only, of which a job's need not be.
    """
    spec = quota.get("spec") or {}
    if spec.get("scopes") or spec.get("scopeSelector"):
        return []
    status = quota.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    return [
        f"{quota['metadata']['name']}: {name} {used[name]} of {limit}"
        for name, limit in sorted(hard.items())
        if name in _NEEDED.intersection(used)
        and parse_quantity(str(used[name]), name) >= parse_quantity(str(limit), name)
    ]


__all__ = [
    "Finding",
    "Right",
    "Status",
    "Wanted",
    "check_wanted",
    "judge_feature",
    "judge_right",
    "preflight",
    "used_up",
]
