"""Preflight on a real API server: limited rights, no CRDs, quotas, service accounts, and the command's exit code."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from airflow_provider_sparkml.cli import app
from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_dict, kubeconfig_file
from airflow_provider_sparkml.client.transport import Timeouts
from airflow_provider_sparkml.jobs.preflight import RESOURCE_QUOTA, Status, Wanted, preflight
from airflow_provider_sparkml.jobs.preflight_spark import WEBHOOKS, check_spark_operator
from airflow_provider_sparkml.jobs.rights import ROLES
from airflow_provider_sparkml.local.controllers.collectable import DEFINITION
from airflow_provider_sparkml.resources.core import CONFIG_MAP, DEPLOYMENT, NAMESPACE, SECRET, SERVICE_ACCOUNT
from airflow_provider_sparkml.resources.serving import INFERENCE_SERVICE
from airflow_provider_sparkml.resources.spark import API

from .conftest import limited_client

JOB_VERBS = ["create", "get", "list", "watch", "patch", "delete"]
APPS = "right: sparkapplications.sparkoperator.k8s.io"


async def look(client: KubernetesClient, namespace: str, **wanted: Any) -> dict[str, Any]:
    return {finding.check: finding for finding in await preflight(client, Wanted(namespace, **wanted))}


@pytest.fixture
async def account(client, namespace):
    """The drivers' service account."""
    return await client.create(SERVICE_ACCOUNT, {"metadata": {"name": "spark"}}, namespace)


async def test_all_is_well(client, namespace, account):
    found = await look(client, namespace, kinds=("SparkApplication", "InferenceService"))
    assert [each for each in found.values() if each.status is Status.FAILED] == []
    assert "version v1." in found["API server"].detail
    assert found["SparkApplication"].detail == "sparkoperator.k8s.io/v1beta2"
    assert found["sparkapplications.spark.apache.org"].detail == "spark.apache.org/v1"
    assert found[APPS].status is Status.OK
    assert found["right: deployments.apps"].status is Status.OK
    assert {found[feature].status for feature in ("clean-up", "client mode", "streams")} == {Status.OK}
    assert found["service account"].status is Status.OK
    assert found["quota"].detail == "there is none"


async def test_what_a_role_lacks_is_named_verb_by_verb(client, namespace, account, api_server):
    async with limited_client(api_server, client, namespace, ["create", "get", "list", "delete"]) as limited:
        found = await look(limited, namespace)
    assert found[APPS].status is Status.WARNING
    assert found[APPS].detail.startswith("not allowed: watch, patch; a little later")
    assert 'resources: ["sparkapplications"], verbs: [watch, patch]' in found[APPS].fix
    for optional in ("pods", "pods/log", "pods/proxy", "events"):
        assert found[f"right: {optional}"].status is Status.WARNING
    assert found["client mode"].status is Status.WARNING
    assert "does not work: not allowed: create, get, list, delete on pods; create, get on services" in (
        found["client mode"].detail
    )
    assert found["clean-up"].status is Status.WARNING
    assert "list, delete on pods, services, ingresses.networking.k8s.io" in found["clean-up"].detail
    assert "istio" not in found["clean-up"].detail, "it is not installed"
    for unseen in ("namespace", "service account", "quota"):
        assert found[unseen].status is Status.UNKNOWN


async def test_training_pods_need_their_service(client, namespace, account, api_server):
    async with limited_client(api_server, client, namespace, JOB_VERBS) as limited:
        found = await look(limited, namespace, kinds=("Job",))
    assert found["right: services"].detail == "not allowed: create, get"
    assert found["right: jobs.batch"].status is Status.FAILED


async def test_least_rights_are_enough(client, namespace, account, api_server):
    async with limited_client(api_server, client, namespace, JOB_VERBS) as limited:
        found = await look(limited, namespace)
    assert [each for each in found.values() if each.status is Status.FAILED] == []


async def test_a_missing_namespace_ends_it_there(client):
    found = await look(client, "no-such-namespace")
    assert found["namespace"].status is Status.FAILED
    assert found["namespace"].fix == "kubectl create namespace no-such-namespace"
    assert APPS not in found


async def test_a_missing_service_account(client, namespace):
    finding = (await look(client, namespace))["service account"]
    assert (finding.status, finding.detail) == (Status.FAILED, f"spark does not exist in {namespace}")
    assert finding.fix == f"kubectl apply -n {namespace} -f {ROLES / 'driver.yaml'}"
    renamed = (await look(client, namespace, service_account="etl"))["service account"].fix
    assert "s/name: spark$/name: etl/" in renamed
    assert renamed.endswith(f" | kubectl apply -n {namespace} -f -")


@pytest.mark.parametrize(
    ("secret", "status"),
    [(None, Status.FAILED), ("Opaque", Status.FAILED), ("kubernetes.io/dockerconfigjson", Status.OK)],
)
async def test_the_pull_secrets_of_the_service_account(client, namespace, secret, status):
    named = {"metadata": {"name": "spark"}, "imagePullSecrets": [{"name": "registry"}]}
    await client.create(SERVICE_ACCOUNT, named, namespace)
    if secret:
        data = {".dockerconfigjson": json.dumps({"auths": {}})}
        await client.create(SECRET, {"metadata": {"name": "registry"}, "type": secret, "stringData": data}, namespace)
    assert (await look(client, namespace))["image pull secret"].status is status


async def test_a_quota_that_is_used_up(client, namespace, account):
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"count/configmaps": "1", "configmaps": "1"}}}
    await client.create(RESOURCE_QUOTA, quota, namespace)
    assert (await look(client, namespace))["quota"].detail == "there is room in few"
    await client.create(CONFIG_MAP, {"metadata": {"name": "c"}}, namespace)
    finding = (await look(client, namespace))["quota"]
    assert finding.status is Status.FAILED
    assert "configmaps 1 of 1" in finding.detail


async def test_kinds_that_are_not_installed(start_api_server):
    server = start_api_server()
    async with KubernetesClient(kubeconfig_file(server.kubeconfig)) as client:
        for api in (API, INFERENCE_SERVICE.api):
            await client.delete(DEFINITION, f"{api.plural}.{api.group}", propagation="Background")
        found = await look(client, "default")
        assert found["SparkApplication"].status is Status.FAILED
        assert "no sparkoperator" not in found["SparkApplication"].detail, "its other kinds are there"
        assert "this package speaks sparkoperator.k8s.io/v1beta2" in found["SparkApplication"].detail
        assert "helm install spark-operator" in found["SparkApplication"].fix
        assert APPS not in found
        assert found["other kinds"].status is Status.WARNING
        assert "InferenceService" in found["other kinds"].detail


async def test_an_api_server_that_is_away_is_the_only_finding():
    cluster = {"clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}], "users": [{"name": "u"}]}
    context = {"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}
    patience = Timeouts(total=0.5, request=0.5, connect=0.5)
    async with KubernetesClient(kubeconfig_dict({**cluster, **context}), timeouts=patience) as client:
        (finding,) = await preflight(client, Wanted("default"))
    assert (finding.check, finding.status) == ("API server", Status.FAILED)


async def test_the_spark_operator(start_api_server, client, namespace, api_server):
    server = start_api_server()
    async with KubernetesClient(kubeconfig_file(server.kubeconfig)) as admin:
        none = {each.check: each for each in await check_spark_operator(admin, "v1.34.0", "default")}
        assert none["Spark operator"].status is Status.FAILED
        assert none["Spark webhook"].status is Status.WARNING
        await _install(admin)
        dead = {each.check: each for each in await check_spark_operator(admin, "v1.34.0", "default")}
        assert "no pod that is available" in dead["Spark operator"].detail
        status = {"status": {"availableReplicas": 1, "replicas": 1}}
        await admin.patch(DEPLOYMENT, "spark-operator-controller", status, "spark-operator", subresource="status")
        alive = {each.check: each.status for each in await check_spark_operator(admin, "v1.34.0", "default")}
        assert set(alive.values()) == {Status.OK}
        elsewhere = {each.check: each for each in await check_spark_operator(admin, "v1.34.0", "data")}
        assert elsewhere["watched namespace"].status is Status.FAILED
    async with limited_client(api_server, client, namespace, JOB_VERBS) as limited:
        hidden = await check_spark_operator(limited, "v1.34.0", namespace)
    assert {each.status for each in hidden} == {Status.UNKNOWN}


async def _install(admin: KubernetesClient) -> None:
    """Make what the operator's Helm chart makes; the type of webhooks is one that the local API server lacks."""
    labels = {"app.kubernetes.io/name": "spark-operator"}
    args = ["controller", "start", "--namespaces=default", "--leader-election=false"]
    container = {"name": "spark-operator-controller", "image": "ghcr.io/kubeflow/spark-operator:2.5.0", "args": args}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    await admin.create(NAMESPACE, {"metadata": {"name": "spark-operator"}})
    deployment = {
        "metadata": {"name": "spark-operator-controller", "labels": {**labels, "app.kubernetes.io/version": "2.5.0"}},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }
    await admin.create(DEPLOYMENT, deployment, "spark-operator")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": WEBHOOKS.kind, "listKind": f"{WEBHOOKS.kind}List", "plural": WEBHOOKS.plural}
    names["singular"] = WEBHOOKS.kind.lower()
    spec = {"group": WEBHOOKS.group, "scope": "Cluster", "names": names, "versions": [version]}
    await admin.create(DEFINITION, {"metadata": {"name": WEBHOOKS.full_name}, "spec": spec})
    webhooks = [{"name": "mutate--v1-pod.sparkoperator.k8s.io"}]
    await admin.create(WEBHOOKS, {"metadata": {"name": "spark-operator-webhook"}, "webhooks": webhooks})


# --- the command ---


def sparkml_check(server: Any, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check", "--kubeconfig", str(server.kubeconfig), *arguments])
    return result.exit_code, result.output


def test_the_commands_exit_code_and_output(api_server, namespace):
    code, text = sparkml_check(api_server, "-n", namespace)
    assert code == 1
    assert "FAILED   service account" in text
    assert f"    fix: kubectl apply -n {namespace} -f " in text
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    api_server.request("POST", path, {"metadata": {"name": "spark"}})
    code, text = sparkml_check(api_server, "-n", namespace, "-o", "json")
    assert code == 0
    findings = json.loads(text)
    assert {finding["status"] for finding in findings} <= {"ok", "warning", "unknown"}
    assert all(finding.keys() == {"check", "status", "detail", "fix"} for finding in findings)
    code, text = sparkml_check(api_server, "--kind", "Nonsense")
    assert (code, "kinds has 'Nonsense'" in text) == (1, True)
