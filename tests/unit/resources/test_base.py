"""References, paths and the registry of kinds."""

from __future__ import annotations

import json

import pytest

from airflow_provider_sparkml.exceptions import UnknownResourceError
from airflow_provider_sparkml.resources.base import ApiResource, Resource, ResourceRef, Verdict, register, resource_for
from airflow_provider_sparkml.resources.core import NAMESPACE, POD


def test_paths_of_the_core_group_and_of_cluster_scoped_types() -> None:
    assert POD.path("ns", "p", "log") == "/api/v1/namespaces/ns/pods/p/log"
    assert POD.path() == "/api/v1/pods"
    assert NAMESPACE.path("ignored", "ns") == "/api/v1/namespaces/ns"
    assert (POD.full_name, ApiResource("g.io", "v1", "things", "Thing").full_name) == ("pods", "things.g.io")


def test_a_reference_survives_json() -> None:
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns", "uid": "u"}}
    ref = ResourceRef.of(obj)
    assert ResourceRef(**json.loads(json.dumps(ref.to_json()))) == ref
    assert str(ref) == "Pod ns/p"


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(UnknownResourceError, match=r"'SparkAplication'.*known are: .*SparkApplication \(sparkoperator"):
        resource_for("sparkoperator.k8s.io/v1beta2", "SparkAplication")


def test_a_kind_of_somebody_elses_can_be_registered() -> None:
    api = ApiResource("ray.io", "v1", "rayjobs", "RayJob")
    resource = register(Resource(api=api, read=lambda obj: Verdict.from_json({"phase": "RUNNING"})))
    assert resource_for("ray.io/v1", "RayJob") is resource
    assert resource.log_source({}) is resource.progress({}) is None
