"""Each verb as it stands on the wire, and what its answers become."""

import pytest

from airflow_provider_sparkml.client.client import EVENTS, PODS, KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_dict
from airflow_provider_sparkml.exceptions import (
    ConflictError,
    GoneError,
    InvalidManifestError,
    InvalidObjectError,
    NotFoundError,
)
from airflow_provider_sparkml.resources.base import ApiResource

APPS = ApiResource("sparkoperator.k8s.io", "v1beta2", "sparkapplications", "SparkApplication")
NAMESPACES = ApiResource("", "v1", "namespaces", "Namespace", namespaced=False)
COLLECTION = APPS.path("team")
PI = APPS.path("team", "pi")
OBJ = {"metadata": {"name": "pi", "namespace": "team"}, "spec": {"a": 1}}
COMPLETE = {"apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "SparkApplication", **OBJ}


def page(items, version="7", token=""):
    return {"metadata": {"resourceVersion": version, **({"continue": token} if token else {})}, "items": items}


async def test_get(wire, client, answers):
    wire.on(PI, answers.obj(COMPLETE))
    assert await client.get(APPS, "pi", "team") == COMPLETE
    assert (wire.seen[0].method, wire.seen[0].query) == ("GET", {})


async def test_namespaces_come_from_argument_manifest_or_credentials_in_this_order(wire, client, answers):
    for namespace in ("argument", "manifest", "team"):
        wire.on(APPS.path(namespace), answers.obj(OBJ, 201))
    own = {"metadata": {"name": "x", "namespace": "manifest"}}
    await client.create(APPS, own, "argument")
    await client.create(APPS, own)
    await client.create(APPS, {"metadata": {"name": "x"}})
    assert [seen.path for seen in wire.seen] == [APPS.path(ns) for ns in ("argument", "manifest", "team")]
    assert await client.default_namespace() == "team"


async def test_without_any_namespace_it_is_default(wire, answers):
    config = wire.config()
    del config["contexts"][0]["context"]["namespace"]
    async with KubernetesClient(kubeconfig_dict(config)) as client:
        assert await client.default_namespace() == "default"


async def test_cluster_wide_types_have_no_namespace(wire, client, answers):
    wire.on("/api/v1/namespaces/team", answers.obj({"metadata": {"name": "team"}}))
    await client.get(NAMESPACES, "team", "ignored")
    assert wire.seen[0].path == "/api/v1/namespaces/team"


async def test_five_thousand_objects_are_listed_page_by_page(wire, client, answers):
    names = [f"app-{number:04}" for number in range(5000)]

    async def pages(request):
        start = int(request.query.get("continue") or 0)
        limit = int(request.query["limit"])
        items = [{"metadata": {"name": name}} for name in names[start : start + limit]]
        rest = start + limit < len(names)
        return await answers.obj(page(items, "42", str(start + limit) if rest else ""))(request)

    wire.on(COLLECTION, pages)
    found = await client.list(APPS, "team", label_selector="a=b,c in (d)", field_selector="metadata.name!=x")
    assert [item["metadata"]["name"] for item in found.items] == names
    assert found.resource_version == "42"
    assert len(wire.seen) == 10
    assert wire.seen[3].query == {
        "labelSelector": "a=b,c in (d)",
        "fieldSelector": "metadata.name!=x",
        "limit": "500",
        "continue": "1500",
    }
    # As built-in types list them, without apiVersion and kind: they get them back.
    assert found.items[0]["kind"] == "SparkApplication"


async def test_a_list_whose_snapshot_was_compacted_begins_anew_and_finally_asks_for_all(wire, client, answers):
    async def pages(request):
        if "limit" not in request.query:
            return await answers.obj(page([{"metadata": {"name": "whole"}}], "9"))(request)
        if "continue" in request.query:
            return await answers.status(410, "Expired")(request)
        return await answers.obj(page([{"metadata": {"name": "first"}}], "8", "token"))(request)

    wire.on(COLLECTION, pages)
    found = await client.list(APPS, "team")
    assert [item["metadata"]["name"] for item in found.items] == ["whole"]
    assert len(wire.seen) == 7


async def test_a_list_of_all_namespaces(wire, client, answers):
    wire.on("/apis/sparkoperator.k8s.io/v1beta2/sparkapplications", answers.obj(page([])))
    assert (await client.list(APPS)).items == []


async def test_create_asks_for_strict_fields_and_leaves_the_manifest_alone(wire, client, answers):
    wire.on(COLLECTION, answers.obj(COMPLETE, 201))
    manifest = {"metadata": {"name": "pi"}, "spec": {"a": 1}}
    assert await client.create(APPS, manifest, "team", dry_run=True) == COMPLETE
    assert wire.seen[0].query == {"dryRun": "All", "fieldValidation": "Strict"}
    assert wire.seen[0].body == {"apiVersion": APPS.api_version, "kind": APPS.kind, **manifest}
    assert wire.seen[0].headers["Content-Type"] == "application/json"
    assert manifest == {"metadata": {"name": "pi"}, "spec": {"a": 1}}


async def test_an_error_of_create_names_the_object(wire, client, answers):
    wire.on(COLLECTION, answers.status(422, "Invalid", "no"))
    with pytest.raises(InvalidObjectError, match=r"create sparkapplications.sparkoperator.k8s.io pi in namespace team"):
        await client.create(APPS, OBJ, "team")


async def test_replace(wire, client, answers):
    wire.on(PI + "/status", answers.obj(COMPLETE))
    await client.replace(APPS, OBJ, subresource="status")
    assert (wire.seen[0].method, wire.seen[0].body) == ("PUT", COMPLETE)


@pytest.mark.parametrize(
    ("patch", "strategic", "content_type"),
    [
        ({"a": None}, False, "application/merge-patch+json"),
        ({"a": None}, True, "application/strategic-merge-patch+json"),
        ([{"op": "remove", "path": "/a"}], False, "application/json-patch+json"),
    ],
)
async def test_patch_in_its_three_kinds(wire, client, answers, patch, strategic, content_type):
    wire.on(PI + "/status", answers.obj(COMPLETE))
    await client.patch(APPS, "pi", patch, "team", subresource="status", strategic=strategic)
    seen = wire.seen[0]
    assert (seen.method, seen.body, seen.headers["Content-Type"]) == ("PATCH", patch, content_type)


async def test_apply(wire, client, answers):
    wire.on(PI, answers.obj(COMPLETE))
    await client.apply(APPS, OBJ, field_manager="airflow", force=True, dry_run=True)
    seen = wire.seen[0]
    assert seen.query == {"fieldManager": "airflow", "force": "true", "dryRun": "All", "fieldValidation": "Strict"}
    assert (seen.method, seen.headers["Content-Type"]) == ("PATCH", "application/apply-patch+yaml")
    assert seen.body == COMPLETE


async def test_delete_in_the_foreground_of_one_uid(wire, client, answers):
    wire.on(PI, answers.obj(COMPLETE))
    assert await client.delete(APPS, "pi", "team", uid="u-1", grace_seconds=0) is True
    assert wire.seen[0].body == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Foreground",
        "preconditions": {"uid": "u-1"},
        "gracePeriodSeconds": 0,
    }


async def test_delete_of_what_is_absent_or_anothers_is_false(wire, client, answers):
    wire.on(PI, answers.status(404, "NotFound", name="pi"))
    assert await client.delete(APPS, "pi", "team") is False
    said = "Operation cannot be fulfilled: the UID in the precondition (x) does not match the UID in record (y)"
    wire.on(PI, answers.status(409, "Conflict", said))
    assert await client.delete(APPS, "pi", "team", uid="x") is False


async def test_another_conflict_of_delete_is_raised(wire, client, answers):
    wire.on(PI, answers.status(409, "Conflict", "the object has been modified"))
    with pytest.raises(ConflictError):
        await client.delete(APPS, "pi", "team", uid="x")


async def test_delete_collection_needs_a_selector(wire, client, answers):
    wire.on(COLLECTION, answers.obj({"kind": "Status", "status": "Success"}))
    with pytest.raises(InvalidManifestError, match="label_selector is empty"):
        await client.delete_collection(APPS, "team", label_selector="")
    assert wire.seen == []
    await client.delete_collection(APPS, "team", label_selector="a=b")
    assert (wire.seen[0].method, wire.seen[0].query) == ("DELETE", {"labelSelector": "a=b"})


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../secrets/x"])
async def test_a_name_that_would_change_the_path_is_never_sent(wire, client, name):
    for call in (client.get, client.delete):
        with pytest.raises(InvalidManifestError, match=r"metadata\.name"):
            await call(APPS, name, "team")
    for namespace in ("..", "a/b"):
        with pytest.raises(InvalidManifestError, match=r"metadata\.namespace"):
            await client.get(APPS, "pi", namespace)
    with pytest.raises(InvalidManifestError):
        client.pod_log("team", name)
    assert wire.seen == []


async def test_odd_names_are_percent_encoded(wire, client, answers):
    wire.on(APPS.path("team", "a b?c#d%2e"), answers.obj(OBJ))
    assert await client.get(APPS, "a b?c#d%2e", "team") == OBJ


async def test_events_of_an_object_come_oldest_first(wire, client, answers):
    def event(name, **times):
        return {"metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:09Z"}, **times}

    items = [
        event("newest"),
        event("old", lastTimestamp="2026-01-01T00:00:01Z"),
        event("newer", eventTime="2026-01-01T00:00:03.000000Z", lastTimestamp=None),
        event("series", series={"lastObservedTime": "2026-01-01T00:00:05Z"}, lastTimestamp="2026-01-01T00:00:00Z"),
    ]
    wire.on(EVENTS.path("team"), answers.obj(page(items)))
    found = await client.events("team", "u-1")
    assert [each["metadata"]["name"] for each in found] == ["old", "newer", "series", "newest"]
    assert wire.seen[0].query["fieldSelector"] == "involvedObject.uid=u-1"


async def test_can_i(wire, client, answers):
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    wire.on(path, answers.obj({"status": {"allowed": True}}, 201), answers.obj({"status": {"allowed": False}}, 201))
    assert await client.can_i("get", PODS, "team", subresource="log") is True
    assert await client.can_i("list", APPS, None) is False
    asked = [seen.body["spec"]["resourceAttributes"] for seen in wire.seen]
    assert (asked[0]["verb"], asked[0]["resource"], asked[0]["subresource"], asked[0]["namespace"]) == (
        "get",
        "pods",
        "log",
        "team",
    )
    assert (asked[1]["group"], asked[1]["namespace"]) == ("sparkoperator.k8s.io", "")


async def test_a_pods_own_server_through_the_proxy_is_asked_once(wire, client, answers):
    path = "/api/v1/namespaces/team/pods/drv:4040/proxy/api/v1/applications"
    wire.on(path, answers.obj([{"id": "spark-1"}]))
    assert await client.pod_proxy_get("team", "drv", 4040, "/api/v1/applications?status=running") == [{"id": "spark-1"}]
    assert wire.seen[0].query == {"status": "running"}
    wire.on(path, answers.status(503, "ServiceUnavailable", "error trying to reach service"))
    with pytest.raises(Exception, match="error trying to reach service"):
        await client.pod_proxy_get("team", "drv", 4040, "api/v1/applications")
    assert len(wire.seen) == 2
    wire.on(path, answers.text("<h1>nothing here</h1>", 404))
    with pytest.raises(NotFoundError, match="nothing here"):
        await client.pod_proxy_get("team", "drv", 4040, "api/v1/applications")


async def test_a_watch_asks_for_bookmarks_from_a_version(wire, client, answers):
    wire.on(COLLECTION, answers.status(410, "Expired", "too old"))
    with pytest.raises(GoneError):
        await anext(client.watch(APPS, "team", resource_version="7", label_selector="a=b", timeout_seconds=9))
    assert wire.seen[0].query == {
        "watch": "1",
        "resourceVersion": "7",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "9",
        "labelSelector": "a=b",
    }
