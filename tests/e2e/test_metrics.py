"""A real Prometheus has watched the release through all tests: faults set off their alerts, and every panel has data.

`DASHBOARD_IMAGES=docs/images` has the docs' pictures taken.
"""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from livekit import api, rtc

from charts.dashboards import FOLDER
from local_cluster.layout import REPOSITORY
from testing.customer import CustomerError, joined_room
from testing.dashboard_pictures import ask_for_data, find_gaps, take_picture
from testing.front_door import Connection, FrontDoorError, ask_for_connection, call_service
from testing.host_pods import processes_of_pod
from testing.postgres import paused
from testing.progress import Step
from testing.prometheus import Prometheus, read_points
from testing.release import Release
from testing.release_calls import voice_session_of, wait_for_end
from testing.scrape_targets import PODS_ARE_REACHED
from testing.waiting import eventually, stays
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, API_VERSION, VOICE_SESSIONS

pytestmark = pytest.mark.skipif(not PODS_ARE_REACHED, reason="pods and nodes' processes are not reached from here")

ALERTS = REPOSITORY / "charts" / "voice-agent" / "alerts.yaml"
# What takes too long or too many calls to be made for real; tests/part/charts/test_alerts.py has them.
BY_PROMTOOL_ALONE = {
    "VoiceStartsSlow": "no call of a release that is well begins so late, and one that is short has VoicePoolShort",
    "VoiceOperatorBehind": "over 200 calls at once",
    "VoiceWebhooksLate": "a LiveKit that is slow to tell, which one that runs is not",
    "VoiceDatabaseBusy": "more who ask the database at once than a release of tests has",
    "VoiceRowsWait": "over 50 rows in a minute without a database",
    "VoiceRowsLost": "rows of megabytes, or a database that refuses what it took before",
    "VoiceObjectsUnreadable": "CRDs of a release that there is not yet",
}
WAIT_SECONDS = 60.0
# What is told while models stand still is no answer.
SLOW_SECONDS = 5.0


async def test_a_customer_interrupts_and_a_call_moves(
    release: Release, front_door: str, speak: Callable[[str], bytes], prometheus: Prometheus
) -> None:
    question = speak("Wait a moment, please. What is my name?")
    connection = ask_for_connection(front_door)
    async with joined_room(connection.server_url, connection.token) as customer:
        await customer.answer(customer.connect_began_at, WAIT_SECONDS)
        began, heard = time.monotonic(), customer.heard.audible_seconds()
        await customer.type("Please tell me a long story.")
        await customer.until_audible(began, WAIT_SECONDS, "a story")
        # A story is longer, and an agent cannot be interrupted in its first seconds.
        await customer.until(lambda: customer.heard.audible_seconds() - heard > 4, WAIT_SECONDS, "the story")
        await customer.ask(question, WAIT_SECONDS)
        await interrupted_once(prometheus)

        known = set(customer.heard.agent_joins)
        session = (voice_session_of(release, connection.room) or {})["metadata"]["name"]
        moved = json.dumps({"spec": {"move": "now"}})
        await asyncio.to_thread(release.kubectl, "patch", VOICE_SESSIONS, session, "--type=merge", "-p", moved)
        await customer.until_successor(known, WAIT_SECONDS)
    await asyncio.to_thread(wait_for_end, release, connection.room)


async def interrupted_once(prometheus: Prometheus) -> None:
    async def is_counted() -> bool:
        found = await prometheus.query('voice_agent_replies_total{interrupted="true"}')
        return any(value > 0 for series in found for _, value in read_points(series))

    await eventually(is_counted, WAIT_SECONDS, "no interruption was counted")


async def test_answers_that_come_late(
    release: Release, front_door: str, speak: Callable[[str], bytes], prometheus: Prometheus
) -> None:
    question = speak("What is my name?")
    models = release.get("pods", "-l", "app.kubernetes.io/component=local-models")["items"][0]["metadata"]["uid"]
    answer = call_service("POST", "/api/token", {}, base=front_door)  # by the door whose calls LiveKit's webhook makes
    async with (
        prometheus.alerting("VoiceAnswersSlow"),
        joined_room(answer["server_url"], answer["participant_token"]) as customer,
    ):
        await customer.answer(customer.connect_began_at, WAIT_SECONDS)
        for _ in range(2):
            spoken = await customer.say(question)
            with paused(processes_of_pod(models)):
                await stays(lambda: customer.heard.disconnected is None, SLOW_SECONDS, "it ended the call")
            await customer.answer(max(spoken, time.monotonic()), WAIT_SECONDS)


async def test_a_model_that_is_not_there_fails_its_calls(
    release: Release, front_door: str, prometheus: Prometheus
) -> None:
    """Each call at once, for it will not get better."""
    spec = release.get(AGENT_POOLS, "default")["spec"]
    local = spec["providers"][0]
    astray = {**local, "name": "astray", "llm": {**local["llm"], "baseUrl": local["llm"]["baseUrl"] + "/astray"}}
    release.apply(
        ours("AgentPool", "astray", {"image": spec["image"], "providers": [astray], "warm": {"min": 2, "max": 4}}),
        ours("AgentProfile", "astray", {"pool": "astray"}),
    )
    try:
        release.wait_until_ready(Step("astray"), timeout=120)
        async with prometheus.alerting("VoiceModelsFail", "VoiceCallsFail"):
            for _ in range(5):
                await fail_a_call(release, ask_for_connection(front_door, profile="astray"))
    finally:
        release.kubectl("delete", f"{AGENT_PROFILES}/astray", f"{AGENT_POOLS}/astray", "--wait=false")


async def fail_a_call(release: Release, connection: Connection) -> None:
    """Holds a call that ends with the first question."""
    async with joined_room(connection.server_url, connection.token) as customer:
        await customer.answer(customer.connect_began_at, WAIT_SECONDS)
        for _ in range(3):  # what is typed before the agent knows of its customer is not taken
            await customer.type("What is my name?")
            try:
                await customer.until(lambda: customer.heard.disconnected, 5, "the end")
                break
            except CustomerError:
                continue
    ended = await asyncio.to_thread(wait_for_end, release, connection.room)
    assert ended["status"]["phase"] == "Failed", ended["status"]


async def test_agents_that_are_lost(release: Release, prometheus: Prometheus) -> None:
    """One call's, one after the other; there is a warm pod for each."""
    release.kubectl("scale", "agentpool/default", "--replicas=4")
    try:
        release.wait_until_ready(Step("warm pods"), timeout=120)
        async with prometheus.alerting("VoiceAgentsLost"):
            release.apply(ours("VoiceSession", "lost", {"room": "room-lost", "limits": {"joinTimeoutSeconds": 300}}))
            pod = await until_active(release, "lost", set())
            lost = {pod}
            for _ in range(3):
                release.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
                pod = await until_active(release, "lost", lost)
                lost.add(pod)
    finally:
        release.kubectl("scale", "agentpool/default", "--replicas=2")
        release.kubectl("delete", f"{VOICE_SESSIONS}/lost", "--ignore-not-found")


async def until_active(release: Release, name: str, lost: set[str]) -> str:
    """Returns the name of the pod whose agent is in the call's room, and is none of those that are lost."""

    def serving() -> str | None:
        status = release.get(VOICE_SESSIONS, name).get("status", {})
        return str(status["podName"]) if status.get("phase") == "Active" and status["podName"] not in lost else None

    async def ask() -> str | None:
        return await asyncio.to_thread(serving)

    return await eventually(ask, WAIT_SECONDS, lambda: str(release.get(VOICE_SESSIONS, name).get("status")))


async def test_pools_without_pods(release: Release, prometheus: Prometheus) -> None:
    """One whose pods find no node, and for which a call waits; and one whose pods end before they have a call."""
    spec = release.get(AGENT_POOLS, "default")["spec"]
    given = {"image": spec["image"], "providers": spec["providers"]}
    homeless = {**given, "pod": {"nodeSelector": {"nobody": "has-it"}}, "warm": {"min": 1, "max": 1}}
    dying = {**given, "code": "nobody.wrote:It", "warm": {"min": 5, "max": 5, "maxStarting": 5}}
    made = [
        f"{VOICE_SESSIONS}/homeless",
        f"{AGENT_PROFILES}/homeless",
        f"{AGENT_POOLS}/homeless",
        f"{AGENT_POOLS}/dying",
    ]
    try:
        async with prometheus.alerting("VoiceCustomersWait", "VoicePoolShort", "VoicePodsFail"):
            release.apply(
                ours("AgentPool", "homeless", homeless),
                ours("AgentPool", "dying", dying),
                ours("AgentProfile", "homeless", {"pool": "homeless"}),
                ours("VoiceSession", "homeless", {"profile": "homeless"}),
            )
    finally:
        release.kubectl("delete", *made, "--ignore-not-found", "--wait=false")


async def test_a_release_that_nobody_leads(release: Release, prometheus: Prometheus) -> None:
    name = release.full_name("operator")
    replicas = release.get("deployment", name)["spec"]["replicas"]
    try:
        async with prometheus.alerting("VoiceNoLeader"):
            release.kubectl("scale", f"deployment/{name}", "--replicas=0")
    finally:
        release.kubectl("scale", f"deployment/{name}", f"--replicas={replicas}")
        release.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s", timeout=70)


async def test_somebody_elses_agent_in_a_call(release: Release, front_door: str, prometheus: Prometheus) -> None:
    key, secret = release.livekit_credentials()
    connection = ask_for_connection(front_door)
    grants = api.VideoGrants(room_join=True, room=connection.room, agent=True)
    token = api.AccessToken(key, secret).with_identity("agent-AJ_other").with_kind("agent").with_grants(grants)
    async with joined_room(connection.server_url, connection.token) as customer:
        await customer.until(lambda: customer.heard.agent_joins, WAIT_SECONDS, "the agent")
        other = rtc.Room()
        async with prometheus.alerting("VoiceForeignAgent"):
            await other.connect(connection.server_url, token.to_jwt())
        await other.disconnect()


async def test_rooms_that_no_webhook_tells_of(release: Release, front_door: str, prometheus: Prometheus) -> None:
    """Found by the operator's poll, all the same, while no token service runs."""
    name = release.full_name("token-service")
    replicas = release.get("deployment", name)["spec"]["replicas"]
    answers = [call_service("POST", "/api/token", {}, base=front_door) for _ in range(3)]
    try:
        async with prometheus.alerting("VoiceWebhooksLost"), AsyncExitStack() as stack:
            release.kubectl("scale", f"deployment/{name}", "--replicas=0")
            await eventually(lambda: not token_services(release), WAIT_SECONDS)
            for answer in answers:
                call = joined_room(answer["server_url"], answer["participant_token"])
                customer = await stack.enter_async_context(call)
                await customer.answer(customer.connect_began_at, WAIT_SECONDS)
    finally:
        release.kubectl("scale", f"deployment/{name}", f"--replicas={replicas}")
        release.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s", timeout=70)


async def test_transcripts_that_nobody_can_read(release: Release, front_door: str, prometheus: Prometheus) -> None:
    """Postgres stands still, and the token service with it."""
    uid = release.get("pod", release.full_name("postgres-0"))["metadata"]["uid"]
    connection = ask_for_connection(front_door)
    async with joined_room(connection.server_url, connection.token) as customer:
        await customer.answer(customer.connect_began_at, WAIT_SECONDS)
        async with prometheus.alerting("VoiceTokensFail"):
            with paused(processes_of_pod(uid, "postgres")):
                await asyncio.gather(*(ask_in_vain(front_door, connection) for _ in range(3)))


async def ask_in_vain(front_door: str, connection: Connection) -> None:
    """Asks for the call's transcript, one time after the other."""
    path = f"/api/sessions/{connection.room}/transcript"
    for _ in range(3):
        with pytest.raises(FrontDoorError):
            await asyncio.to_thread(call_service, "GET", path, token=connection.token, base=front_door)


def token_services(release: Release) -> list[Any]:
    found: list[Any] = release.get("pods", "-l", "app.kubernetes.io/component=token-service")["items"]
    return found


def ours(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def test_each_alert_has_a_test_that_makes_its_fault() -> None:
    alerts = {rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
    here = Path(__file__).read_text()
    made = {alert for alert in alerts - set(BY_PROMTOOL_ALONE) if f'"{alert}"' in here}
    assert made | set(BY_PROMTOOL_ALONE) == alerts


@pytest.mark.parametrize("dashboard", sorted(FOLDER.glob("*.json")), ids=lambda file: file.stem)
async def test_every_panel_has_data(dashboard: Path, release: Release, prometheus: Prometheus) -> None:
    """Each query, and each with all that its legend names."""
    read = json.loads(await asyncio.to_thread(dashboard.read_text))
    data = await ask_for_data(read, prometheus, release.namespace)
    assert find_gaps(read, data) == []
    await take_picture(read, data, dashboard.stem)


async def test_all_is_quiet_again(prometheus: Prometheus) -> None:
    await prometheus.until_calm()
