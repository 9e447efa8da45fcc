"""The local cluster does what a Kubernetes does: Services and DNS across nodes, limits, logs, exec, losing a node."""

import os
import urllib.request
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from local_cluster.__main__ import main
from testing.cluster import apply, build_python_pod, get, kubectl, popen_kubectl
from testing.waiting import eventually_sync

pytestmark = pytest.mark.skipif(os.environ.get("CLUSTER") == "current", reason="another's cluster is not ours to test")

NODES = ["node1", "node2"]
SERVER = "import http.server as h; print('serving', flush=True); h.test(h.SimpleHTTPRequestHandler, port=8000)"
# What kubernetes promises is "within 30 s"; the waits below are that promise, not a measurement.
EVICTION_SECONDS = 30


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"cluster-test-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def _in(namespace: str, item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "metadata": {**item["metadata"], "namespace": namespace}}


def _service(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8000}]},
    }


def _phase(namespace: str, pod: str) -> str:
    return str(get("pod", pod, namespace)["status"]["phase"])


def _has_ended(namespace: str, pod: str) -> bool:
    return _phase(namespace, pod) in {"Succeeded", "Failed"}


def _wait_until_ready(namespace: str, *pods: str) -> None:
    kubectl("--namespace", namespace, "wait", "--for=condition=Ready", "--timeout=60s", *(f"pod/{pod}" for pod in pods))


def test_pod_on_each_node_reaches_the_others_service_by_name(namespace: str) -> None:
    """Both directions at once: cluster DNS, kube-proxy, and the way from node to node."""
    servers = [build_python_pod(f"server-{node}", SERVER, node=node) for node in NODES]
    services = [_service(f"server-{node}") for node in NODES]
    apply(*(_in(namespace, item) for item in [*servers, *services]))
    _wait_until_ready(namespace, *(f"server-{node}" for node in NODES))

    for here, there in (NODES, NODES[::-1]):
        url = f"http://server-{there}.{namespace}.svc.cluster.local/"
        program = f"import urllib.request as u; print(u.urlopen({url!r}, timeout=10).status)"
        apply(_in(namespace, build_python_pod(f"client-{here}", program, node=here)))
        # Whichever end it is: the log then says why.
        eventually_sync(partial(_has_ended, namespace, f"client-{here}"), 60, f"client on {here}", pace=0.25)
        assert kubectl("--namespace", namespace, "logs", f"client-{here}").strip() == "200"
        assert get("pod", f"client-{here}", namespace)["spec"]["nodeName"] == here
        assert get("pod", f"server-{there}", namespace)["spec"]["nodeName"] == there


def test_container_above_its_limit_is_killed_and_says_so(namespace: str) -> None:
    """The limit is the kernel's: the reason is OOMKilled, not a crash of the program's own."""
    program = "print('before', flush=True); hoard = bytearray(256 * 1024 * 1024); print('after')"
    apply(_in(namespace, build_python_pod("hoarder", program, memory="64Mi")))
    eventually_sync(lambda: _phase(namespace, "hoarder") == "Failed", 60, "the hoarder has not ended", pace=0.25)

    ended = get("pod", "hoarder", namespace)["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    assert kubectl("--namespace", namespace, "logs", "hoarder").split() == ["before"]


def test_logs_exec_and_port_forward(namespace: str) -> None:
    """What one looks into a pod with, on the node that the API server is not on."""
    apply(_in(namespace, build_python_pod("server", SERVER, node="node2")))
    _wait_until_ready(namespace, "server")

    # Ready is a container that runs, whether its program has said anything or not.
    eventually_sync(lambda: "serving" in kubectl("--namespace", namespace, "logs", "server"), 30, pace=0.25)
    who = kubectl("--namespace", namespace, "exec", "server", "--", "python", "-c", "import os; print(os.getuid())")
    assert who.strip() == "10001"
    forward = popen_kubectl("--namespace", namespace, "port-forward", "pod/server", ":8000")
    try:
        assert forward.stdout is not None
        # "Forwarding from 127.0.0.1:40123 -> 8000"
        port = int(forward.stdout.readline().split(" -> ")[0].rsplit(":", 1)[1])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            assert answer.status == 200
    finally:
        forward.terminate()
        forward.wait(timeout=10)


def test_lost_node_is_noticed_its_pods_evicted_and_it_comes_back(namespace: str) -> None:
    """A power cut: NotReady and evicted within 30 s, Ready and of use again after it is back."""
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "server", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": "server"}},
            "template": {
                "metadata": {"labels": {"app": "server"}},
                "spec": {**build_python_pod("server", SERVER)["spec"], "restartPolicy": "Always"},
            },
        },
    }
    pinned = build_python_pod("pinned", SERVER, node="node2")
    kubectl("cordon", "node1")
    try:
        apply(deployment, _in(namespace, pinned))
        kubectl("--namespace", namespace, "rollout", "status", "deployment/server", "--timeout=60s")
        _wait_until_ready(namespace, "pinned")
    finally:
        kubectl("uncordon", "node1")

    assert main(["node-down", "2"]) == 0
    try:
        evicted = "the pods of the lost node are not evicted"
        eventually_sync(lambda: _is_evicted(namespace, "pinned"), EVICTION_SECONDS, evicted, pace=0.25)
        assert _node_ready("node2") == "Unknown"
        # The Deployment's other pod takes over, on the node that is left.
        kubectl("--namespace", namespace, "rollout", "status", "deployment/server", "--timeout=60s")
    finally:
        assert main(["node-up", "2"]) == 0

    assert _node_ready("node2") == "True"
    apply(_in(namespace, build_python_pod("again", SERVER, node="node2")))
    _wait_until_ready(namespace, "again")


def _is_evicted(namespace: str, pod: str) -> bool:
    shown = kubectl("--namespace", namespace, "get", "pod", pod, "--ignore-not-found", "--output=json")
    return not shown or "deletionTimestamp" in shown


def _node_ready(node: str) -> str:
    conditions = get("node", node)["status"]["conditions"]
    return next(str(condition["status"]) for condition in conditions if condition["type"] == "Ready")
