"""Who may do what: tokens, roles, quotas, and the state directory's secrets."""

from __future__ import annotations

import stat
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture
def send(api_server: Any) -> Callable[..., tuple[int, Any]]:
    return api_server.request  # type: ignore[no-any-return]


@pytest.fixture
def core(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}"


def account(send: Any, core: str, name: str = "spark") -> str:
    """Create a ServiceAccount and return a token of it."""
    assert send("POST", f"{core}/serviceaccounts", {"metadata": {"name": name}})[0] == 201
    status, answer = send("POST", f"{core}/serviceaccounts/{name}/token", {"spec": {"expirationSeconds": 3600}})
    assert status == 201
    return str(answer["status"]["token"])


def allow(send: Any, namespace: str, rules: list[dict[str, Any]], name: str = "spark") -> None:
    """Give a ServiceAccount of the namespace rules."""
    where = f"{RBAC}/namespaces/{namespace}"
    assert send("POST", f"{where}/roles", {"metadata": {"name": name}, "rules": rules})[0] == 201
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
    assert send("POST", f"{where}/rolebindings", binding)[0] == 201


def test_without_a_token_nothing_is_told_but_that_the_server_is_there(send: Any, core: str) -> None:
    status, answer = send("GET", f"{core}/pods", token="")
    assert (status, answer["reason"]) == (403, "Forbidden")
    assert 'User "system:anonymous" cannot list resource "pods"' in answer["message"]


def test_a_wrong_token_is_unauthorized(send: Any, core: str) -> None:
    for token in ("wrong", "a.b.c", "\u00e9"):
        status, answer = send("GET", f"{core}/pods", token=token)
        assert (status, answer["reason"]) == (401, "Unauthorized")


def test_health_and_version_are_for_everybody(api_server: Any) -> None:
    for path in ("/healthz", "/readyz", "/livez", "/version"):
        with urllib.request.urlopen(api_server.url + path, timeout=5) as answer:
            assert answer.status == 200


def test_an_account_may_do_what_its_roles_allow_and_no_more(send: Any, core: str, namespace: str) -> None:
    token = account(send, core)
    status, answer = send("GET", f"{core}/pods", token=token)
    assert status == 403
    user = f"system:serviceaccount:{namespace}:spark"
    assert answer["message"] == (
        f'pods is forbidden: User "{user}" cannot list resource "pods" in API group "" in the namespace "{namespace}"'
    )
    allow(send, namespace, [{"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]}])
    assert send("GET", f"{core}/pods", token=token)[0] == 200
    assert send("GET", f"{core}/pods/absent", token=token)[0] == 404
    assert send("GET", f"{core}/pods?watch=1&timeoutSeconds=1", token=token)[0] == 403
    assert send("DELETE", f"{core}/pods/absent", token=token)[0] == 403
    assert send("GET", f"{core}/pods/absent/log", token=token)[0] == 404
    assert send("GET", f"{core}/secrets", token=token)[0] == 403
    assert send("GET", "/api/v1/pods", token=token)[0] == 403
    assert send("GET", "/api/v1/namespaces/default/pods", token=token)[0] == 403


def test_names_subresources_and_stars_in_rules(send: Any, core: str, namespace: str) -> None:
    token = account(send, core)
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"], "verbs": ["*"]},
        {"apiGroups": ["*"], "resources": ["*/status"], "verbs": ["get"]},
    ]
    allow(send, namespace, rules)
    assert send("GET", f"{core}/configmaps/mine", token=token)[0] == 404
    assert send("GET", f"{core}/configmaps/other", token=token)[0] == 403
    assert send("GET", f"{core}/pods/x/status", token=token)[0] == 404
    assert send("GET", f"{core}/pods/x", token=token)[0] == 403


def test_cluster_roles_are_bound_in_one_namespace_or_in_all(send: Any, core: str, namespace: str) -> None:
    token = account(send, core)
    subject = {"kind": "ServiceAccount", "name": "spark", "namespace": namespace}
    view = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    body = {"metadata": {"name": f"view-{namespace}"}, "roleRef": view, "subjects": [subject]}
    assert send("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", body)[0] == 201
    assert send("GET", f"{core}/pods", token=token)[0] == 200
    assert send("GET", "/api/v1/pods", token=token)[0] == 403
    group = {"kind": "Group", "name": f"system:serviceaccounts:{namespace}"}
    assert send("POST", f"{RBAC}/clusterrolebindings", {**body, "subjects": [group]})[0] == 201
    assert send("GET", "/api/v1/pods", token=token)[0] == 200
    assert send("POST", f"{core}/configmaps", {"metadata": {"name": "c"}}, token=token)[0] == 403
    assert send("DELETE", f"{RBAC}/clusterrolebindings/view-{namespace}")[0] == 200
    assert send("GET", "/api/v1/pods", token=token)[0] == 403


def test_a_token_ends_with_its_account(send: Any, core: str) -> None:
    token = account(send, core)
    assert send("DELETE", f"{core}/serviceaccounts/spark")[0] == 200
    assert send("GET", f"{core}/pods", token=token)[0] == 401
    send("POST", f"{core}/serviceaccounts", {"metadata": {"name": "spark"}})
    assert send("GET", f"{core}/pods", token=token)[0] == 401, "another account of the same name"


def test_a_token_ends_with_the_pod_it_is_bound_to(send: Any, core: str) -> None:
    account(send, core)
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
    uid = send("POST", f"{core}/pods", pod)[1]["metadata"]["uid"]
    bound = {"kind": "Pod", "name": "p", "uid": uid}
    _, answer = send("POST", f"{core}/serviceaccounts/spark/token", {"spec": {"boundObjectRef": bound}})
    token = answer["status"]["token"]
    assert send("GET", f"{core}/pods", token=token)[0] == 403
    send("DELETE", f"{core}/pods/p")
    assert send("GET", f"{core}/pods", token=token)[0] == 401
    assert send("POST", f"{core}/serviceaccounts/spark/token", {"spec": {"boundObjectRef": bound}})[0] == 404


def test_reviews(send: Any, core: str, namespace: str) -> None:
    token = account(send, core)
    allow(send, namespace, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}])
    access = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

    def may(verb: str, **attributes: str) -> bool:
        wanted = {"verb": verb, "resource": "pods", "namespace": namespace, **attributes}
        return bool(send("POST", access, {"spec": {"resourceAttributes": wanted}}, token=token)[1]["status"]["allowed"])

    assert may("get")
    assert not may("create")
    assert not may("get", subresource="log")
    assert not may("get", namespace="default")
    rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    _, answer = send("POST", rules, {"spec": {"namespace": namespace}}, token=token)
    assert {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]} in answer["status"]["resourceRules"]
    _, answer = send("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}})
    assert answer["status"]["user"]["username"] == f"system:serviceaccount:{namespace}:spark"
    _, answer = send("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "x"}})
    assert not answer["status"]["authenticated"]
    assert send("POST", access, {"spec": {}})[0] == 422


def test_to_ask_as_somebody_else_takes_a_right(api_server: Any, send: Any, core: str, namespace: str) -> None:
    def pods_as(token: str, name: str) -> int:
        headers = {"Authorization": f"Bearer {token}", "Impersonate-User": name}
        request = urllib.request.Request(f"{api_server.url}{core}/pods", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert pods_as(api_server.token, "jane") == 403
    token = account(send, core)
    allow(send, namespace, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])
    assert pods_as(token, "jane") == 403, "not silently as himself"
    other = f"system:serviceaccount:{namespace}:default"
    assert pods_as(token, other) == 403
    allow(send, namespace, [{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}], "as")
    subject = {"kind": "ServiceAccount", "name": "spark", "namespace": namespace}
    path = f"{RBAC}/namespaces/{namespace}/rolebindings/as"
    send("PATCH", path, {"subjects": [subject]}, content_type="application/merge-patch+json")
    assert pods_as(token, other) == 403, "who has no right to list pods"
    send(
        "PATCH",
        path,
        {"subjects": [subject, {**subject, "name": "default"}]},
        content_type="application/merge-patch+json",
    )
    assert pods_as(token, f"system:serviceaccount:{namespace}:spark") == 200


def test_a_quota_is_enforced_and_shows_what_is_used(send: Any, core: str) -> None:
    hard = {"pods": "1", "requests.memory": "1Gi", "count/configmaps": "100"}
    assert send("POST", f"{core}/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}})[0] == 201

    def pod(name: str, memory: str | None) -> dict[str, Any]:
        container: dict[str, Any] = {"name": "a", "image": "x"}
        if memory:
            container["resources"] = {"requests": {"memory": memory}}
        return {"metadata": {"name": name}, "spec": {"containers": [container]}}

    status, answer = send("POST", f"{core}/pods", pod("p", None))
    assert status == 403
    assert "failed quota: q: must specify requests.memory for: a" in answer["message"]
    assert send("POST", f"{core}/pods", pod("p1", "768Mi"))[0] == 201
    status, answer = send("POST", f"{core}/pods", pod("p2", "512Mi"))
    assert status == 403
    assert answer["message"] == (
        'pods "p2" is forbidden: exceeded quota: q, requested: pods=1,requests.memory=512Mi, '
        "used: pods=1,requests.memory=768Mi, limited: pods=1,requests.memory=1Gi"
    )
    used = send("GET", f"{core}/resourcequotas/q")[1]["status"]["used"]
    assert (used["pods"], used["requests.memory"]) == ("1", "768Mi")
    done = {"status": {"phase": "Succeeded"}}
    send("PATCH", f"{core}/pods/p1/status", done, content_type="application/merge-patch+json")
    assert send("GET", f"{core}/resourcequotas/q")[1]["status"]["used"]["pods"] == "0"
    assert send("POST", f"{core}/pods", pod("p2", "512Mi"))[0] == 201


def test_a_quota_counts_custom_resources(send: Any, core: str, namespace: str) -> None:
    hard = {"count/sparkapplications.sparkoperator.k8s.io": "0"}
    send("POST", f"{core}/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    spec = {"type": "Python", "sparkVersion": "4", "mainApplicationFile": "x", "driver": {}, "executor": {}}
    body = {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {"name": "a"},
        "spec": spec,
    }
    path = f"/apis/sparkoperator.k8s.io/v1beta2/namespaces/{namespace}/sparkapplications"
    status, answer = send("POST", path, body)
    assert (status, "exceeded quota: q" in answer["message"]) == (403, True)
    assert send("POST", f"{path}?dryRun=All", body)[0] == 403


def test_nobody_else_can_read_token_and_key(api_server: Any) -> None:
    for name in ("kubeconfig", "secrets.json", "server.pem"):
        assert stat.S_IMODE((api_server.state_dir / name).stat().st_mode) == 0o600


def test_nobody_gives_away_rights_that_he_does_not_have(send: Any, core: str, namespace: str) -> None:
    token, where = account(send, core), f"{RBAC}/namespaces/{namespace}"
    own = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
    write = {"apiGroups": [RBAC.split("/")[2]], "resources": ["roles", "rolebindings"], "verbs": ["create", "update"]}
    allow(send, namespace, [own, write])
    role = {"metadata": {"name": "given"}, "rules": [{**own, "verbs": ["get"]}]}
    assert send("POST", f"{where}/roles", role, token=token)[0] == 201
    for more in (
        {**own, "verbs": ["*"]},
        {**own, "resources": ["secrets"]},
        {**own, "apiGroups": ["*"]},
        {**own, "verbs": ["delete"], "resourceNames": ["p"]},
    ):
        status, answer = send("POST", f"{where}/roles", {"metadata": {"name": "x"}, "rules": [more]}, token=token)
        assert status == 403
        assert "is attempting to grant RBAC permissions not currently held:\n{APIGroups:" in answer["message"]
        assert send("PUT", f"{where}/roles/given", {**role, "rules": [more]}, token=token)[0] == 403
    subject = {"kind": "ServiceAccount", "name": "spark", "namespace": namespace}
    for kind, name, status in (("Role", "given", 201), ("ClusterRole", "edit", 403), ("ClusterRole", "view", 403)):
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
        body = {"metadata": {"name": f"b-{name}"}, "roleRef": reference, "subjects": [subject]}
        assert send("POST", f"{where}/rolebindings", body, token=token)[0] == status
    lifted = [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate"]}]
    lifted.append({**lifted[0], "resources": ["clusterroles"], "verbs": ["bind"], "resourceNames": ["view"]})
    assert send("PUT", f"{where}/roles/spark", {"metadata": {"name": "spark"}, "rules": [write, *lifted]})[0] == 200
    assert send("POST", f"{where}/rolebindings", body, token=token)[0] == 201
    assert send("PUT", f"{where}/roles/given", {**role, "rules": [more]}, token=token)[0] == 200


def test_to_create_by_an_apply_takes_both_verbs(send: Any, core: str, namespace: str) -> None:
    token = account(send, core)
    allow(send, namespace, [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}])
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}

    def apply() -> tuple[int, Any]:
        path = f"{core}/configmaps/c?fieldManager=test"
        return send("PATCH", path, body, content_type="application/apply-patch+yaml", token=token)

    status, answer = apply()
    assert (status, "cannot create resource" in answer["message"]) == (403, True)
    assert send("POST", f"{core}/configmaps", body)[0] == 201
    assert apply()[0] == 200


def test_a_name_in_a_rule_is_also_that_of_a_field_selector(send: Any, core: str, namespace: str) -> None:
    token = account(send, core)
    names = {"resourceNames": ["mine"], "verbs": ["list", "watch", "create"]}
    allow(send, namespace, [{"apiGroups": [""], "resources": ["configmaps"], **names}])
    assert send("GET", f"{core}/configmaps?fieldSelector=metadata.name%3Dmine", token=token)[0] == 200
    assert send("GET", f"{core}/configmaps?fieldSelector=metadata.name%3Dother", token=token)[0] == 403
    assert send("GET", f"{core}/configmaps?fieldSelector=metadata.name!%3Dmine", token=token)[0] == 403
    assert send("GET", f"{core}/configmaps", token=token)[0] == 403
    assert send("POST", f"{core}/configmaps", {"metadata": {"name": "mine"}}, token=token)[0] == 403


def test_a_token_for_others_opens_nothing_here(send: Any, core: str) -> None:
    account(send, core)
    spec = {"audiences": ["vault"]}
    token = send("POST", f"{core}/serviceaccounts/spark/token", {"spec": spec})[1]["status"]["token"]
    assert send("GET", f"{core}/pods", token=token)[0] == 401
    review = "/apis/authentication.k8s.io/v1/tokenreviews"
    assert not send("POST", review, {"spec": {"token": token}})[1]["status"]["authenticated"]
    status = send("POST", review, {"spec": {"token": token, "audiences": ["vault"]}})[1]["status"]
    assert (status["authenticated"], status["audiences"]) == (True, ["vault"])


def test_who_may_view_reads_no_secret_and_who_may_edit_changes_no_quota(send: Any, core: str, namespace: str) -> None:
    token = account(send, core)
    subject = {"kind": "ServiceAccount", "name": "spark", "namespace": namespace}

    def bind(role: str) -> None:
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        body = {"metadata": {"name": role}, "roleRef": reference, "subjects": [subject]}
        assert send("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", body)[0] == 201

    bind("view")
    assert send("GET", f"{core}/secrets", token=token)[0] == 403
    assert send("GET", f"{core}/resourcequotas", token=token)[0] == 200
    bind("edit")
    assert send("GET", f"{core}/secrets", token=token)[0] == 200
    assert send("POST", f"{core}/resourcequotas", {"metadata": {"name": "q"}}, token=token)[0] == 403


def test_a_role_without_verbs_or_about_nothing_is_refused(send: Any, namespace: str) -> None:
    where = f"{RBAC}/namespaces/{namespace}/roles"
    for rule, told in (
        ({"apiGroups": [""], "resources": ["pods"]}, "rules[0].verbs: Required value"),
        ({"verbs": ["get"], "resources": ["pods"]}, "rules[0].apiGroups: Required value"),
        ({"verbs": ["get"], "nonResourceURLs": ["/x"]}, "namespaced rules cannot apply to non-resource URLs"),
    ):
        status, answer = send("POST", where, {"metadata": {"name": "r"}, "rules": [rule]})
        assert (status, told in answer["message"]) == (422, True)
