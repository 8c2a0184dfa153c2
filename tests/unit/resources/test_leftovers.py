"""What is left of a Spark job, and whose it is: everything of ours, and nothing else whatever it looks like."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_sparkml.resources import istio_routes, leftovers, naming
from airflow_provider_sparkml.resources.core import CONFIG_MAP, PERSISTENT_VOLUME_CLAIM, POD, SERVICE
from airflow_provider_sparkml.resources.leftovers import (
    APP_ID,
    APP_NAME,
    APPLICATION,
    DISRUPTION_BUDGET,
    Scope,
    decide,
    of_age,
    of_application,
    of_run,
)

from .leftover_objects import (
    IDENTITY,
    LONG_AGO,
    NAMESPACE,
    Made,
    application,
    by_type,
    orphaned,
    route,
    thing,
    whole,
)

RUN = of_run(IDENTITY, NAMESPACE)
APP = of_application(NAMESPACE, name="app")
SOON = datetime(2026, 6, 1, tzinfo=UTC)
AGE = of_age(IDENTITY, NAMESPACE, SOON)
OTHERS = {
    "dag": replace(IDENTITY, dag_id="dag-2"),
    "run": replace(IDENTITY, run_id="run-11"),
    "airflow": replace(IDENTITY, tenant="http://airflow2"),
}


def names(objects: list[Made], scope: Scope) -> set[str]:
    return {str(each) for each in decide(by_type(objects), scope)}


def all_of(objects: list[Made]) -> set[str]:
    return {f"{api.kind} {made['metadata']['name']}" for api, made in objects}


# --- everything of ours ---


@pytest.mark.parametrize("state", ["", "SUBMITTED", "RUNNING", "COMPLETED", "FAILED"])
@pytest.mark.parametrize("scope", [RUN, APP, of_application(NAMESPACE, app_id="spark-1")], ids=["run", "name", "id"])
def test_an_application_goes_whole_in_any_state_by_its_owner(state: str, scope: Scope) -> None:
    objects = whole("app", "spark-1", state, IDENTITY)
    found = decide(by_type(objects), scope)
    assert {str(each) for each in found} == all_of(objects)
    assert [each.name for each in found if not each.collected] == ["app"]


@pytest.mark.parametrize("scope", [RUN, APP, AGE], ids=["run", "name", "age"])
def test_what_an_orphaning_delete_left_goes_one_by_one(scope: Scope) -> None:
    objects = orphaned(whole("app", "spark-1", "COMPLETED", IDENTITY))
    for api, made in objects:
        if api is POD:
            made["status"] = {"phase": "Succeeded"}
    found = decide(by_type(objects), scope)
    assert {str(each) for each in found} == all_of(objects)
    assert not any(each.collected for each in found)


def test_by_id_an_orphaned_application_is_found_by_its_pods() -> None:
    objects = orphaned(whole("app", "spark-1"))
    assert names(objects, of_application(NAMESPACE, app_id="spark-1")) == all_of(objects)


def test_owners_go_before_what_they_own_and_routes_before_services() -> None:
    objects = [*whole("app", "spark-1", identity=IDENTITY), route("app-ui-svc")]
    order = [each.api for each in decide(by_type(objects), RUN)]
    assert order == sorted(order, key=list(leftovers.TYPES).index)
    assert order[0] is istio_routes.VIRTUAL_SERVICE
    assert order.index(APPLICATION) < order.index(POD) < order.index(SERVICE)


def test_what_somebody_has_deleted_already_is_told_apart() -> None:
    api, app = application("app", identity=IDENTITY)
    app["metadata"]["deletionTimestamp"] = LONG_AGO
    (found,) = decide({api: [app]}, RUN)
    assert found.going


def test_a_type_that_could_not_be_listed_costs_only_what_hangs_on_it() -> None:
    found = by_type(whole("app", "spark-1", identity=IDENTITY))
    del found[APPLICATION]
    assert decide(found, RUN) == [], "an owner that nobody sees may be anybody's"
    del found[POD]
    assert decide(found, APP) == []


def client_mode(phase: str = "Failed") -> list[Made]:
    """Return a driver in client mode as this package makes it, and what it has made."""
    api, driver = thing(POD, "job-1", **naming.job_labels(IDENTITY, 1), **{"spark-role": "driver"})
    driver["status"] = {"phase": phase}
    executor = {APP_ID: "job-1", "spark-role": "executor"}
    return [
        (api, driver),
        thing(POD, "job-1-exec-1", driver, **executor),
        thing(SERVICE, "job-1", driver, app_id="job-1"),
        thing(CONFIG_MAP, "spark-exec-1-conf-map", driver, **executor),
        thing(SERVICE, "loose", app_id="job-1"),
    ]


@pytest.mark.parametrize("scope", [RUN, AGE, of_application(NAMESPACE, app_id="job-1")], ids=["run", "age", "id"])
def test_a_driver_in_client_mode_goes_with_its_own(scope: Scope) -> None:
    assert names(client_mode(), scope) == all_of(client_mode())
    assert names(client_mode("Running"), AGE) == set()


def test_a_driver_in_somebody_elses_pod_keeps_its_executors() -> None:
    objects = client_mode("Running")
    objects[0][1]["metadata"]["labels"] = {"app": "notebook"}
    for scope in (RUN, AGE, of_application(NAMESPACE, name="job-1")):
        assert names(objects, scope) == set()


# --- by age ---


def test_by_age_what_runs_stays_and_so_does_what_ended_lately() -> None:
    old, running = whole("old", "spark-1", "FAILED", IDENTITY), whole("on", "spark-2", "RUNNING", IDENTITY)
    late = whole("late", "spark-3", "COMPLETED", IDENTITY)
    late[0][1]["status"]["terminationTime"] = "2026-06-01T00:00:00Z"
    assert names([*old, *running, *late], AGE) == all_of(old)


def test_by_age_a_pod_without_owner_keeps_its_services_while_it_runs() -> None:
    objects = orphaned(whole("app", "spark-1", "RUNNING", IDENTITY))
    assert names(objects, AGE) == set()


def test_by_age_what_was_made_lately_stays_though_its_application_is_gone() -> None:
    objects = orphaned(whole("app", "spark-1", "COMPLETED", IDENTITY))
    for _, made in objects:
        made["metadata"]["creationTimestamp"] = (SOON + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert names(objects, AGE) == set()


def test_labels_of_ones_own_say_whose_it_is() -> None:
    scope = Scope(NAMESPACE, labels={"team": "a"}, ended_before=SOON)
    mine, other = application("mine"), application("other")
    mine[1]["metadata"]["labels"] = {"team": "a"}
    plain = thing(CONFIG_MAP, "settings", team="a"), thing(PERSISTENT_VOLUME_CLAIM, "lake", team="a")
    assert names([mine, other, *plain], scope) == {"SparkApplication mine"}, "these settings are not Spark's"


# --- nothing of anybody else's ---


@pytest.mark.parametrize("other", OTHERS)
def test_another_dag_run_or_airflow_keeps_all_even_orphaned(other: str) -> None:
    scopes = [RUN] if other in ("dag", "run") else [RUN, AGE]
    for scope in scopes:
        assert names(whole("app", "spark-1", identity=OTHERS[other]), scope) == set()
        assert names(orphaned(whole("app", "spark-1", identity=OTHERS[other])), scope) == set()


def test_labels_without_the_annotations_make_no_application_ours() -> None:
    objects = whole("app", "spark-1", identity=IDENTITY)
    del objects[0][1]["metadata"]["annotations"]
    assert names(objects, RUN) == set()


def test_what_an_object_of_somebody_else_owns_as_well_stays() -> None:
    objects = whole("app", "spark-1", identity=IDENTITY)
    api, foreign = thing(CONFIG_MAP, "foreign")
    shared = thing(SERVICE, "shared", objects[0][1], foreign, app_name="app", app_id="spark-1")
    assert names([*objects, (api, foreign), shared], RUN) == all_of(objects)


def test_an_object_that_names_ours_and_somebody_elses_stays() -> None:
    """Whatever is contradictory is nobody's to delete."""
    ours = whole("app", "spark-1", identity=IDENTITY)
    contradictory = [
        application("foreign", "RUNNING", "spark-2"),
        thing(SERVICE, "both", app_id="spark-1", app_name="foreign"),
        thing(CONFIG_MAP, "both", app_id="spark-2", app_name="app"),
        thing(POD, "of-another-run", **naming.job_labels(OTHERS["run"], 1), app_name="app", app_id="spark-1"),
        route("foreign-ui-svc"),
    ]
    ours[1][1]["metadata"]["labels"][APP_NAME] = "foreign"  # the author's own driver labels
    assert names([*ours, *contradictory], RUN) == all_of(ours)


def test_an_application_with_our_marks_that_somebody_else_owns_stays() -> None:
    api, app = application("app", "FAILED", identity=IDENTITY)
    app["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Workflow", "name": "w", "uid": "foreign"}]
    assert names([(api, app)], RUN) == set()
    assert names([(api, app)], APP) == {"SparkApplication app"}, "who names it means it"
    (found,) = decide({api: [app]}, APP)
    assert not found.collected


LOOK_ALIKES = st.sampled_from(
    [
        thing(POD, "app-driver-2", app_name="app2", app_id="spark-11"),
        thing(POD, "app-exec-1", app_id="spark-1-1"),
        thing(POD, "app", app="app"),
        thing(SERVICE, "app-ui-svc-2"),
        thing(SERVICE, "app-0123456789abcdef-driver-svc"),
        thing(SERVICE, "app-ui-svc", app_name="app-ui"),
        thing(CONFIG_MAP, "app-prom-conf"),
        thing(CONFIG_MAP, "spark-drv-fedcba9876543210-conf-map"),
        thing(CONFIG_MAP, "app-settings", **{f"{APP_NAME}-x": "app", f"x{APP_ID}": "spark-1"}),
        thing(PERSISTENT_VOLUME_CLAIM, "app-data", managed_by=naming.PREFIX),
        thing(PERSISTENT_VOLUME_CLAIM, "app-data-2", managed_by=f"{naming.PREFIX}-2", app_name="a"),
        thing(leftovers.NETWORK_POLICY, "app-policy"),
        thing(leftovers.VOLCANO_POD_GROUP, "spark-app-2-pg"),
        thing(leftovers.SCHEDULER_POD_GROUP, "app-2-pg"),
        thing(leftovers.VOLCANO_POD_GROUP, "spark-app-pg", managed_by="Helm"),
        thing(leftovers.SCHEDULER_POD_GROUP, "app-pg", app="app"),
        thing(leftovers.INGRESS, "app-ui-ingress", app_name="App"),
        application("app-2"),
        application("app-1-2", identity=OTHERS["airflow"]),
        route("app-ui-svc", "elsewhere.example.com"),
        route("app-ui-svc.other"),
        route("app-ui-svc", managed_by="Helm"),
    ]
)
FOREIGN_OWNERS = st.sampled_from([application("foreign")[1], thing(POD, "worker")[1], thing(CONFIG_MAP, "app")[1]])
KINDS = st.sampled_from([SERVICE, CONFIG_MAP, PERSISTENT_VOLUME_CLAIM, POD, leftovers.INGRESS])
TEXT = st.text("ap-1spark", max_size=8)


@st.composite
def foreign(draw: st.DrawFn) -> Made:
    """Draw an object that is not ours, however it looks."""
    how = draw(st.sampled_from(["alike", "owned", "elsewhere", "labels"]))
    if how == "alike":
        return draw(LOOK_ALIKES)
    if how == "owned":
        # All labels are ours; the owner is not.
        return thing(draw(KINDS), draw(TEXT), draw(FOREIGN_OWNERS), app_name="app", app_id="spark-1", **RUN.labels)
    if how == "elsewhere":
        _, made = application("app", identity=IDENTITY)
        made["metadata"]["namespace"] = "elsewhere"
        made["metadata"]["uid"] = draw(st.uuids()).hex
        return APPLICATION, made
    app, app_id = draw(TEXT.filter(lambda text: text != "app")), draw(TEXT.filter(lambda text: text != "spark-1"))
    return thing(draw(KINDS), draw(st.sampled_from(["app-ui-svc", "app-driver", "a"])), app_name=app, app_id=app_id)


@given(
    st.lists(foreign(), max_size=8),
    st.sampled_from([RUN, APP, AGE]),
    st.sampled_from(["COMPLETED", "FAILED"]),
    st.booleans(),
)
@settings(max_examples=500)
def test_nothing_foreign_is_touched_and_nothing_of_ours_stays(
    others: list[Made], scope: Scope, state: str, loose: bool
) -> None:
    mine = whole("app", "spark-1", state, IDENTITY)
    if loose:
        mine = orphaned(mine)
        for api, made in mine:
            if api is POD:
                made["status"] = {"phase": "Failed"}
    uids = {made["metadata"]["uid"] for _, made in mine}
    assert {each.uid for each in decide(by_type([*others, *mine]), scope)} == uids


# --- routes ---


@pytest.mark.parametrize(
    ("hosts", "goes"),
    [
        (["app-ui-svc"], True),
        (["app-ui-svc.data"], True),
        (["app-ui-svc.data.svc"], True),
        (["app-ui-svc.data.svc.cluster.local", "app-0123456789abcdef-driver-svc"], True),
        (["app-ui-svc.other"], False),
        (["app-ui-svc.data.example.com"], False),
        (["app-ui-svc", "reviews"], False),
        (["app-ui-svc", "example.com"], False),
        (["app-2-ui-svc"], False),
        ([], False),
    ],
    ids=str,
)
def test_a_route_goes_when_all_it_routes_to_goes(hosts: list[str], goes: bool) -> None:
    objects = [*whole("app", "spark-1", identity=IDENTITY), thing(SERVICE, "reviews")]
    assert ("VirtualService route" in names([*objects, route(*hosts)], RUN)) is goes


def test_a_route_to_services_that_are_gone_already_goes_by_their_names() -> None:
    gone = [route("app-ui-svc"), route("app-0123456789abcdef-driver-svc", name="other")]
    assert names([*gone, thing(SERVICE, "x")], APP) == all_of(gone)
    assert names([*gone, thing(SERVICE, "app-ui-svc")], APP) == {"VirtualService other"}, "one is there, and not ours"
    assert names(gone, APP) == set(), "Services could not be listed"


def test_a_route_to_the_driver_in_client_mode_goes_though_pod_and_service_are_gone() -> None:
    """The zombie of a hard kill: what is left is a route to a Service that had the driver's name."""
    zombie = [route("job-1", "job-1.data.svc.cluster.local"), thing(SERVICE, "job-10")]
    assert names(zombie, of_application(NAMESPACE, app_id="job-1")) == {"VirtualService route"}
    assert names(zombie, of_application(NAMESPACE, app_id="job")) == set()
    assert names([*zombie, thing(SERVICE, "job-1")], of_application(NAMESPACE, app_id="job-1")) == set()


def test_a_route_with_the_runs_marks_goes_when_nothing_is_left_of_where_it_leads() -> None:
    marked = route("jupyter", **RUN.labels)
    assert names([marked, thing(SERVICE, "x")], RUN) == {"VirtualService route"}
    assert names([marked, thing(SERVICE, "jupyter")], RUN) == set()
    assert names([route("jupyter"), thing(SERVICE, "x")], RUN) == set()


@pytest.mark.parametrize(
    ("api", "spec"),
    [
        (istio_routes.DESTINATION_RULE, {"host": "app-ui-svc"}),
        (istio_routes.SERVICE_ENTRY, {"hosts": ["app-ui-svc.data.svc.cluster.local"]}),
        (istio_routes.VIRTUAL_SERVICE, {"tcp": [{"route": [{"destination": {"host": "app-ui-svc"}}]}]}),
        (istio_routes.VIRTUAL_SERVICE, {"tls": [{"route": [{"destination": {"host": "app-ui-svc"}}]}]}),
    ],
)
def test_every_kind_of_route(api: Any, spec: dict[str, Any]) -> None:
    made = thing(api, "r")[1] | {"spec": spec}
    objects = [*whole("app", "spark-1", identity=IDENTITY), (api, made)]
    assert f"{api.kind} r" in names(objects, RUN)


@pytest.mark.parametrize(
    "more",
    [
        {"mirror": {"host": "reviews"}},
        {"mirrors": [{"destination": {"host": "reviews"}}]},
        {"delegate": {"name": "other"}},
        {"redirect": {"uri": "/"}},
        {"directResponse": {"status": 503}},
    ],
    ids=lambda more: next(iter(more)),
)
def test_a_route_that_does_something_else_as_well_stays(more: dict[str, Any]) -> None:
    api, made = route("app-ui-svc")
    made["spec"]["http"][0].update(more)
    objects = [*whole("app", "spark-1", identity=IDENTITY), thing(SERVICE, "reviews")]
    assert "VirtualService route" not in names([*objects, (api, made)], RUN)


def test_a_route_goes_with_its_owner_wherever_it_leads() -> None:
    objects = whole("app", "spark-1", identity=IDENTITY)
    api, made = thing(istio_routes.VIRTUAL_SERVICE, "r", objects[0][1])
    made["spec"] = {"http": [{"redirect": {"uri": "/"}}]}
    found = {each.name: each for each in decide(by_type([*objects, (api, made)]), RUN)}
    assert found["r"].collected


def test_what_somebody_has_put_there_for_all_runs_of_a_name_stays() -> None:
    """It selects the driver, by the application's name; nothing says that it came with a run."""
    lasting = [thing(api, name) for api, name in ((SERVICE, "metrics"), (DISRUPTION_BUDGET, "budget"))]
    for api, made in lasting:
        chosen = {APP_NAME: "app", "spark-role": "driver"}
        made["spec"] = {**(made.get("spec") or {}), "selector": chosen if api is SERVICE else {"matchLabels": chosen}}
    helm = thing(SERVICE, "app-ui-svc", managed_by="Helm", app_name="app")
    for objects, staying in ((lasting, lasting), ([*whole("app", "spark-1"), *lasting], lasting), ([helm], [helm])):
        assert not names(objects, of_application(NAMESPACE, name="app")) & all_of(staying)


def test_an_application_without_an_end_time_has_ended_no_earlier_than_it_was_written_last() -> None:
    api, app = application("app", "FAILED", identity=IDENTITY)
    del app["status"]["terminationTime"]
    app["metadata"]["managedFields"] = [{"time": LONG_AGO}, {"time": "2030-01-01T00:00:00Z"}]
    assert names([(api, app)], AGE) == set()
    app["metadata"]["managedFields"].pop()
    assert names([(api, app)], AGE) == all_of([(api, app)])
