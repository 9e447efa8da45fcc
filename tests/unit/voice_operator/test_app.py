"""The operator as it is opened and leads, before an API server of a few lines."""

import asyncio
import itertools
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from aiohttp import web
from prometheus_client import REGISTRY
from pydantic import SecretStr

from kube.client import KubernetesUnavailableError
from rooms.client import LiveKitUnavailableError
from testing.answering_api_server import answering_api_server, say_not_found
from testing.operator_objects import make_pod
from testing.running_operator import write_signing_key
from testing.tickets import write_installation_key
from testing.waiting import eventually, let_others_run, stays
from voice_operator import lease
from voice_operator.app import Operator
from voice_operator.keys import Key, Kind
from voice_operator.pods.client import PodClient, PodRequestError
from voice_operator.settings import Keys, OperatorSettings
from voicesession.models import EndReason


@pytest.fixture
def settings(tmp_path: Path) -> OperatorSettings:
    write_signing_key(tmp_path / "signing.pem")
    (tmp_path / "conversation.key").write_text("0" * 64)
    return OperatorSettings(
        livekit_url="http://livekit",
        livekit_api_key="key",
        livekit_api_secret=SecretStr("secret" * 6),
        signing_key_file=tmp_path / "signing.pem",
        conversation_key_file=tmp_path / "conversation.key",
        installation_key_file=write_installation_key(tmp_path),
    )


def count_lists() -> float:
    labels = {"method": "GET", "status": "200"}
    return REGISTRY.get_sample_value("voice_operator_api_requests_total", labels) or 0.0


async def answer_with_nothing(_request: web.Request) -> web.Response:
    return web.json_response({"items": [], "metadata": {"resourceVersion": "1"}})


async def test_its_requests_to_the_api_server_are_counted(settings: OperatorSettings, tmp_path: Path) -> None:
    before = count_lists()
    async with answering_api_server(answer_with_nothing, tmp_path) as kubeconfig:
        operator = await Operator.open(settings, Keys(settings), kubeconfig)
        for plural in operator.cache.stores:
            assert not operator.synced
            await operator.list_all(plural)
        await operator.stop()
    assert count_lists() == before + 4  # VoiceSessions, pools, profiles, pods
    assert operator.synced


class Server:
    """Holds one VoiceSession, what it is given for Leases, and the Events that it was sent."""

    def __init__(self, session: dict[str, Any], claimed: list[dict[str, Any]] | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.queries: list[str] = []
        self._session = session
        self._claimed = claimed or []
        self.keeps_leases = True
        self._versions = itertools.count(10)

    async def answer(self, request: web.Request) -> web.Response:
        plural = request.path.rpartition("/")[2]
        if request.method == "GET" and "/leases" in request.path:
            return say_not_found(request)
        if request.method == "GET":
            selector = request.query.get("labelSelector", "")
            self.queries.append(f"{plural} {selector}")
            items = [self._session] if plural == "voicesessions" else []
            if " in (" in selector:
                items = self._claimed
            return web.json_response({"items": items, "metadata": {"resourceVersion": "9"}})
        if "/leases" in request.path and not self.keeps_leases:
            return web.json_response({}, status=500)
        body = await request.json()
        if plural == "events":
            self.events.append(body)
        return web.json_response(
            {**body, "metadata": {**body["metadata"], "resourceVersion": str(next(self._versions))}}
        )


def raw_session(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": "call", "namespace": "default", "uid": "uid-call", "resourceVersion": "5"},
        "spec": spec,
    }


async def lead_until(server: Server, settings: OperatorSettings, folder: Path, reached: Any) -> None:
    async with answering_api_server(server.answer, folder) as kubeconfig:
        operator = await Operator.open(settings, Keys(settings), kubeconfig)
        await operator.start()
        leading = asyncio.create_task(operator.lead())
        assert not operator.lease.leading, "nothing was listed yet"
        for plural in operator.cache.stores:
            await operator.list_all(plural)
        await eventually(lambda: reached(operator))
        await operator.stop()
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)


async def test_an_object_that_cannot_be_read_is_told_in_an_event(settings: OperatorSettings, tmp_path: Path) -> None:
    server = Server(raw_session({"variables": "secret words"}))
    await lead_until(server, settings, tmp_path, lambda _operator: server.events)
    (event,) = server.events
    assert (event["type"], event["reason"]) == ("Warning", "Unreadable")
    assert event["message"] == (
        "This release cannot read it and passes it over; it may be of a newer one. "
        "spec.variables: Input should be a valid dictionary"
    )
    assert event["involvedObject"] == {
        "apiVersion": "voiceagents.dev/v1alpha1",
        "kind": "VoiceSession",
        "namespace": "default",
        "name": "call",
        "uid": "uid-call",
    }
    assert event["metadata"]["name"].startswith("call.")


async def test_the_same_is_told_by_the_same_event_so_that_there_is_one(
    settings: OperatorSettings, tmp_path: Path
) -> None:
    names = []
    for number in range(2):
        server = Server(raw_session({"variables": "no map"}))
        folder = tmp_path / str(number)
        folder.mkdir()
        await lead_until(server, settings, folder, lambda _operator, server=server: server.events)
        names.append(server.events[0]["metadata"]["name"])
    assert names[0] == names[1]


async def test_before_it_decides_it_looks_for_claims_that_no_watch_has_told(
    settings: OperatorSettings, tmp_path: Path
) -> None:
    pod = {
        "metadata": {
            "name": "pod",
            "uid": "uid-pod",
            "resourceVersion": "8",
            "creationTimestamp": "2026-01-01T12:00:00Z",
            "labels": {"voiceagents.dev/session": "uid-call", "voiceagents.dev/state": "claimed"},
        }
    }
    server = Server(raw_session({"room": "room"}), [pod])
    await lead_until(server, settings, tmp_path, lambda operator: operator.cache.pods.count("session", "uid-call"))
    assert "pods voiceagents.dev/session in (uid-call)" in server.queries


async def test_while_it_cannot_renew_its_lease_it_neither_decides_nor_looks_around(
    settings: OperatorSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LEADS_SECONDS", "RENEW_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(lease, name, getattr(lease, name) / 20)
    server = Server(raw_session({"room": "room"}))

    def going_round() -> bool:
        return any(task.get_name() == "room-poll" and not task.cancelling() for task in asyncio.all_tasks())

    async def look(operator: Operator) -> bool:
        assert going_round()
        server.keeps_leases = False
        await eventually(lambda: not going_round() and not operator.lease.leading)
        # What was asked for before arrives.
        await eventually(lambda: not operator._queue._running)
        await let_others_run()
        before = len(server.queries)
        operator._queue.add(Key(Kind.CALL, "uid-call"))
        await stays(lambda: operator._queue._queued, 0.2, "it was decided about")
        assert len(server.queries) == before
        server.keeps_leases = True
        await eventually(lambda: going_round() and operator.lease.leading)
        await eventually(lambda: not operator._queue._queued)
        return True

    async def leads(operator: Operator) -> bool:
        return operator.lease.leading and going_round() and await look(operator)

    await lead_until(server, settings, tmp_path, leads)


async def test_who_does_not_lead_tells_neither_livekit_nor_pods_nor_the_api_server_anything(
    settings: OperatorSettings, tmp_path: Path
) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path}")
        return web.json_response({})

    async with answering_api_server(answer, tmp_path) as kubeconfig:
        url = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        standby = settings.model_copy(update={"livekit_url": url})
        operator = await Operator.open(standby, Keys(standby), kubeconfig)
        await operator.start()
        pods = PodClient(Keys(standby).signing, port=urlsplit(url).port or 0, request_class=operator._request_class)
        pod = make_pod("pod", ip="127.0.0.1")
        with pytest.raises(LiveKitUnavailableError, match="this operator does not lead"):
            await operator._poll._rooms.delete("room")
        with pytest.raises(PodRequestError, match="this operator does not lead"):
            await pods.end(pod, EndReason.ENDED_BY_REQUEST)
        with pytest.raises(KubernetesUnavailableError, match="this operator does not lead"):
            await operator._kubernetes.create_pod({})
        await pods.close()
        await operator.stop()
    assert asked == []
