"""Resources that answer a question and store nothing: who am I, what may I, is this token good."""

from __future__ import annotations

from typing import Any

from airflow_provider_sparkml.local.api.auth import ISSUER, user_of_token
from airflow_provider_sparkml.local.api.call import User
from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.rbac import Access, allowed, rules_of
from airflow_provider_sparkml.local.api.status import StatusError, required
from airflow_provider_sparkml.resources.base import Manifest

KINDS = {
    ("authorization.k8s.io", "selfsubjectaccessreviews"): "SelfSubjectAccessReview",
    ("authorization.k8s.io", "subjectaccessreviews"): "SubjectAccessReview",
    ("authorization.k8s.io", "localsubjectaccessreviews"): "LocalSubjectAccessReview",
    ("authorization.k8s.io", "selfsubjectrulesreviews"): "SelfSubjectRulesReview",
    ("authentication.k8s.io", "tokenreviews"): "TokenReview",
    ("authentication.k8s.io", "selfsubjectreviews"): "SelfSubjectReview",
}
"""Group and plural → kind; all in version v1."""


def review(cluster: Cluster, user: User, kind: str, obj: Manifest) -> Manifest:
    """Return the question with its answer.

    :param user: who asks.
    :param kind: the kind of question.
    :param obj: the question.
    :raises StatusError: 422 when it lacks what it is about.
    """
    spec = obj.get("spec") or {}
    match kind:
        case "SelfSubjectAccessReview":
            status = _access(cluster, user, spec, kind)
        case "SubjectAccessReview" | "LocalSubjectAccessReview":
            other = User(spec.get("user", ""), tuple(spec.get("groups") or ()))
            status = _access(cluster, other, spec, kind)
        case "SelfSubjectRulesReview":
            status = _rules(cluster, user, spec.get("namespace") or "")
        case "TokenReview":
            status = _token(cluster, spec.get("token") or "", spec.get("audiences") or [ISSUER])
        case _:
            status = {"userInfo": _info(user)}
    return {**obj, "kind": kind, "metadata": obj.get("metadata") or {}, "status": status}


def _access(cluster: Cluster, user: User, spec: Manifest, kind: str) -> dict[str, Any]:
    """Answer whether somebody may do something."""
    about: dict[str, Any] | None = spec.get("resourceAttributes")
    path: dict[str, Any] | None = spec.get("nonResourceAttributes")
    if about is None and path is None:
        cause = required("spec.resourceAttributes", "exactly one of nonResourceAttributes or resourceAttributes")
        details = {"group": "authorization.k8s.io", "kind": kind, "causes": [cause.to_json()]}
        raise StatusError(
            422, "Invalid", f'{kind}.authorization.k8s.io "" is invalid: {cause.field}: {cause.message}', details
        )
    if about is not None:
        resource = about.get("resource", "")
        if about.get("subresource"):
            resource += f"/{about['subresource']}"
        access = Access(
            about.get("verb", ""), about.get("group", ""), resource, about.get("namespace", ""), about.get("name", "")
        )
    else:
        access = Access((path or {}).get("verb", ""), path=(path or {}).get("path", ""))
    return {"allowed": True} if allowed(cluster, user, access) else {"allowed": False}


def _rules(cluster: Cluster, user: User, namespace: str) -> dict[str, Any]:
    """List what somebody may do in a namespace."""
    rules = list(rules_of(cluster, user, namespace))
    return {
        "resourceRules": [rule for rule in rules if "nonResourceURLs" not in rule],
        "nonResourceRules": [rule for rule in rules if "nonResourceURLs" in rule],
        "incomplete": False,
    }


def _token(cluster: Cluster, token: str, audiences: list[str]) -> dict[str, Any]:
    """Answer whose token it is, and for which of the audiences it is good."""
    for audience in audiences:
        user = user_of_token(cluster, token, audience)
        if user is not None:
            return {"authenticated": True, "user": _info(user), "audiences": [audience]}
    return {"authenticated": False, "user": {}, "error": "the token is not known to this cluster, or has expired"}


def _info(user: User) -> dict[str, Any]:
    info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    return info | ({"uid": user.uid} if user.uid else {})
