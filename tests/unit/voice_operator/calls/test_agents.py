"""What is kept of an act on a call's agent that could not be completed."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kube.client import KubernetesApi, KubernetesUnavailableError
from rooms.client import RoomClient
from rooms.tokens import RoomTokens
from testing.answering_api_server import Answer
from testing.operator_objects import NOW, UID, make_claimed_pod
from voice_operator.cache import Cache
from voice_operator.calls.agent_look import AgentLook
from voice_operator.calls.agents import Access, Agents, is_nodes_fault
from voice_operator.calls.api_broker import ApiBroker
from voice_operator.calls.incidents import Incidents
from voice_operator.calls.links import Links
from voice_operator.calls.memory import Calls
from voice_operator.calls.steps import Dismiss
from voice_operator.events import EventRecorder
from voice_operator.keys import Key
from voice_operator.livekit_address import LiveKitAddress
from voice_operator.pods.client import PodClient
from voice_operator.pods.link_view import LinkState, LinkView
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.work_queue import WorkQueue
from voice_operator.write_through import WriteThrough
from voicesession.models import EndReason

POD = make_claimed_pod(ip="127.0.0.1")


async def is_away(_request: web.Request) -> web.Response:
    return web.json_response({}, status=503)


async def do_nothing(_key: Key) -> None: ...


@pytest.fixture
async def pods() -> AsyncIterator[PodClient]:
    """Speaks to pods of which none is there: nobody listens at port 1."""
    client = PodClient(Ed25519PrivateKey.generate(), port=1)
    yield client
    await client.close()


def make_agents(kubernetes: KubernetesApi, pods: PodClient, calls: Calls) -> Agents:
    cache, rooms = Cache(), RoomClient("http://127.0.0.1:1", "key", "s" * 32)
    return Agents(
        access=Access(LiveKitAddress("ws://livekit"), RoomTokens("key", "s" * 32), b"k" * 32),
        calls=calls,
        links=Links(pods, WorkQueue(do_nothing), ApiBroker(cache, calls, rooms, pods)),
        look=AgentLook(rooms, lambda _uid: None),
        pods=pods,
        ready_pods=ReadyPods(cache),
        kubernetes=WriteThrough(kubernetes, cache),
        incidents=Incidents(cache, EventRecorder(kubernetes)),
    )


async def test_a_pod_that_was_given_up_is_that_also_when_it_cannot_be_deleted(
    open_kubernetes: Callable[[Answer], AbstractAsyncContextManager[KubernetesApi]], pods: PodClient
) -> None:
    calls = Calls()
    async with open_kubernetes(is_away) as kubernetes:
        agents = make_agents(kubernetes, pods, calls)
        with pytest.raises(KubernetesUnavailableError):
            await agents.dismiss(calls.meet(UID, NOW), Dismiss((POD,), EndReason.SUPERSEDED, lost=True))
    kept = calls.get(UID)
    assert kept is not None
    assert kept.lost_pods == {POD.uid}


@pytest.mark.parametrize(
    ("state", "refusal", "is_so"),
    [
        (LinkState.SILENT, None, True),
        (LinkState.REFUSED, 401, True),  # its clock may be off
        (LinkState.REFUSED, 409, False),
        (LinkState.REFUSED, 503, False),
        (LinkState.DEAD, None, False),
    ],
)
def test_whose_fault_it_is_that_a_pod_did_not_accept(state: LinkState, refusal: int | None, *, is_so: bool) -> None:
    assert is_nodes_fault(LinkView(POD.uid, state, NOW, refusal=refusal)) is is_so
