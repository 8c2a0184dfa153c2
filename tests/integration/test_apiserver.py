"""Objects over HTTP: the rules that clients rely on, in the words of a real API server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

Send = Callable[..., tuple[int, Any]]


@pytest.fixture
def send(api_server: Any) -> Send:
    return api_server.request  # type: ignore[no-any-return]


@pytest.fixture
def apps(namespace: str) -> str:
    return f"/apis/sparkoperator.k8s.io/v1beta2/namespaces/{namespace}/sparkapplications"


@pytest.fixture
def core(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}"


def app(name: str = "pi", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "type": "Python",
            "sparkVersion": "4.0.1",
            "mainApplicationFile": "local:///pi.py",
            "driver": {"cores": 1},
            "executor": {"instances": 1},
            **spec,
        },
    }


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "spark"}], **spec}}


def fields(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(cause["reason"], cause["field"]) for cause in answer["details"]["causes"]]


# --- creating ------------------------------------------------------------------------------------------------------


def test_a_created_object_has_what_only_the_server_gives(send: Send, apps: str, namespace: str) -> None:
    status, made = send("POST", apps, app())
    assert status == 201
    meta = made["metadata"]
    assert (meta["namespace"], meta["generation"]) == (namespace, 1)
    assert meta["uid"]
    assert meta["creationTimestamp"].endswith("Z")
    assert send("GET", f"{apps}/pi") == (200, made)


def test_a_name_is_taken_once(send: Send, apps: str) -> None:
    assert send("POST", apps, app())[0] == 201
    status, answer = send("POST", apps, app())
    assert (status, answer["reason"]) == (409, "AlreadyExists")
    assert answer["message"] == 'sparkapplications.sparkoperator.k8s.io "pi" already exists'


def test_a_name_can_be_made_up(send: Send, apps: str) -> None:
    body = app() | {"metadata": {"generateName": "run-"}}
    first, second = (send("POST", apps, body)[1]["metadata"]["name"] for _ in range(2))
    assert first.startswith("run-")
    assert first != second


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (app(type="Pyton"), [("FieldValueNotSupported", "spec.type")]),
        (app(driver={"cores": "one"}), [("FieldValueTypeInvalid", "spec.driver.cores")]),
        (app(driver={"cores": 0}), [("FieldValueInvalid", "spec.driver.cores")]),
        (app(restartPolicy={"type": "Sometimes"}), [("FieldValueNotSupported", "spec.restartPolicy.type")]),
        (app("Bad_Name"), [("FieldValueInvalid", "metadata.name")]),
        (app() | {"metadata": {"name": "x", "labels": {"a": "-"}}}, [("FieldValueInvalid", "metadata.labels")]),
        (app() | {"metadata": {"name": "x", "labels": {"a": 1}}}, [("FieldValueInvalid", "metadata.labels.a")]),
        (app() | {"metadata": {}}, [("FieldValueRequired", "metadata.name")]),
        (
            {**app(), "spec": {"type": "Python", "driver": {}, "executor": {}}},
            [("FieldValueRequired", "spec.mainApplicationFile"), ("FieldValueRequired", "spec.sparkVersion")],
        ),
    ],
)
def test_an_invalid_object_is_refused_with_its_fields(
    send: Send, apps: str, body: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    status, answer = send("POST", apps, body)
    assert (status, answer["reason"]) == (422, "Invalid")
    assert fields(answer) == expected
    assert send("GET", apps)[1]["items"] == []


def test_an_unknown_field_is_refused_dropped_or_warned_of(send: Send, apps: str) -> None:
    body = app(imagee="x", driver={"coreLimt": "1"})
    status, answer = send("POST", f"{apps}?fieldValidation=Strict", body)
    assert status == 400
    assert 'unknown field "spec.imagee"' in answer["message"]
    assert 'unknown field "spec.driver.coreLimt"' in answer["message"]
    status, made = send("POST", f"{apps}?fieldValidation=Ignore", body)
    assert status == 201
    assert "imagee" not in made["spec"]
    assert made["spec"]["driver"] == {}


def test_the_same_holds_for_built_in_types(send: Send, core: str) -> None:
    body = pod(containers=[{"name": "main", "image": "x", "comand": ["true"]}])
    status, answer = send("POST", f"{core}/pods?fieldValidation=Strict", body)
    assert status == 400
    assert 'unknown field "spec.containers[0].comand"' in answer["message"]
    status, answer = send("POST", f"{core}/pods", pod(terminationGracePeriodSeconds="soon"))
    assert status == 400
    assert "spec.terminationGracePeriodSeconds" in answer["message"]


def test_a_dry_run_answers_as_if_and_stores_nothing(send: Send, apps: str) -> None:
    status, made = send("POST", f"{apps}?dryRun=All&fieldValidation=Strict", app())
    assert (status, "resourceVersion" in made["metadata"]) == (201, False)
    assert send("GET", f"{apps}/pi")[0] == 404
    send("POST", apps, app())
    status, changed = send("PATCH", f"{apps}/pi?dryRun=All", {"spec": {"image": "x"}}, content_type=MERGE)
    assert changed["spec"]["image"] == "x"
    assert "image" not in send("GET", f"{apps}/pi")[1]["spec"]
    assert send("DELETE", f"{apps}/pi?dryRun=All")[0] == 200
    assert send("GET", f"{apps}/pi")[0] == 200


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"{not json", "application/json", 400),
        (b"[1]", "application/json", 400),
        (b"a: [", "application/yaml", 400),
        (b"x", "application/xml", 415),
        (json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}).encode(), "application/json", 400),
        (json.dumps(app() | {"metadata": {"name": "pi", "namespace": "other"}}).encode(), "application/json", 400),
        (b"x" * (4 * 1024 * 1024), "application/json", 413),
    ],
)
def test_what_is_no_such_object_is_refused(send: Send, apps: str, body: bytes, content_type: str, code: int) -> None:
    status, answer = send("POST", apps, body, content_type=content_type)
    assert (status, answer["kind"], answer["code"]) == (code, "Status", code)


def test_yaml_is_taken_as_well(send: Send, core: str) -> None:
    body = b"metadata: {name: c}\ndata: {when: '2026-01-01', day: \"x\"}\n"
    status, made = send("POST", f"{core}/configmaps", body, content_type="application/yaml")
    assert (status, made["data"]) == (201, {"when": "2026-01-01", "day": "x"})


def test_a_missing_namespace_and_a_missing_type_are_told_apart(send: Send, apps: str, namespace: str) -> None:
    status, answer = send("POST", apps.replace(namespace, "absent"), app())
    assert (status, answer["details"]["kind"]) == (404, "namespaces")
    assert send("GET", apps.replace("sparkapplications", "nothings")) == (404, "404 page not found\n")


# --- changing ------------------------------------------------------------------------------------------------------


def test_a_stale_version_is_a_conflict(send: Send, apps: str) -> None:
    _, first = send("POST", apps, app())
    assert send("PUT", f"{apps}/pi", {**first, "spec": {**first["spec"], "image": "x"}})[0] == 200
    status, answer = send("PUT", f"{apps}/pi", {**first, "spec": {**first["spec"], "image": "y"}})
    assert (status, answer["reason"]) == (409, "Conflict")
    stale = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "spec": {"image": "y"}}
    assert send("PATCH", f"{apps}/pi", stale, content_type=MERGE)[0] == 409
    other = {"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}}
    assert send("PATCH", f"{apps}/pi", other, content_type=MERGE)[0] == 409


def test_generation_counts_changes_of_the_spec_alone(send: Send, apps: str) -> None:
    send("POST", apps, app())

    def generation(path: str, patch: dict[str, Any]) -> int:
        return int(send("PATCH", path, patch, content_type=MERGE)[1]["metadata"]["generation"])

    assert generation(f"{apps}/pi", {"metadata": {"labels": {"x": "y"}}}) == 1
    assert (
        generation(f"{apps}/pi/status", {"status": {"applicationState": {"state": "RUNNING"}, "driverInfo": {}}}) == 1
    )
    assert generation(f"{apps}/pi", {"spec": {"image": "x"}}) == 2


def test_spec_and_status_are_written_apart(send: Send, apps: str) -> None:
    send("POST", apps, app())
    status = {"applicationState": {"state": "COMPLETED"}, "driverInfo": {}}
    _, changed = send("PATCH", f"{apps}/pi", {"status": status}, content_type=MERGE)
    assert "status" not in changed
    _, changed = send("PATCH", f"{apps}/pi/status", {"spec": {"image": "x"}, "status": status}, content_type=MERGE)
    assert changed["status"] == status
    assert "image" not in changed["spec"]
    whole = {**changed, "metadata": {**changed["metadata"], "labels": {"new": "label"}}, "status": {"driverInfo": {}}}
    _, changed = send("PUT", f"{apps}/pi/status", whole)
    assert changed["status"] == {"driverInfo": {}}
    assert changed["metadata"]["labels"] == {"app": "pi"}


def test_no_change_keeps_the_version(send: Send, apps: str) -> None:
    _, made = send("POST", apps, app(image="x"))
    _, same = send("PATCH", f"{apps}/pi", {"spec": {"image": "x"}}, content_type=MERGE)
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_each_kind_of_patch(send: Send, apps: str, core: str) -> None:
    send("POST", apps, app())
    operations = [{"op": "add", "path": "/spec/image", "value": "x"}]
    assert send("PATCH", f"{apps}/pi", operations, content_type=JSON_PATCH)[1]["spec"]["image"] == "x"
    assert send("PATCH", f"{apps}/pi", {"spec": {}}, content_type=STRATEGIC)[0] == 415
    send("POST", f"{core}/pods", pod())
    image = {"spec": {"containers": [{"name": "main", "image": "other"}]}}
    _, changed = send("PATCH", f"{core}/pods/p", image, content_type=STRATEGIC)
    assert changed["spec"]["containers"][0]["image"] == "other"
    assert changed["spec"]["containers"][0]["imagePullPolicy"] == "Always"
    assert send("PATCH", f"{core}/pods/p", b"{", content_type=MERGE)[0] == 400
    assert send("PATCH", f"{core}/pods/p", b"[]", content_type=MERGE)[0] == 400


def test_server_side_apply(send: Send, apps: str) -> None:
    def apply(manager: str, body: dict[str, Any], query: str = "") -> tuple[int, Any]:
        return send("PATCH", f"{apps}/pi?fieldManager={manager}{query}", body, content_type=APPLY)

    assert apply("a", app(image="x"))[0] == 201
    status, answer = apply("b", app(image="y"))
    assert (status, fields(answer)) == (409, [("FieldManagerConflict", ".spec.image")])
    status, changed = apply("b", app(image="y"), "&force=true")
    assert (status, changed["spec"]["image"]) == (200, "y")
    assert send("PATCH", f"{apps}/pi", app(), content_type=APPLY)[0] == 422
    body = app()
    body["spec"]["typo"] = 1
    status, answer = apply("a", body, "&fieldValidation=Strict")
    assert (status, "spec.typo" in answer["message"]) == (400, True)


def test_a_rename_is_refused(send: Send, apps: str) -> None:
    _, made = send("POST", apps, app())
    made["metadata"]["name"] = "other"
    assert send("PUT", f"{apps}/pi", made)[0] == 400


# --- listing -------------------------------------------------------------------------------------------------------


def names(answer: dict[str, Any]) -> list[str]:
    return [item["metadata"]["name"] for item in answer["items"]]


def test_selectors(send: Send, apps: str, core: str) -> None:
    for name in ("a", "b", "c"):
        send("POST", apps, app(name))
    assert names(send("GET", f"{apps}?labelSelector=app+in+(a,b)")[1]) == ["a", "b"]
    assert names(send("GET", f"{apps}?labelSelector=app+notin+(a,b)")[1]) == ["c"]
    assert names(send("GET", f"{apps}?fieldSelector=metadata.name%3Db")[1]) == ["b"]
    assert send("GET", f"{apps}?fieldSelector=spec.image%3Dx")[0] == 400
    send("POST", f"{core}/pods", pod("p1"))
    send("POST", f"{core}/pods", pod("p2"))
    send("PATCH", f"{core}/pods/p2/status", {"status": {"phase": "Failed"}}, content_type=MERGE)
    assert names(send("GET", f"{core}/pods?fieldSelector=status.phase%3DFailed")[1]) == ["p2"]
    assert names(send("GET", f"{core}/pods?fieldSelector=status.phase!%3DFailed")[1]) == ["p1"]


def test_pages_show_one_moment(send: Send, apps: str) -> None:
    for number in range(5):
        send("POST", apps, app(f"app-{number}"))
    _, first = send("GET", f"{apps}?limit=2")
    assert first["metadata"]["remainingItemCount"] == 3
    send("DELETE", f"{apps}/app-3")
    send("POST", apps, app("app-2-late"))
    _, rest = send("GET", f"{apps}?limit=9&continue={first['metadata']['continue']}")
    assert names(first) + names(rest) == [f"app-{number}" for number in range(5)]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in rest["metadata"]
    assert send("GET", f"{apps}?limit=2&continue=zzz")[0] == 400


def test_a_page_of_a_forgotten_moment_is_gone(send: Send, apps: str) -> None:
    import base64

    token = base64.urlsafe_b64encode(b'{"v":"meta.k8s.io/v1","rv":1,"start":"x/y"}').decode()
    status, answer = send("GET", f"{apps}?limit=2&continue={token}")
    assert (status, answer["reason"]) == (410, "Expired")


# --- deleting ------------------------------------------------------------------------------------------------------


def test_preconditions(send: Send, apps: str) -> None:
    _, made = send("POST", apps, app())
    stranger = {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}
    status, answer = send("DELETE", f"{apps}/pi", stranger)
    assert (status, answer["reason"]) == (409, "Conflict")
    assert "UID in the precondition" in answer["message"]
    assert send("DELETE", f"{apps}/pi", {"preconditions": {"resourceVersion": "1"}})[0] == 409
    assert send("DELETE", f"{apps}/pi", {"preconditions": {"uid": made["metadata"]["uid"]}})[0] == 200
    assert send("DELETE", f"{apps}/pi")[0] == 404


def test_finalizers_hold_an_object(send: Send, apps: str) -> None:
    body = app()
    body["metadata"]["finalizers"] = ["example.com/hold"]
    send("POST", apps, body)
    _, going = send("DELETE", f"{apps}/pi")
    assert going["metadata"]["deletionTimestamp"]
    more = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    status, answer = send("PATCH", f"{apps}/pi", more, content_type=MERGE)
    assert (status, fields(answer)) == (422, [("FieldValueForbidden", "metadata.finalizers")])
    assert send("PATCH", f"{apps}/pi", {"metadata": {"finalizers": None}}, content_type=MERGE)[0] == 200
    assert send("GET", f"{apps}/pi")[0] == 404


def test_a_pod_on_a_node_goes_when_the_kubelet_says_so(send: Send, core: str) -> None:
    send("POST", f"{core}/pods", pod(nodeName="node", terminationGracePeriodSeconds=20))
    _, going = send("DELETE", f"{core}/pods/p")
    assert going["metadata"]["deletionGracePeriodSeconds"] == 20
    _, shorter = send("DELETE", f"{core}/pods/p?gracePeriodSeconds=5")
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    _, not_longer = send("DELETE", f"{core}/pods/p?gracePeriodSeconds=9")
    assert not_longer["metadata"]["deletionGracePeriodSeconds"] == 5
    send("DELETE", f"{core}/pods/p?gracePeriodSeconds=0")
    assert send("GET", f"{core}/pods/p")[0] == 404


def test_a_pod_that_runs_nowhere_goes_at_once(send: Send, core: str) -> None:
    send("POST", f"{core}/pods", pod())
    send("DELETE", f"{core}/pods/p")
    assert send("GET", f"{core}/pods/p")[0] == 404


def test_a_collection_is_deleted_by_its_selector(send: Send, apps: str) -> None:
    for name in ("a", "b"):
        send("POST", apps, app(name))
    _, answer = send("DELETE", f"{apps}?labelSelector=app%3Da")
    assert names(answer) == ["a"]
    assert names(send("GET", apps)[1]) == ["b"]


# --- built-in types ------------------------------------------------------------------------------------------------


def test_a_pod_is_pending_from_the_first_moment(send: Send, core: str) -> None:
    _, made = send("POST", f"{core}/pods", pod())
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert made["spec"]["serviceAccountName"] == "default"
    assert made["spec"]["restartPolicy"] == "Always"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"containers": []}, [("FieldValueRequired", "spec.containers")]),
        ({"containers": [{"name": "a"}]}, [("FieldValueRequired", "spec.containers[0].image")]),
        (
            {"containers": [{"name": "a", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]},
            [("FieldValueNotFound", "spec.containers[0].volumeMounts[0].name")],
        ),
        (
            {"containers": [{"name": "a", "image": "x", "resources": {"limits": {"memory": "lots"}}}]},
            [("FieldValueInvalid", "spec.containers[0].resources.limits[memory]")],
        ),
        (
            {
                "containers": [
                    {"name": "a", "image": "x", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}
                ]
            },
            [("FieldValueInvalid", "spec.containers[0].resources.requests")],
        ),
        ({"restartPolicy": "Maybe"}, [("FieldValueNotSupported", "spec.restartPolicy")]),
        (
            {"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]},
            [("FieldValueDuplicate", "spec.containers[1].name")],
        ),
    ],
)
def test_an_invalid_pod_is_refused(
    send: Send, core: str, spec: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    status, answer = send("POST", f"{core}/pods", pod(**spec))
    assert (status, fields(answer)) == (422, expected)


def test_a_pods_spec_stays_as_it_is(send: Send, core: str) -> None:
    send("POST", f"{core}/pods", pod())
    status, answer = send("PATCH", f"{core}/pods/p", {"spec": {"restartPolicy": "Never"}}, content_type=MERGE)
    assert (status, fields(answer)) == (422, [("FieldValueForbidden", "spec")])


def test_a_pod_of_an_unknown_account_is_refused(send: Send, core: str) -> None:
    status, answer = send("POST", f"{core}/pods", pod(serviceAccountName="nobody"))
    assert status == 403
    assert 'serviceaccount "nobody" not found' in answer["message"]


def test_a_pod_is_bound_once(send: Send, core: str) -> None:
    _, made = send("POST", f"{core}/pods", pod())
    binding = {"metadata": {"uid": made["metadata"]["uid"]}, "target": {"kind": "Node", "name": "node"}}
    assert send("POST", f"{core}/pods/p/binding", binding)[0] == 201
    assert send("GET", f"{core}/pods/p")[1]["spec"]["nodeName"] == "node"
    assert send("POST", f"{core}/pods/p/binding", binding)[0] == 409


def test_services_get_an_address_that_stays(send: Send, core: str) -> None:
    service = {"metadata": {"name": "s"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}
    _, made = send("POST", f"{core}/services", service)
    assert made["spec"]["clusterIP"].startswith("10.96.")
    assert made["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    headless = {"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "selector": {"a": "b"}}}
    assert send("POST", f"{core}/services", headless)[1]["spec"]["clusterIP"] == "None"
    status, answer = send("PATCH", f"{core}/services/s", {"spec": {"clusterIP": "10.96.1.1"}}, content_type=MERGE)
    assert (status, fields(answer)) == (422, [("FieldValueInvalid", "spec.clusterIPs[0]")])


def test_secrets_are_encoded(send: Send, core: str) -> None:
    secret = {"metadata": {"name": "s"}, "stringData": {"password": "x"}}
    _, made = send("POST", f"{core}/secrets", secret)
    assert (made["data"], made["type"], "stringData" in made) == ({"password": "eA=="}, "Opaque", False)
    status, answer = send("POST", f"{core}/secrets", {"metadata": {"name": "t"}, "data": {"password": "not base64!"}})
    assert status == 422
    assert "not base64!" not in json.dumps(answer)


def test_an_immutable_config_map_stays_as_it_is(send: Send, core: str) -> None:
    send("POST", f"{core}/configmaps", {"metadata": {"name": "c"}, "data": {"a": "1"}, "immutable": True})
    assert send("PATCH", f"{core}/configmaps/c", {"data": {"a": "2"}}, content_type=MERGE)[0] == 422


def test_a_deployments_scale(send: Send, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod()["spec"]}
    body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    assert send("POST", path, body)[1]["spec"]["replicas"] == 1
    _, scale = send("PATCH", f"{path}/d/scale", {"spec": {"replicas": 3}}, content_type=MERGE)
    assert (scale["kind"], scale["spec"]["replicas"], scale["status"]["selector"]) == ("Scale", 3, "a=b")
    _, changed = send("GET", f"{path}/d")
    assert (changed["spec"]["replicas"], changed["metadata"]["generation"]) == (3, 2)
    wrong = {**body, "metadata": {"name": "e"}}
    wrong["spec"] = {**body["spec"], "selector": {"matchLabels": {"a": "other"}}}
    assert fields(send("POST", path, wrong)[1]) == [("FieldValueInvalid", "spec.template.metadata.labels")]


def test_an_event_is_seen_by_both_apis(send: Send, core: str, namespace: str) -> None:
    about = {"kind": "Pod", "name": "p", "namespace": namespace}
    event = {
        "metadata": {"name": "e"},
        "involvedObject": about,
        "reason": "Failed",
        "message": "why",
        "type": "Warning",
    }
    assert send("POST", f"{core}/events", event)[0] == 201
    _, other = send("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events/e")
    assert (other["note"], other["regarding"], other["apiVersion"]) == ("why", about, "events.k8s.io/v1")
    assert names(send("GET", f"{core}/events?fieldSelector=involvedObject.name%3Dp,type%3DWarning")[1]) == ["e"]
    assert names(send("GET", f"{core}/events?fieldSelector=involvedObject.name%3Dq")[1]) == []


def test_an_inference_service_needs_a_model_format(send: Send, namespace: str) -> None:
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices"
    body = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "m"},
        "spec": {"predictor": {"model": {"storageUri": "pvc://x/y", "resources": {"limits": {"cpu": "1"}}}}},
    }
    status, answer = send("POST", path, body)
    assert (status, fields(answer)) == (422, [("FieldValueRequired", "spec.predictor.model.modelFormat")])
    body["spec"]["predictor"]["model"]["modelFormat"] = {"name": "onnx"}  # type: ignore[index]
    assert send("POST", f"{path}?fieldValidation=Strict", body)[0] == 201
