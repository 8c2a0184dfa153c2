"""The shared watch: what followers see through every fault, and what they cost."""

import asyncio
import contextvars
import gc
import json
import logging
import tracemalloc
from contextlib import aclosing

import pytest

from airflow_provider_sparkml.client import reflector, watch
from airflow_provider_sparkml.client.reflector import Entry
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.exceptions import (
    ApiUnavailableError,
    ForbiddenError,
    ResourceTypeNotFoundError,
    UnauthorizedError,
)
from airflow_provider_sparkml.resources.base import ApiResource

APPS = ApiResource("sparkoperator.k8s.io", "v1beta2", "sparkapplications", "SparkApplication")


@pytest.fixture
async def hub(client):
    opened = WatchHub(client, poll_seconds=0.05)
    yield opened
    await opened.close()


class Follower:
    """Reads one followed object, a state at a time."""

    def __init__(self, hub, name, namespace="team", **options):
        self.stream = hub.follow(APPS, namespace, name, **options)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.stream.aclose()

    async def next(self):
        """Return the next state: the application's, or ``None`` when there is no object."""
        obj = await asyncio.wait_for(anext(self.stream), 10)
        return None if obj is None else obj["status"].get("applicationState", {}).get("state", "")

    async def until(self, state):
        while await self.next() != state:
            pass


async def test_first_the_present_object_then_each_change_then_its_absence(hub, collection):
    collection.put("pi", "SUBMITTED")
    async with Follower(hub, "pi") as pi:
        assert await pi.next() == "SUBMITTED"
        collection.put("pi", "RUNNING")
        assert await pi.next() == "RUNNING"
        collection.delete("pi")
        assert [await pi.next(), await pi.next()] == ["RUNNING", None]
        collection.put("pi", "")
        assert await pi.next() == ""


async def test_an_absent_object_is_none_and_seen_when_it_comes(hub, collection):
    async with Follower(hub, "pi") as pi:
        assert await pi.next() is None
        collection.put("pi", "SUBMITTED")
        assert await pi.next() == "SUBMITTED"


async def test_a_name_without_its_namespace_cannot_be_followed(hub):
    for stream in (hub.follow(APPS, None, "pi"), hub.follow_all(APPS, None)):
        with pytest.raises(ValueError, match="can be followed in one namespace only"):
            await anext(stream)


async def test_all_objects_are_followed_on_the_same_watch_and_none_goes_unseen(hub, collection):
    for name in ("one", "two"):
        collection.put(name, "RUNNING")

    async def states(stream):
        objects = await asyncio.wait_for(anext(stream), 10)
        return sorted((obj["metadata"]["name"], obj["status"]["applicationState"]["state"]) for obj in objects)

    async with Follower(hub, "one") as one, aclosing(hub.follow_all(APPS, "team")) as everything:
        assert await one.next() == "RUNNING"
        assert await states(everything) == [("one", "RUNNING"), ("two", "RUNNING")]
        await collection.reached(watching=1)
        collection.put("two", "FAILED")
        collection.delete("two")
        collection.put("two", "RUNNING")
        collection.put("one", "SUCCEEDING")
        collection.put("one", "COMPLETED")
        await one.until("COMPLETED")
        # Of each the newest, and of the one that was deleted, and has a namesake, the last.
        assert await states(everything) == [("one", "COMPLETED"), ("two", "FAILED"), ("two", "RUNNING")]
        collection.delete("one")
        assert await states(everything) == [("one", "COMPLETED")]
        assert collection.counts == {"list": 1, "watch": 1}
        waiting = asyncio.ensure_future(anext(everything))
        await asyncio.sleep(0)
        await hub.close()
        with pytest.raises(ApiUnavailableError, match="closed"):
            await waiting


async def test_those_with_a_text_in_them_are_shown_as_they_are_and_only_they_are_looked_at(
    hub, collection, monkeypatch, no_pause
):
    loaded = []
    load = Entry.load
    monkeypatch.setattr(Entry, "load", lambda entry: loaded.append(1) or load(entry))
    for number in range(100):
        collection.put(f"other-{number}", "RUNNING")
    collection.put("search-1", "RUNNING")
    async with aclosing(hub.follow_matching(APPS, "team", '"name":"search-')) as found:

        async def names():
            return [each["metadata"]["name"] for each in await asyncio.wait_for(anext(found), 10)]

        assert await names() == ["search-1"]
        await collection.reached(watching=1)
        collection.put("other-1", "FAILED")
        collection.put("search-2", "RUNNING")
        collection.delete("other-2")
        assert await names() == ["search-1", "search-2"]
        assert len(loaded) == 2
        collection.delete("search-1")
        assert await names() == ["search-2"]
        # What is deleted while nobody watches, and cannot be told any more.
        collection.silent = True
        collection.delete("search-2")
        collection.compact()
        collection.cut()
        assert await names() == []
        assert collection.counts["list"] == 2


async def test_where_watching_is_refused_what_is_gone_is_seen_too(hub, collection, answers):
    collection.refuse["watch"] = answers.status(403, "Forbidden", "cannot watch")
    collection.put("search-1", "RUNNING")
    async with aclosing(hub.follow_matching(APPS, "team", '"name":"search-')) as found:
        assert len(await anext(found)) == 1
        collection.delete("search-1")
        assert await asyncio.wait_for(anext(found), 10) == []


async def test_those_who_follow_a_text_hear_of_the_end(hub, collection, answers):
    collection.refuse["list"] = answers.status(403, "Forbidden")
    with pytest.raises(ForbiddenError):
        await anext(hub.follow_matching(APPS, "team", "x"))
    collection.refuse.clear()
    found = hub.follow_matching(APPS, "team", "x")
    assert await anext(found) == []
    waiting = asyncio.ensure_future(anext(found))
    await asyncio.sleep(0)
    await hub.close()
    with pytest.raises(ApiUnavailableError, match="the watch was closed"):
        await waiting


async def test_what_is_yielded_is_the_followers_own(hub, collection):
    collection.put("pi", "RUNNING")
    async with aclosing(hub.follow(APPS, "team", "pi")) as one, aclosing(hub.follow(APPS, "team", "pi")) as two:
        first, second = await anext(one), await anext(two)
        first["status"].clear()
        assert second["status"] == {"applicationState": {"state": "RUNNING"}}
        assert "managedFields" not in second["metadata"]
        assert second["metadata"]["uid"] == "uid-pi"


async def test_many_followers_cost_one_list_and_one_watch(hub, collection):
    names = [f"app-{number}" for number in range(300)]
    for name in names:
        collection.put(name, "RUNNING")
    followers = [Follower(hub, name) for name in names]
    assert await asyncio.gather(*(each.next() for each in followers)) == ["RUNNING"] * 300
    waiting = [asyncio.ensure_future(each.next()) for each in followers]
    await collection.reached(watching=1)
    for name in names:
        collection.put(name, "COMPLETED")
    assert await asyncio.gather(*waiting) == ["COMPLETED"] * 300
    assert collection.counts == {"list": 1, "watch": 1}
    await asyncio.gather(*(each.stream.aclose() for each in followers))


async def test_a_follower_costs_no_task_and_little_memory(hub, collection):
    names = [f"app-{number}" for number in range(1000)]
    for name in names:
        collection.put(name, "RUNNING")
    async with Follower(hub, names[0]) as first:
        await first.next()
        await collection.reached(watching=1)
        gc.collect()
        tasks = len(asyncio.all_tasks())
        tracemalloc.start()
        try:
            followers = [Follower(hub, name) for name in names]
            for each in followers:
                await each.next()
            gc.collect()
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(asyncio.all_tasks()) == tasks
        assert grown / len(names) < 3 * 1024
        assert collection.counts["list"] + collection.counts["watch"] + collection.counts["get"] == 2
        await asyncio.gather(*(each.stream.aclose() for each in followers))


async def test_an_event_wakes_only_whom_it_concerns(hub, collection):
    for name in ("one", "two"):
        collection.put(name, "RUNNING")
    async with Follower(hub, "one") as one, Follower(hub, "two") as two:
        await one.next(), await two.next()
        waiting = asyncio.ensure_future(two.next())
        for number in range(5):
            collection.put("one", str(number))
            assert await one.next() == str(number)
        assert not waiting.done()
        collection.put("two", "COMPLETED")
        assert await waiting == "COMPLETED"


async def test_an_object_created_after_the_last_event_seen_is_found(hub, collection):
    collection.put("other")
    async with Follower(hub, "other") as other:
        await other.next()
        await collection.reached(watching=1)
        collection.silent = True  # the watch is behind from here on
        collection.put("pi", "SUBMITTED")
        async with Follower(hub, "pi") as pi:
            assert await pi.next() == "SUBMITTED"
            assert collection.counts["get"] == 1
            collection.put("pi", "RUNNING")
            collection.release()
            # The late event of the creation is not told a second time.
            assert await pi.next() == "RUNNING"


async def test_whoever_wants_it_fresh_is_given_nothing_older_than_the_call(hub, collection):
    collection.put("pi", "FAILED")
    async with Follower(hub, "pi") as pi:
        assert await pi.next() == "FAILED"
        await collection.reached(watching=1)
        collection.silent = True
        collection.put("pi", "SUBMITTED")
        async with Follower(hub, "pi") as another, Follower(hub, "pi", fresh=True) as fresh:
            assert await another.next() == "FAILED"
            assert await fresh.next() == "SUBMITTED"
            # What one has read, all know.
            assert [await another.next(), await pi.next()] == ["SUBMITTED", "SUBMITTED"]
            collection.put("pi", "RUNNING")
            collection.release()
            assert [await each.next() for each in (pi, another, fresh)] == ["RUNNING"] * 3


@pytest.mark.parametrize("told", [False, True], ids=["unknown", "known"])
async def test_what_is_not_there_any_more_is_told_to_whoever_wants_it_fresh(hub, collection, told):
    if told:
        collection.put("pi", "FAILED")
        collection.delete("pi")
    async with Follower(hub, "pi", fresh=True) as fresh:
        assert await fresh.next() is None
        collection.put("pi", "SUBMITTED")
        assert await fresh.next() == "SUBMITTED"


async def test_what_is_gone_is_not_shown_to_whoever_wants_it_fresh_though_the_watch_still_has_it(hub, collection):
    collection.put("pi", "FAILED")
    async with Follower(hub, "pi") as pi:
        assert await pi.next() == "FAILED"
        await collection.reached(watching=1)
        collection.silent = True
        collection.delete("pi")
        async with Follower(hub, "pi", fresh=True) as fresh:
            assert await fresh.next() is None
            collection.put("pi", "SUBMITTED")
            collection.release()
            await fresh.until("SUBMITTED")


@pytest.mark.parametrize("status", [403, 404], ids=["may list but not get", "the type is not served for a moment"])
async def test_where_a_get_tells_nothing_the_list_has_the_word(hub, collection, answers, status):
    collection.put("pi", "FAILED")
    collection.refuse["get"] = answers.status(status)
    async with Follower(hub, "pi") as pi:
        await pi.next()
        async with Follower(hub, "pi", fresh=True) as fresh:
            assert await fresh.next() == "FAILED"


async def test_what_was_made_anew_while_a_get_was_under_way_is_shown(hub, collection, answers):
    collection.put("pi", "FAILED")
    async with Follower(hub, "pi") as pi:
        assert await pi.next() == "FAILED"
        await collection.reached(watching=1)

        async def late(request):
            del collection.refuse["get"]
            collection.delete("pi")
            collection.put("pi", "SUBMITTED")
            await pi.until("SUBMITTED")
            return await answers.status(404, "NotFound", name="pi")(request)

        collection.refuse["get"] = late
        async with Follower(hub, "pi", fresh=True) as fresh:
            await fresh.until("SUBMITTED")


@pytest.mark.parametrize("ahead", [True, False], ids=["a GET is newer than the list", "the list is newer than a GET"])
async def test_a_list_under_way_does_not_go_back_behind_a_get(hub, collection, no_pause, ahead):
    """What was read meanwhile is never overwritten by what the server had read before."""
    collection.put("pi", "FAILED")
    async with Follower(hub, "pi") as pi:
        assert await pi.next() == "FAILED"
        await collection.reached(watching=1)
        collection.silent = True
        listing, listed = asyncio.Event(), asyncio.Event()

        async def slow_list(request):
            del collection.refuse["list"]
            before = await collection.handle(request)
            listing.set()
            await listed.wait()
            return before if ahead else await collection.handle(request)

        collection.refuse["list"] = slow_list
        collection.compact()
        collection.bookmark()
        collection.compact()
        collection.oldest += 1  # 410: list anew
        collection.cut()
        await asyncio.wait_for(listing.wait(), 10)
        collection.put("pi", "SUBMITTED")
        async with Follower(hub, "pi", fresh=True) as fresh:
            assert await fresh.next() == "SUBMITTED"
            if not ahead:
                collection.delete("pi")
            listed.set()
            lists = collection.counts["list"]
            collection.oldest = 0
            await collection.reached(watching=1)
            if ahead:
                async with Follower(hub, "pi") as another:
                    assert await another.next() == "SUBMITTED"
            else:
                assert await fresh.next() is None
            assert collection.counts["list"] == lists + (not ahead)


async def test_a_slow_consumer_gets_the_newest_and_never_misses_the_last_state_before_a_deletion(hub, collection):
    collection.put("pi", "SUBMITTED")
    collection.put("mark", "0")
    async with Follower(hub, "pi") as pi, Follower(hub, "mark") as mark:
        await pi.next(), await mark.next()
        for state in ("RUNNING", "SUCCEEDING", "COMPLETED"):
            collection.put("pi", state)
        collection.delete("pi")
        collection.put("mark", "1")
        await mark.until("1")
        assert [await pi.next(), await pi.next()] == ["COMPLETED", None]


async def test_a_recreated_object_shows_its_own_uid(hub, collection):
    collection.put("pi", "COMPLETED")
    collection.put("mark", "0")
    async with Follower(hub, "pi") as pi, Follower(hub, "mark") as mark:
        await pi.next(), await mark.next()
        collection.delete("pi")
        collection.put("pi", "NEW")
        collection.put("mark", "1")
        await mark.until("1")
        assert await pi.next() == "NEW"


# --- faults --------------------------------------------------------------------------------------------------------


async def test_a_watch_cut_again_and_again_is_resumed_and_loses_nothing(hub, collection, no_pause):
    collection.put("pi", "0")
    async with Follower(hub, "pi") as pi:
        await pi.next()
        for number in range(1, 8):
            await collection.reached(watching=1)
            before = collection.counts["watch"]
            collection.cut()
            collection.put("pi", str(number))  # while nobody watches
            assert await pi.next() == str(number)
            await collection.reached(watch=before + 1)
    assert collection.counts["list"] == 1


async def test_a_bookmark_moves_the_point_of_resuming(hub, collection, no_pause):
    collection.put("pi", "0")
    async with Follower(hub, "pi") as pi:
        await pi.next()
        await collection.reached(watching=1)
        collection.bookmark()
        collection.put("pi", "1")
        await pi.next()
        collection.bookmark()
        bookmarked = collection.version
        collection.put("other")
        collection.bookmark()
        async with Follower(hub, "other") as other:
            await other.next()
        await asyncio.sleep(0.05)
        collection.cut()
        await collection.reached(watch=2)
    assert int(collection.resumed_from[-1]) > bookmarked


@pytest.mark.parametrize("form", ["HTTP", "event"])
async def test_after_410_what_happened_in_the_gap_is_told(hub, collection, answers, no_pause, form):
    for name in ("changed", "deleted", "same"):
        collection.put(name, "RUNNING")
    async with (
        Follower(hub, "changed") as changed,
        Follower(hub, "deleted") as deleted,
        Follower(hub, "same") as same,
        Follower(hub, "created") as created,
    ):
        states = [await each.next() for each in (changed, deleted, same, created)]
        assert states == ["RUNNING", "RUNNING", "RUNNING", None]
        await collection.reached(watching=1)
        if form == "event":
            gone = {"kind": "Status", "message": "too old resource version", "reason": "Expired", "code": 410}

            async def once(request):
                del collection.refuse["watch"]
                return await answers.stream(b'{"type":"ERROR","object":%s}\n' % json.dumps(gone).encode())(request)

            collection.refuse["watch"] = once
        silent = asyncio.ensure_future(same.next())
        collection.silent = True
        collection.put("changed", "COMPLETED")
        collection.delete("deleted")
        collection.put("created", "SUBMITTED")
        collection.compact()
        collection.silent = False
        collection.cut()
        assert await changed.next() == "COMPLETED"
        assert await deleted.next() is None
        assert await created.next() == "SUBMITTED"
        assert collection.counts["list"] == 2
        assert not silent.done()
        collection.put("same", "COMPLETED")  # and the new watch works
        assert await silent == "COMPLETED"


async def test_a_server_whose_every_watch_is_gone_is_not_hammered(hub, collection, answers):
    collection.refuse["watch"] = answers.status(410, "Expired")
    collection.put("pi", "RUNNING")
    async with Follower(hub, "pi") as pi:
        await pi.next()
        await asyncio.sleep(1)
        assert collection.counts["list"] < 15
        del collection.refuse["watch"]
        collection.put("pi", "COMPLETED")
        await pi.until("COMPLETED")


async def test_a_watch_that_ends_at_once_every_time_is_not_hammered(hub, collection, answers):
    collection.refuse["watch"] = answers.stream()
    collection.put("pi", "RUNNING")
    async with Follower(hub, "pi") as pi:
        await pi.next()
        await asyncio.sleep(1)
        assert collection.counts["watch"] < 15


async def test_an_outage_is_waited_out_and_told_once(hub, collection, answers, no_pause, caplog, monkeypatch):
    monkeypatch.setattr(reflector, "_SETTLED_SECONDS", 0.01)
    caplog.set_level(logging.INFO, logger="airflow_provider_sparkml.client.reflector")
    collection.put("pi", "RUNNING")
    async with Follower(hub, "pi") as pi:
        await pi.next()
        await collection.reached(watching=1)
        for verb in ("list", "watch", "get"):
            collection.refuse[verb] = answers.drop()
        collection.cut()
        await collection.reached(watch=8)
        collection.put("pi", "COMPLETED")
        collection.refuse.clear()
        assert await pi.next() == "COMPLETED"
    texts = [(record.levelname, record.getMessage()) for record in caplog.records]
    warnings = [text for level, text in texts if level == "WARNING"]
    assert len(warnings) == 1
    assert "lost sight of sparkapplications.sparkoperator.k8s.io in namespace team" in warnings[0]
    assert "no answer from" in warnings[0]
    assert [text for level, text in texts if level == "INFO"][-1].endswith("in sight again")


async def test_a_server_error_on_the_watch_means_listing_anew(hub, collection, answers, no_pause):
    """As after a restore of etcd: the server answers 504 to a version from its future for ever."""
    collection.put("pi", "RUNNING")
    async with Follower(hub, "pi") as pi:
        await pi.next()
        await collection.reached(watching=1)

        async def too_large(request):
            del collection.refuse["watch"]
            return await answers.status(504, "Timeout", "Too large resource version")(request)

        collection.refuse["watch"] = too_large
        collection.objects["pi"] = {
            **collection.objects["pi"],
            "metadata": {**collection.objects["pi"]["metadata"], "resourceVersion": "3"},
            "status": {"applicationState": {"state": "RESTORED"}},
        }
        collection.version = 5
        collection.cut()
        assert await pi.next() == "RESTORED"


async def test_where_watching_is_forbidden_it_polls(hub, collection, answers, caplog):
    collection.refuse["watch"] = answers.status(403, "Forbidden", "cannot watch")
    collection.put("pi", "RUNNING")
    collection.put("gone", "RUNNING")
    async with Follower(hub, "pi") as pi, Follower(hub, "gone") as gone:
        await pi.next(), await gone.next()
        collection.put("pi", "COMPLETED")
        collection.delete("gone")
        assert await pi.next() == "COMPLETED"
        assert await gone.next() is None
        await collection.reached(list=6)
    assert collection.counts["watch"] == 1
    assert len([r for r in caplog.records if "so it is listed every 0.05 s" in r.getMessage()]) == 1


async def test_where_watching_was_forbidden_it_is_tried_again(hub, collection, answers, monkeypatch):
    monkeypatch.setattr(reflector, "_POLLS_BEFORE_WATCH", 2)
    collection.refuse["watch"] = answers.status(405, "MethodNotAllowed")
    collection.put("pi", "RUNNING")
    async with Follower(hub, "pi") as pi:
        await pi.next()
        await collection.reached(list=3)
        collection.refuse.clear()
        await collection.reached(watching=1)


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (401, "Unauthorized", UnauthorizedError),
        (403, "Forbidden", ForbiddenError),
        (404, "NotFound", ResourceTypeNotFoundError),
    ],
)
async def test_what_cannot_heal_is_raised_in_every_follower(hub, collection, answers, code, reason, expected):
    collection.refuse["list"] = answers.status(code, reason)
    followers = [Follower(hub, name) for name in ("one", "two", "two")]
    results = await asyncio.gather(*(each.next() for each in followers), return_exceptions=True)
    assert [type(result) for result in results] == [expected] * 3
    assert len({id(result) for result in results}) == 3
    assert collection.counts["list"] <= 2
    collection.refuse.clear()
    collection.put("one", "RUNNING")
    async with Follower(hub, "one") as one:  # whoever comes later tries anew
        assert await one.next() == "RUNNING"


async def test_a_refusal_after_all_went_well_is_borne_for_a_while(hub, collection, answers, no_pause, monkeypatch):
    collection.put("pi", "RUNNING")
    async with Follower(hub, "pi") as pi:
        await pi.next()
        await collection.reached(watching=1)
        collection.refuse["list"] = answers.status(403, "Forbidden", "RBAC is not ready")
        collection.compact()
        collection.bookmark()
        collection.compact()
        collection.oldest += 1
        collection.cut()
        await collection.reached(list=4)
        collection.put("pi", "COMPLETED")
        collection.oldest = 0
        del collection.refuse["list"]
        assert await pi.next() == "COMPLETED"


async def test_a_refusal_that_stays_is_raised_in_the_end(hub, collection, answers, no_pause, monkeypatch):
    monkeypatch.setattr(reflector, "REFUSAL_GRACE_SECONDS", 0.2)
    collection.put("pi", "RUNNING")
    async with Follower(hub, "pi") as pi:
        await pi.next()
        await collection.reached(watching=1)
        for verb in ("list", "watch"):
            collection.refuse[verb] = answers.status(401, "Unauthorized", "token revoked")
        collection.cut()
        with pytest.raises(UnauthorizedError, match="token revoked"):
            await pi.next()


async def test_a_list_right_without_a_get_right_suffices(hub, collection, answers):
    collection.refuse["get"] = answers.status(403, "Forbidden")
    async with Follower(hub, "pi") as pi:
        assert await pi.next() is None


async def test_a_fault_of_our_own_ends_in_an_exception_not_in_silence(hub, collection):
    collection.put("pi", "RUNNING")
    async with Follower(hub, "pi") as pi:
        await pi.next()
        await collection.reached(watching=1)
        collection.version += 1
        collection.send_garbage()
        with pytest.raises(KeyError):
            await pi.next()


# --- coming and going ----------------------------------------------------------------------------------------------


async def test_the_watch_outlives_its_last_follower_for_a_moment_only(hub, collection, monkeypatch):
    monkeypatch.setattr(watch, "LINGER_SECONDS", 0.2)
    collection.put("pi", "RUNNING")
    for _ in range(3):  # a churn of tasks
        async with Follower(hub, "pi") as pi:
            await pi.next()
        await asyncio.sleep(0.02)
    assert collection.counts == {"list": 1, "watch": 1}
    async with asyncio.timeout(5):
        while collection._watches:
            collection.bookmark()  # the server notices a closed connection when it writes
            await asyncio.sleep(0.02)
    async with Follower(hub, "pi") as pi:
        assert await pi.next() == "RUNNING"
    assert collection.counts["list"] == 2


async def test_a_follower_that_stays_keeps_the_watch_of_one_that_left(hub, collection, monkeypatch):
    monkeypatch.setattr(watch, "LINGER_SECONDS", 0.01)
    collection.put("pi", "RUNNING")
    async with Follower(hub, "pi") as stays:
        async with Follower(hub, "pi") as leaves:
            await stays.next(), await leaves.next()
        await asyncio.sleep(0.05)
        collection.put("pi", "COMPLETED")
        assert await stays.next() == "COMPLETED"


async def test_closing_ends_the_watch_and_tells_those_who_wait(client, collection):
    hub = WatchHub(client)
    collection.put("pi", "RUNNING")
    pi = Follower(hub, "pi")
    await pi.next()
    waiting = asyncio.ensure_future(pi.next())
    await asyncio.sleep(0)
    await hub.close()
    with pytest.raises(ApiUnavailableError, match="the watch was closed"):
        await waiting
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("watch ")] == []


async def test_a_cancelled_follower_leaves_nothing(hub, collection):
    collection.put("pi", "RUNNING")
    async with Follower(hub, "pi") as stays:
        await stays.next()

        async def follow():
            async with aclosing(hub.follow(APPS, "team", "pi")) as states:
                async for _ in states:
                    pass

        task = asyncio.create_task(follow())
        await asyncio.sleep(0.05)
        shared = next(iter(hub._shared.values()))
        assert len(shared._followers["pi"]) == 2
        task.cancel()
        await asyncio.wait([task])
        assert len(shared._followers["pi"]) == 1


async def test_the_watch_does_not_run_in_the_context_of_whoever_came_first(hub, collection, answers, monkeypatch):
    task_of_log = contextvars.ContextVar("task_of_log", default="nobody")
    seen = []
    monkeypatch.setattr(reflector.log, "warning", lambda *args: seen.append(task_of_log.get()))
    collection.refuse["watch"] = answers.status(403, "Forbidden")
    collection.put("pi", "RUNNING")
    task_of_log.set("first")
    async with Follower(hub, "pi") as pi:
        await pi.next()
        await collection.reached(list=2)
    assert seen == ["nobody"]
