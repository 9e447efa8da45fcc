"""The next step for a call, for everything that may be known of it."""

import itertools
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest

from testing.operator_objects import (
    NOW,
    UID,
    ago,
    finished_conditions,
    joined_conditions,
    make_claimed_pod,
    make_pool,
    make_profile,
    make_session,
)
from voice_operator.calls.deaths import Death
from voice_operator.calls.decide import decide_call
from voice_operator.calls.memory import Attempt, CallMemory, ClaimRefusal, note_losses
from voice_operator.calls.status import report_joined, report_lost, report_starting
from voice_operator.calls.steps import (
    NO_SESSION,
    AskEnd,
    AskForPod,
    AskLiveKit,
    Begin,
    CallView,
    Claim,
    CloseConversation,
    CloseRoom,
    Collect,
    Complete,
    ConfirmGone,
    Connect,
    Dismiss,
    Expire,
    Finish,
    Forget,
    JoinLine,
    LeaveLine,
    Lose,
    MakeRoom,
    Number,
    ReadBack,
    ReadPods,
    Rest,
    Retire,
    Step,
    TellCause,
    TellOtherAgent,
    TellRefusal,
    Terms,
    WriteStatus,
)
from voice_operator.pods.agent_pod import PodExit, Trouble
from voice_operator.pods.link_view import LinkState, LinkView
from voicesession.admission import AdmissionLimits
from voicesession.assignment import CallEnded, Finishing, Joined, TerminationMessage
from voicesession.conditions import ConditionType, Reason, find_condition, is_agent_at_work, with_condition
from voicesession.models import EffectiveLimits, EndReason, Phase, StartType, VoiceSession
from voicesession.names import CALL_LABEL, END_REASON_ANNOTATION
from voicesession.serving import Problem, Serving

SERVING = Serving(make_profile(), make_pool(), "cloud", EffectiveLimits())
ONE_AGENT = Serving(make_profile(), make_pool(), "cloud", EffectiveLimits(max_attempts=1))
PROBLEM = Problem(Reason.POOL_MISSING, "There is no AgentPool 'default'. Create it.")
POD = make_claimed_pod()


SESSION = make_session()
ROOMLESS = make_session(room=None)  # whose room the operator makes
MEMORY = {field.name for field in fields(CallMemory)}
ATTEMPT = {field.name for field in fields(Attempt)}


def view(**known: Any) -> CallView:
    """A call that arrived just now, counts, and has no pod.

    `known`: fields of the view, of the memory in it, and of what that knows of the pod's attempt.
    """
    known = {"arrived_at": NOW, "name": "call", "begun": True, "room": "room", "pods_read": True, **known}
    known["attempt"] = Attempt(POD.uid, **{name: known.pop(name) for name in ATTEMPT & known.keys()})
    memory = CallMemory(UID, 0, **{name: known.pop(name) for name in MEMORY & known.keys()})
    return CallView(**{"now": NOW, "memory": memory, "session": SESSION, "serving": SERVING, **known})


def in_line(**known: Any) -> CallView:
    """The same in the line of its pool, which was asked for one more pod."""
    return view(**{"line": "default", "waited": True, **known})


def bound(**known: Any) -> CallView:
    """A call with a pod, whose events are followed."""
    return view(**{"pods": [POD], "last_pod": POD, "claims": 1, "link": link(), **known})


def active(**known: Any) -> CallView:
    """The same with its agent in the room."""
    return bound(**{"session": ACTIVE, "link": link(accepted=True, joined=JOINED), **known})


def link(state: LinkState = LinkState.FOLLOWING, since: float = 0.0, **told: Any) -> LinkView:
    return LinkView(POD.uid, state, ago(since), **told)


ACTIVE = make_session(conditions=joined_conditions(), status_phase="Active", status_attempts=1)
JOINED = Joined(at=NOW, connect_millis=100, joined_millis=120, room_sid="RM_1")


def ended(reason: EndReason, message: str = "", *, end_written: bool = False) -> CallEnded:
    return CallEnded(at=NOW, reason=reason, message=message, end_written=end_written)


def exit_of(code: int, *, out_of_memory: bool = False, reason: str | None = None, **told: Any) -> PodExit:
    termination = TerminationMessage(reason=reason, **told) if reason else None
    return PodExit(code, out_of_memory, termination, f"Error, exit code {code}")


def lose(step: Step) -> Lose:
    assert isinstance(step, Lose), step
    return step


def finish(step: Step) -> Finish:
    assert isinstance(step, Finish), step
    return step


# Without a pod


def claim(attempt: int = 1) -> Claim:
    return Claim(SESSION, SERVING, attempt)


def test_a_new_call_begins_before_anything_else() -> None:
    assert decide_call(view(begun=False)) == Begin()


def test_a_call_that_began_stands_in_line_and_claims_a_ready_pod() -> None:
    assert decide_call(view()) == JoinLine("default")
    assert decide_call(in_line(waited=False, pod_available=True)) == claim()


def test_a_call_that_finds_no_pod_ready_asks_for_one_once() -> None:
    assert decide_call(in_line(waited=False)) == AskForPod("default")
    assert isinstance(decide_call(in_line()), Rest)


def test_each_claim_is_another_attempt() -> None:
    assert decide_call(in_line(pod_available=True, claims=2, numbered=2)) == claim(attempt=3)


@pytest.mark.parametrize(
    ("known", "written", "number"),
    [
        ({"claims": 1, "numbered": 0}, None, 1),  # a claim that was lost, or of which nobody knows
        ({"claims": 1, "numbered": 0}, 1, 1),
        ({"claims": 0, "numbered": None}, None, 1),  # the process before may have sent a first claim
        ({"claims": 2, "numbered": None}, 1, 3),
        ({"claims": 0, "numbered": 0}, 2, 3),  # written by somebody else meanwhile
    ],
)
def test_numbers_that_may_be_used_are_written_down_before_the_next_claim(
    known: dict[str, Any], written: int | None, number: int
) -> None:
    session = make_session(status_attempts=written)
    step = decide_call(in_line(session=session, pod_available=True, **known))
    assert isinstance(step, Number)
    assert (step.claims, step.status.attempts) == (number, number)
    told = session.model_copy(update={"status": step.status})
    after = in_line(session=told, pod_available=True, claims=number, numbered=number)
    assert decide_call(after) == Claim(told, SERVING, number + 1)


def test_a_call_beyond_a_limit_is_refused_and_its_customer_told() -> None:
    problem = Problem(Reason.LIMIT_REACHED, "AgentProfile 'default' has its 2 calls.")
    step = finish(decide_call(view(begun=False, limit=problem)))
    assert step.status.phase is Phase.FAILED
    assert step.status.reason == "LimitReached"
    assert step.refusal == problem


def test_a_limit_does_not_bind_a_call_that_began() -> None:
    problem = Problem(Reason.LIMIT_REACHED, "full")
    assert decide_call(in_line(limit=problem, pod_available=True)) == claim()


def test_a_room_is_made_before_a_pod_is_claimed() -> None:
    assert decide_call(view(session=ROOMLESS)) == MakeRoom(ROOMLESS, SERVING.limits)
    assert decide_call(view(session=ROOMLESS, room_made_at=NOW)) == JoinLine("default")


def test_without_livekit_it_is_said_once_then_tried_again() -> None:
    first = decide_call(view(session=ROOMLESS, livekit_error="no answer"))
    assert isinstance(first, WriteStatus)
    assert first.status.reason == "LiveKitUnavailable"
    assert "no answer" in (first.status.message or "")
    told = make_session(room=None, conditions=first.status.conditions)
    assert decide_call(view(session=told, livekit_error="no answer")) == MakeRoom(told, SERVING.limits)


def test_livekits_absence_has_an_end() -> None:
    step = finish(decide_call(view(session=ROOMLESS, livekit_error="no answer", arrived_at=ago(121))))
    assert step.status.reason == "LiveKitUnavailable"


@pytest.mark.parametrize("waited", [0.0, 0.9])
def test_a_short_wait_is_not_worth_a_write(waited: float) -> None:
    assert decide_call(in_line(arrived_at=ago(waited))) == Rest(ago(waited - 1))


def test_a_longer_wait_is_told_once() -> None:
    step = decide_call(in_line(arrived_at=ago(1.1)))
    assert isinstance(step, WriteStatus)
    assert (step.status.phase, step.status.reason) == (Phase.PENDING, "WaitingForPod")
    told = make_session().model_copy(update={"status": step.status})
    assert decide_call(in_line(arrived_at=ago(2), session=told)) == Rest(ago(2 - 15))


def test_the_reason_why_pods_do_not_start_is_told() -> None:
    trouble = Trouble(Reason.UNSCHEDULABLE, "0/3 nodes are available")
    step = decide_call(in_line(arrived_at=ago(1.1), trouble=trouble))
    assert isinstance(step, WriteStatus)
    assert (step.status.reason, step.status.message) == ("Unschedulable", "0/3 nodes are available")


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [(None, "NoCapacity"), (Trouble(Reason.IMAGE_PULL_FAILED, "no such image"), "ImagePullFailed")],
)
def test_the_wait_for_a_pod_has_an_end_and_the_customer_is_told(trouble: Trouble | None, reason: str) -> None:
    step = finish(decide_call(in_line(arrived_at=ago(15), trouble=trouble)))
    assert (step.status.phase, step.status.reason) == (Phase.FAILED, reason)
    assert step.refusal
    assert not step.closes


def test_the_wait_begins_when_the_room_is_there() -> None:
    step = decide_call(in_line(arrived_at=ago(60), session=ROOMLESS, room_made_at=ago(0.5)))
    assert isinstance(step, Rest)


def test_a_ready_pod_is_claimed_even_after_the_deadline() -> None:
    assert decide_call(in_line(arrived_at=ago(100), pod_available=True)) == claim()


def test_a_claim_that_the_api_server_refused_is_tried_again_and_then_given_up() -> None:
    def refused(since: float, waiting: float = 10) -> CallView:
        refusal = ClaimRefusal("no rights", ago(since))
        return in_line(pod_available=True, claim_refusal=refusal, arrived_at=ago(waiting))

    assert decide_call(refused(0.2)) == Rest(NOW + timedelta(seconds=0.8))
    assert decide_call(refused(1)) == claim()
    step = finish(decide_call(refused(0.2, waiting=15)))
    assert step.status.reason == "AssignmentFailed"
    assert "no rights" in (step.status.message or "")
    assert step.refusal is not None


def test_nothing_else_is_claimed_while_a_claims_outcome_is_unknown() -> None:
    assert decide_call(view(unanswered_claim="pod-a")) == ReadBack("pod-a")


def test_what_is_missing_is_told_and_waited_for_a_little() -> None:
    step = decide_call(view(serving=PROBLEM, begun=False))
    assert isinstance(step, WriteStatus)
    assert (step.status.phase, step.status.reason) == (Phase.PENDING, "PoolMissing")
    told = make_session().model_copy(update={"status": step.status})
    assert decide_call(view(serving=PROBLEM, begun=False, session=told)) == Rest(ago(-5))
    assert finish(decide_call(view(serving=PROBLEM, arrived_at=ago(5)))).status.reason == "PoolMissing"


def test_the_younger_call_for_a_room_fails_and_the_room_stays() -> None:
    step = finish(decide_call(view(rival="older", begun=False)))
    assert step.status.reason == "RoomTaken"
    assert "older" in (step.status.message or "")
    assert step.refusal is None
    over = make_session(conditions=finished_conditions(Reason.ROOM_TAKEN), status_ended_at=NOW)
    assert isinstance(decide_call(view(session=over, rival="older")), Rest)


@pytest.mark.parametrize("session", [make_session(end=True), make_session(deleted_at=NOW)])
def test_a_call_that_is_ended_before_it_began_ends_at_once(session: Any) -> None:
    assert decide_call(in_line(session=session, pod_available=True)) == LeaveLine("default")
    step = finish(decide_call(view(session=session, pod_available=True)))
    assert (step.status.phase, step.status.end_reason) == (Phase.ENDED, EndReason.ENDED_BY_REQUEST)
    assert not step.closes


def test_pods_that_do_not_accept_are_not_tried_for_ever() -> None:
    step = finish(decide_call(view(tries=3, link=link(detail="It answered 409."))))
    assert step.status.reason == "AssignmentFailed"
    assert "It answered 409." in (step.status.message or "")


@pytest.mark.parametrize(
    "known",
    [
        {"serving": PROBLEM},
        {"serving": Serving(make_profile(), make_pool("another"), "cloud", EffectiveLimits())},
        {"pods": [POD]},
        {"session": make_session(conditions=finished_conditions(), status_ended_at=NOW)},
        {"session": None, "serving": NO_SESSION},
    ],
)
def test_a_call_that_is_not_due_for_a_pod_of_its_line_leaves_that_first(known: dict[str, Any]) -> None:
    assert decide_call(in_line(**known)) == LeaveLine("default")


# With a pod


def test_a_claimed_pod_is_given_its_call() -> None:
    assert decide_call(bound(link=None)) == Connect(SESSION, POD, SERVING)


def test_a_pod_that_is_not_the_followed_one_is_connected_to() -> None:
    assert decide_call(bound(link=replace(link(), pod_uid="another"))) == Connect(SESSION, POD, SERVING)


def test_a_call_cannot_be_given_without_its_profile_but_goes_on_without_it() -> None:
    assert finish(decide_call(bound(link=None, serving=PROBLEM))).status.reason == "PoolMissing"
    assert decide_call(active(link=None, serving=PROBLEM)) == Connect(ACTIVE, POD, None)


def test_of_two_pods_the_higher_attempt_stays() -> None:
    first, second = make_claimed_pod("first"), make_claimed_pod("second", attempt=2)
    step = decide_call(bound(pods=[first, second]))
    assert step == Dismiss((first,), EndReason.SUPERSEDED)


def test_of_two_pods_of_one_attempt_the_older_claim_stays() -> None:
    younger = make_claimed_pod("younger", claimed_at=ago(1))
    older = make_claimed_pod("older", claimed_at=ago(2))
    assert decide_call(bound(pods=[younger, older])) == Dismiss((younger,), EndReason.SUPERSEDED)


def test_a_pod_that_is_going_already_is_not_dismissed_again() -> None:
    going = make_claimed_pod("going", deleting=True, claimed_at=ago(5))
    assert decide_call(bound(pods=[going, POD])) == Rest(ago(0.1 - 1))


def test_joining_is_told_when_it_takes_over_a_second() -> None:
    step = decide_call(bound(pods=[make_claimed_pod(claimed_at=ago(1.1))], link=link(accepted=True)))
    assert isinstance(step, WriteStatus)
    assert (step.status.phase, step.status.pod_name) == (Phase.STARTING, "pod-a")


def test_joining_has_an_end() -> None:
    step = finish(decide_call(bound(link=link(accepted=True, answered_at=ago(30)))))
    assert step.status.reason == "AssignmentFailed"
    assert step.closes


@pytest.mark.parametrize("claimed", [31, 3600, -60])
def test_joining_is_timed_from_the_pods_first_answer_to_this_process(claimed: float) -> None:
    """Whoever comes back long after the claim, or with another clock, hears the pod first."""
    told = report_starting(SESSION, POD, "room", StartType.WARM, "cloud", NOW)
    starting = SESSION.model_copy(update={"status": told})
    pod = make_claimed_pod(claimed_at=ago(claimed), claim_seen_at=ago(5))
    connecting = bound(session=starting, pods=[pod], link=link(LinkState.CONNECTING))
    assert decide_call(connecting) == Rest()
    following = bound(session=starting, pods=[pod], link=link(answered_at=ago(1)))
    assert decide_call(following) == Rest(ago(1 - 30))


def test_joined_is_written_once() -> None:
    told = link(accepted=True, joined=JOINED, joined_at=NOW)
    step = decide_call(bound(link=told, arrived_at=ago(0.15), waited=True))
    assert isinstance(step, WriteStatus)
    status = step.status
    assert (status.phase, status.start_type, status.connect_millis) == (Phase.ACTIVE, StartType.COLD, 150)
    assert (status.room, status.room_sid, status.node_name, status.attempts) == ("room", "RM_1", "node-1", 1)
    assert decide_call(active()) == Rest()


def test_the_agents_code_may_have_its_room_deleted_once() -> None:
    wants = link(accepted=True, joined=JOINED, deletion_requested=True)
    assert decide_call(active(link=wants)) == CloseRoom()
    assert decide_call(active(link=wants, room_closed=True)) == Rest()


def test_somebody_elses_agent_in_the_room_is_told_once() -> None:
    met = link(accepted=True, joined=JOINED, other_agent="agent-AJ_1")
    assert decide_call(active(link=met)) == TellOtherAgent(ACTIVE, "agent-AJ_1")
    assert decide_call(active(link=met, other_agent_told=True)) == Rest()


@pytest.mark.parametrize(
    ("reason", "phase", "why"),
    [
        (EndReason.PARTICIPANT_LEFT, Phase.ENDED, "CallEnded"),
        (EndReason.ERROR, Phase.FAILED, "AgentError"),
        (EndReason.SUPERSEDED, Phase.FAILED, "Superseded"),
    ],
)
def test_the_agents_own_end_is_the_calls(reason: EndReason, phase: Phase, why: str) -> None:
    from_event = finish(decide_call(active(link=link(accepted=True, ended=ended(reason, "so it said")))))
    gone = make_claimed_pod(exit=exit_of(0, reason=reason.value, message="so it said"))
    from_pod = finish(decide_call(active(pods=[gone], last_pod=gone, link=None)))
    for step in (from_event, from_pod):
        assert (step.status.phase, step.status.reason) == (phase, why)
        assert (step.status.end_reason, step.status.message) == (reason, "so it said")


def test_a_conversation_is_closed_unless_its_agent_told_that_the_end_is_written() -> None:
    for word, closes in ((True, False), (False, True)):
        by_event = link(accepted=True, ended=ended(EndReason.IDLE, end_written=word))
        assert finish(decide_call(active(link=by_event))).closes is closes
        gone = make_claimed_pod(exit=exit_of(0, reason="idle", end_written=word))
        assert finish(decide_call(active(pods=[gone], last_pod=gone, link=None))).closes is closes
    # What the pod before it has told says nothing of this one.
    of_another = replace(link(ended=ended(EndReason.SUPERSEDED, end_written=True)), pod_uid="another")
    gone = make_claimed_pod(exit=exit_of(139))
    assert finish(decide_call(active(pods=[gone], last_pod=gone, link=of_another, serving=ONE_AGENT))).closes


@pytest.mark.parametrize(
    ("exit_", "reason"),
    [
        (exit_of(137, out_of_memory=True), "OutOfMemory"),
        (exit_of(139), "AgentCrashed"),
        (exit_of(1, reason="CodeImportFailed"), "AgentCrashed"),
    ],
)
def test_the_last_agent_that_dies_fails_its_call_and_its_books_are_closed_for_it(exit_: PodExit, reason: str) -> None:
    gone = make_claimed_pod(exit=exit_)
    step = finish(decide_call(active(pods=[gone], last_pod=gone, serving=ONE_AGENT)))
    assert (step.status.phase, step.status.reason, step.status.end_reason) == (Phase.FAILED, reason, EndReason.ERROR)
    assert step.closes
    assert step.refusal  # the customer is told


def test_before_a_call_is_given_up_its_pods_are_read_afresh() -> None:
    """Another operator may have claimed one that the cache lacks."""
    gone = make_claimed_pod(exit=exit_of(139))
    assert decide_call(active(pods=[gone], last_pod=gone, pods_read=False, serving=ONE_AGENT)) == ReadPods()
    superseded = link(accepted=True, ended=ended(EndReason.SUPERSEDED))
    assert decide_call(active(link=superseded, pods_read=False)) == ReadPods()


def test_a_pod_that_is_over_does_not_have_the_call_while_another_lives() -> None:
    other = make_claimed_pod("other", claimed_at=ago(0))
    superseded = link(accepted=True, ended=ended(EndReason.SUPERSEDED))
    assert decide_call(bound(pods=[POD, other], link=superseded)) == Dismiss((POD,), EndReason.SUPERSEDED)
    over = make_claimed_pod(exit=exit_of(0, reason="superseded"))
    assert decide_call(bound(pods=[over, other], link=superseded)) == Connect(SESSION, other, SERVING)


def test_a_pod_that_died_before_it_accepted_costs_the_call_only_another_claim() -> None:
    gone = make_claimed_pod(exit=exit_of(139))
    died = bound(pods=[gone], link=None, line="default", pod_available=True, numbered=1)
    assert decide_call(died) == claim(attempt=2)


@pytest.mark.parametrize("state", [LinkState.DEAD, LinkState.REFUSED, LinkState.SILENT])
def test_a_pod_that_never_accepted_is_dismissed_at_once(state: LinkState) -> None:
    seen = bound(link=link(state), claimed_here=POD.uid)
    assert decide_call(seen) == Dismiss((POD,), EndReason.SUPERSEDED, lost=True)


@pytest.mark.parametrize("state", [LinkState.REFUSED, LinkState.SILENT])
def test_a_pod_that_another_process_claimed_and_that_is_not_heard_may_be_in_its_call(state: LinkState) -> None:
    assert decide_call(bound(link=link(state))) == AskLiveKit()
    assert decide_call(bound(link=link(state), agent_absent=True)) == Dismiss((POD,), EndReason.SUPERSEDED, lost=True)


def test_a_dead_port_waits_for_the_kubelets_word_where_there_will_be_no_other_agent() -> None:
    dead = link(LinkState.DEAD, accepted=True, joined=JOINED)
    assert lose(decide_call(active(link=dead))).status.reason == "AgentCrashed"
    assert decide_call(active(link=dead, serving=ONE_AGENT)) == Rest(ago(-10))
    late = replace(dead, since=ago(10))
    assert finish(decide_call(active(link=late, serving=ONE_AGENT))).status.reason == "AgentCrashed"


def test_the_silence_of_the_last_agent_is_a_suspicion_that_livekit_settles() -> None:
    def silent(**known: Any) -> CallView:
        told = link(LinkState.SILENT, answered_at=ago(60), accepted=True, joined=JOINED)
        return active(link=told, serving=ONE_AGENT, **known)

    assert decide_call(silent()) == AskLiveKit()
    assert decide_call(silent(asked_livekit_at=ago(1))) == Rest(ago(-2))
    assert decide_call(silent(asked_livekit_at=ago(3))) == AskLiveKit()
    step = finish(decide_call(silent(agent_absent=True)))
    assert (step.status.reason, step.closes) == ("NodeLost", True)
    assert "node-1" in (step.status.message or "")


def test_a_pod_that_refuses_the_next_operator_keeps_its_call_while_it_is_in_the_room() -> None:
    refused = link(LinkState.REFUSED, accepted=False)
    assert decide_call(active(link=refused)) == AskLiveKit()
    assert decide_call(active(link=refused, asked_livekit_at=ago(1))) == Rest(ago(-2))
    leaves = active(link=refused, agent_absent=True, absent_at=ago(1), asked_livekit_at=NOW)
    assert decide_call(leaves) == Rest(ago(-3))  # it may be writing its end
    left = active(link=refused, agent_absent=True, absent_at=ago(30))
    assert lose(decide_call(left)).status.reason == "AgentCrashed"


def test_a_pod_that_takes_connections_and_answers_nothing_hangs() -> None:
    hangs = link(LinkState.SILENT, accepted=True, joined=JOINED, unanswered_since=ago(29))
    assert decide_call(active(link=hangs, asked_livekit_at=NOW)) == Rest(ago(-1))
    step = lose(decide_call(active(link=replace(hangs, unanswered_since=ago(30)), asked_livekit_at=NOW)))
    assert (step.status.reason, step.node) == ("AgentHung", None)


def test_a_pod_that_vanished_had_a_call() -> None:
    assert lose(decide_call(active(pods=[], link=None, accepted=True))).status.reason == "PodDeleted"
    step = finish(decide_call(active(pods=[], link=None, accepted=True, serving=ONE_AGENT)))
    assert (step.status.phase, step.status.end_reason, step.closes) == (Phase.FAILED, EndReason.SHUTDOWN, True)


ENDING = make_session(conditions=joined_conditions(), end=True)


def test_an_end_is_asked_for_once_and_awaited() -> None:
    assert decide_call(active(session=ENDING)) == AskEnd(POD, EndReason.ENDED_BY_REQUEST)
    asked = {"session": ENDING, "end_wanted_at": ago(30), "end_tried_at": ago(1)}
    assert decide_call(active(**asked, end_asked_at=ago(1))) == Rest(ago(-129)), "its goodbye is said whole"
    step = finish(decide_call(active(**asked, end_asked_at=ago(130), accepted=True)))
    assert (step.status.end_reason, step.closes) == (EndReason.ENDED_BY_REQUEST, True)
    silent = link(LinkState.SILENT, accepted=True, joined=JOINED)
    assert finish(decide_call(active(**asked, end_asked_at=ago(20), link=silent))).status.phase is Phase.ENDED


def test_an_end_that_comes_while_nobody_hears_the_pod_is_asked_for_when_it_is_heard() -> None:
    wanted = {"session": ENDING, "end_wanted_at": ago(5)}
    assert decide_call(active(**wanted, link=None)) == Connect(ENDING, POD, None)
    assert decide_call(active(**wanted, link=link(LinkState.CONNECTING))) == Rest(ago(-15))
    assert decide_call(active(**wanted)) == AskEnd(POD, EndReason.ENDED_BY_REQUEST)


def test_an_end_that_the_pod_was_not_told_is_tried_again_until_the_patience_is_over() -> None:
    silent = link(LinkState.SILENT, accepted=True, joined=JOINED)
    wanted = {"session": ENDING, "link": silent, "accepted": True}
    assert decide_call(active(**wanted, end_wanted_at=ago(5), end_tried_at=ago(0.4))) == Rest(ago(-0.6))
    again = decide_call(active(**wanted, end_wanted_at=ago(5), end_tried_at=ago(1)))
    assert again == AskEnd(POD, EndReason.ENDED_BY_REQUEST)
    assert finish(decide_call(active(**wanted, end_wanted_at=ago(20), end_tried_at=ago(1)))).status.phase is Phase.ENDED


@pytest.mark.parametrize("state", [LinkState.DEAD, LinkState.REFUSED])
def test_a_pod_that_has_no_call_to_end_is_not_waited_for(state: LinkState) -> None:
    assert finish(decide_call(bound(session=make_session(end=True), link=link(state)))).status.phase is Phase.ENDED


def test_a_call_that_lasts_longer_than_it_may_is_ended_by_our_clock_too() -> None:
    def talking(since: float, **known: Any) -> CallView:
        return active(talks_since=ago(since), longest=timedelta(seconds=60), **known)

    assert decide_call(talking(89)) == Rest(ago(-1))
    assert decide_call(talking(90)) == AskEnd(POD, EndReason.MAX_DURATION)
    step = finish(decide_call(talking(230, end_asked_at=ago(130), accepted=True)))
    assert (step.status.phase, step.status.end_reason) == (Phase.ENDED, EndReason.MAX_DURATION)
    silent = link(LinkState.SILENT, accepted=True, joined=JOINED)
    assert decide_call(talking(89.5, link=silent, asked_livekit_at=NOW)) == Rest(ago(-0.5))


def test_a_call_whose_customer_is_gone_while_it_waits_gets_no_pod_and_ends_as_that() -> None:
    gone = make_session(end=True, annotations={END_REASON_ANNOTATION: "participant_left"})
    step = finish(decide_call(in_line(session=gone, pod_available=True, line=None)))
    assert (step.status.phase, step.status.reason) == (Phase.ENDED, Reason.CUSTOMER_GONE)
    assert step.status.end_reason is EndReason.PARTICIPANT_LEFT
    # Its pod may have been on its way already.
    assert decide_call(active(session=gone)) == AskEnd(POD, EndReason.PARTICIPANT_LEFT)


@pytest.mark.parametrize("annotation", ["", "superseded", "nonsense"])
def test_nobody_else_may_say_why_a_call_shall_end(annotation: str) -> None:
    wanted = make_session(end=True, annotations={END_REASON_ANNOTATION: annotation})
    assert decide_call(active(session=wanted)) == AskEnd(POD, EndReason.ENDED_BY_REQUEST)


# An agent is lost


def lost(
    session: VoiceSession = ACTIVE, attempt: int = 1, agents: int = 1, reason: Reason = Reason.AGENT_CRASHED
) -> VoiceSession:
    """A VoiceSession whose agents up to this attempt are lost; so it is written."""
    death = Death(reason, "It is gone.")
    status = report_lost(session, death, attempt, attempt, None, NOW)
    status = status.model_copy(update={"lost_agents": agents, "agent_joined_at": ago(60)})
    return session.model_copy(update={"status": status})


def recovering(**known: Any) -> CallView:
    """A call in the line for its next pod, that of whose lost agent is still there."""
    seen = {"session": lost(), "pods": [POD], "last_pod": POD, "claims": 1, "numbered": 1, "lost_at": NOW, **known}
    return in_line(**seen)


NEXT = make_claimed_pod("next", attempt=2, node="node-2")


def test_a_loss_is_written_with_all_that_the_next_leader_needs() -> None:
    dead = link(LinkState.DEAD, accepted=True, joined=JOINED)
    talking = make_session(conditions=joined_conditions(), status_attempts=1, status_agent_joined_at=ago(60))
    status = lose(decide_call(active(session=talking, link=dead, customer="them"))).status
    assert (status.phase, status.reason) == (Phase.RECOVERING, "AgentCrashed")
    assert (status.lost_attempt, status.lost_agents, status.attempts) == (1, 1, 1)
    assert status.participant_identity == "them"


def test_the_next_pod_is_claimed_at_once_and_without_another_write() -> None:
    assert decide_call(recovering(pod_available=True)) == Claim(lost(), SERVING, 2)


def test_a_loss_that_another_process_wrote_burns_a_number() -> None:
    step = decide_call(recovering(pod_available=True, numbered=None))
    assert isinstance(step, Number)
    assert step.claims == 2


@pytest.mark.parametrize(("agents", "seconds"), [(1, 0), (2, 1), (3, 2), (4, 4)])
def test_who_loses_its_agents_again_and_again_is_slowed_down(agents: int, seconds: int) -> None:
    seen = recovering(session=lost(agents=agents), pod_available=True, line=None)
    step = decide_call(seen)
    assert step == (Rest(NOW + timedelta(seconds=seconds)) if seconds else JoinLine("default"))


def test_the_wait_for_the_next_pod_has_a_patience_of_its_own() -> None:
    waits = recovering(arrived_at=ago(600), lost_at=ago(0.5))
    assert decide_call(waits) == Rest(ago(0.5 - 1))
    step = finish(decide_call(recovering(arrived_at=ago(600), lost_at=ago(15))))
    assert (step.status.reason, step.status.phase) == ("NoCapacity", Phase.FAILED)
    assert step.refusal


@pytest.mark.parametrize(
    ("agents", "most", "goes_on"), [(0, 1, False), (0, 2, True), (1, 2, False), (3, 5, True), (4, 5, False)]
)
def test_so_many_agents_may_have_a_call(agents: int, most: int, *, goes_on: bool) -> None:
    limits = Serving(make_profile(), make_pool(), "cloud", EffectiveLimits(max_attempts=most))
    gone = make_claimed_pod(attempt=agents + 1, exit=exit_of(139))
    session = lost(attempt=agents, agents=agents) if agents else ACTIVE
    seen = bound(session=session, pods=[gone], last_pod=gone, accepted=True, serving=limits, link=None)
    assert isinstance(decide_call(seen), Lose if goes_on else Finish)


def test_a_stopped_pod_leaves_its_call_open() -> None:
    stopped = link(accepted=True, joined=JOINED, ended=ended(EndReason.SHUTDOWN))
    assert lose(decide_call(active(link=stopped))).status.reason == "PodDeleted"
    evicted = [replace(POD, evicted=True)]
    step = lose(decide_call(active(pods=evicted, link=stopped)))
    assert (step.status.reason, step.node) == ("Evicted", "node-1")


def test_who_wants_the_end_gets_it_from_a_dead_agent_too() -> None:
    gone = make_claimed_pod(exit=exit_of(139))
    step = finish(decide_call(active(session=ENDING, pods=[gone], last_pod=gone)))
    assert (step.status.phase, step.status.end_reason) == (Phase.ENDED, EndReason.ENDED_BY_REQUEST)
    assert finish(decide_call(recovering(session=lost(ENDING), line=None))).status.phase is Phase.ENDED


def test_an_end_that_only_the_kubelet_heard_is_the_calls_until_another_agent_is_in_the_room() -> None:
    left = make_claimed_pod(exit=exit_of(0, reason="participant_left"))
    for pods in ([left], [left, NEXT]):
        step = finish(decide_call(recovering(pods=pods, line=None)))
        assert step.status.end_reason is EndReason.PARTICIPANT_LEFT
    crashed = make_claimed_pod(exit=exit_of(1, reason="shutdown"))
    assert decide_call(recovering(pods=[crashed], pod_available=True)) == Claim(lost(), SERVING, 2)


def silent(since: float = 0.0, **told: Any) -> LinkView:
    return link(LinkState.SILENT, since, **{"answered_at": ago(60), "accepted": True, "joined": JOINED, **told})


def test_a_pod_that_is_not_reached_is_lost_with_its_node_which_the_next_one_is_not_to_be_on() -> None:
    step = lose(decide_call(active(link=silent())))
    assert (step.status.reason, step.node) == ("NodeLost", "node-1")


def test_nobody_is_replaced_while_it_may_be_us_who_are_cut_off() -> None:
    assert decide_call(active(link=silent(), cut_off=True)) == AskLiveKit()
    assert decide_call(active(link=silent(1), cut_off=True, asked_livekit_at=ago(1))) == Rest(ago(-2))
    assert lose(decide_call(active(link=silent(30), cut_off=True))).status.reason == "NodeLost"
    assert lose(decide_call(active(link=silent(1), cut_off=True, agent_absent=True))).status.reason == "NodeLost"


def test_a_pod_that_this_process_has_not_heard_yet_has_a_little_longer() -> None:
    unheard = silent(answered_at=None)
    assert decide_call(active(link=replace(unheard, since=ago(9)), asked_livekit_at=NOW)) == Rest(ago(-1))
    assert lose(decide_call(active(link=replace(unheard, since=ago(10)), asked_livekit_at=NOW))).node == "node-1"


def test_a_pod_on_the_node_with_which_the_last_leader_was_lost_has_not() -> None:
    unheard = silent(answered_at=None)
    assert lose(decide_call(active(link=unheard, asked_livekit_at=NOW, lost_node="node-1"))).node == "node-1"
    assert isinstance(decide_call(active(link=unheard, asked_livekit_at=NOW, lost_node="node-2")), Rest)


@pytest.mark.parametrize(("agents", "goes_on"), [(0, False), (1, True), (4, False)])
def test_of_a_call_that_has_talked_the_next_one_is_tried_where_one_does_not_join(agents: int, *, goes_on: bool) -> None:
    joining = link(accepted=True, answered_at=ago(30))
    session = lost(attempt=agents, agents=agents) if agents else make_session()
    pod = replace(POD, attempt=agents + 1)
    step = decide_call(bound(session=session, pods=[pod], last_pod=pod, link=joining, accepted=True))
    if goes_on:
        assert (lose(step).status.reason, lose(step).node) == ("AssignmentFailed", "node-1")
    else:
        assert finish(step).status.reason == "AssignmentFailed"


def test_an_agent_that_is_heard_again_before_there_is_another_goes_on_itself() -> None:
    back = link(accepted=True, joined=JOINED)
    step = decide_call(recovering(link=back))
    assert isinstance(step, WriteStatus)
    assert (step.status.phase, step.status.lost_attempt, step.status.lost_agents) == (Phase.ACTIVE, 0, 0)
    assert isinstance(decide_call(recovering(link=silent())), Rest)
    dying = recovering(pods=[replace(POD, deleting=True)], link=back, pod_available=True)
    assert decide_call(dying) == Claim(lost(), SERVING, 2)


def carried_on(**known: Any) -> CallView:
    """A call whose second agent is in the room, and that of whose first lives still."""
    status = report_joined(lost(), NEXT, "room", None, StartType.WARM, "cloud", None, 90, NOW)
    seen = {
        "session": lost().model_copy(update={"status": status}),
        "pods": [POD, NEXT],
        "last_pod": NEXT,
        "link": replace(link(accepted=True, joined=JOINED), pod_uid=NEXT.uid),
        "lost_at": ago(1),
        **known,
    }
    return view(**seen)


def test_a_lost_pod_that_lives_is_let_go_once_the_next_agent_is_there() -> None:
    assert decide_call(carried_on()) == Rest(ago(1 - 10))  # its kubelet may still say how it ended
    assert decide_call(carried_on(lost_at=ago(10))) == Retire(POD)
    assert decide_call(carried_on(lost_at=ago(10), collected={POD.uid})) == Dismiss((POD,), EndReason.SUPERSEDED)
    assert decide_call(carried_on(lost_at=ago(60))) == Dismiss((POD,), EndReason.SUPERSEDED)
    # What it holds is taken at once where it was told to go: it does not stay for long.
    going = replace(POD, deleting=True)
    assert decide_call(carried_on(pods=[going, NEXT])) == Retire(going)
    assert decide_call(recovering(pods=[going], waited=True, lost_at=NOW)) == Retire(going)
    # Another one's deletion may leave it an hour.
    slow = replace(POD, deleting=True, leaves_within=3600)
    assert decide_call(carried_on(pods=[slow, NEXT], collected={POD.uid})) == Dismiss((slow,), EndReason.SUPERSEDED)
    assert decide_call(carried_on(pods=[going, NEXT], collected={POD.uid})) == Rest()
    exited = replace(POD, exit=exit_of(139))
    assert decide_call(carried_on(pods=[exited, NEXT], lost_at=ago(60))) == Rest()


def test_that_it_was_out_of_memory_is_told_once_also_where_the_port_was_closed_before() -> None:
    hoarder = replace(POD, exit=exit_of(137, out_of_memory=True))
    step = decide_call(carried_on(pods=[hoarder, NEXT]))
    assert isinstance(step, TellCause)
    assert (step.attempt, step.death.reason) == (1, "OutOfMemory")
    assert decide_call(carried_on(pods=[hoarder, NEXT], cause_told=1)) == Rest()


def test_an_agent_that_was_put_out_by_one_that_came_back_is_followed_by_another() -> None:
    put_out = replace(link(accepted=True, joined=JOINED, ended=ended(EndReason.SUPERSEDED)), pod_uid=NEXT.uid)
    assert lose(decide_call(carried_on(link=put_out))).status.lost_attempt == 2
    alone = finish(decide_call(carried_on(link=put_out, pods=[NEXT])))
    assert alone.status.reason == "Superseded"


def test_whom_the_agent_serves_is_written_down_where_nobody_said() -> None:
    step = decide_call(active(customer="them"))
    assert isinstance(step, WriteStatus)
    assert step.status.participant_identity == "them"
    named = make_session(conditions=joined_conditions(), participantIdentity="them")
    assert decide_call(active(session=named, customer="them")) == Rest()


# Its room


def test_a_room_that_livekit_gave_another_sid_is_written_down_once() -> None:
    joined = make_session(conditions=joined_conditions(), status_roomSid="RM_before", status_phase="Active")
    step = decide_call(active(session=joined, room_sid="RM_after"))
    assert isinstance(step, WriteStatus)
    assert step.status == joined.status.model_copy(update={"room_sid": "RM_after"})
    told = make_session(conditions=joined_conditions(), status_roomSid="RM_after", status_phase="Active")
    for same in (active(session=told, room_sid="RM_after"), active(room_sid="RM_1"), active(session=told)):
        assert isinstance(decide_call(same), Rest)


@pytest.mark.parametrize(("missing", "ends"), [(29.9, False), (30.0, True)])
def test_a_call_whose_room_is_missing_for_longer_than_the_grace_is_ended(missing: float, ends: bool) -> None:
    step = decide_call(active(room_missing_since=ago(missing)))
    assert (step == AskEnd(POD, EndReason.ROOM_CLOSED)) is ends


def test_a_call_without_a_room_whose_pod_does_not_end_it_is_finished() -> None:
    finished = decide_call(active(room_missing_since=ago(50), end_asked_at=ago(20)))
    assert isinstance(finished, Finish)
    assert (finished.status.phase, finished.status.end_reason) == (Phase.ENDED, EndReason.ROOM_CLOSED)


def test_the_profile_says_how_long_a_room_may_be_missing() -> None:
    patient = Serving(make_profile(), make_pool(), "cloud", EffectiveLimits(reconnect_grace_seconds=60))
    assert isinstance(decide_call(active(serving=patient, room_missing_since=ago(74))), Rest)
    assert decide_call(active(serving=patient, room_missing_since=ago(75))) == AskEnd(POD, EndReason.ROOM_CLOSED)


def test_a_waiting_call_whose_room_has_closed_has_lost_its_customer() -> None:
    step = finish(decide_call(in_line(line=None, pod_available=True, room_missing_since=ago(30))))
    assert (step.status.reason, step.status.end_reason) == (Reason.CUSTOMER_GONE, EndReason.PARTICIPANT_LEFT)


# Afterwards


def test_a_refused_customer_is_told_before_anything_is_cleared_up() -> None:
    problem = Problem(Reason.NO_CAPACITY, "none")
    assert decide_call(over(untold=problem)) == TellRefusal(problem)
    assert decide_call(over(untold=problem, pods=[POD])) == TellRefusal(problem)  # a pod may take its time to go
    assert decide_call(over(untold=problem, rival="older")) == Rest(NOW + timedelta(seconds=600))
    assert decide_call(over()) == CloseRoom()


def over(**known: Any) -> CallView:
    return view(**{"session": OVER, "finished_at": NOW, **known})


OVER = make_session(conditions=finished_conditions(), status_ended_at=NOW, status_end_reason="idle")


def test_after_the_end_the_pod_goes_then_the_room_then_the_voicesession() -> None:
    followed = link(ended=ended(EndReason.IDLE, end_written=True))
    assert decide_call(over(pods=[POD], link=followed)) == Dismiss((POD,), EndReason.IDLE)
    assert decide_call(over(pods=[replace(POD, deleting=True)], link=followed)) == CloseRoom()
    assert decide_call(over(room_closed=True)) == Rest(NOW + timedelta(seconds=600))
    assert decide_call(over(room_closed=True, now=NOW + timedelta(seconds=600))) == Expire(OVER)


FINISHING = Finishing(at=NOW, reason=EndReason.PARTICIPANT_LEFT, seconds=100)
WORKS_ON = make_session(
    conditions=with_condition(
        finished_conditions(), ConditionType.AGENT_DONE, "False", Reason.FINISHING, "The agent works.", NOW
    ),
    status_phase="Ended",
    status_end_reason="participant_left",
)


def working(**told: Any) -> LinkView:
    return link(**{"accepted": True, "joined": JOINED, "finishing": FINISHING, "done_by": ago(-100), **told})


def at_work(**known: Any) -> CallView:
    """A call that is over, whose agent works on with nobody in its room."""
    values = {"session": WORKS_ON, "finished_at": NOW, "room_closed": True, "link": working()}
    return bound(**{**values, **known})


def is_done(view: CallView, lost: str | None = None) -> bool:
    """Tells whether the next step says that the agent has done its work, or lost it by this."""
    step = decide_call(view)
    assert isinstance(step, Complete), step
    done = find_condition(step.status.conditions, ConditionType.AGENT_DONE)
    assert done is not None
    assert (done.status, step.status.phase) == ("True", Phase.ENDED)
    assert (lost or "") in done.message
    return step.closes is False and done.reason == (Reason.WORK_LOST if lost else Reason.WORK_DONE)


def test_a_call_is_over_for_everybody_while_its_agent_works_on() -> None:
    step = finish(decide_call(active(link=working())))
    assert (step.status.phase, step.status.end_reason) == (Phase.ENDED, EndReason.PARTICIPANT_LEFT)
    assert is_agent_at_work(step.status.conditions)
    assert not step.closes, "it still writes"
    told = working(ended=ended(EndReason.PARTICIPANT_LEFT, end_written=True))
    assert not is_agent_at_work(finish(decide_call(active(link=told))).status.conditions)


def test_an_agent_that_works_on_has_nobody_in_its_room_and_its_time() -> None:
    assert decide_call(at_work(room_closed=False)) == CloseRoom()
    assert decide_call(at_work()) == Rest(ago(-130))
    assert decide_call(at_work(link=None)) == Connect(WORKS_ON, POD, None), "another leader's call"
    drained = replace(POD, deleting=True, leaves_within=50)
    assert decide_call(at_work(pods=[drained], last_pod=drained)) == Rest(ago(-130)), "its grace is its own"
    silent = working(state=LinkState.SILENT)
    assert decide_call(at_work(link=silent)) == Rest(ago(-60))


def test_what_an_agent_has_made_of_its_work_is_told() -> None:
    assert is_done(at_work(link=working(ended=ended(EndReason.IDLE, end_written=True))))
    cut = CallEnded(at=NOW, reason=EndReason.IDLE, end_written=True, cut_short=["tools"])
    assert is_done(at_work(link=working(ended=cut)), lost="no time to finish: tools")
    well = replace(POD, exit=exit_of(0, reason="idle", end_written=True))
    assert is_done(at_work(pods=[well], last_pod=well, link=None))


@pytest.mark.parametrize(
    "known",
    [
        {"link": working(state=LinkState.DEAD)},
        {"link": working(state=LinkState.SILENT, since=60)},
        {"link": working(done_by=ago(30))},
        {"pods": []},
        {"pods": [replace(POD, exit=exit_of(137, reason="idle"))]},
    ],
)
def test_work_that_is_lost_is_said_and_its_conversation_closed(known: dict[str, Any]) -> None:
    step = decide_call(at_work(**known))
    assert isinstance(step, Complete)
    done = find_condition(step.status.conditions, ConditionType.AGENT_DONE)
    assert (done and done.reason, step.closes) == (Reason.WORK_LOST, True)


def test_an_agent_whose_voicesession_is_deleted_works_on_while_its_pod_may() -> None:
    drained = replace(POD, deleting=True, leaves_within=50)
    gone: dict[str, Any] = {"session": None, "known_deleted": True, "gone_at": ago(40), "link": working()}
    assert decide_call(bound(**gone, pods=[drained])) == CloseRoom()
    assert decide_call(bound(**gone, pods=[drained], room_closed=True)) == Rest(ago(-130))


def test_a_room_is_left_to_people_whose_agent_is_done_unless_somebody_ended_it_all() -> None:
    problem = Problem(Reason.AGENT_CRASHED, "gone")
    served: dict[str, Any] = {"status_ended_at": NOW, "status_agent_joined_at": ago(60)}
    done = make_session(conditions=finished_conditions(), **served)
    assert decide_call(over(session=done)) == CloseRoom(leaves_people=True)
    assert decide_call(over(session=done, untold=problem)) == TellRefusal(problem, leaves_people=True)
    ended_for_all = make_session(conditions=finished_conditions(), end=True, **served)
    assert decide_call(over(session=ended_for_all)) == CloseRoom()


def test_a_livekit_that_is_away_for_good_does_not_keep_the_voicesession() -> None:
    assert decide_call(over(now=NOW + timedelta(seconds=600))) == Expire(OVER)


def test_a_call_made_by_a_rooms_start_is_kept_as_long_as_starts_are_counted() -> None:
    session = make_session(conditions=finished_conditions(), status_ended_at=NOW, limits={"ttlSecondsAfterFinished": 0})
    labelled = session.model_copy(
        update={"metadata": session.metadata.model_copy(update={"labels": {CALL_LABEL: "x"}})}
    )
    assert decide_call(over(session=session, room_closed=True)) == Expire(session)
    limits = AdmissionLimits(max_ticket_age=timedelta(seconds=100), max_room_wait=timedelta(seconds=50))
    step = decide_call(over(session=labelled, room_closed=True, terms=Terms(admission=limits)))
    assert step == Rest(NOW + timedelta(seconds=150))


def test_a_pod_is_asked_for_what_it_could_not_write_before_it_goes() -> None:
    unwritten = link(ended=ended(EndReason.IDLE))
    assert decide_call(over(pods=[POD], link=unwritten)) == Collect(POD)
    assert decide_call(over(pods=[replace(POD, deleting=True)], link=unwritten)) == Collect(replace(POD, deleting=True))
    dismiss = Dismiss((POD,), EndReason.IDLE)
    assert decide_call(over(pods=[POD], link=unwritten, collected={POD.uid})) == dismiss
    assert decide_call(over(pods=[POD], link=link(ended=ended(EndReason.IDLE, end_written=True)))) == dismiss
    assert decide_call(over(pods=[POD], link=link(LinkState.SILENT, accepted=True))) == dismiss
    # Not for ever: no pod holds it for so long.
    assert decide_call(over(pods=[POD], link=unwritten, finished_at=ago(359))) == Collect(POD)
    assert decide_call(over(pods=[POD], link=unwritten, finished_at=ago(360))) == dismiss
    exited = replace(POD, exit=exit_of(0, reason="idle"))
    assert decide_call(over(pods=[exited], link=unwritten)) == Dismiss((exited,), EndReason.IDLE)


def test_a_pod_whose_call_another_process_finished_may_hold_something() -> None:
    assert decide_call(over(pods=[POD])) == Collect(POD)
    assert decide_call(over(pods=[POD], link=replace(link(), pod_uid="another"))) == Collect(POD)


def test_pods_of_an_unknown_voicesession_go_only_when_it_is_known_to_be_gone() -> None:
    orphan = view(session=None, serving=NO_SESSION, pods=[POD])
    assert decide_call(orphan) == ConfirmGone("call")
    gone = replace(orphan, known_deleted=True)
    assert decide_call(gone) == Collect(POD)
    asked = replace(gone, memory=replace(gone.memory, collected=frozenset({POD.uid})))
    assert decide_call(asked) == Dismiss((POD,), EndReason.ENDED_BY_REQUEST)


def test_a_pod_that_kubernetes_deletes_with_its_voicesession_is_asked_too() -> None:
    going = [replace(POD, deleting=True)]
    gone = {"session": None, "serving": NO_SESSION, "known_deleted": True, "pods": going, "gone_at": ago(5)}
    assert decide_call(view(**gone, link=link())) == Rest(ago(-15))
    assert decide_call(view(**gone, link=link(ended=ended(EndReason.SHUTDOWN)))) == Collect(going[0])
    # Whoever collects garbage gives it its own grace, for which it would go on with a call that nobody wants.
    slow = replace(POD, deleting=True, leaves_within=3600)
    waiting = view(**{**gone, "pods": [slow]}, link=link(), collected=frozenset({POD.uid}))
    assert decide_call(waiting) == Dismiss((slow,), EndReason.ENDED_BY_REQUEST)


def test_the_conversation_of_a_voicesession_that_was_deleted_in_mid_call_is_closed() -> None:
    gone = {"session": None, "serving": NO_SESSION, "known_deleted": True, "last_pod": POD, "claims": 1}
    close = CloseConversation(EndReason.ENDED_BY_REQUEST)
    assert decide_call(view(**gone)) == close
    assert decide_call(view(**gone, link=link(ended=ended(EndReason.SHUTDOWN)))) == close
    written = link(ended=ended(EndReason.SHUTDOWN, end_written=True))
    assert decide_call(view(**gone, link=written)) == CloseRoom()
    assert decide_call(view(**gone, conversation_settled=True)) == CloseRoom()


def test_a_voicesession_of_a_newer_release_is_left_alone_with_its_pod() -> None:
    assert decide_call(view(session=None, serving=NO_SESSION, pods=[POD], unreadable=True)) == Rest()
    assert decide_call(view(pods=[POD], unreadable=True)) == Rest()


def test_a_deleted_voicesession_takes_its_room_along_unless_another_call_has_it() -> None:
    gone = {"session": None, "serving": NO_SESSION, "known_deleted": True}
    assert decide_call(view(**gone)) == CloseRoom()
    assert decide_call(view(**gone, room_closed=True)) == Forget()
    assert decide_call(view(**gone, rival="other")) == Forget()


def test_the_room_of_a_deleted_call_stays_until_its_agent_has_said_goodbye() -> None:
    gone = {"session": None, "serving": NO_SESSION, "known_deleted": True, "pods": [replace(POD, deleting=True)]}
    assert decide_call(view(**gone, link=link(), gone_at=ago(5))) == Rest(ago(-15))
    assert decide_call(view(**gone, link=link(), gone_at=ago(20))) == CloseRoom()
    over = {**gone, "pods": [replace(POD, deleting=True, exit=exit_of(0))]}
    assert decide_call(view(**over, gone_at=ago(5))) == CloseRoom()


def test_a_livekit_that_is_away_for_good_does_not_keep_a_deleted_call_in_mind() -> None:
    gone = {"session": None, "serving": NO_SESSION, "known_deleted": True}
    assert decide_call(view(**gone, gone_at=ago(119))) == CloseRoom()
    assert decide_call(view(**gone, gone_at=ago(120))) == Forget()


# The whole


FAILED = make_session(conditions=finished_conditions(Reason.AGENT_ERROR), status_attempts=1)
CHOICES: dict[str, list[Any]] = {
    "session": [None, SESSION, ROOMLESS, FAILED],
    "serving": [SERVING, ONE_AGENT, PROBLEM],
    "pods": [[], [POD], [make_claimed_pod(exit=exit_of(139))]],
    "line": [None, "default", "another"],
    "pod_available": [False, True],
    "begun": [False, True],
    "waited": [False, True],
    "accepted": [False, True],
    "pods_read": [False, True],
    "room_made_at": [None, NOW],
    "room_closed": [False, True],
    "unanswered_claim": [None, "pod-a"],
    "claims": [1],
}


def after_it(seen: CallView, step: Step) -> CallView | None:
    """Returns the view once the step is done, where that is certain."""
    memory = seen.memory
    match step:
        case Begin():
            memory = replace(memory, begun=True)
        case JoinLine(pool):
            return replace(seen, line=pool)
        case LeaveLine():
            return replace(seen, line=None)
        case AskForPod():
            memory = replace(memory, waited=True)
        case ReadBack():
            memory = replace(memory, unanswered_claim=None)
        case ReadPods():
            memory = replace(memory, pods_read=True)
        case Lose(session, status):
            memory = note_losses(memory, status, NOW)
            seen = replace(seen, session=session.model_copy(update={"status": status}))
        case CloseRoom():
            memory = replace(memory, room_closed=True)
        case Collect(pod):
            memory = replace(memory, collected=memory.collected | {pod.uid})
        case CloseConversation():
            memory = replace(memory, conversation_settled=True)
        case _:
            return None
    return replace(seen, memory=memory)


def test_whatever_is_known_no_step_is_decided_again_or_undone_once_it_is_done() -> None:
    looked_at = set()
    for values in itertools.product(*CHOICES.values()):
        seen = view(**dict(zip(CHOICES, values, strict=True)))
        step = decide_call(seen)
        done = after_it(seen, step)
        if done is None:
            continue
        looked_at.add(type(step))
        after = decide_call(done)
        assert type(after) is not type(step), (seen, step)
        assert not (isinstance(step, JoinLine) and isinstance(after, LeaveLine)), (seen, step)
    assert looked_at == {
        Begin,
        JoinLine,
        LeaveLine,
        AskForPod,
        Lose,
        ReadBack,
        ReadPods,
        CloseRoom,
        CloseConversation,
        Collect,
    }
