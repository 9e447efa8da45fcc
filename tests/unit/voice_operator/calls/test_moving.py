"""The next step for a call on its way to another pod."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from testing.operator_objects import (
    NOW,
    UID,
    ago,
    joined_conditions,
    make_claimed_pod,
    make_pool,
    make_profile,
    make_session,
)
from voice_operator.calls.decide import decide_call
from voice_operator.calls.hand_over import (
    ANSWER_MARGIN,
    ASK_AGAIN,
    LATE_PATIENCE,
    LOOK_EVERY,
    READY_PATIENCE,
    TAKE_OVER_AGAIN,
    TAKE_OVER_PATIENCE,
    Move,
    Trigger,
)
from voice_operator.calls.memory import Attempt, CallMemory
from voice_operator.calls.steps import (
    AskHandOver,
    CallView,
    Claim,
    Collect,
    Connect,
    ConnectStandby,
    Dismiss,
    Finish,
    GiveBack,
    JoinLine,
    LeaveLine,
    Lose,
    Moved,
    Number,
    Rest,
    TakeOver,
    TellLate,
)
from voice_operator.pods.agent_pod import PodExit
from voice_operator.pods.link_view import LinkState, LinkView
from voicesession.assignment import CallEnded, HandedOver, HeardLate, Joined
from voicesession.models import EffectiveLimits, EndReason
from voicesession.serving import Serving

OLD = make_claimed_pod("old")
NEW = make_claimed_pod("new", attempt=2, stands_by_for=1, node="node-2")
SERVING = Serving(make_profile(), make_pool(), "cloud", EffectiveLimits())
PATIENCE = timedelta(seconds=20)
STATE = {"rows": [{"itemId": "a"}]}
JOINED = Joined(at=NOW, connect_millis=100, joined_millis=120, room_sid="RM_1")
HANDED = HandedOver(at=NOW, quiet=True, state=STATE)
LATE = HeardLate(at=NOW, state=STATE)
SUPERSEDED = CallEnded(at=NOW, reason=EndReason.SUPERSEDED)
ACTIVE = make_session(
    conditions=joined_conditions(), status_phase="Active", status_attempts=1, status_pod_name="old", move="now"
)
MOVED = make_session(
    conditions=joined_conditions(),
    status_phase="Active",
    status_attempts=2,
    status_pod_name="new",
    status_moved="now",
    move="now",
)


def old_link(**told: Any) -> LinkView:
    return LinkView(OLD.uid, told.pop("state", LinkState.FOLLOWING), NOW, accepted=True, joined=JOINED, **told)


def new_link(**told: Any) -> LinkView:
    return LinkView(NEW.uid, told.pop("state", LinkState.FOLLOWING), NOW, accepted=True, answered_at=NOW, **told)


def view(move: Move | None = None, **known: Any) -> CallView:
    """A call whose agent talks in pod `old`, and that is to go to another one."""
    names = CallMemory.__dataclass_fields__.keys()
    memory: dict[str, Any] = {
        "name": "call",
        "begun": True,
        "room": "room",
        "pods_read": True,
        "claims": 1,
        "last_pod": OLD,
        "attempt": Attempt(OLD.uid, accepted=True),
        "numbered": 1,
        "move": move or Move(Trigger.REQUESTED, ago(1)),
        **{name: known.pop(name) for name in names & known.keys()},
    }
    seen = {
        "now": NOW,
        "memory": CallMemory(UID, 0, NOW, **memory),
        "session": ACTIVE,
        "serving": SERVING,
        "pods": [OLD],
        "link": old_link(),
        "trigger": Trigger.REQUESTED,
    }
    return CallView(**{**seen, **known})


def prepared(move: Move | None = None, **known: Any) -> CallView:
    """The same when a pod stands by."""
    return view(move, **{"pods": [OLD, NEW], "claims": 2, "beside": new_link(ready=True), **known})


def told_to_join(**known: Any) -> CallView:
    """The same when that one was told to join."""
    move = Move(Trigger.REQUESTED, ago(3), handed_at=ago(1), told_to=NEW.uid, told_at=ago(1))
    links = {"link": new_link(ready=True), "beside": old_link(handed=HANDED)}
    return view(move, **{"pods": [OLD, NEW], "claims": 2, **links, **known})


def test_a_pod_is_waited_for_behind_the_others_unless_the_old_one_goes_anyway() -> None:
    assert decide_call(view()) == JoinLine("default", afresh=True)
    assert decide_call(view(trigger=Trigger.EVICTED)) == JoinLine("default", afresh=False)
    assert decide_call(view(line="default")) == Rest(NOW + LOOK_EVERY)


def test_a_call_stays_where_no_up_to_date_pod_is_in_sight() -> None:
    assert decide_call(view(trigger=Trigger.OUTDATED)) == Rest(NOW + LOOK_EVERY)
    assert decide_call(view(trigger=Trigger.OUTDATED, line="default")) == LeaveLine("default")
    assert decide_call(view(trigger=Trigger.OUTDATED, fresh_pod=True)) == JoinLine("default", afresh=True)


def test_a_call_that_moves_to_be_up_to_date_takes_such_a_pod_on_whichever_node() -> None:
    claim = decide_call(view(trigger=Trigger.OUTDATED, fresh_pod=True, line="default", pod_available=True))
    assert claim == Claim(ACTIVE, SERVING, 2, stands_by_for=1, avoid=None)


def test_the_standby_is_claimed_by_a_number_of_its_own_and_not_on_the_same_node() -> None:
    claim = decide_call(view(line="default", pod_available=True))
    assert claim == Claim(ACTIVE, SERVING, 2, stands_by_for=1, avoid="node-1")
    number = decide_call(view(line="default", pod_available=True, numbered=None))
    assert isinstance(number, Number)
    assert (number.claims, number.status.attempts, number.status.phase) == (2, 2, "Active")


def test_the_standby_prepares_itself_before_the_old_one_is_asked() -> None:
    assert decide_call(prepared(beside=None)) == ConnectStandby(ACTIVE, NEW, SERVING)
    assert decide_call(prepared(beside=new_link())) == Rest(NOW + READY_PATIENCE)
    assert decide_call(prepared()) == AskHandOver(OLD, 20)


@pytest.mark.parametrize(
    "beside",
    [
        new_link(state=LinkState.DEAD),
        new_link(ended=CallEnded(at=NOW, reason=EndReason.ERROR)),
    ],
)
def test_a_standby_that_dies_is_let_go_and_replaced_after_a_while(beside: LinkView) -> None:
    assert decide_call(prepared(beside=beside)) == Dismiss((NEW,), EndReason.SUPERSEDED, lost=True)
    after = Move(Trigger.REQUESTED, ago(9), standbys=1, lost_at=NOW)
    lost = view(after, pods=[OLD, replace(NEW, deleting=True)], claims=2, lost_pods=frozenset({NEW.uid}))
    waits = decide_call(lost)
    assert isinstance(waits, Rest)
    assert waits.until is not None
    assert decide_call(replace(lost, now=waits.until)) == JoinLine("default", afresh=True)


def test_the_old_one_is_asked_until_it_heard_and_again_when_nothing_comes_of_it() -> None:
    tried = Move(Trigger.REQUESTED, ago(9), tried_at=NOW)
    assert decide_call(prepared(tried)) == Rest(NOW + ASK_AGAIN)
    asked = replace(tried, asked_at=NOW)
    assert decide_call(prepared(asked)) == Rest(NOW + PATIENCE + ANSWER_MARGIN)
    assert decide_call(prepared(asked, now=NOW + PATIENCE + ANSWER_MARGIN)) == AskHandOver(OLD, 20)


def test_what_the_old_one_tells_the_other_joins_with() -> None:
    assert decide_call(prepared(link=old_link(handed=HANDED))) == TakeOver(ACTIVE, NEW, SERVING, STATE)
    refused = Move(Trigger.REQUESTED, ago(9), asked_at=ago(5), tried_at=NOW, handed_at=NOW)
    assert decide_call(prepared(refused, link=old_link(handed=HANDED))) == Rest(NOW + TAKE_OVER_AGAIN)


def test_the_call_has_moved_when_the_other_is_in_the_room() -> None:
    assert decide_call(told_to_join()) == Rest(ago(1) + TAKE_OVER_PATIENCE)
    moved = decide_call(told_to_join(link=new_link(ready=True, joined=JOINED)))
    assert isinstance(moved, Moved)
    status = moved.status
    assert (status.pod_name, status.node_name, status.attempts, status.moved) == ("new", "node-2", 2, "now")
    assert (status.phase, status.lost_agents) == ("Active", None)


@pytest.mark.parametrize(
    "known",
    [
        {"beside": old_link()},  # it has gone on
        {"link": new_link(state=LinkState.DEAD)},
        {"link": new_link(ended=CallEnded(at=NOW, reason=EndReason.ERROR))},
        {"now": NOW + TAKE_OVER_PATIENCE},
    ],
)
def test_the_old_one_has_its_call_again_where_the_other_does_not_join(known: dict[str, Any]) -> None:
    assert decide_call(told_to_join(**known)) == GiveBack(NEW)


def test_a_call_that_shall_end_ends_whoever_has_it() -> None:
    ends = make_session(**{**_fields(ACTIVE), "end": True})
    assert not isinstance(decide_call(told_to_join(session=ends)), Rest | Moved | GiveBack)
    left = old_link(ended=CallEnded(at=NOW, reason=EndReason.PARTICIPANT_LEFT, end_written=True))
    assert isinstance(decide_call(prepared(link=left)), Finish)


def _fields(session: Any) -> dict[str, Any]:
    status = {f"status_{name}": value for name, value in session.status.model_dump(exclude={"conditions"}).items()}
    return {"conditions": session.status.conditions, **status, "move": session.spec.move}


def test_an_old_one_that_dies_makes_it_a_recovery_by_the_one_that_stands_ready() -> None:
    dead = replace(OLD, exit=PodExit(137, False, None, "Error"))
    assert isinstance(decide_call(prepared(pods=[dead, NEW], link=old_link(state=LinkState.DEAD))), Lose)
    lost = make_session(status_attempts=2, status_lost_attempt=1, status_lost_agents=1, status_pod_name="old")
    known: dict[str, Any] = {"session": lost, "lost_attempt": 1, "move": Move(), "trigger": None}
    after = {"pods": [dead, NEW], "claims": 2, "claimed_here": NEW.uid, "attempt": Attempt(NEW.uid), **known}
    assert decide_call(view(**{**after, "link": old_link(state=LinkState.DEAD)})) == Connect(lost, NEW, SERVING)
    assert decide_call(view(**{**after, "link": new_link(ready=True)})) == TakeOver(lost, NEW, SERVING, {})


def test_who_was_put_out_by_a_standby_is_followed_by_it_whoever_told_it_to() -> None:
    """An operator before this one did, and died."""
    put_out = view(pods=[OLD, NEW], claims=2, link=old_link(ended=SUPERSEDED))
    assert decide_call(put_out) == Connect(ACTIVE, NEW, SERVING)


def moved(move: Move | None = None, **known: Any) -> CallView:
    """A call that has moved a moment ago; the old pod is still there."""
    links = {"link": new_link(joined=JOINED), "beside": old_link(handed=HANDED)}
    own = {"session": MOVED, "pods": [OLD, NEW], "claims": 2, "numbered": 2, "last_pod": NEW, "trigger": None, **links}
    return view(move or Move(told_at=NOW), **{**own, **known})


def test_the_old_pod_tells_what_it_heard_last_and_what_it_could_not_write_and_goes() -> None:
    assert decide_call(moved()) == Rest(NOW + LATE_PATIENCE)
    heard = old_link(handed=HANDED, late=LATE)
    assert decide_call(moved(beside=heard)) == TellLate(NEW, LATE)
    over = replace(heard, ended=SUPERSEDED)
    passed_on = Move(told_at=NOW, late=LATE)
    assert decide_call(moved(passed_on, beside=over)) == Collect(OLD)
    collected = frozenset({OLD.uid})
    assert decide_call(moved(passed_on, beside=over, collected=collected)) == Dismiss((OLD,), EndReason.SUPERSEDED)
    gone = replace(OLD, exit=PodExit(0, False, None, "Completed"))
    assert decide_call(moved(passed_on, beside=over, pods=[gone, NEW])) == Rest()


def test_a_standby_that_nobody_needs_any_more_goes() -> None:
    assert decide_call(prepared(trigger=None)) == Dismiss((NEW,), EndReason.SUPERSEDED, lost=True)
