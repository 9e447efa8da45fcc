"""How a pod goes when its call is over, whatever comes of telling so."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from testing.waiting import eventually, let_others_run
from voice_agent.conversation_log import ConversationLog, ConversationStart
from voice_agent.endings import CallFacts, Ending
from voice_agent.event_stream import EventStream
from voice_agent.measures import Measures
from voice_agent.pod import Pod
from voice_agent.traces import Traces
from voicesession import clock
from voicesession.assignment import CallEnded, EndRequest, Heartbeat, TerminationMessage, parse_pod_event
from voicesession.models import EndReason


class OverCall:
    """A call that is over at once."""

    def __init__(self, ending: Ending | Exception) -> None:
        self._ending = ending
        start = ConversationStart("session", 1, "token", "room", None, "fake", False, "default", None)
        self.conversation = ConversationLog(None, start, on_superseded=lambda: None)
        self.conversation.begin()
        self.events = EventStream(lambda: Heartbeat(at=clock.now()))
        self.measures = Measures(CallFacts(), lambda host, _model: host, self.events.emit_once)

    async def run(self) -> Ending:
        if isinstance(self._ending, Exception):
            raise self._ending
        return self._ending


class Gone:
    """A pod that has held a call, and what it left behind."""

    def __init__(self, termination_log: Path) -> None:
        self.codes: list[int] = []
        workshop: Any = SimpleNamespace(settings=SimpleNamespace(termination_log=termination_log), traces=Traces(""))
        self._pod = Pod(workshop, self.codes.append, lambda _: None)
        self._termination_log = termination_log

    async def hold(self, call: Any) -> None:
        await self._pod._hold(call)

    @property
    def termination(self) -> TerminationMessage:
        return TerminationMessage.model_validate_json(self._termination_log.read_bytes())


@pytest.fixture
def gone(tmp_path: Path) -> Gone:
    """A pod without a call yet."""
    return Gone(tmp_path / "termination")


async def test_the_reason_is_told_by_the_last_event_and_left_for_kubernetes(gone: Gone) -> None:
    call = OverCall(Ending(EndReason.IDLE, "nobody spoke"))
    await gone.hold(call)
    async with asyncio.timeout(5):
        (ended,) = [parse_pod_event(line) async for line in call.events.read()]
    assert isinstance(ended, CallEnded)
    assert (ended.reason, ended.message, ended.end_written) == (EndReason.IDLE, "nobody spoke", True)
    assert gone.termination == TerminationMessage(reason="idle", message="nobody spoke", end_written=True)
    assert gone.codes == [0]


async def test_a_reason_that_is_no_text_is_told_as_one(gone: Gone) -> None:
    call = OverCall(Ending(EndReason.ENDED_BY_REQUEST, "half an emoji: \ud83d", usage={"\ud83d": "\x00"}))
    await gone.hold(call)
    async with asyncio.timeout(5):
        (ended,) = [parse_pod_event(line) async for line in call.events.read()]
    assert isinstance(ended, CallEnded)
    assert (ended.message, ended.usage) == ("half an emoji: \ufffd", {"\ufffd": "\ufffd"})
    assert gone.termination.message == ended.message
    assert gone.codes == [0]


@pytest.mark.parametrize(
    "ending",
    [
        RuntimeError("a customer's words"),
        Ending(EndReason.ENDED_BY_REQUEST, usage={"models": object()}),  # cannot be told as JSON
    ],
)
async def test_no_pod_outlives_its_call(gone: Gone, ending: Ending | Exception) -> None:
    await gone.hold(OverCall(ending))
    assert gone.codes == [1]
    assert gone.termination.reason == "crash"
    assert "words" not in gone.termination.message


class LongCall:
    """A call that goes on."""

    is_standby = False
    is_finishing = False

    def __init__(self) -> None:
        self.endings: list[Ending] = []

    @property
    def is_ending(self) -> bool:
        return bool(self.endings)

    def end(self, ending: Ending) -> None:
        self.endings.append(ending)

    def end_as_asked(self, request: EndRequest) -> None:
        self.end(Ending(request.reason))


@pytest.fixture
def stopped(tmp_path: Path) -> Callable[[float], tuple[Pod, LongCall]]:
    """Returns a pod in a call, with so many seconds of grace."""

    def make(grace: float) -> tuple[Pod, LongCall]:
        settings = SimpleNamespace(termination_log=tmp_path / "termination", agent_grace_seconds=grace)
        workshop: Any = SimpleNamespace(settings=settings, traces=Traces(""))
        pod, call = Pod(workshop, lambda _: None, lambda _: None), LongCall()
        held: Any = call
        pod._call = held
        return pod, call

    return make


async def test_a_pod_that_is_told_to_stop_goes_on_with_its_call_while_it_has_grace(
    stopped: Callable[[float], tuple[Pod, LongCall]],
) -> None:
    pod, call = stopped(3600)
    pod.terminate()
    await let_others_run()
    assert call.endings == []
    pod.end(EndRequest())
    # What is wanted by then is an end within the kubelet's patience, which may be less than the pod's own.
    assert [ending.reason for ending in call.endings] == [EndReason.ENDED_BY_REQUEST, EndReason.SHUTDOWN]


async def test_a_pod_that_works_on_after_its_call_has_the_grace_that_it_is_given(
    stopped: Callable[[float], tuple[Pod, LongCall]],
) -> None:
    pod, call = stopped(3600)
    pod.end(EndRequest())
    call.is_finishing = True
    pod.terminate()
    await let_others_run()
    assert [ending.reason for ending in call.endings] == [EndReason.ENDED_BY_REQUEST]


async def test_a_pod_whose_call_ends_anyway_makes_haste_when_it_is_told_to_stop(
    stopped: Callable[[float], tuple[Pod, LongCall]],
) -> None:
    pod, call = stopped(3600)
    pod.end(EndRequest())
    pod.terminate()
    await eventually(lambda: [ending.reason for ending in call.endings][1:] == [EndReason.SHUTDOWN])
