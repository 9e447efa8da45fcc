"""What the API server answers is in the cache at once, also that something is gone."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from kube.client import ConflictError, KubernetesApi, NotFoundError, Raw
from testing.answering_api_server import Answer, say_not_found
from testing.operator_objects import NOW, make_raw_pod, make_session
from voice_operator.cache import Cache
from voice_operator.pods.agent_pod import AgentPod
from voice_operator.write_through import WriteThrough
from voicesession.models import VoiceSession
from voicesession.names import VOICE_SESSIONS


def pod(version: int = 1, **fields: Any) -> Raw:
    return make_raw_pod("pod", version=version, **fields)


def session(version: int = 1, uid: str = "uid-of-call", **status: Any) -> Raw:
    made = make_session(uid=uid, **status).to_wire()
    return {**made, "metadata": {**made["metadata"], "resourceVersion": str(version)}}


GONE: Raw = {"kind": "Status", "code": 404}
CONFLICT: Raw = {"kind": "Status", "code": 409}
DONE: Raw = {"kind": "Status", "code": 200, "metadata": {}}
ENDING = pod(2, deletionTimestamp=NOW.isoformat(), deletionGracePeriodSeconds=15)


class Seen:
    """A cache that has seen one pod and one VoiceSession."""

    def __init__(self, kubernetes: KubernetesApi) -> None:
        self.cache = Cache()
        self.cache.pods.put(pod())
        self.cache.sessions.put(session())
        self.api = WriteThrough(kubernetes, self.cache)

    @property
    def pod(self) -> AgentPod | None:
        return self.cache.pods.get("pod")

    @property
    def session(self) -> VoiceSession | None:
        return self.cache.sessions.get("call")


SeenBefore = Callable[[Raw], AbstractAsyncContextManager[Seen]]


@pytest.fixture
def seen_before(open_kubernetes: Callable[[Answer], AbstractAsyncContextManager[KubernetesApi]]) -> SeenBefore:
    """Opens such a cache before an API server that has one answer for everything."""

    @asynccontextmanager
    async def open_(answer: Raw) -> AsyncIterator[Seen]:
        async def respond(request: web.Request) -> web.Response:
            if answer is GONE:
                return say_not_found(request)
            return web.json_response(answer, status=answer.get("code", 200))

        async with open_kubernetes(respond) as kubernetes:
            yield Seen(kubernetes)

    return open_


@pytest.mark.parametrize(
    ("answer", "stays"), [(ENDING, True), (pod(2), False), (DONE, False), (GONE, False), (CONFLICT, False)]
)
async def test_a_deleted_pod_is_held_only_while_it_may_still_run(
    seen_before: SeenBefore, answer: Raw, *, stays: bool
) -> None:
    async with seen_before(answer) as seen:
        assert seen.pod
        await seen.api.delete_pod(seen.pod)
        assert (seen.pod is not None) == stays
        assert not seen.pod or seen.pod.deleting


async def test_a_pod_that_may_be_deleted_only_as_it_was_seen_stays_when_it_is_not(seen_before: SeenBefore) -> None:
    async with seen_before(CONFLICT) as seen:
        assert seen.pod
        with pytest.raises(ConflictError):
            await seen.api.delete_pod(seen.pod, if_unchanged=True)
        assert seen.pod


async def test_a_patch_shows_at_once(seen_before: SeenBefore) -> None:
    async with seen_before(pod(2, call="uid-of-call")) as seen:
        assert seen.pod
        await seen.api.patch_pod(seen.pod, [])
        assert seen.pod.claimed


async def test_that_a_patched_pod_is_gone_shows_at_once(seen_before: SeenBefore) -> None:
    async with seen_before(GONE) as seen:
        assert seen.pod
        with pytest.raises(NotFoundError):
            await seen.api.patch_pod(seen.pod, [])
        assert seen.pod is None


@pytest.mark.parametrize(("answer", "uid"), [(pod(2), "uid-of-pod"), (pod(2, uid="another"), "another"), (GONE, None)])
async def test_a_look_at_a_pod_finds_what_has_its_name_now(
    seen_before: SeenBefore, answer: Raw, uid: str | None
) -> None:
    async with seen_before(answer) as seen:
        await seen.api.refresh_pod("pod", "uid-of-pod")
        assert (seen.pod.uid if seen.pod else None) == uid


@pytest.mark.parametrize(
    ("answer", "uid"), [(session(2), "uid-of-call"), (session(2, uid="another"), "another"), (GONE, None)]
)
async def test_a_look_at_a_voicesession_finds_what_has_its_name_now(
    seen_before: SeenBefore, answer: Raw, uid: str | None
) -> None:
    async with seen_before(answer) as seen:
        await seen.api.refresh_session("call", "uid-of-call")
        assert (seen.session.metadata.uid if seen.session else None) == uid
        assert seen.cache.sessions.is_gone("uid-of-call") == (uid != "uid-of-call")


async def test_a_written_status_shows_at_once(seen_before: SeenBefore) -> None:
    async with seen_before(session(2, status_phase="Active")) as seen:
        assert seen.session
        await seen.api.write_status(VOICE_SESSIONS, seen.session, seen.session.status)
        assert seen.session.status.phase == "Active"


async def test_that_the_object_of_a_status_is_gone_shows_at_once(seen_before: SeenBefore) -> None:
    async with seen_before(GONE) as seen:
        assert seen.session
        with pytest.raises(NotFoundError):
            await seen.api.write_status(VOICE_SESSIONS, seen.session, seen.session.status)
        assert seen.session is None


@pytest.mark.parametrize("answer", [DONE, GONE, CONFLICT])
async def test_a_voicesession_is_deleted_once(seen_before: SeenBefore, answer: Raw) -> None:
    async with seen_before(answer) as seen:
        assert seen.session
        await seen.api.delete_session(seen.session)
        assert seen.session is None
