"""`kubectl voice` beside real calls: a good one from its start to its end, many bad ones, and a doctor's visit."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testing.customer import joined_room
from testing.front_door import ask_for_connection
from testing.progress import Step
from testing.release import Release, run_tool, tool_environment
from testing.release_calls import voice_session_of, wait_for_end
from testing.waiting import eventually, eventually_sync
from voicesession.names import API_VERSION

QUESTION, ANSWER = "My name is Robert.", "Nice to meet you, Robert."
PLANTED = "planted"
LEASE = "voice-agent-operator"
# As many at once: each is a process of its own, and they share a few cores with the cluster.
AT_ONCE = 3
# Pools that never have a pod, by what is wrong with them; the reason of a call that waits for one.
POOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "no-image": ("ImagePullFailed", {"image": "localhost:5000/voice-agent/nobody-made-it:1"}),
    "no-secret": (
        "PodConfigInvalid",
        {"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "nobody-made-it", "key": "key"}}}]},
    ),
    "no-node": ("Unschedulable", {"pod": {"nodeSelector": {"nobody": "has-it"}}}),
    "no-code": ("CodeImportFailed CrashLooping", {"code": "nobody.wrote:It"}),
}


@dataclass(frozen=True)
class Plugin:
    """The plug-in at a release, as kubectl finds it: a program on the PATH."""

    release: Release

    def run(self, *arguments: str, code: int = 0) -> str:
        """Returns what a command prints; it has to end with this exit code."""
        done = subprocess.run(
            self._command(*arguments), env=self._environment(), capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, (arguments, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    def read(self, *arguments: str, code: int = 0) -> Any:
        """Returns what a command says to programs."""
        return json.loads(self.run(*arguments, "-o", "json", code=code))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a command that goes on."""
        return subprocess.Popen(self._command(*arguments), env=self._environment(), stdout=subprocess.PIPE, text=True)

    def _command(self, *arguments: str) -> list[str]:
        return ["kubectl", "voice", *arguments, "--namespace", self.release.namespace]

    def _environment(self) -> dict[str, str]:
        """Returns the environment in which kubectl finds the plug-in beside this Python."""
        environment = tool_environment()
        return {**environment, "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}


@pytest.fixture(scope="module")
def plugin(release: Release) -> Plugin:
    return Plugin(release)


@pytest.fixture(scope="module")
def broken_pools(release: Release) -> Iterator[None]:
    """Pools that never have a pod, each with a profile, once the operator has told what is wrong with each."""
    default = release.get("agentpool", "default")["spec"]
    for name, (_, wrong) in POOLS.items():
        spec = {"image": default["image"], "providers": default["providers"], "warm": {"min": 1, "max": 1}, **wrong}
        release.apply(_ours("AgentPool", name, spec), _ours("AgentProfile", name, {"pool": name}))
    release.apply(_ours("AgentProfile", "nowhere", {"pool": "nowhere"}))
    try:
        eventually_sync(lambda: _all_told(release), 90, lambda: str(_reasons(release)), pace=1)
        yield
    finally:
        names = [f"{kind}/{name}" for name in POOLS for kind in ("agentprofile", "agentpool")]
        release.kubectl("delete", *names, "agentprofile/nowhere", "--ignore-not-found", timeout=120)


def test_the_doctor_finds_nothing_where_all_is_well(release: Release, plugin: Plugin) -> None:
    release.wait_until_ready(Step("a healthy release"), timeout=180)
    # Of other tests' agents, in the half hour that counts.
    release.kubectl("delete", "events", "--field-selector=reason=OtherAgent")
    assert eventually_sync(lambda: _examined(plugin) or "well", 60) == "well"
    assert plugin.read("doctor")["unread"] == []


async def test_a_call_is_followed_from_its_start_to_its_end(
    release: Release, front_door: str, plugin: Plugin, speak: Callable[[str], bytes]
) -> None:
    connection = ask_for_connection(front_door)
    async with joined_room(connection.server_url, connection.token) as customer:
        await customer.type_until_said(QUESTION, ANSWER, 60)
        name = (voice_session_of(release, connection.room) or {})["metadata"]["name"]
        follower = plugin.start("transcript", name, "--follow")
        await customer.ask(await asyncio.to_thread(speak, QUESTION), 60)
        said = await asyncio.to_thread(plugin.read, "transcript", connection.room)
        assert {"customer", "agent"} <= {line["WHO"] for line in said}
        assert QUESTION in [line["WORDS"] for line in said]
        row = await eventually(lambda: _measured_call(plugin), 60, "no answer to what was spoken was told")
        assert row["NAME"] == name
        assert row["AGENT"] in {"listening", "thinking", "speaking"}, row
        assert 0 < row["LAST-MS"] < 60_000, row
        assert row["MEMORY"].endswith("Mi"), row
        assert [turn for turn in await asyncio.to_thread(plugin.read, "timeline", name) if turn["LLM"] is not None]
        why = await asyncio.to_thread(plugin.run, "why", name)
        assert "Nothing is wrong: the agent is in the room." in why
        assert QUESTION not in why
        pod = voice_session_of(release, connection.room)["status"]["podName"]  # type: ignore[index]
        moved = await asyncio.to_thread(plugin.run, "move", name)
        assert pod not in moved.splitlines()[-1]
        await asyncio.to_thread(plugin.run, "end", name)
        ended = await asyncio.to_thread(wait_for_end, release, connection.room)
    assert ended["status"]["endReason"] == "ended_by_request", ended["status"]
    followed, _ = await asyncio.to_thread(follower.communicate, timeout=60)
    assert QUESTION in followed
    assert "Nothing was wrong with this call" in plugin.run("why", name)


async def _measured_call(plugin: Plugin) -> dict[str, Any] | None:
    """Returns the only call's line once an answer of it was measured; what is typed has no end to measure from."""
    [row] = await asyncio.to_thread(plugin.read, "top")
    return row if row["LAST-MS"] else None


def test_the_verdict_on_each_bad_call_is_the_right_one(release: Release, plugin: Plugin, broken_pools: None) -> None:
    """Of twelve kinds, beside those whose verdict the unit tests' table has."""
    calls: dict[str, tuple[str, dict[str, Any]]] = {
        **{name: (reason, {"profile": name}) for name, (reason, _) in POOLS.items()},
        "no-profile": ("ProfileMissing", {"profile": "nobody-made-it"}),
        "no-pool": ("PoolMissing", {"profile": "nowhere"}),
        "no-provider": ("ProviderMissing", {"llmProvider": "nobody"}),
        "no-place": ("LimitReached", {"profile": "full"}),
        "room-taken": ("RoomTaken", {"room": "taken-room"}),
        # Whichever of the two is first to give up, the agent or LiveKit.
        "nobody-came": ("never_joined room_closed", {"limits": {"joinTimeoutSeconds": 2}}),
    }
    release.apply(_ours("AgentProfile", "full", {"pool": "default", "maxSessions": 0}))
    try:
        release.apply(_ours("VoiceSession", "bad-lost", {"room": "taken-room", "limits": {"joinTimeoutSeconds": 300}}))
        release.apply(*(_ours("VoiceSession", f"bad-{name}", spec) for name, (_, spec) in calls.items()))
        _lose_the_pod(release, "bad-lost")
        expected = {f"bad-{name}": code.split() for name, (code, _) in calls.items()}
        _see_verdicts(plugin, {**expected, "bad-lost": ["RecoveredPodDeleted"]})
        release.apply(_event_of_another_agent(release, release.get("voicesession", "bad-lost")["metadata"]["uid"]))
        _see_verdicts(plugin, {"bad-lost": ["OtherAgent"]})
    finally:
        names = [f"voicesession/bad-{name}" for name in (*calls, "lost")]
        release.kubectl("delete", *names, "agentprofile/full", "event/planted-other-agent", "--ignore-not-found")


def _see_verdicts(plugin: Plugin, expected: dict[str, list[str]]) -> None:
    """Sees that each call gets one of its verdicts, with advice, in time."""
    missing = dict(expected)
    said: dict[str, str] = {}

    def judged() -> bool:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            verdicts = threads.map(lambda name: plugin.read("why", name)["verdict"][0], list(missing))
        for name, verdict in zip(list(missing), verdicts, strict=True):
            said[name] = verdict["CODE"]
            if verdict["CODE"] in missing[name] and verdict["ADVICE"]:
                del missing[name]
        return not missing

    eventually_sync(judged, 120, lambda: str({name: said[name] for name in missing}), pace=1)


def test_the_doctor_finds_each_fault_that_is_planted(release: Release, plugin: Plugin, broken_pools: None) -> None:
    operator, service = release.full_name("operator"), release.full_name("token-service")
    before = {"image", "pod-config", "unschedulable", "pool-short", "profile-unserved", "secret-missing"}
    _see_found(plugin, before)
    with planted_faults(release, operator, service):
        objects = {"quota-full", "secret-key-missing", "other-agent", "crds-older"}
        _see_found(plugin, objects | {"livekit-unreachable", "livekit-unresolved"})
        with all_scaled_to_0(release, operator, service):
            _see_found(plugin, {"operator-scaled-to-0", "no-leader", "token-service-scaled-to-0"})
            ahead = {"spec": {"renewTime": "2099-01-01T00:00:00.000000Z"}}
            release.kubectl("patch", "lease", LEASE, "--type=merge", "-p", json.dumps(ahead))
            _see_found(plugin, {"clock"})
            release.kubectl("delete", "lease", LEASE)
    eventually_sync(lambda: _examined(plugin) <= before | {"crash-loop"}, 180, lambda: str(_examined(plugin)), pace=1)


def _see_found(plugin: Plugin, expected: set[str]) -> None:
    """Sees that the doctor finds all of these in time, be it at several visits."""
    seen: set[str] = set()

    def found() -> bool:
        seen.update(_examined(plugin))
        return expected <= seen

    eventually_sync(found, 120, lambda: f"not found: {expected - seen}; found: {seen}", pace=1)


def _examined(plugin: Plugin) -> set[str]:
    """Returns the codes of what the doctor finds wrong."""
    done = subprocess.run(
        plugin._command("doctor", "-o", "json"),
        env=plugin._environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    answer = json.loads(done.stdout)
    bad = {finding["CODE"] for finding in answer["findings"] if finding["WEIGHT"] != "note"}
    assert (done.returncode == 1) == bool(bad), done.stdout
    return bad


@contextmanager
def planted_faults(release: Release, operator: str, service: str) -> Iterator[None]:
    """Plants faults beside the broken pools, and takes them all away again."""
    default = release.get("agentpool", "default")["spec"]
    services = len(release.get("services")["items"])
    key_missing = {**default["providers"][0], "local": False, "secretRef": {"name": "empty"}}
    kinds = ("agentpool/no-key", "resourcequota/planted", "secret/empty", "event/planted-other-agent")
    release.kubectl("set", "env", f"deployment/{service}", "LIVEKIT_PUBLIC_URL=ws://127.0.0.1:1")
    release.kubectl("set", "env", f"deployment/{operator}", "LIVEKIT_URL=ws://nobody.invalid:7880")
    try:
        release.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "empty"}, "stringData": {"other": "x"}},
            _ours("AgentPool", "no-key", {"image": default["image"], "providers": [key_missing], "warm": {"min": 0}}),
            {
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": PLANTED},
                "spec": {"hard": {"services": str(services)}},
            },
            _event_of_another_agent(release),
        )
        with crd_without_a_field(release):
            yield
    finally:
        release.kubectl("delete", *kinds, "--ignore-not-found")
        for name in (operator, service):
            release.kubectl("rollout", "undo", f"deployment/{name}")
        for name in (operator, service):
            release.kubectl("rollout", "status", f"deployment/{name}", "--timeout=180s", timeout=200)
        # One that is not gone yet may lead, and sends agents to the wrong LiveKit.
        eventually_sync(lambda: not _leaving(release), 60, lambda: str(_leaving(release)), pace=1)


def _leaving(release: Release) -> list[str]:
    """Returns the operators that are to go."""
    pods = release.get("pods", "-l", "app.kubernetes.io/component=operator")["items"]
    return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" in pod["metadata"]]


@contextmanager
def crd_without_a_field(release: Release) -> Iterator[None]:
    """Has the CRDs be those of a release that did not know a profile's displayName, which no profile here has."""
    field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/displayName"
    patch = json.dumps([{"op": "remove", "path": field}])
    run_tool("kubectl", "patch", "crd", "agentprofiles.voiceagents.dev", "--type=json", "-p", patch)
    try:
        yield
    finally:
        crds = str(release.chart / "crds")
        run_tool("kubectl", "apply", "--server-side", "--force-conflicts", "-f", crds)


@contextmanager
def all_scaled_to_0(release: Release, *deployments: str) -> Iterator[None]:
    """Scales Deployments to nothing, and back."""
    replicas = {name: release.get("deployment", name)["spec"]["replicas"] for name in deployments}
    release.kubectl("scale", *(f"deployment/{name}" for name in deployments), "--replicas=0")
    try:
        yield
    finally:
        for name, count in replicas.items():
            release.kubectl("scale", f"deployment/{name}", f"--replicas={count}")


def _ours(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _event_of_another_agent(release: Release, uid: str = "") -> dict[str, Any]:
    """Returns the Event by which the operator tells of somebody else's agent in a call's room."""
    stamp = subprocess.run(["date", "-u", "+%Y-%m-%dT%H:%M:%SZ"], capture_output=True, text=True, check=True)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "planted-other-agent"},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": "VoiceSession",
            "namespace": release.namespace,
            "uid": uid,
        },
        "type": "Warning",
        "reason": "OtherAgent",
        "message": "agent-AJ_x is in the room, too.",
        "lastTimestamp": stamp.stdout.strip(),
    }


def _reasons(release: Release) -> dict[str, str]:
    """Returns why the planted pools are not ready."""
    pools = {item["metadata"]["name"]: item for item in release.get("agentpools")["items"]}
    conditions = {name: pools[name].get("status", {}).get("conditions") or [{}] for name in POOLS if name in pools}
    return {name: found[0].get("reason", "") for name, found in conditions.items()}


def _all_told(release: Release) -> bool:
    reasons = _reasons(release)
    return all(reasons.get(name) in reason.split() for name, (reason, _) in POOLS.items())


def _lose_the_pod(release: Release, name: str) -> None:
    """Takes a call's pod from under it once its agent is in the room, without a word to it."""

    def joined() -> str | None:
        status = release.get("voicesession", name).get("status") or {}
        return status.get("podName") if status.get("phase") == "Active" else None

    pod = eventually_sync(joined, 60, lambda: str(release.get("voicesession", name).get("status")), pace=0.5)
    release.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
