"""No step of a call is left out because one before it failed, in whichever lane; and none is taken for ever."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conversations.undelivered import UndeliveredPieces
from kube.client import KubernetesApi
from rooms.client import RoomClient
from rooms.tokens import RoomTokens
from testing.answering_api_server import Answer, say_not_found
from testing.operator_objects import UID, joined_conditions, make_raw_pod, make_session
from testing.tickets import TICKETS
from testing.waiting import eventually, stays
from voice_operator.cache import Cache
from voice_operator.calls import decide, reconciler
from voice_operator.calls.agent_look import AgentLook
from voice_operator.calls.agents import Access, Agents
from voice_operator.calls.api_broker import ApiBroker
from voice_operator.calls.claim import Claims
from voice_operator.calls.closing import Closing
from voice_operator.calls.collecting import Collecting
from voice_operator.calls.incidents import Incidents
from voice_operator.calls.links import Links
from voice_operator.calls.memory import CallMemory, Calls
from voice_operator.calls.observe import World
from voice_operator.calls.reconciler import Reconciler
from voice_operator.calls.room import CallRooms
from voice_operator.calls.session_writer import SessionWriter
from voice_operator.calls.steps import TellRefusal, Terms
from voice_operator.events import EventRecorder
from voice_operator.keys import LANES, Key, Kind
from voice_operator.livekit_address import LiveKitAddress
from voice_operator.metrics import PODS_ORPHANED
from voice_operator.pods.client import PodClient
from voice_operator.pools.pod_template import PodBasis
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.pools.templates import Templates
from voice_operator.seen_rooms import SeenRooms
from voice_operator.work_queue import WorkQueue
from voice_operator.write_through import WriteThrough
from voicesession import clock
from voicesession.conditions import Reason
from voicesession.serving import Problem

OpenKubernetes = Callable[[Answer], AbstractAsyncContextManager[KubernetesApi]]


async def is_away(_request: web.Request) -> web.Response:
    return web.json_response({}, status=503)


@asynccontextmanager
async def reconciling(kubernetes: KubernetesApi, cache: Cache, calls: Calls) -> AsyncIterator[WorkQueue[Key]]:
    """Reconciles calls beside a LiveKit and pods that are not there: nobody listens at port 1."""
    pods, rooms = PodClient(Ed25519PrivateKey.generate(), port=1), RoomClient("http://127.0.0.1:1", "key", "s" * 32)
    ready_pods, templates, writes = ReadyPods(cache), Templates(PodBasis("key")), WriteThrough(kubernetes, cache)
    look, events = AgentLook(rooms, lambda _uid: None), EventRecorder(kubernetes)
    incidents = Incidents(cache, events)

    async def handle(key: Key) -> None:
        acts = {
            Kind.CALL: one.reconcile_call,
            Kind.ROOM: one.reconcile_room,
            Kind.POD: one.reconcile_pod,
        }
        await acts[key.kind](key.name)

    queue: WorkQueue[Key] = WorkQueue(handle, lanes=LANES, lane_of=lambda key: key.kind)
    links = Links(pods, queue, ApiBroker(cache, calls, rooms, pods))
    access = Access(LiveKitAddress("ws://livekit"), RoomTokens("key", "s" * 32), b"k" * 32)
    one = Reconciler(
        world=World(cache, calls, ready_pods, {}, Terms(), look.absent, SeenRooms(), b"k" * 32),
        claims=Claims(cache, calls, ready_pods, templates, writes),
        agents=Agents(
            access=access,
            calls=calls,
            links=links,
            look=look,
            pods=pods,
            ready_pods=ready_pods,
            kubernetes=writes,
            incidents=incidents,
        ),
        rooms=CallRooms(rooms, TICKETS, calls),
        sessions=SessionWriter(writes, events),
        closing=Closing(None, queue),
        collecting=Collecting(pods, UndeliveredPieces(kubernetes), None, incidents),
        links=links,
        incidents=incidents,
        kubernetes=writes,
        queue=queue,
    )
    queue.start()
    try:
        yield queue
    finally:
        await queue.stop()
        await rooms.close()
        await pods.close()


async def test_a_room_that_cannot_be_closed_keeps_nobody_in_memory(
    open_kubernetes: OpenKubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decide, "LIVEKIT_PATIENCE", timedelta(seconds=0.3))
    cache, calls = Cache(), Calls()
    calls.keep(CallMemory(UID, 0, clock.steady(), name="call", room="room"))
    cache.sessions.remove("call", UID)
    async with open_kubernetes(is_away) as kubernetes, reconciling(kubernetes, cache, calls) as queue:
        queue.add(Key(Kind.CALL, UID))
        await eventually(lambda: calls.get(UID) is None)


class LostAnswer:
    """An API server that writes a VoiceSession's status, once, and cannot say so."""

    def __init__(self, session: dict[str, Any]) -> None:
        self.session = session
        self._lost = False

    async def answer(self, request: web.Request) -> web.Response:
        """Answers a request."""
        if request.method == "GET":
            return web.json_response(self.session)
        if self._lost:
            return web.json_response({"message": "it is not as you saw it"}, status=409)
        self._lost = True
        metadata = {**self.session["metadata"], "resourceVersion": "8"}
        self.session = {**self.session, "metadata": metadata, "status": (await request.json())["status"]}
        return web.json_response({}, status=503)


async def test_a_customer_is_told_of_a_refusal_whose_writing_had_no_answer(
    open_kubernetes: OpenKubernetes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(decide, "REFERENCE_GRACE", timedelta(0))
    cache, calls, server = Cache(), Calls(), LostAnswer(make_session(profile="missing").to_wire())
    cache.sessions.put(server.session)
    async with open_kubernetes(server.answer) as kubernetes, reconciling(kubernetes, cache, calls) as queue:
        queue.add(Key(Kind.CALL, UID))
        await eventually(lambda: "the customer could not be told" in caplog.text)  # nor by a LiveKit that is not there


async def test_a_loss_that_older_crds_do_not_keep_is_found_once_all_the_same(
    open_kubernetes: OpenKubernetes, caplog: pytest.LogCaptureFixture
) -> None:
    session = make_session(conditions=joined_conditions(), status_attempts=1).to_wire()
    cache, calls = Cache(), Calls()
    cache.sessions.put(session)
    cache.pods.put(make_raw_pod(call=UID, exit_code=139))
    versions = itertools.count(8)

    async def answer(request: web.Request) -> web.Response:
        if request.method != "PATCH":
            return await is_away(request)
        status = (await request.json())["status"]
        kept = {name: value for name, value in status.items() if not name.startswith("lost")}
        metadata = {**session["metadata"], "resourceVersion": str(next(versions))}
        return web.json_response({**session, "metadata": metadata, "status": kept})

    async with open_kubernetes(answer) as kubernetes, reconciling(kubernetes, cache, calls) as queue:
        queue.add(Key(Kind.CALL, UID))
        await eventually(lambda: "the agent is lost" in caplog.text)
        await stays(lambda: caplog.text.count("the agent is lost") == 1, 0.3, "the same loss is found again")


async def test_a_call_that_goes_round_in_circles_in_another_lane_is_left_alone(
    open_kubernetes: OpenKubernetes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    again = TellRefusal(Problem(Reason.NO_CAPACITY, "none"))
    monkeypatch.setattr(reconciler, "decide_call", lambda _view: again)
    cache, calls = Cache(), Calls()
    cache.sessions.put(make_session().to_wire())
    async with open_kubernetes(is_away) as kubernetes, reconciling(kubernetes, cache, calls) as queue:
        queue.add(Key(Kind.CALL, UID))
        await eventually(lambda: "the call does not come to rest" in caplog.text)
        steps = caplog.text.count("the customer could not be told")
        await stays(
            lambda: caplog.text.count("the customer could not be told") == steps, 0.3, "it is told at once again"
        )
    assert steps == 40


async def test_a_pod_whose_voicesession_nobody_has_seen_is_found_counted_and_ended(
    open_kubernetes: OpenKubernetes,
) -> None:
    deleted: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        if request.method == "DELETE":
            deleted.append(request.path.rpartition("/")[2])
        return say_not_found(request)

    cache, calls, before = Cache(), Calls(), PODS_ORPHANED._value.get()
    owner = {"kind": "VoiceSession", "name": "call"}
    cache.pods.put(make_raw_pod("left-over", call=UID, ownerReferences=[owner]) | {"status": {"podIP": "127.0.0.1"}})
    async with open_kubernetes(answer) as kubernetes, reconciling(kubernetes, cache, calls) as queue:
        queue.add(Key(Kind.CALL, UID))
        await eventually(lambda: deleted == ["left-over"])
    assert PODS_ORPHANED._value.get() == before + 1
