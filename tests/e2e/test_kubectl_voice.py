"""`kubectl voice` beside real calls: a good one from its start to its end, many bad ones, and a doctor's visit."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testing.customer import joined_room
from testing.front_door import ask_for_connection
from testing.progress import Step
from testing.release import Release, tool_environment
from testing.release_calls import voice_session_of, wait_for_end
from testing.waiting import eventually_sync
from voicesession.names import API_VERSION

QUESTION, ANSWER = "My name is Robert.", "Nice to meet you, Robert."
PLANTED = "planted"
# Pools that never have a pod, by what is wrong with them; the reason of a call that waits for one.
POOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "no-image": ("ImagePullFailed", {"image": "localhost:5000/voice-agent/nobody-made-it:1"}),
    "no-secret": (
        "PodConfigInvalid",
        {"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "nobody-made-it", "key": "key"}}}]},
    ),
    "no-node": ("Unschedulable", {"pod": {"nodeSelector": {"nobody": "has-it"}}}),
    "no-code": ("CodeImportFailed", {"code": "nobody.wrote:It"}),
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


@pytest.fixture
def plugin(release: Release) -> Plugin:
    return Plugin(release)


async def test_a_call_is_followed_from_its_start_to_its_end(release: Release, front_door: str, plugin: Plugin) -> None:
    connection = ask_for_connection(front_door)
    async with joined_room(connection.server_url, connection.token) as customer:
        await customer.type_until_said(QUESTION, ANSWER, 60)
        name = (voice_session_of(release, connection.room) or {})["metadata"]["name"]
        follower = plugin.start("transcript", name, "--follow")
        said = await asyncio.to_thread(plugin.read, "transcript", connection.room)
        assert {"customer", "agent"} <= {line["WHO"] for line in said}
        assert QUESTION in [line["WORDS"] for line in said]
        [row] = await asyncio.to_thread(plugin.read, "top")
        assert row["NAME"] == name
        assert 0 < row["MEDIAN-MS"] < 60_000, row
        assert row["AGENT"] in {"listening", "thinking", "speaking"}, row
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


def test_the_doctor_finds_nothing_where_all_is_well_and_each_fault_that_is_planted(
    release: Release, plugin: Plugin
) -> None:
    release.wait_until_ready(Step("a healthy release"), timeout=180)
    healthy = eventually_sync(lambda: _examined(plugin) or "well", 60)
    assert healthy == "well"
    with planted_faults(release):
        expected = {
            *("image", "pod-config", "unschedulable", "pool-short", "profile-unserved", "quota-full"),
            *("secret-missing", "secret-key-missing", "other-agent", "livekit-unreachable", "operator-scaled-to-0"),
            *("no-leader", "token-service-scaled-to-0"),
        }
        seen: set[str] = set()

        def found() -> bool:
            seen.update(_examined(plugin))
            return expected <= seen

        eventually_sync(found, 120, lambda: f"not found: {expected - seen}; found: {seen}", pace=2)
    release.wait_until_ready(Step("the release, mended"), timeout=180)
    eventually_sync(lambda: not _examined(plugin), 60, lambda: str(_examined(plugin)), pace=2)


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
    assert not answer["unread"], answer
    bad = {finding["CODE"] for finding in answer["findings"] if finding["WEIGHT"] != "note"}
    assert (done.returncode == 1) == bool(bad), done.stdout
    return bad


@contextmanager
def planted_pools(release: Release) -> Iterator[None]:
    """Gives the release pools that never have a pod, each with a profile."""
    default = release.get("agentpool", "default")["spec"]
    for name, (_, wrong) in POOLS.items():
        spec = {"image": default["image"], "providers": default["providers"], "warm": {"min": 1, "max": 1}, **wrong}
        release.apply(
            _ours("AgentPool", name, spec),
            _ours("AgentProfile", name, {"pool": name}),
        )
    try:
        yield
    finally:
        names = [f"{kind}/{name}" for name in POOLS for kind in ("agentprofile", "agentpool")]
        release.kubectl("delete", *names, "--wait=true", timeout=120)


@contextmanager
def planted_faults(release: Release) -> Iterator[None]:
    """Plants one fault of each kind, and takes them all away again."""
    operator, service = release.full_name("operator"), release.full_name("token-service")
    replicas = {name: release.get("deployment", name)["spec"]["replicas"] for name in (operator, service)}
    services = len(release.get("services")["items"])
    default = release.get("agentpool", "default")["spec"]
    key_missing = {**default["providers"][0], "local": False, "secretRef": {"name": "empty"}}
    kinds = "agentpool/no-key,agentprofile/nowhere,resourcequota/planted,secret/empty,event/planted-other-agent"
    with planted_pools(release):
        eventually_sync(lambda: _all_told(release), 90, lambda: str(_reasons(release)), pace=1)
        release.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "empty"}, "stringData": {"other": "x"}},
            _ours("AgentPool", "no-key", {"image": default["image"], "providers": [key_missing], "warm": {"min": 0}}),
            _ours("AgentProfile", "nowhere", {"pool": "nowhere"}),
            {
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": PLANTED},
                "spec": {"hard": {"services": str(services)}},
            },
            _event_of_another_agent(release),
        )
        eventually_sync(lambda: "nowhere" in _unserved(release), 30)
        release.kubectl("set", "env", f"deployment/{service}", "LIVEKIT_PUBLIC_URL=ws://127.0.0.1:1")
        release.kubectl("scale", f"deployment/{service}", f"deployment/{operator}", "--replicas=0")
        try:
            yield
        finally:
            release.kubectl("delete", *kinds.split(","), "--ignore-not-found")
            release.kubectl("rollout", "undo", f"deployment/{service}")
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
    return all(reasons.get(name) in {reason, "CrashLooping"} for name, (reason, _) in POOLS.items())


def _unserved(release: Release) -> list[str]:
    profiles = release.get("agentprofiles")["items"]
    return [
        item["metadata"]["name"]
        for item in profiles
        if any(each["status"] == "False" for each in item.get("status", {}).get("conditions", ()))
    ]


def test_the_verdict_on_each_bad_call_is_the_right_one(release: Release, plugin: Plugin) -> None:
    """Of twelve kinds, beside those whose verdict the unit tests' table has."""
    calls: dict[str, tuple[str, dict[str, Any]]] = {
        **{name: (reason, {"profile": name}) for name, (reason, _) in POOLS.items()},
        "no-profile": ("ProfileMissing", {"profile": "nobody-made-it"}),
        "no-pool": ("PoolMissing", {"profile": "nowhere"}),
        "no-provider": ("ProviderMissing", {"llmProvider": "nobody"}),
        "no-place": ("LimitReached", {"profile": "full"}),
        "room-taken": ("RoomTaken", {"room": "taken-room"}),
        "pod-lost": ("RecoveredPodDeleted", {}),
        "other-agent": ("OtherAgent", {}),
        # Whichever of the two is first to give up, the agent or LiveKit.
        "nobody-came": ("never_joined room_closed", {"limits": {"joinTimeoutSeconds": 2}}),
    }
    release.apply(
        _ours("AgentProfile", "nowhere", {"pool": "nowhere"}),
        _ours("AgentProfile", "full", {"pool": "default", "maxSessions": 0}),
    )
    try:
        with planted_pools(release):
            release.apply(_ours("VoiceSession", "bad-room", {"room": "taken-room"}))
            for name, (_, spec) in calls.items():
                release.apply(_ours("VoiceSession", f"bad-{name}", spec))
            uid = release.get("voicesession", "bad-other-agent")["metadata"]["uid"]
            release.apply(_event_of_another_agent(release, uid))
            _lose_the_pod(release, "bad-pod-lost")
            wrong: dict[str, str] = {}

            def judged() -> bool:
                wrong.clear()
                for name, (code, _) in calls.items():
                    verdict = plugin.read("why", f"bad-{name}")["verdict"][0]
                    if verdict["CODE"] not in code.split() or not verdict["ADVICE"]:
                        wrong[name] = verdict["CODE"]
                return not wrong

            eventually_sync(judged, 120, lambda: str(wrong), pace=2)
    finally:
        names = [f"voicesession/bad-{name}" for name in (*calls, "room")]
        names += ["agentprofile/nowhere", "agentprofile/full", "event/planted-other-agent"]
        release.kubectl("delete", *names, "--ignore-not-found")


def _lose_the_pod(release: Release, name: str) -> None:
    """Takes a call's pod from under it once its agent is in the room, without a word to it."""

    def joined() -> str | None:
        status = release.get("voicesession", name).get("status") or {}
        return status.get("podName") if status.get("phase") == "Active" else None

    pod = eventually_sync(joined, 60, lambda: str(release.get("voicesession", name).get("status")), pace=0.5)
    release.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
