"""What is told of a call beside its status: each kind once, and no end of it is no flood."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from kube.client import KubernetesApi
from testing.answering_api_server import Answer
from testing.operator_objects import NOW, UID, make_claimed_pod, make_session
from testing.waiting import eventually
from voice_operator.cache import Cache
from voice_operator.calls import incidents
from voice_operator.calls.hand_over import Move, Trigger
from voice_operator.calls.incidents import Incidents
from voice_operator.calls.memory import Calls
from voice_operator.events import EventRecorder
from voicesession.measures import ModelFailures

OpenKubernetes = Callable[[Answer], AbstractAsyncContextManager[KubernetesApi]]
MEMORY = Calls().meet(UID, NOW)
POD = make_claimed_pod()


@dataclass
class Told:
    """The Events that have been written, and who writes them."""

    incidents: Incidents
    events: list[dict[str, Any]] = field(default_factory=list)

    async def until(self, count: int) -> list[str]:
        """Returns the Events' reasons once there are so many."""
        await eventually(lambda: len(self.events) >= count, why=lambda: str(self.events))
        return [event["reason"] for event in self.events]


@asynccontextmanager
async def telling(open_kubernetes: OpenKubernetes, *, is_there: bool = True) -> AsyncIterator[Told]:
    cache = Cache()
    if is_there:
        cache.sessions.put(make_session().to_wire())

    async def answer(request: web.Request) -> web.Response:
        told.events.append(await request.json())
        return web.json_response({})

    async with open_kubernetes(answer) as kubernetes:
        recorder = EventRecorder(kubernetes)
        told = Told(Incidents(cache, recorder))
        recorder.start()
        yield told
        await recorder.stop()


def failures(provider: str, **outcomes: int) -> list[ModelFailures]:
    return [
        ModelFailures.model_validate({"part": "stt", "provider": provider, "outcome": outcome, "count": count})
        for outcome, count in outcomes.items()
    ]


async def test_each_kind_of_a_models_failures_is_told_once(open_kubernetes: OpenKubernetes) -> None:
    async with telling(open_kubernetes) as told:
        for _ in range(3):
            told.incidents.tell_model_failures(UID, failures("cloud", retried=7, fallback=1))
        told.incidents.tell_model_failures(UID, failures("other.example", failed=1))
        assert await told.until(3) == ["ModelRetried", "ModelReplaced", "ModelFailed"]
        assert "Provider 'cloud' failed at a speech-to-text request. It was asked again." in told.events[0]["message"]


async def test_what_is_no_name_is_no_providers(open_kubernetes: OpenKubernetes) -> None:
    """A pod runs others' code: what it calls a provider may be what somebody has said."""
    async with telling(open_kubernetes) as told:
        told.incidents.tell_model_failures(UID, failures("my card is 4111", failed=1))
        await told.until(1)
        assert "4111" not in str(told.events)


async def test_a_flood_of_kinds_ends(open_kubernetes: OpenKubernetes) -> None:
    async with telling(open_kubernetes) as told:
        for number in range(2 * incidents._MOST):
            told.incidents.tell_not_accepted(MEMORY, replace(POD, name=f"pod-{number}"), "")
        told.incidents.forget(UID)
        told.incidents.tell_claim_refused(MEMORY, "403.")
        reasons = await told.until(incidents._MOST + 1)
        assert reasons == ["PodLost"] * incidents._MOST + ["ClaimRefused"]


async def test_a_move_is_told_with_its_trigger_and_what_delays_it(open_kubernetes: OpenKubernetes) -> None:
    moving = replace(MEMORY, last_pod=POD, move=Move(trigger=Trigger.EVICTED, wanted_at=NOW))
    async with telling(open_kubernetes) as told:
        told.incidents.tell_moving(MEMORY)
        for _ in range(2):
            told.incidents.tell_moving(moving)
            told.incidents.tell_not_accepted(moving, replace(POD, stands_by_for=1), "Pod b does not answer.")
        assert await told.until(2) == ["Moving", "MoveDelayed"]
        assert [event["type"] for event in told.events] == ["Normal", "Warning"]
        assert "it is being evicted" in told.events[0]["message"]
        assert "Pod b does not answer. The call goes on where it is." in told.events[1]["message"]


async def test_rows_that_wait_and_rows_that_are_lost_are_told_by_their_number(open_kubernetes: OpenKubernetes) -> None:
    async with telling(open_kubernetes) as told:
        told.incidents.tell_rows_wait(MEMORY, 0, 0)
        told.incidents.tell_rows_wait(MEMORY, 4, 2)
        assert await told.until(2) == ["RowsWait", "RowsLost"]
        assert [event["message"].split()[0] for event in told.events] == ["4", "2"]


async def test_of_a_call_that_is_gone_nothing_is_told(open_kubernetes: OpenKubernetes) -> None:
    async with telling(open_kubernetes, is_there=False) as told:
        told.incidents.tell_rows_wait(MEMORY, 4, 2)
        assert told.incidents._told == {}
