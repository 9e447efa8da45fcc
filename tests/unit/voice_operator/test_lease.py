"""The Lease: who may take it, and what its holder does when it cannot renew; by a clock that nobody waits for."""

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kube.client import ConflictError, ForbiddenError, KubernetesUnavailableError, NotFoundError, Raw
from testing.waiting import eventually, stays
from voice_operator import lease as module
from voice_operator.lease import (
    KEEPS_AWAY_SECONDS,
    LEADS_SECONDS,
    LOOK_SECONDS,
    REQUEST_SECONDS,
    Holding,
    Identity,
    Lease,
    LeaseLostError,
    Observation,
    build_lease,
    find_pause,
    is_free,
    read_lease,
)

ME = Identity("shop", "operator-a", "1111", "node-1")
STANDBY = Identity("shop", "operator-b", "2222")
FOREIGN = Identity("other", "operator-c", "3333")

pytestmark = pytest.mark.virtual_time


class FakeLeases:
    """One Lease in memory. `away`: whose requests are not answered, by whether they were carried out."""

    def __init__(self) -> None:
        self.raw: Raw | None = None
        self.away = False
        self.loses_answers = False
        self.writes = 0
        self.looks = 0
        self._version = 0

    async def get_lease(self, name: str) -> Raw:
        self._answer()
        if self.raw is None:
            raise NotFoundError(404, name)
        self.looks += 1
        return copy.deepcopy(self.raw)

    async def create_lease(self, lease: Raw) -> Raw:
        self._answer()
        if self.raw is not None:
            raise ConflictError(409, "there is one")
        return self._store(lease)

    async def replace_lease(self, lease: Raw) -> Raw:
        self._answer()
        if self.raw is None:
            raise NotFoundError(404, "gone")
        if lease["metadata"]["resourceVersion"] != self.raw["metadata"]["resourceVersion"]:
            raise ConflictError(409, "changed")
        return self._store(lease)

    @property
    def holder(self) -> str:
        return read_lease(self.raw).holder if self.raw else ""

    def _answer(self) -> None:
        if self.away:
            raise KubernetesUnavailableError("away")

    def _store(self, lease: Raw) -> Raw:
        self._version += 1
        self.writes += 1
        self.raw = copy.deepcopy(lease)
        self.raw["metadata"]["resourceVersion"] = str(self._version)
        if self.loses_answers:
            raise KubernetesUnavailableError("the answer was lost")
        return copy.deepcopy(self.raw)


@pytest.fixture(autouse=True)
def clock_of_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_now", lambda: asyncio.get_running_loop().time())


@pytest.fixture
def leases() -> FakeLeases:
    return FakeLeases()


class Keeping:
    """An operator that waits for the Lease, keeps it, and was told to pause or not."""

    def __init__(self, leases: FakeLeases, identity: Identity) -> None:
        self.lease = Lease(leases, identity)
        self.told: list[str] = []
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self.lease.acquire()
        self.told.append("leads")
        await self.lease.keep(lambda: self.told.append("pause"), lambda: self.told.append("resume"))


@contextlib.asynccontextmanager
async def keeping(leases: FakeLeases, identity: Identity) -> AsyncIterator[Keeping]:
    made = Keeping(leases, identity)
    try:
        yield made
    finally:
        made.task.cancel()
        await asyncio.gather(made.task, return_exceptions=True)


# Who may take it


@pytest.mark.parametrize(
    ("holding", "unchanged", "free"),
    [
        (Holding(holder="operator-b_2222", release="shop"), KEEPS_AWAY_SECONDS - 0.1, False),
        (Holding(holder="operator-b_2222", release="shop"), KEEPS_AWAY_SECONDS, True),
        (Holding(holder="operator-b_2222", release="shop", seconds=30), KEEPS_AWAY_SECONDS, False),
        (Holding(holder="", release="shop"), 0, True),
        (Holding(holder="operator-a_0000", release="shop"), 0, True),  # an earlier process of this pod
        (Holding(holder="operator-a-2_0000", release="shop"), 0, False),
        (Holding(holder="operator-c_3333", release="other"), KEEPS_AWAY_SECONDS, False),
        (Holding(holder="", release="other"), 2, False),  # between two of its operators
        (Holding(holder="operator-c_3333", release="other"), 60, True),
        (Holding(holder="operator-c_3333", release=""), 2, False),
    ],
)
def test_who_may_take_it(holding: Holding, unchanged: float, free: bool) -> None:
    assert is_free(holding, ME, unchanged) is free


def test_what_nobody_saw_does_not_count_as_unchanged() -> None:
    observation = Observation()
    assert [observation.see("7", now) for now in (100.0, 102.0, 104.5)] == [0, 2, 4.5]
    assert observation.see("7", 110.0) == 0  # the API server was away
    assert observation.see("7", 112.0) == 2
    assert observation.see("8", 113.0) == 0


def test_a_leader_has_stopped_before_the_next_one_may_begin() -> None:
    assert LEADS_SECONDS + 2 <= KEEPS_AWAY_SECONDS
    assert KEEPS_AWAY_SECONDS + LOOK_SECONDS * 1.2 + REQUEST_SECONDS < 10


def test_a_renewal_keeps_what_others_wrote_and_when_it_was_taken() -> None:
    taken = build_lease(ME, None)
    assert taken["metadata"]["labels"] == {
        "app.kubernetes.io/name": "voice-agent",
        "app.kubernetes.io/instance": "shop",
    }
    taken["metadata"] |= {"resourceVersion": "5", "annotations": {"note": "ours", module.NODE_ANNOTATION: "node-1"}}
    renewed = build_lease(ME, taken)
    assert renewed["metadata"] == taken["metadata"]
    assert renewed["spec"]["acquireTime"] == taken["spec"]["acquireTime"]
    assert renewed["spec"]["leaseTransitions"] == 0
    passed_on = build_lease(STANDBY, renewed)
    assert passed_on["spec"]["leaseTransitions"] == 1
    assert read_lease(passed_on) == Holding("5", "operator-b_2222", "shop", seconds=module.KEEPS_AWAY_SECONDS)
    assert passed_on["metadata"]["annotations"] == {"note": "ours"}
    assert build_lease(STANDBY, passed_on, give_back=True)["spec"]["holderIdentity"] == ""


def test_two_processes_are_never_one_identity() -> None:
    one, other = (Identity.of_this_process("shop", "operator-a", "node-1") for _ in range(2))
    assert one.holder != other.holder


# Taking and keeping it


async def test_the_first_leads_at_once_and_renews(leases: FakeLeases) -> None:
    async with keeping(leases, ME) as me:
        await eventually(lambda: leases.writes >= 4)
        assert me.lease.leading
        assert me.told == ["leads"]


async def test_a_standby_leads_when_the_leader_is_gone_and_not_before(leases: FakeLeases) -> None:
    async with keeping(leases, ME) as me:
        await eventually(lambda: me.lease.leading)
        async with keeping(leases, STANDBY) as standby:
            await stays(lambda: not standby.lease.leading, 2 * KEEPS_AWAY_SECONDS, "two lead")
            me.task.cancel()
            await eventually(lambda: standby.lease.leading)
            assert not me.lease.leading
            assert standby.lease.obstacle is None
            assert (me.lease.lost_node, standby.lease.lost_node) == (None, "node-1")


async def test_one_that_is_given_back_is_taken_at_once(leases: FakeLeases) -> None:
    async with keeping(leases, ME) as me:
        await eventually(lambda: me.lease.leading)
        async with keeping(leases, STANDBY) as standby:
            me.task.cancel()
            await me.lease.give_back()
            assert not me.lease.leading
            assert leases.holder == ""
            await eventually(lambda: standby.lease.leading, seconds=KEEPS_AWAY_SECONDS)
            assert standby.lease.lost_node is None


async def test_one_whose_last_renewal_was_broken_off_is_given_back_all_the_same(leases: FakeLeases) -> None:
    async with keeping(leases, ME) as me:
        await eventually(lambda: me.lease.leading)
        me.task.cancel()
        assert leases.raw is not None
        await leases.replace_lease(build_lease(ME, leases.raw))  # which it has not heard of
        await me.lease.give_back()
        assert leases.holder == ""


async def test_who_does_not_lead_gives_nothing_back(leases: FakeLeases) -> None:
    async with keeping(leases, ME) as me:
        await eventually(lambda: me.lease.leading)
        await Lease(leases, STANDBY).give_back()
        assert leases.holder == ME.holder


async def test_a_leader_that_cannot_renew_pauses_and_goes_on_when_nobody_else_has_led(leases: FakeLeases) -> None:
    async with keeping(leases, ME) as me, keeping(leases, STANDBY) as standby:
        await eventually(lambda: me.lease.leading or standby.lease.leading)
        leader, other = (me, standby) if me.lease.leading else (standby, me)
        leases.away = True
        await eventually(lambda: leader.told == ["leads", "pause"])
        assert not leader.lease.leading
        await stays(lambda: not leader.lease.leading, 2 * KEEPS_AWAY_SECONDS, "it leads in an outage")
        leases.away = False
        await eventually(lambda: leader.told == ["leads", "pause", "resume"])
        assert leader.lease.leading
        assert not other.told, "what the standby could not see it took for silence"


async def test_a_leader_that_was_replaced_says_so(leases: FakeLeases) -> None:
    async with keeping(leases, ME) as me:
        await eventually(lambda: me.lease.leading)
        leases.raw = {**build_lease(STANDBY, leases.raw)}
        leases.raw["metadata"]["resourceVersion"] = "900"
        with pytest.raises(LeaseLostError, match="operator-b_2222"):
            async with asyncio.timeout(20):
                await me.task


async def test_answers_that_are_lost_cost_nobody_the_lease(leases: FakeLeases) -> None:
    async with keeping(leases, ME) as me:
        await eventually(lambda: me.lease.leading)
        leases.loses_answers = True
        before = leases.writes
        await eventually(lambda: leases.writes > before)
        leases.loses_answers = False
        before = leases.writes
        await eventually(lambda: leases.writes > before + 2)
        assert me.lease.leading


async def test_one_that_somebody_deletes_is_made_again_by_its_holder(leases: FakeLeases) -> None:
    async with keeping(leases, ME) as me, keeping(leases, STANDBY) as standby:
        await eventually(lambda: me.lease.leading or standby.lease.leading)
        leader, other = (me, standby) if me.lease.leading else (standby, me)
        looks = leases.looks
        await eventually(lambda: leases.looks > looks)  # the standby has seen it
        leases.raw = None
        await eventually(lambda: leases.raw is not None)
        await stays(lambda: leader.lease.leading and not other.lease.leading, KEEPS_AWAY_SECONDS, "another one took it")


async def test_another_release_stands_aside_in_words_and_takes_over_when_that_one_is_gone(
    leases: FakeLeases, caplog: pytest.LogCaptureFixture
) -> None:
    async with keeping(leases, FOREIGN) as foreign:
        await eventually(lambda: foreign.lease.leading)
        async with keeping(leases, ME) as me:
            await eventually(lambda: me.lease.obstacle)
            assert str(me.lease.obstacle).startswith("release other serves this namespace (Lease voice-agent-operator")
            foreign.task.cancel()
            await foreign.lease.give_back()
            await stays(lambda: not me.lease.leading, KEEPS_AWAY_SECONDS, "it did not wait for its restart")
            await eventually(lambda: me.lease.leading, 90)
            assert me.lease.obstacle is None
    assert caplog.text.count("will not lead") <= 2  # once held, once held by nobody


async def test_an_api_server_that_does_not_answer_does_not_hold_it_up(leases: FakeLeases) -> None:
    leases.away = True
    async with keeping(leases, ME) as me:
        await stays(lambda: not me.lease.leading, KEEPS_AWAY_SECONDS, "it leads by itself")
        leases.away = False
        await eventually(lambda: me.lease.leading)


async def test_who_may_not_read_it_says_so(leases: FakeLeases, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_name: str) -> Raw:
        raise ForbiddenError(403, "leases is forbidden")

    with monkeypatch.context() as patched:
        patched.setattr(leases, "get_lease", refuse)
        async with keeping(leases, ME) as me:
            await eventually(lambda: me.lease.obstacle)
            assert me.lease.obstacle == (
                "the API server refuses the Lease voice-agent-operator: 403: leases is forbidden"
            )
            patched.undo()
            await eventually(lambda: me.lease.leading)
            assert me.lease.obstacle is None


async def test_a_request_that_hangs_is_no_reason_to_lead_on(
    leases: FakeLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with keeping(leases, ME) as me:
        await eventually(lambda: me.lease.leading)

        async def hang(_lease: Any) -> Raw:
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(leases, "replace_lease", hang)
        await eventually(lambda: me.told == ["leads", "pause"])
        assert not me.lease.leading


def test_an_api_server_that_was_waited_for_is_asked_again_at_once() -> None:
    assert find_pause(renewed=False, took=REQUEST_SECONDS) == 0
    assert find_pause(renewed=False, took=0.0) > 0
    assert find_pause(renewed=True, took=0.0) > find_pause(renewed=False, took=0.0)
