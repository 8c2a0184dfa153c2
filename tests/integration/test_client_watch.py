"""The shared watch against a Kubernetes API server that goes away, comes back, and forgets its history meanwhile."""

import asyncio
from contextlib import aclosing

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.resources.base import ApiResource

CONFIG_MAPS = ApiResource("", "v1", "configmaps", "ConfigMap")


async def next_label(states):
    obj = await asyncio.wait_for(anext(states), 30)
    return obj and obj["metadata"]["labels"]["state"]


def config_map(name, state):
    return {"metadata": {"name": name, "labels": {"state": state}}}


async def set_state(client, namespace, name, state):
    await client.patch(CONFIG_MAPS, name, {"metadata": {"labels": {"state": state}}}, namespace)


async def test_what_changed_while_the_server_restarted_is_seen(start_api_server):
    first = start_api_server()
    async with KubernetesClient(kubeconfig_file(first.kubeconfig)) as client:
        hub = WatchHub(client)
        for name in ("changed", "deleted"):
            await client.create(CONFIG_MAPS, config_map(name, "before"), "default")
        changed, deleted = (hub.follow(CONFIG_MAPS, "default", name) for name in ("changed", "deleted"))
        async with aclosing(changed), aclosing(deleted):
            assert [await next_label(changed), await next_label(deleted)] == ["before", "before"]

            waiting = [asyncio.create_task(next_label(each)) for each in (changed, deleted)]
            await asyncio.to_thread(first.stop)
            # Nobody may hear of this change but by listing anew: it is made on another port, before the restart.
            hidden = await asyncio.to_thread(start_api_server, first.state_dir)
            async with KubernetesClient(kubeconfig_file(hidden.kubeconfig)) as other:
                await set_state(other, "default", "changed", "after")
                await other.delete(CONFIG_MAPS, "deleted", "default", propagation="Background")
            await asyncio.to_thread(hidden.stop)
            await asyncio.to_thread(start_api_server, first.state_dir, first.port)

            assert await asyncio.gather(*waiting) == ["after", None]
            await set_state(client, "default", "changed", "later")
            assert await next_label(changed) == "later"
        await hub.close()


async def test_a_watch_by_labels_keeps_none_of_the_others(api_server, namespace):
    """As with pods that are jobs, among all the pods of a namespace; those who ask for the same labels share it."""
    async with KubernetesClient(kubeconfig_file(api_server.kubeconfig)) as client:
        hub = WatchHub(client)
        await client.create(CONFIG_MAPS, config_map("other", "0"), namespace)
        job = {"metadata": {"name": "job", "labels": {"state": "0", "job": "yes"}}}
        await client.create(CONFIG_MAPS, job, namespace)
        mine, too = (hub.follow(CONFIG_MAPS, namespace, "job", label_selector="job=yes") for _ in range(2))
        everything = hub.follow(CONFIG_MAPS, namespace, "other")
        async with aclosing(mine), aclosing(too), aclosing(everything):
            assert [await next_label(each) for each in (mine, too, everything)] == ["0", "0", "0"]
            kept = sorted((set(each._reflector.entries) for each in hub._shared.values()), key=len)
            assert len(kept) == 2
            assert kept[0] == {"job"}
            assert kept[1] >= {"job", "other"}
            await set_state(client, namespace, "job", "1")
            assert [await next_label(mine), await next_label(too)] == ["1", "1"]
            await client.delete(CONFIG_MAPS, "job", namespace, propagation="Background")
            assert [await next_label(mine), await next_label(mine)] == ["1", None], "its last state, and its end"
        await hub.close()


async def test_a_thousand_followers_hear_within_moments_at_the_price_of_one_watch(api_server, namespace):
    """A bound far above the measured figures (see benchmarks), to notice a cost that grows with the followers."""
    async with KubernetesClient(kubeconfig_file(api_server.kubeconfig)) as client:
        hub = WatchHub(client)
        names = [f"app-{number}" for number in range(1000)]
        await asyncio.gather(*(client.create(CONFIG_MAPS, config_map(name, "0"), namespace) for name in names))
        streams = [hub.follow(CONFIG_MAPS, namespace, name) for name in names]
        assert {await next_label(each) for each in streams} == {"0"}
        tasks_before = len(asyncio.all_tasks())
        loop = asyncio.get_running_loop()
        slowest = 0.0
        for index in range(0, 1000, 50):
            hears = asyncio.create_task(next_label(streams[index]))
            await asyncio.sleep(0)
            began = loop.time()
            await set_state(client, namespace, names[index], "1")
            assert await hears == "1"
            slowest = max(slowest, loop.time() - began)
        assert slowest < 2
        assert len(asyncio.all_tasks()) <= tasks_before
        for each in streams:
            await each.aclose()
        await hub.close()
