"""The values of a Secret that a task applies: in no log, no rendered template, no XCom and no exception."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

from airflow_provider_sparkml.exceptions import InvalidManifestError, InvalidObjectError, ResourceTypeNotFoundError
from airflow_provider_sparkml.operators.kubernetes import KubernetesApplyOperator, KubernetesGetOperator

pytestmark = pytest.mark.usefixtures("connection", "supervisor", "rights")

VALUE, SHORT = "correct horse battery staple", "pin"
ENCODED = base64.b64encode(VALUE.encode()).decode()
TEMPLATE = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "s"},
    "stringData": {"password": "{{ password }}", "short": "{{ short }}"},
}
TEXT = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {user: etl}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {password: "{{ password }}", short: "{{ short }}"}
"""


@pytest.fixture
def rights(api_server: Any, namespace: str) -> None:
    """Whoever applies Secrets needs a right that the shipped Role for Airflow does not give."""
    group = "rbac.authorization.k8s.io"
    rule = {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["create", "patch", "get"]}
    subject = {"kind": "ServiceAccount", "name": "airflow", "namespace": namespace}
    reference = {"apiGroup": group, "kind": "Role", "name": "secrets"}
    for kind, spec in (("roles", {"rules": [rule]}), ("rolebindings", {"roleRef": reference, "subjects": [subject]})):
        body = {"metadata": {"name": "secrets"}, **spec}
        status, answer = api_server.request("POST", f"/apis/{group}/v1/namespaces/{namespace}/{kind}", body)
        assert status == 201, answer


def rendered(manifests: Any) -> KubernetesApplyOperator:
    operator = KubernetesApplyOperator(task_id="t", manifests=manifests, dag=DAG("d", schedule=None))
    context: Any = {"password": VALUE, "short": SHORT}
    operator.render_template_fields(context)
    return operator


def assert_hidden(text: str) -> None:
    for value in (VALUE, ENCODED, f'"{SHORT}"', base64.b64encode(SHORT.encode()).decode()):
        assert value not in text


@pytest.mark.parametrize("manifests", [TEMPLATE, TEXT, json.dumps(TEMPLATE)], ids=["mapping", "text", "json"])
def test_the_values_are_applied_and_shown_nowhere(
    manifests: Any, task_context: Any, api_server: Any, namespace: str
) -> None:
    operator = rendered(manifests)
    shown = json.dumps(_serialize_rendered_fields(operator))
    assert_hidden(shown)
    assert '"password": "***"' in shown, "the keys may be seen"
    assert_hidden(json.dumps(operator.execute(task_context())))
    assert_hidden(
        json.dumps(KubernetesGetOperator(task_id="g", kind="Secret", api_version="v1", name="s").execute({}))  # type: ignore[typeddict-item]
    )
    _, stored = api_server.request("GET", f"/api/v1/namespaces/{namespace}/secrets/s")
    assert base64.b64decode(stored["data"]["password"]).decode() == VALUE


@pytest.mark.parametrize(
    "manifests",
    [
        [TEMPLATE],
        {"apiVersion": "v1", "kind": "List", "items": [TEMPLATE]},
        json.dumps({"apiVersion": "v1", "kind": "List", "items": [TEMPLATE]}),
    ],
    ids=["list", "List", "text"],
)
def test_secrets_within_something_else_are_not_shown(manifests: Any, task_context: Any) -> None:
    operator = rendered(manifests)
    assert_hidden(json.dumps(_serialize_rendered_fields(operator)))
    with pytest.raises((InvalidManifestError, ResourceTypeNotFoundError)) as refused:  # no server knows a List
        operator.execute(task_context())
    assert_hidden(str(refused.value))


def test_what_is_no_secret_is_shown_as_it_was_given() -> None:
    text = TEXT.partition("---")[0].strip()
    assert _serialize_rendered_fields(rendered(text))["manifests"] == text


def test_airflows_masker_knows_the_values() -> None:
    from airflow.sdk._shared.secrets_masker import redact

    rendered(TEMPLATE)
    assert redact(f"it said {VALUE} and {ENCODED}") == "it said *** and ***"


def test_a_text_that_cannot_be_read_is_not_shown(task_context: Any) -> None:
    operator = rendered(f"kind: Secret\nstringData: {{password: '{VALUE}\n")
    assert_hidden(json.dumps(_serialize_rendered_fields(operator)))
    with pytest.raises(InvalidManifestError) as refused:
        operator.execute(task_context())
    assert_hidden(str(refused.value))
    assert refused.value.__cause__ is None, "which would quote the line"


def test_what_the_api_server_quotes_is_taken_out(task_context: Any) -> None:
    operator = rendered({**TEMPLATE, "data": {"k": "{{ password }}"}, "type": "{{ password }}", VALUE: 1})
    with pytest.raises(InvalidObjectError) as refused:
        operator.execute(task_context())
    error: BaseException | None = refused.value
    assert VALUE not in str(refused.value.causes)
    while error is not None:
        assert VALUE not in str(error)
        error = error.__cause__ or error.__context__
