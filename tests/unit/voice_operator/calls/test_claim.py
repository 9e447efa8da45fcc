"""What the answers to a claim mean; what it writes is compared in tests/unit/test_golden.py."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from kube.client import KubernetesApi, KubernetesUnavailableError, Raw, ThrottledError
from testing.answering_api_server import Answer, say_not_found
from testing.operator_objects import NOW, UID, make_pod, make_pool, make_profile, make_raw_pod, make_session
from voice_operator.cache import Cache
from voice_operator.calls.claim import Claims, build_claim
from voice_operator.calls.memory import CallMemory, Calls, ClaimRefusal
from voice_operator.calls.steps import Claim
from voice_operator.pools.pod_template import PodBasis
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.pools.templates import Templates
from voice_operator.pools.waiting_line import Waiter
from voice_operator.write_through import WriteThrough
from voicesession.models import EffectiveLimits, OnDrain
from voicesession.names import KEEP_ANNOTATIONS
from voicesession.serving import Serving

REFUSED: Raw = {"kind": "Status", "code": 422, "message": "no claims on Sundays"}
FORBIDDEN: Raw = {"kind": "Status", "code": 403, "message": "no rights"}
GONE: Raw = {"kind": "Status", "code": 404}
BUSY: Raw = {"kind": "Status", "code": 429}
AWAY: Raw = {"kind": "Status", "code": 503}
FREE, CLAIMED, TAKEN = make_raw_pod(version=2), make_raw_pod(version=2, call=UID), make_raw_pod(version=2, call="other")


class Waiting:
    """A call in line before one ready pod, which claims it."""

    def __init__(self, kubernetes: KubernetesApi) -> None:
        self.cache, self.calls = Cache(), Calls()
        self.ready_pods = ReadyPods(self.cache)
        self.cache.pods.on_change = self.ready_pods.update
        self.cache.pods.put(make_raw_pod())
        self.ready_pods.join_line("default", Waiter(UID, "default", 0))
        api = WriteThrough(kubernetes, self.cache)
        self.claims = Claims(self.cache, self.calls, self.ready_pods, Templates(PodBasis("a key")), api)
        self.memory = self.calls.meet(UID, NOW)

    async def claim(self) -> CallMemory:
        serving = Serving(make_profile(), make_pool(), "cloud", EffectiveLimits())
        return await self.claims.claim(self.memory, Claim(make_session(), serving, attempt=1))

    def ready(self) -> list[str]:
        return [pod.name for pod in self.ready_pods.list_ready("default")]


OpenWaiting = Callable[[Raw, Raw], AbstractAsyncContextManager[Waiting]]


@pytest.fixture
def waiting(open_kubernetes: Callable[[Answer], AbstractAsyncContextManager[KubernetesApi]]) -> OpenWaiting:
    """Opens such a call, by the API server's answer to the claim, and to a look at the pod."""

    @asynccontextmanager
    async def open_(to_claim: Raw, to_look: Raw) -> AsyncIterator[Waiting]:
        async def respond(request: web.Request) -> web.Response:
            answer = to_claim if request.method == "PATCH" else to_look
            if answer is GONE:
                return say_not_found(request)
            # It does not want to be asked again before the request's time is over.
            return web.json_response(answer, status=answer.get("code", 200), headers={"Retry-After": "100"})

        async with open_kubernetes(respond) as kubernetes:
            yield Waiting(kubernetes)

    return open_


async def test_a_pod_that_was_claimed_is_the_calls_and_nobody_waits(waiting: OpenWaiting) -> None:
    async with waiting(CLAIMED, CLAIMED) as call:
        memory = await call.claim()
        assert memory == replace(call.memory, claimed_here="uid-of-pod-a", claims=1, tries=1)
        assert [pod.name for pod in call.cache.pods.by("session", UID)] == ["pod-a"]
        assert (call.ready(), call.ready_pods.count_waiting("default")) == ([], 0)


@pytest.mark.parametrize(("to_claim", "to_look"), [(REFUSED, TAKEN), (REFUSED, GONE), (GONE, GONE)])
async def test_a_pod_that_is_another_calls_or_gone_is_only_a_lost_race(
    waiting: OpenWaiting, to_claim: Raw, to_look: Raw
) -> None:
    async with waiting(to_claim, to_look) as call:
        assert await call.claim() == call.memory
        assert call.ready() == []


@pytest.mark.parametrize(("to_claim", "words"), [(REFUSED, "no claims on Sundays"), (FORBIDDEN, "no rights")])
async def test_a_claim_that_is_refused_though_its_pod_is_free_is_remembered(
    waiting: OpenWaiting, to_claim: Raw, words: str
) -> None:
    async with waiting(to_claim, FREE) as call:
        refusal = (await call.claim()).claim_refusal
        assert isinstance(refusal, ClaimRefusal)
        assert words in refusal.message
        assert call.ready() == ["pod-a"]


async def test_a_claim_without_an_answer_is_known_until_its_pod_is_read_back(waiting: OpenWaiting) -> None:
    async with waiting(AWAY, CLAIMED) as call:
        with pytest.raises(KubernetesUnavailableError):
            await call.claim()
        kept = call.calls.get(UID)
        assert kept == replace(call.memory, unanswered_claim="pod-a", claims=1)
        assert await call.claims.read_back(kept, "pod-a") == replace(call.memory, claims=1)  # it may still take effect
        assert [pod.name for pod in call.cache.pods.by("session", UID)] == ["pod-a"]


async def test_a_claim_that_the_api_server_has_no_time_for_leaves_no_doubt(waiting: OpenWaiting) -> None:
    async with waiting(BUSY, FREE) as call:
        with pytest.raises(ThrottledError):
            await call.claim()
        assert call.calls.get(UID) == call.memory
        assert call.ready() == ["pod-a"]


async def test_a_pod_that_cannot_be_read_back_stays_in_doubt(waiting: OpenWaiting) -> None:
    async with waiting(AWAY, AWAY) as call:
        doubtful = call.calls.keep(replace(call.memory, unanswered_claim="pod-a", claims=1))
        with pytest.raises(KubernetesUnavailableError):
            await call.claims.read_back(doubtful, "pod-a")
        assert call.calls.get(UID) == doubtful


@pytest.mark.parametrize(("on_drain", "keeps"), [(OnDrain.WAIT, True), (OnDrain.MOVE, False)])
def test_only_a_pod_that_waits_for_its_call_keeps_its_node(on_drain: OnDrain, keeps: bool) -> None:
    patch = build_claim(make_pod(on_drain=on_drain), make_session(), 1, NOW)
    written = {step["path"] for step in patch}
    marks = {f"/metadata/annotations/{key.replace('/', '~1')}" for key in KEEP_ANNOTATIONS}
    assert written & marks == (marks if keeps else set())
