"""Single objects of any kind on a real API server: found by discovery, refused with advice."""

from __future__ import annotations

import pytest

from airflow_provider_sparkml.exceptions import ForbiddenError, ResourceTypeNotFoundError
from airflow_provider_sparkml.jobs.objects import apply_object, described, discover, find_type
from airflow_provider_sparkml.resources.core import CONFIG_MAP, DEPLOYMENT, NAMESPACE, POD
from airflow_provider_sparkml.resources.spark import API

from .conftest import limited_client, pi


@pytest.mark.parametrize("api", [POD, NAMESPACE, DEPLOYMENT, API])
async def test_discovery_says_the_same_as_what_is_known(airflow, api):
    assert await discover(airflow, api.api_version, api.kind) == api
    assert await find_type(airflow, api.api_version, api.kind) == api


@pytest.mark.parametrize(
    ("api_version", "kind", "said"),
    [
        ("v1", "Pods", "serves there: .*Pod"),
        ("apps/v9", "Deployment", "serves no kind of that apiVersion"),
        ("no.such/v1", "X", "serves no kind of that apiVersion"),
        ("v1", "Scale", "serves there"),
    ],
)
async def test_what_is_not_served(airflow, api_version, kind, said):
    with pytest.raises(ResourceTypeNotFoundError, match=said) as missing:
        await discover(airflow, api_version, kind)
    assert str(missing.value).splitlines()[0].startswith(f"the API server does not know kind '{kind}'")


async def test_a_right_that_is_missing_is_named(client, namespace, api_server):
    async with limited_client(api_server, client, namespace, ["get"]) as limited:
        with pytest.raises(ForbiddenError) as refused:
            await apply_object(limited, API, pi(), namespace, field_manager="m", force=False)
        assert "needs the verb `patch` on sparkapplications.sparkoperator.k8s.io" in str(refused.value)


async def test_what_is_told_of_an_object(client, namespace):
    made = await client.create(CONFIG_MAP, {"metadata": {"name": "cm"}, "data": {"a": "b"}}, namespace)
    told = described(made)
    assert (told["name"], told["kind"], told["namespace"], told["uid"]) == (
        "cm", "ConfigMap", namespace, made["metadata"]["uid"],
    )  # fmt: skip
    assert told["object"]["data"] == {"a": "b"}
