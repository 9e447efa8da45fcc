"""What becomes of a status that the API server does not take as it is."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from aiohttp import web

from kube.client import ForbiddenError, KubernetesApi, KubernetesUnavailableError
from testing.answering_api_server import Answer, say_not_found
from testing.operator_objects import NOW, ago, joined_conditions, make_claimed_pod, make_session
from testing.waiting import eventually
from voice_operator.cache import Cache
from voice_operator.calls.deaths import Death
from voice_operator.calls.session_writer import Outcome, SessionWriter
from voice_operator.calls.status import (
    report_done,
    report_finished,
    report_joined,
    report_lost,
    report_returned,
    report_waiting,
)
from voice_operator.events import EventRecorder
from voice_operator.write_through import WriteThrough
from voicesession.conditions import Reason
from voicesession.models import EndReason, StartType, VoiceSession, VoiceSessionStatus

SESSION = make_session()
WORDS = 'admission webhook "calm" denied the request: no status on Sundays'


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(404, Outcome.CHANGED), (409, Outcome.CHANGED), (422, Outcome.REFUSED), (403, Outcome.REFUSED)],
)
async def test_what_the_api_server_says_of_a_status(
    open_kubernetes: Callable[[Answer], AbstractAsyncContextManager[KubernetesApi]], status: int, outcome: Outcome
) -> None:
    events: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/events"):
            events.append(await request.json())
            return web.json_response({})
        if request.method != "PATCH" or status == 404:
            return say_not_found(request)
        return web.json_response({"message": WORDS}, status=status)

    async with open_kubernetes(answer) as kubernetes:
        recorder = EventRecorder(kubernetes)
        recorder.start()
        writer = SessionWriter(WriteThrough(kubernetes, Cache()), recorder)
        report = report_waiting(SESSION, Reason.WAITING_FOR_POD, "No pod is ready.", NOW)
        assert await writer.write(SESSION, report) is outcome
        if outcome is Outcome.REFUSED:
            await eventually(lambda: events)
            assert events[0]["reason"] == "StatusRefused"
            assert WORDS in events[0]["message"]
        await recorder.stop()


async def test_a_status_that_may_not_be_written_just_now_is_no_refusal_of_it(
    open_kubernetes: Callable[[Answer], AbstractAsyncContextManager[KubernetesApi]],
) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"message": "cannot patch resource voicesessions/status"}, status=403)

    async with open_kubernetes(answer) as kubernetes:
        writer = SessionWriter(WriteThrough(kubernetes, Cache()), EventRecorder(kubernetes))
        with pytest.raises(ForbiddenError):
            await writer.write(SESSION, report_waiting(SESSION, Reason.WAITING_FOR_POD, "No pod is ready.", NOW))


@pytest.mark.parametrize("was_done", [True, False])
async def test_an_end_is_told_once_whether_or_not_its_writing_was_answered(
    open_kubernetes: Callable[[Answer], AbstractAsyncContextManager[KubernetesApi]],
    caplog: pytest.LogCaptureFixture,
    *,
    was_done: bool,
) -> None:
    caplog.set_level("INFO")
    report = report_finished(SESSION, Reason.CALL_ENDED, "The call ended.", EndReason.IDLE, NOW)
    answers = iter([503, 200])

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(newer(report).to_wire(), status=next(answers))

    async with open_kubernetes(answer) as kubernetes:
        writer = SessionWriter(WriteThrough(kubernetes, Cache()), EventRecorder(kubernetes))
        with pytest.raises(KubernetesUnavailableError):
            await writer.write(SESSION, report)
        writer.see(SESSION)
        assert "call finished" not in caplog.text
        if was_done:
            writer.see(newer(report))
        else:
            assert await writer.write(SESSION, report) is Outcome.WRITTEN
        writer.see(newer(report))
    assert caplog.text.count("call finished") == 1


def newer(status: VoiceSessionStatus) -> VoiceSession:
    """Returns the VoiceSession as it is once this status is written."""
    metadata = SESSION.metadata.model_copy(update={"resource_version": "1000"})
    return SESSION.model_copy(update={"metadata": metadata, "status": status})


JOINED = make_session(conditions=joined_conditions(), status_agent_joined_at=ago(60), status_attempts=1)
LOST = report_lost(JOINED, Death(Reason.NODE_LOST, "Node node-1 is lost."), 1, 1, None, ago(5))
POD = make_claimed_pod(attempt=2)
CAME = "Warm start: the agent in pod pod-a was in the room after 90 ms."
AGAIN = "The agent in pod pod-a carries the call on, 5000 ms after it had none."


def joined_after(session: VoiceSession) -> VoiceSessionStatus:
    return report_joined(session, POD, "room", None, StartType.WARM, "cloud", None, 90, NOW)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            SESSION,
            joined_after(SESSION),
            {"AgentJoined": CAME},
        ),
        (
            SESSION,
            report_waiting(SESSION, Reason.IMAGE_PULL_FAILED, "no such image.", NOW),
            {
                "ImagePullFailed": "The call waits for its agent: no such image. Check the pool's `image`, and that "
                "its registry's key is in `pod.imagePullSecrets`."
            },
        ),
        (
            JOINED,
            LOST,
            {
                "AgentLost": "NodeLost: Node node-1 is lost. The node is gone or cut off: see `kubectl get nodes`. "
                "Another one is to carry the call on."
            },
        ),
        (
            JOINED.model_copy(update={"status": LOST}),
            joined_after(JOINED.model_copy(update={"status": LOST})),
            {"AgentRecovered": AGAIN},
        ),
        (
            JOINED.model_copy(update={"status": LOST}),
            report_returned(JOINED.model_copy(update={"status": LOST}), POD, NOW),
            {"AgentRecovered": AGAIN},
        ),
    ],
)
async def test_what_is_new_by_a_status_is_told(
    open_kubernetes: Callable[[Answer], AbstractAsyncContextManager[KubernetesApi]],
    before: VoiceSession,
    after: VoiceSessionStatus,
    told: dict[str, str],
) -> None:
    events: dict[str, str] = {}

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        if request.path.endswith("/events"):
            events[body["reason"]] = body["message"]
            return web.json_response({})
        return web.json_response({**before.to_wire(), "status": body["status"]})

    async with open_kubernetes(answer) as kubernetes:
        recorder = EventRecorder(kubernetes)
        recorder.start()
        await SessionWriter(WriteThrough(kubernetes, Cache()), recorder).write(before, after)
        await eventually(lambda: events)
        await recorder.stop()
    assert events == told


@pytest.mark.parametrize(("lost", "told"), [("", []), ("The agent had no time to finish: tools.", ["WorkLost"])])
async def test_work_that_is_lost_after_a_call_is_told(
    open_kubernetes: Callable[[Answer], AbstractAsyncContextManager[KubernetesApi]], lost: str, told: list[str]
) -> None:
    events: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/events"):
            events.append(await request.json())
            return web.json_response({})
        return web.json_response((await request.json()) | SESSION.to_wire())

    status = report_finished(SESSION, Reason.CALL_ENDED, "It ended.", EndReason.IDLE, NOW, works_on=True)
    over = SESSION.model_copy(update={"status": status})
    async with open_kubernetes(answer) as kubernetes:
        recorder = EventRecorder(kubernetes)
        recorder.start()
        writer = SessionWriter(WriteThrough(kubernetes, Cache()), recorder)
        await writer.write(over, report_done(over, lost, NOW))
        writer.tell_other_agent(over, "last")
        await eventually(lambda: [event["reason"] for event in events] == [*told, "OtherAgent"])
        await recorder.stop()
