"""What is known of a call, from what was seen of the cluster and what is remembered."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from testing.operator_objects import (
    NOW,
    UID,
    ago,
    finished_conditions,
    joined_conditions,
    make_pool,
    make_profile,
    make_raw_pod,
    make_session,
)
from voice_operator.cache import Cache
from voice_operator.calls.memory import Attempt, CallMemory, Calls
from voice_operator.calls.observe import World, observe, room_rank
from voice_operator.calls.steps import NO_SESSION, CallView, Terms
from voice_operator.pods.agent_pod import Trouble
from voice_operator.pods.link_view import LinkState, LinkView
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.pools.waiting_line import BEFORE_ALL, Waiter
from voice_operator.seen_rooms import SeenRooms
from voice_telemetry.traces import CallTrace
from voicesession.admission import AdmissionLimits, RoomStart
from voicesession.assignment import CallEnded, Joined
from voicesession.conditions import ConditionType, Reason, with_condition
from voicesession.models import EndReason, VoiceSession
from voicesession.names import is_valid_room
from voicesession.serving import Problem, Serving

POD_UID = "uid-of-pod-a"
LINK = LinkView(POD_UID, LinkState.FOLLOWING, NOW)
SILENT = LinkView(POD_UID, LinkState.SILENT, NOW)
JOINED = Joined(at=NOW, connect_millis=100, joined_millis=120, room_sid="RM_told")


class Here:
    """A cluster as far as it was seen, and what is remembered of its calls."""

    def __init__(self, *objects: VoiceSession | dict[str, Any], terms: Terms | None = None) -> None:
        """`objects`: VoiceSessions, and Pods as the API server shows them."""
        self.cache, self.calls = Cache(), Calls()
        self.ready_pods = ReadyPods(self.cache)
        self.cache.pods.on_change = self.ready_pods.update
        self.troubles: dict[str, Trouble] = {}
        self.terms = terms or Terms()
        self.absent: dict[str, datetime] = {}
        self.rooms = SeenRooms()
        self.profile()
        self._put("agentpools", make_pool().to_wire())
        for each in objects:
            self.put(each)

    def put(self, what: VoiceSession | dict[str, Any], version: int = 1) -> None:
        """Has a VoiceSession or a Pod seen."""
        if isinstance(what, VoiceSession):
            self._put("voicesessions", what.to_wire(), version)
        else:
            self.cache.pods.put(what)

    def profile(self, version: int = 1, **spec: Any) -> None:
        """Has the AgentProfile seen."""
        self._put("agentprofiles", make_profile(**spec).to_wire(), version)

    def look(self, uid: str = UID, link: LinkView | None = None, now: datetime = NOW) -> CallView:
        """Looks at a call as the reconciler does: what was learned by it is kept."""
        calls, ready_pods, troubles, absent = self.calls, self.ready_pods, self.troubles, self.absent
        world = World(self.cache, calls, ready_pods, troubles, self.terms, absent, self.rooms, b"k" * 32)
        view = observe(world, self.calls.meet(uid, now), link, now)
        self.calls.keep(view.memory)
        return view

    def remember(self, uid: str = UID, **fields: Any) -> None:
        """Changes what is remembered of a call, as an act does."""
        self.calls.keep(replace(self.calls.meet(uid, NOW), **fields))

    def _put(self, plural: str, raw: dict[str, Any], version: int = 1) -> None:
        self.cache.stores[plural].put({**raw, "metadata": {**raw["metadata"], "resourceVersion": str(version)}})


def claimed(name: str = "pod-a", **fields: Any) -> dict[str, Any]:
    return make_raw_pod(name, **{"call": UID, **fields})


# What is recalled


def test_a_call_that_is_seen_for_the_first_time_has_only_what_its_voicesession_says() -> None:
    view = Here(make_session(profile="default", roomSid="RM_asked")).look()
    hour = timedelta(hours=1)
    assert view.memory == CallMemory(
        UID,
        0,
        NOW,
        name="call",
        profile="default",
        trace=CallTrace(UID),
        room="room",
        room_sid="RM_asked",
        longest=hour,
    )
    assert isinstance(view.serving, Serving)
    assert (view.pods, view.link, view.rival, view.limit, view.line) == ([], None, None, None, None)


def test_another_sid_of_its_room_is_taken_over_once_a_list_has_it() -> None:
    here = Here(make_session(roomSid="RM_before"))
    here.look()
    here.rooms.take([RoomStart("room", "RM_before", NOW, ""), RoomStart("other", "RM_2", NOW, "")], {"room"}, NOW)
    assert here.look().memory.room_sid == "RM_before"
    here.rooms.take([RoomStart("room", "RM_after", NOW, "")], {"room"}, NOW)
    assert here.look().memory.room_sid == "RM_after"


def test_what_was_seen_of_a_room_before_the_call_is_of_an_earlier_call() -> None:
    here = Here(make_session(roomSid="RM_mine"))
    here.rooms.take([RoomStart("room", "RM_before", NOW, "")], {"room"}, ago(1))
    assert here.look().memory.room_sid == "RM_mine"
    here.rooms.take([], {"room"}, ago(1))
    assert here.look().room_missing_since is None
    here.rooms.take([], {"room"}, NOW)
    assert here.look().room_missing_since == ago(1)


def test_a_room_whose_sid_nobody_knew_is_closed_by_its_name() -> None:
    here = Here(make_session())
    here.look()
    here.rooms.take([RoomStart("room", "RM_1", NOW, "")], {"room"}, NOW)
    assert here.look().memory.room_sid is None


def test_looking_again_changes_nothing() -> None:
    here = Here(make_session(), claimed())
    assert here.look(link=LINK) == here.look(link=LINK)


def test_calls_have_the_order_in_which_they_were_met() -> None:
    here = Here(make_session(), make_session("second", uid="2", room="other"))
    assert [here.look(uid).memory.arrival for uid in (UID, "2", UID)] == [0, 1, 0]


@pytest.mark.parametrize("age", [-60.0, 0.0, 600.0])
def test_a_call_arrived_when_it_was_seen_whatever_its_stamps_say(age: float) -> None:
    now = NOW + timedelta(seconds=age)
    assert Here(make_session()).look(now=now).memory.arrived_at == now


@pytest.mark.parametrize(("age", "since"), [(-60.0, 0.0), (30.0, 0.0), (90.0, 30.0)])
def test_a_call_that_another_process_finished_is_over_since_then_give_or_take_a_minute(
    age: float, since: float
) -> None:
    now = NOW + timedelta(seconds=age)
    view = Here(make_session(conditions=finished_conditions(), status_ended_at=NOW)).look(now=now)
    assert view.memory.finished_at == now - timedelta(seconds=since)


def test_a_call_that_is_seen_to_finish_is_over_since_its_sight() -> None:
    here = Here(make_session())
    here.look()
    over = make_session(conditions=finished_conditions(), status_ended_at=ago(60))
    here.put(over, version=2)
    for _ in range(2):
        assert here.look().memory.finished_at == NOW


def test_a_room_of_the_operators_own_has_a_name_before_it_is_made_and_the_same_after_a_restart() -> None:
    first, second = (Here(make_session(room=None)).look().memory.room for _ in range(2))
    assert first == second
    assert is_valid_room(first)


@pytest.mark.parametrize(
    ("session", "pods", "begun"),
    [
        (make_session(), [], False),
        (make_session(), [claimed()], True),
        (make_session(conditions=joined_conditions()), [], True),
    ],
)
def test_a_call_that_another_process_gave_a_pod_has_begun(
    session: VoiceSession, pods: list[dict[str, Any]], *, begun: bool
) -> None:
    assert Here(session, *pods).look().memory.begun == begun


def test_a_call_that_another_process_finished_keeps_its_attempts_and_its_room_closed() -> None:
    conditions = finished_conditions(Reason.AGENT_CRASHED)
    memory = Here(make_session(conditions=conditions, status_attempts=2, status_room_sid="RM_1")).look().memory
    assert (memory.claims, memory.room_sid, memory.room_closed) == (2, "RM_1", True)
    assert memory.conversation_settled  # what is still open, the sweep finds


@pytest.mark.parametrize(
    ("session", "pods", "inherited", "numbered"),
    [
        (make_session(), [], False, 0),
        (make_session(), [], True, None),
        (make_session(), [claimed()], False, None),
        (make_session(status_attempts=1), [], False, None),
    ],
)
def test_whether_another_process_may_have_claimed_for_a_call(
    session: VoiceSession, pods: list[dict[str, Any]], *, inherited: bool, numbered: int | None
) -> None:
    here = Here(session, *pods)
    here.calls.inherited = {UID} if inherited else set()
    assert here.look().memory.numbered == numbered


def test_since_when_a_call_talks_is_when_that_was_heard_or_about_when_it_was_written() -> None:
    told = Here(make_session(), claimed())
    joined_at = NOW + timedelta(seconds=1)
    told.look(link=replace(LINK, accepted=True, joined=JOINED, joined_at=joined_at))
    assert told.look().memory.talks_since == joined_at
    session = make_session(conditions=joined_conditions(), status_agent_joined_at=ago(600))
    assert Here(session, claimed()).look().memory.talks_since == ago(540)


def test_since_when_an_end_is_wanted_is_when_that_was_seen() -> None:
    here = Here(make_session())
    here.look()
    here.put(make_session(end=True), version=2)
    wanted_at = NOW + timedelta(seconds=5)
    for later in (5, 9):
        assert here.look(now=NOW + timedelta(seconds=later)).memory.end_wanted_at == wanted_at


def test_since_when_livekit_sees_no_agent_is_known_until_it_sees_one() -> None:
    here = Here(make_session(), claimed())
    here.absent = {UID: NOW}
    assert (here.look(link=SILENT).agent_absent, here.look(link=SILENT).memory.attempt.absent_at) == (True, NOW)
    here.absent = {}
    assert (here.look(link=SILENT).agent_absent, here.look(link=SILENT).memory.attempt.absent_at) == (False, None)


def test_what_livekit_said_of_an_earlier_silence_tells_nothing_of_this_one() -> None:
    here = Here(make_session(), claimed())
    here.absent = {UID: ago(5)}  # LiveKit missed the agent for a moment, and then it was heard again
    for link in (LINK, replace(LINK, since=ago(4)), replace(SILENT, since=ago(1))):
        view = here.look(link=link)
        assert (view.agent_absent, view.memory.attempt.absent_at) == (False, None)


# What is learned


def test_the_last_pod_is_known_when_it_is_gone() -> None:
    here = Here(make_session(), claimed(attempt=2))
    assert here.look().pod is not None
    here.cache.pods.remove("pod-a", POD_UID)
    view = here.look()
    assert view.pod is None
    assert view.memory.last_pod is not None
    assert (view.memory.last_pod.uid, view.memory.claims) == (POD_UID, 2)


def test_what_a_pod_told_is_known_when_another_one_is_followed() -> None:
    here = Here(make_session(), claimed())
    assert not here.look(link=LINK).memory.attempt.accepted
    here.look(link=replace(LINK, accepted=True, joined=JOINED))
    memory = here.look(link=replace(LINK, pod_uid="another")).memory
    assert (memory.attempt.accepted, memory.room_sid) == (True, "RM_told")


def test_the_sid_that_the_voicesession_names_stays_the_rooms() -> None:
    here = Here(make_session(roomSid="RM_asked"), claimed())
    assert here.look(link=replace(LINK, accepted=True, joined=JOINED)).memory.room_sid == "RM_asked"


def test_how_a_pod_ended_that_was_given_up_is_not_how_the_call_did() -> None:
    here = Here(make_session(), claimed(), claimed("pod-b", attempt=2))
    here.look()
    here.remember(lost_pods=frozenset({POD_UID}))
    assert {pod.name for pod in here.look().pods} == {"pod-a", "pod-b"}  # as long as it lives, it is to be dismissed
    here.put(claimed(version=2, exit_code=0))
    assert {pod.name for pod in here.look().pods} == {"pod-b"}


def test_a_pod_that_says_it_has_ended_is_not_the_calls_while_another_lives() -> None:
    here = Here(make_session(), claimed("pod-b"), claimed(attempt=2))
    ended = replace(LINK, ended=CallEnded(at=NOW, reason=EndReason.SUPERSEDED))
    for link, name in ((LINK, "pod-a"), (ended, "pod-b")):
        pod = here.look(link=link).pod
        assert pod is not None
        assert pod.name == name


def test_a_status_that_could_not_be_written_is_what_the_call_goes_on_by() -> None:
    here = Here(make_session(), claimed())
    here.look()
    joined = make_session(conditions=joined_conditions(), status_phase="Active").status
    here.remember(unwritten=joined)
    seen = here.look().session
    assert seen is not None
    assert seen.status == joined


# A VoiceSession that is gone


def test_a_voicesession_that_was_never_seen_is_not_known_to_be_gone() -> None:
    here = Here(claimed())
    view = here.look()
    assert (view.session, view.serving, view.known_deleted) == (None, NO_SESSION, False)
    here.cache.sessions.remove("call", UID)  # as the API server says when it is asked
    assert here.look().known_deleted


def test_one_that_cannot_be_read_is_there_all_the_same() -> None:
    here = Here(claimed())
    assert not here.look().unreadable
    raw = make_session().to_wire()
    here.cache.sessions.put({**raw, "spec": {"variables": "no map"}, "metadata": {**raw["metadata"], "uid": UID}})
    view = here.look()
    assert (view.session, view.known_deleted, view.unreadable) == (None, False, True)


def test_of_a_deleted_voicesession_the_room_is_still_known() -> None:
    here = Here(make_session(roomSid="RM_asked"))
    here.look()
    here.cache.sessions.remove("call", UID)
    view = here.look()
    assert view.known_deleted
    assert (view.memory.room, view.memory.room_sid) == ("room", "RM_asked")


# The line


def test_a_call_sees_the_line_it_stands_in_and_whether_there_is_a_pod_for_it() -> None:
    here = Here(make_session(), make_raw_pod("warm"))
    assert (here.look().line, here.look().pod_available) == (None, False)
    here.ready_pods.join_line("default", Waiter("first", "default", 0))
    here.ready_pods.join_line("default", Waiter(UID, "default", 1))
    assert (here.look().line, here.look().pod_available) == ("default", False)
    here.ready_pods.leave_line("first")
    assert here.look().pod_available


def test_why_a_pools_pods_do_not_start_concerns_those_who_wait_for_them() -> None:
    here = Here(make_session())
    here.troubles["default"] = Trouble(Reason.UNSCHEDULABLE, "0/3 nodes are available")
    assert here.look().trouble is None
    here.ready_pods.join_line("default", Waiter(UID, "default", 0))
    assert here.look().trouble == here.troubles["default"]


# Others


@pytest.mark.parametrize(
    ("spec", "reason"),
    [({"profile": "nobody"}, Reason.PROFILE_MISSING), ({"llmProvider": "x"}, Reason.PROVIDER_MISSING)],
)
def test_what_is_missing_for_a_call_is_seen(spec: dict[str, Any], reason: Reason) -> None:
    serving = Here(make_session(**spec)).look().serving
    assert isinstance(serving, Problem)
    assert serving.reason is reason


def calls_of_a_tenant(terms: Terms | None = None) -> Here:
    """Two calls that began, one that did not yet, one that is over, and the one to look at."""
    over = make_session("over", uid="4", room="4", tenant="acme", conditions=finished_conditions())
    others = [make_session(uid, uid=uid, room=uid, tenant="acme") for uid in ("1", "2", "3")]
    here = Here(make_session(tenant="acme"), *others, over, terms=terms)
    for uid in ("1", "2", "3", "4"):
        here.look(uid)
        here.remember(uid, begun=uid != "3")
    return here


@pytest.mark.parametrize(("allowed", "exceeded"), [(None, False), (3, False), (2, True)])
def test_a_profiles_limit_counts_the_calls_that_began_and_are_not_over(allowed: int | None, *, exceeded: bool) -> None:
    here = calls_of_a_tenant()
    here.profile(version=2, maxSessions=allowed)
    assert (here.look().limit is not None) == exceeded


@pytest.mark.parametrize(("allowed", "exceeded"), [(None, False), (3, False), (2, True)])
def test_a_tenants_limit_counts_the_calls_that_began_and_are_not_over(allowed: int | None, *, exceeded: bool) -> None:
    here = calls_of_a_tenant(Terms(admission=AdmissionLimits(tenant_max_sessions=allowed)))
    assert (here.look().limit is not None) == exceeded


@pytest.mark.parametrize(("allowed", "exceeded"), [(None, False), (2, False), (1, True)])
def test_calls_without_a_tenant_are_bound_together_as_at_the_front_door(allowed: int | None, *, exceeded: bool) -> None:
    other, foreign = make_session("1", uid="1", room="1"), make_session("2", uid="2", room="2", tenant="acme")
    terms = Terms(admission=AdmissionLimits(tenant_max_sessions=allowed))
    here = Here(make_session(), other, foreign, terms=terms)
    for uid in ("1", "2"):
        here.look(uid)
        here.remember(uid, begun=True)
    limit = here.look().limit
    assert (limit is not None) == exceeded
    if limit:
        assert limit.message == "Calls without a tenant have their 1 calls. Try again later."


def test_a_limit_does_not_concern_a_call_that_began() -> None:
    here = calls_of_a_tenant(Terms(admission=AdmissionLimits(tenant_max_sessions=0)))
    here.look()
    here.remember(begun=True)
    assert here.look().limit is None


def rivals(*pods: dict[str, Any], **older: Any) -> Here:
    """Two calls for one room, `older` and `call`; looks at both."""
    first = make_session("older", uid="1", **older)
    metadata = first.metadata.model_copy(update={"creation_timestamp": ago(60)})
    here = Here(first.model_copy(update={"metadata": metadata}), make_session(), *pods)
    here.look("1")
    here.look()
    return here


def test_of_two_calls_for_one_room_the_older_has_it() -> None:
    here = rivals()
    assert (here.look("1").rival, here.look().rival) == (None, "older")


def test_a_call_that_has_a_pod_or_may_have_one_in_this_moment_has_the_room() -> None:
    here = rivals(claimed())
    assert (here.look("1").rival, here.look().rival) == ("call", None)
    here = rivals()
    here.remember(unanswered_claim="pod-a")
    assert (here.look("1").rival, here.look().rival) == ("call", None)


def test_a_call_that_is_over_has_no_right_to_a_room() -> None:
    here = rivals(conditions=finished_conditions())
    assert (here.look("1").rival, here.look().rival) == ("call", None)


def test_a_call_that_is_gone_has_no_right_to_a_room() -> None:
    here = rivals()
    here.cache.sessions.remove("older", "1")
    assert (here.look("1").rival, here.look().rival) == ("call", None)


def test_of_calls_for_one_room_who_has_a_pod_comes_first_then_the_oldest_then_the_least_uid() -> None:
    bound = make_session("bound", uid="9")
    old = make_session("old", uid="8").model_copy(
        update={"metadata": make_session(uid="8").metadata.model_copy(update={"creation_timestamp": ago(1)})}
    )
    first, second = make_session("first", uid="1"), make_session("second", uid="2")
    ranked = sorted([(room_rank(each, bound=each is bound), each.metadata.uid) for each in (second, first, old, bound)])
    assert [uid for _, uid in ranked] == ["9", "8", "1", "2"]


# Lost agents


def lost_session(attempts: int = 1, lost: int = 1) -> VoiceSession:
    conditions = with_condition(joined_conditions(), ConditionType.AGENT_JOINED, "False", Reason.NODE_LOST, "", ago(5))
    return make_session(
        conditions=with_condition(conditions, ConditionType.POD_BOUND, "False", Reason.NODE_LOST, "", ago(5)),
        status_attempts=attempts,
        status_lost_attempt=lost,
        status_participant_identity="them",
        status_agent_joined_at=ago(60),
    )


def test_a_call_whose_agent_another_process_gave_up_waits_for_the_next_and_no_limit_binds_it() -> None:
    here = Here(lost_session(), claimed())
    view = here.look()
    memory = view.memory
    assert (view.pod, memory.begun, memory.customer) == (None, True, "them")
    assert (memory.lost_attempt, memory.lost_at, memory.turn, memory.numbered) == (1, NOW, BEFORE_ALL, None)
    assert here.look().memory == memory


def test_a_loss_is_noted_once_and_the_next_pod_begins_anew() -> None:
    here = Here(make_session(conditions=joined_conditions(), status_attempts=1), claimed())
    here.look(link=replace(LINK, accepted=True, joined=JOINED, joined_at=NOW))
    here.remember(waited=True, tries=2, numbered=1)
    here.put(lost_session(), version=2)
    memory = here.look(link=replace(SILENT, accepted=True)).memory
    assert (memory.attempt, memory.waited, memory.tries, memory.numbered) == (Attempt(), False, 0, 1)
    assert memory.talks_since == NOW  # of the call, whoever talks
    here.put(claimed("pod-b", attempt=2))
    view = here.look(link=replace(SILENT, accepted=True))
    assert view.pod is not None
    assert (view.pod.name, view.memory.attempt) == ("pod-b", Attempt("uid-of-pod-b"))


def test_an_agent_that_is_heard_again_has_its_call_again() -> None:
    here = Here(lost_session(), claimed())
    assert here.look().pod is None
    here.put(lost_session(lost=0), version=2)
    assert here.look().pod is not None


def test_a_call_that_had_an_agent_keeps_its_room_from_one_that_has_a_pod() -> None:
    here = Here(lost_session(), make_session("newcomer", uid="2"), make_raw_pod("pod-b", call="2"))
    assert (here.look().rival, here.look("2").rival) == (None, "call")
