"""Watches and logs: however the bytes arrive, and however they break off."""

import asyncio
import json
import time

import pytest

from airflow_provider_sparkml.client import streams
from airflow_provider_sparkml.exceptions import ApiError, ApiUnavailableError, ForbiddenError, GoneError, NotFoundError
from airflow_provider_sparkml.resources.base import ApiResource

APPS = ApiResource("sparkoperator.k8s.io", "v1beta2", "sparkapplications", "SparkApplication")
COLLECTION = APPS.path("team")
LOG = "/api/v1/namespaces/team/pods/drv/log"


def event(number, **more):
    return json.dumps({"type": "MODIFIED", "object": {"metadata": {"resourceVersion": str(number)}, **more}}).encode()


def watch(client, **options):
    return client.watch(APPS, "team", resource_version="1", **options)


async def collect(stream, into):
    async for each in stream:
        into.append(each)


def versions(events):
    return [event["object"]["metadata"]["resourceVersion"] for event in events]


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
async def test_events_are_whole_however_chunks_cut_them(wire, client, answers, size):
    data = b"".join(event(number, text="äöü€ " * 10) + b"\n" for number in range(3))
    wire.on(
        COLLECTION,
        answers.stream(*(data[i : i + size] for i in range(0, min(len(data), 40 * size), size)), data[40 * size :]),
    )
    assert versions([each async for each in watch(client)]) == ["0", "1", "2"]


async def test_an_event_may_be_larger_than_any_buffer(wire, client, answers):
    data = event(1, text="x" * 3_000_000) + b"\n"
    wire.on(COLLECTION, answers.stream(data))
    events = [each async for each in watch(client)]
    assert len(events[0]["object"]["text"]) == 3_000_000


async def test_an_event_is_passed_on_at_once(wire, client, answers):
    hold = asyncio.Event()
    wire.on(COLLECTION, answers.stream(event(1) + b"\n", hold=hold))
    events = watch(client)
    assert (await asyncio.wait_for(anext(events), 2))["type"] == "MODIFIED"
    await events.aclose()
    hold.set()


async def test_the_opening_is_told_before_any_event(wire, client, answers):
    hold, opened = asyncio.Event(), asyncio.Event()
    wire.on(COLLECTION, answers.stream(hold=hold))
    events = watch(client, on_open=opened.set)
    first = asyncio.ensure_future(anext(events, None))
    await asyncio.wait_for(opened.wait(), 2)
    hold.set()
    assert await first is None


async def test_gone_in_both_forms(wire, client, answers):
    status = {"kind": "Status", "message": "too old resource version: 1 (415)", "reason": "Expired", "code": 410}
    line = json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
    wire.on(COLLECTION, answers.stream(event(1) + b"\n" + line))
    seen = []
    with pytest.raises(GoneError, match="too old resource version: 1"):
        await collect(watch(client), seen)
    assert versions(seen) == ["1"]
    wire.on(COLLECTION, answers.status(410, "Expired", "too old resource version"))
    with pytest.raises(GoneError, match="too old resource version"):
        await anext(watch(client))


async def test_another_error_event_is_its_own_exception(wire, client, answers):
    line = json.dumps({"type": "ERROR", "object": {"message": "etcd is away", "code": 500}}).encode() + b"\n"
    wire.on(COLLECTION, answers.stream(line))
    with pytest.raises(ApiUnavailableError, match="etcd is away") as caught:
        await anext(watch(client))
    assert caught.value.status == 500


async def test_a_watch_is_not_retried_but_refused_as_any_request(wire, client, answers):
    wire.on(COLLECTION, answers.status(503))
    with pytest.raises(ApiUnavailableError):
        await anext(watch(client))
    wire.on(COLLECTION, answers.status(403, "Forbidden"))
    with pytest.raises(ForbiddenError):
        await anext(watch(client))
    assert len(wire.seen) == 2


@pytest.mark.parametrize("half", [b"", event(2)[:20]])
async def test_a_watch_cut_in_the_middle_loses_nothing_that_came_whole(wire, client, answers, half):
    wire.on(COLLECTION, answers.stream(event(1) + b"\n" + half, cut=True))
    seen = []
    with pytest.raises(ApiUnavailableError) as caught:
        await collect(watch(client), seen)
    assert versions(seen) == ["1"]
    assert caught.value.status == 0


async def test_half_an_event_before_a_proper_end_is_a_break_too(wire, client, answers):
    wire.on(COLLECTION, answers.stream(event(1)[:20]))
    with pytest.raises(ApiUnavailableError, match="in the middle of an event"):
        await anext(watch(client))


async def test_garbage_in_a_watch_is_a_break(wire, client, answers):
    wire.on(COLLECTION, answers.stream(b"<html>\n"))
    with pytest.raises(ApiUnavailableError, match="something else than an event"):
        await anext(watch(client))


async def test_a_peer_that_falls_silent_is_given_up_soon_after_the_watch_should_have_ended(
    wire, client, answers, monkeypatch
):
    monkeypatch.setattr(streams, "_WATCH_SLACK_SECONDS", 0.2)
    hold = asyncio.Event()
    wire.on(COLLECTION, answers.stream(event(1) + b"\n", hold=hold))
    began = time.monotonic()
    events = watch(client, timeout_seconds=0)
    await anext(events)
    with pytest.raises(ApiUnavailableError, match="timed out"):
        await anext(events)
    assert time.monotonic() - began < 3
    hold.set()


# --- logs ----------------------------------------------------------------------------------------------------------


async def lines(client, **options):
    return [line async for line in client.pod_log("team", "drv", **options)]


async def test_lines_of_a_log(wire, client, answers):
    wire.on(LOG, answers.stream(b"one\ntw", b"o\r\n\nbad \xff\xfe bytes\nlast"))
    assert await lines(client) == ["one", "two", "", "bad \ufffd\ufffd bytes", "last"]
    assert wire.seen[0].query == {}


async def test_all_that_can_be_asked_of_a_log(wire, client, answers):
    wire.on(LOG, answers.stream())
    await lines(
        client,
        container="main",
        follow=True,
        since_seconds=0,
        since_time="2026-01-01T00:00:00+01:00",
        tail_lines=0,
        limit_bytes=10,
        timestamps=True,
        previous=True,
    )
    assert wire.seen[0].query == {
        "container": "main",
        "follow": "true",
        "sinceSeconds": "0",
        "sinceTime": "2026-01-01T00:00:00+01:00",
        "tailLines": "0",
        "limitBytes": "10",
        "timestamps": "true",
        "previous": "true",
    }


async def test_a_followed_line_comes_while_the_program_runs(wire, client, answers):
    hold = asyncio.Event()
    wire.on(LOG, answers.stream(b"working\n", hold=hold))
    log = client.pod_log("team", "drv", follow=True)
    assert await asyncio.wait_for(anext(log), 2) == "working"
    hold.set()
    assert await anext(log, None) is None


async def test_a_line_without_end_comes_in_pieces(wire, client, answers):
    wire.on(LOG, answers.stream(b"x" * 1_000_000))
    pieces = await lines(client)
    assert "".join(pieces) == "x" * 1_000_000
    assert max(map(len, pieces)) <= 256 * 1024


@pytest.mark.parametrize("form", ["204", "400"])
async def test_a_container_that_has_not_started_has_no_lines(wire, client, answers, form):
    waiting = 'container "main" in pod "drv" is waiting to start: ContainerCreating'
    wire.on(LOG, answers.text("", 204) if form == "204" else answers.status(400, "BadRequest", waiting))
    assert await lines(client, follow=True) == []


async def test_a_missing_pod_and_a_wrong_container_are_told(wire, client, answers):
    wire.on(LOG, answers.status(404, "NotFound", 'pods "drv" not found', name="drv", kind="pods"))
    with pytest.raises(NotFoundError, match=r'pods "drv" not found \(get pods/log drv in namespace team'):
        await lines(client)
    wire.on(LOG, answers.status(400, "BadRequest", "container nope is not valid for pod drv"))
    with pytest.raises(ApiError, match="container nope is not valid"):
        await lines(client, container="nope")


async def test_a_log_that_is_cut_gives_what_came_and_then_says_so(wire, client, answers):
    wire.on(LOG, answers.stream(b"one\ntwo\nhal", cut=True))
    seen = []
    with pytest.raises(ApiUnavailableError):
        await collect(client.pod_log("team", "drv", follow=True), seen)
    assert seen == ["one", "two"]


async def test_leaving_a_followed_log_closes_its_connection(wire, client, answers):
    closed = asyncio.Event()

    async def endless(request):
        from aiohttp import web

        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"tick\n")
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    wire.on(LOG, endless)
    log = client.pod_log("team", "drv", follow=True)
    await anext(log)
    await log.aclose()
    await asyncio.wait_for(closed.wait(), 5)
