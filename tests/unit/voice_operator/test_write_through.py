"""What the API server answers is in the cache at once, also that something is gone."""

from typing import Any

import pytest

from kube.client import ConflictError, KubernetesApi, NotFoundError, Raw
from testing.operator_objects import NOW
from voice_operator.cache import Cache
from voice_operator.pods.agent_pod import AgentPod
from voice_operator.write_through import WriteThrough
from voicesession.names import POOL_LABEL, STATE_LABEL, VOICE_SESSIONS


class Answers(KubernetesApi):
    """An API server that answers every request with the same."""

    def __init__(self, answer: Raw | Exception) -> None:
        self._answer = answer

    async def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Raw:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def _core(self, *parts: str) -> str:
        return "/".join(parts)

    _ours = _core


GONE, CONFLICT = NotFoundError(404, "gone"), ConflictError(409, "changed")


def pod(version: int = 1, uid: str = "uid-of-pod", **metadata: Any) -> Raw:
    labels = {POOL_LABEL: "default", STATE_LABEL: "warm"}
    known = {"name": "pod", "uid": uid, "creationTimestamp": NOW.isoformat(), "labels": labels}
    return {"kind": "Pod", "metadata": {**known, "resourceVersion": str(version), **metadata}}


def session(version: int = 1, uid: str = "uid-of-call", **status: Any) -> Raw:
    metadata = {"name": "call", "uid": uid, "resourceVersion": str(version)}
    return {"kind": "VoiceSession", "metadata": metadata, "spec": {"profile": "default"}, "status": status}


ENDING = pod(2, deletionTimestamp=NOW.isoformat(), deletionGracePeriodSeconds=15)


class Seen:
    """A cache that has seen one pod and one VoiceSession, before an API server with one answer."""

    def __init__(self, answer: Raw | Exception) -> None:
        self.cache = Cache()
        self.cache.pods.put(pod())
        self.cache.sessions.put(session())
        self.api = WriteThrough(Answers(answer), self.cache)

    @property
    def pod(self) -> AgentPod | None:
        return self.cache.pods.get("pod")


@pytest.mark.parametrize(
    ("answer", "stays"),
    [(ENDING, True), (pod(2), False), ({"kind": "Status", "metadata": {}}, False), (GONE, False), (CONFLICT, False)],
)
async def test_a_deleted_pod_is_held_only_while_it_may_still_run(answer: Raw | Exception, stays: bool) -> None:
    seen = Seen(answer)
    assert seen.pod
    await seen.api.delete_pod(seen.pod)
    assert (seen.pod is not None) == stays
    assert not seen.pod or seen.pod.deleting


async def test_a_pod_that_may_be_deleted_only_as_it_was_seen_stays_when_it_is_not() -> None:
    seen = Seen(CONFLICT)
    assert seen.pod
    with pytest.raises(ConflictError):
        await seen.api.delete_pod(seen.pod, if_unchanged=True)
    assert seen.pod


async def test_a_patch_shows_at_once_and_so_does_that_its_pod_is_gone() -> None:
    seen = Seen(pod(2, labels={POOL_LABEL: "default", STATE_LABEL: "claimed"}))
    assert seen.pod
    await seen.api.patch_pod(seen.pod, [])
    assert seen.pod.claimed
    seen = Seen(GONE)
    assert seen.pod
    with pytest.raises(NotFoundError):
        await seen.api.patch_pod(seen.pod, [])
    assert seen.pod is None


@pytest.mark.parametrize(("answer", "uid"), [(pod(2), "uid-of-pod"), (pod(2, uid="another"), "another"), (GONE, None)])
async def test_a_look_at_a_pod_finds_what_has_its_name_now(answer: Raw | Exception, uid: str | None) -> None:
    seen = Seen(answer)
    await seen.api.refresh_pod("pod", "uid-of-pod")
    assert (seen.pod.uid if seen.pod else None) == uid


@pytest.mark.parametrize(
    ("answer", "uid"), [(session(2), "uid-of-call"), (session(2, uid="another"), "another"), (GONE, None)]
)
async def test_a_look_at_a_voicesession_finds_what_has_its_name_now(answer: Raw | Exception, uid: str | None) -> None:
    seen = Seen(answer)
    await seen.api.refresh_session("call", "uid-of-call")
    held = seen.cache.sessions.get("call")
    assert (held.metadata.uid if held else None) == uid


async def test_a_written_status_shows_at_once_and_so_does_that_its_object_is_gone() -> None:
    seen = Seen(session(2, phase="Active"))
    before = seen.cache.sessions.get("call")
    assert before
    await seen.api.write_status(VOICE_SESSIONS, before, before.status)
    after = seen.cache.sessions.get("call")
    assert after
    assert after.status.phase == "Active"
    seen = Seen(GONE)
    with pytest.raises(NotFoundError):
        await seen.api.write_status(VOICE_SESSIONS, before, before.status)
    assert seen.cache.sessions.get("call") is None


@pytest.mark.parametrize("answer", [{"kind": "Status"}, GONE, CONFLICT])
async def test_a_voicesession_is_deleted_once(answer: Raw | Exception) -> None:
    seen = Seen(answer)
    held = seen.cache.sessions.get("call")
    assert held
    await seen.api.delete_session(held)
    assert seen.cache.sessions.get("call") is None
