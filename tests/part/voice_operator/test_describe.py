"""kubectl tells a whole bad call, as the page shows one, and why a pool is short; on lines of 120 characters."""

import re
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from kube.client import KubernetesError, KubernetesUnavailableError
from local_cluster.binaries import KUBERNETES
from local_cluster.layout import REPOSITORY
from testing.conversations import message
from testing.kubelet import KubeletScript
from testing.operator_cluster import OperatorCluster
from testing.stub_pod import Exit, StubPod
from testing.waiting import eventually
from voicesession import clock
from voicesession.measures import Measured, ModelFailures
from voicesession.models import EndReason
from voicesession.names import POOL_LABEL, VOICE_SESSIONS
from voicesession.spool import SpooledEnd, SpooledStart, build_spool, spool_key

PAGE = REPOSITORY / "docs" / "reading-a-call.md"
# What is another in each call, and as the page has it.
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_MILLIS = re.compile(r"\d+ ms")
_POD = re.compile(r"\bdefault-[a-z0-9]{5}\b")


def kubectl(cluster: OperatorCluster, *arguments: str) -> str:
    """Returns what kubectl says."""
    command = [str(KUBERNETES.path("kubectl")), "--kubeconfig", str(cluster.kubeconfig), "-n", cluster.namespace]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def fold(text: str) -> str:
    """Returns a text without what is another in each call: times, and pods' names."""
    return _MILLIS.sub("N ms", _STAMP.sub("TIME", _POD.sub("POD", text)))


def read_conditions(described: str) -> list[str]:
    """Returns what a description says in its conditions: each one's lines, in one."""
    part = described.partition("Conditions:\n")[2].partition("\n  Connect Millis:")[0].partition("Events:")[0]
    return [" ".join(each.split()) for each in re.split(r"(?=Last Transition Time:)", part) if each.strip()]


def read_events(described: str) -> Iterator[tuple[str, str, str]]:
    """Yields type, reason and message of each Event in a description."""
    for line in described.partition("Events:\n")[2].splitlines():
        found = re.match(r"  (Normal|Warning) +(\w+) +\S+(?: \(x\d+ over \S+\))? +voice-operator +(.*)", line)
        if found:
            yield found[1], found[2], found[3]


async def test_a_whole_bad_call_is_told(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 2})
    await cluster.create_profile()
    cluster.start_operator()
    await cluster.wait_for_warm(2)
    await cluster.create_session("call", room="room-" + secrets.token_hex(4))

    first = await agent_of(cluster, 1)
    failed = {"part": "stt", "provider": "local", "count": 3}
    outcomes = [ModelFailures.model_validate({**failed, "outcome": outcome}) for outcome in ("retried", "failed")]
    for _ in range(2):
        await first.say(Measured(at=clock.now(), failures=outcomes))
    await first.stop()  # its port is closed before its kubelet says how it ended

    await agent_of(cluster, 2)
    await first.exit(Exit(137, "OOMKilled"))
    await cluster.patch(VOICE_SESSIONS, "call", {"spec": {"move": "now"}})

    third = await agent_of(cluster, 3)
    session = await cluster.session("call")
    assert session is not None
    ended = SpooledEnd(reason="participant_left", ended_at=clock.now())
    started = SpooledStart(room_id="room", profile="default", started_at=clock.now())
    key = spool_key(session.metadata.uid, 3, secrets.token_hex(16))
    spool = build_spool(key, started, [message(1, "swordfish"), message(2, "swordfish")], ended)
    await third.finish(EndReason.PARTICIPANT_LEFT, spool=spool)
    await cluster.wait_for_phase("call", "Ended")

    shown = [each for each in re.findall(r"(?:^    .*\n|^\n)+", PAGE.read_text(), re.MULTILINE) if "Events:" in each]
    page = fold(re.sub(r"^    ", "", shown[0], flags=re.MULTILINE))
    described = ""

    def told() -> bool:
        nonlocal described
        described = kubectl(cluster, "describe", "vs", "call")
        return len(list(read_events(described))) == len(list(read_events(page)))

    await eventually(told, why=lambda: described)
    now = fold(described)
    assert sorted(read_events(now)) == sorted(read_events(page)), described
    assert read_conditions(now) == read_conditions(page), described
    assert "swordfish" not in described


async def agent_of(cluster: OperatorCluster, attempt: int) -> StubPod:
    """Returns the call's agent of this attempt, once it is in the room."""

    async def look() -> StubPod | None:
        session = await cluster.session("call")
        there = session is not None and (session.status.phase, session.status.attempts) == ("Active", attempt)
        return cluster.stub_of(session) if session and there else None

    return await eventually(look)


# Pools


@asynccontextmanager
async def admission(cluster: OperatorCluster) -> AsyncIterator[None]:
    """Has a policy deny the pods of one pool, and a webhook that is not there be asked about those of another."""
    root, name = "/apis/admissionregistration.k8s.io/v1", cluster.namespace
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
    policy = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "false", "message": "images come from our registry alone"}],
    }
    binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": {**here, **only("denied")}}
    webhook = {
        "name": "scan.example.com",
        "clientConfig": {"url": "https://127.0.0.1:1/scan"},
        "rules": [rule],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        **here,
        **only("unasked"),
    }
    made: dict[str, dict[str, Any]] = {
        "validatingadmissionpolicies": {"spec": policy},
        "validatingadmissionpolicybindings": {"spec": binding},
        "validatingwebhookconfigurations": {"webhooks": [webhook]},
    }
    for kind, body in made.items():
        await cluster.api.request("POST", f"{root}/{kind}", {"metadata": {"name": name}, **body})
    try:
        yield
    finally:
        for kind in made:
            await cluster.api.request("DELETE", f"{root}/{kind}/{name}")


def only(pool: str) -> dict[str, Any]:
    """Returns a selector of one pool's pods."""
    return {"objectSelector": {"matchLabels": {POOL_LABEL: pool}}}


async def until_refused(cluster: OperatorCluster, pool: str) -> None:
    """Waits until the API server takes no pod of this pool."""
    container = {"name": "agent", "image": "agent", "resources": {"limits": {"memory": "64Mi"}}}
    pod = {"metadata": {"name": f"{pool}-tried", "labels": {POOL_LABEL: pool}}, "spec": {"containers": [container]}}

    async def is_refused() -> bool:
        try:
            await cluster.api.request("POST", f"/api/v1/namespaces/{cluster.namespace}/pods?dryRun=All", pod)
        except (KubernetesError, KubernetesUnavailableError):
            return True
        return False

    await eventually(is_refused)


async def limit(cluster: OperatorCluster, kind: str, hard: str, spec: dict[str, Any]) -> None:
    """Makes a LimitRange or a quota; returns when it holds. Nobody counts here what is used of a quota."""
    path = f"/api/v1/namespaces/{cluster.namespace}/{kind}"
    await cluster.api.request("POST", path, {"metadata": {"name": hard}, "spec": spec})
    if kind == "resourcequotas":
        status = {"status": {"hard": spec["hard"], "used": spec["hard"]}}
        await cluster.api.request("PATCH", f"{path}/{hard}/status", status, "application/merge-patch+json")
    await until_refused(cluster, "any")


# By pool: the reason, and whose words the message is. The longest name that a pool may have is among them.
LONGEST = "a-pool-whose-name-is-as-long-as-that-of-a-pool-is-"[:49] + "x"
SHORT = {
    "no-image": ("ImagePullFailed", 'Back-off pulling image "agent:nope"'),
    "no-node": ("Unschedulable", "2 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }"),
    "crashes": ("CrashLooping", "pods in a row ended before they were ready: Error, exit code 3."),
    "evicted": ("Evicted", "The node was low on resource: memory."),
    "denied": ("PodCreationFailed", "denied request: images come from our registry alone"),
    "unasked": ("PodCreationFailed", 'failed calling webhook "scan.example.com"'),
    "too-large": ("PodCreationFailed", "maximum memory usage per Container is 1Mi"),
    LONGEST: ("QuotaExceeded", "exceeded quota: no-pods, requested: pods=1, used: pods=0, limited: pods=0"),
}


async def test_kubectl_says_why_a_pool_is_short(cluster: OperatorCluster) -> None:
    scripts = cluster.kubelet.scripts
    scripts["no-image"] = KubeletScript(image_error=SHORT["no-image"][1])
    scripts["no-node"] = KubeletScript(unschedulable=f"0/2 nodes are available: {SHORT['no-node'][1]}.")
    scripts["crashes"] = KubeletScript(exits=Exit(3, "Error"))
    scripts["evicted"] = KubeletScript(evicted=f"{SHORT['evicted'][1]} Container agent was using 300Mi.")
    cluster.start_operator()
    async with admission(cluster):
        for pool in ("denied", "unasked"):
            await until_refused(cluster, pool)
        for pool in list(SHORT)[:-2]:
            await cluster.create_pool(pool)
        await until_told(cluster, list(SHORT)[:-2])
        await limit(cluster, "limitranges", "small", {"limits": [{"type": "Container", "max": {"memory": "1Mi"}}]})
        await cluster.create_pool("too-large")
        await until_told(cluster, ["too-large"])
        await cluster.api.request("DELETE", f"/api/v1/namespaces/{cluster.namespace}/limitranges/small")
        await limit(cluster, "resourcequotas", "no-pods", {"hard": {"pods": "0"}})
        await cluster.create_pool(LONGEST)
        await until_told(cluster, [LONGEST])
        table = kubectl(cluster, "get", "apool")
        described = kubectl(cluster, "describe", "apool", LONGEST)
    assert max(map(len, table.splitlines())) <= 120, table
    assert re.search(rf"^{LONGEST} .* QuotaExceeded ", table, re.MULTILINE), table
    assert re.search(rf"Message: +pods .*{SHORT[LONGEST][1]}\n +Reason: +QuotaExceeded", described), described


async def until_told(cluster: OperatorCluster, pools: list[str]) -> None:
    """Waits until kubectl shows the reason of each pool in its column, and the message in the wide table."""

    def wrong() -> list[str]:
        shown = {line.split()[0]: line for line in kubectl(cluster, "get", "apool", "-o", "wide").splitlines()}
        return [shown[pool] for pool in pools if not all(word in shown[pool] for word in SHORT[pool])]

    await eventually(lambda: not wrong(), 60, lambda: "\n".join(wrong()))


async def test_calls_and_profiles_of_long_names_fit_on_a_line(cluster: OperatorCluster) -> None:
    name = "customer-support1"
    await cluster.create_pool(name)
    await cluster.create_profile(name, pool=name, provider="local")
    cluster.start_operator()
    await cluster.wait_for_warm()
    for call, spec in (("vs-40bcd06fc68f3401", {}), ("vs-412f2d04a1a1c1f3", {"llmProvider": "nobody"})):
        await cluster.create_session(call, room=f"room-{call}", profile=name, **spec)
        await cluster.wait_for_phase(call, "Active", "Failed")

    def shown() -> str:
        profiles = kubectl(cluster, "get", "ap")
        return profiles if "ReferencesFound" in profiles else ""

    for table in (await eventually(shown), kubectl(cluster, "get", "vs")):
        assert max(map(len, table.splitlines())) <= 120, table
