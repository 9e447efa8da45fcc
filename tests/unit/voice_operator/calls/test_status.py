"""What a VoiceSession's status says of a second pod."""

from testing.operator_objects import NOW, ago, make_claimed_pod, make_session
from voice_operator.calls.deaths import Death
from voice_operator.calls.status import report_joined, report_lost, report_returned, report_starting, report_waiting
from voice_operator.pods.agent_pod import AgentPod
from voicesession.conditions import ConditionType, Reason, find_condition
from voicesession.models import Phase, StartType, VoiceSession, VoiceSessionStatus

FIRST = make_claimed_pod("first")
SECOND = make_claimed_pod("second", attempt=2, node="node-2")
DEATH = Death(Reason.AGENT_CRASHED, "It is gone.")


def starting_with_second(session: VoiceSession) -> VoiceSessionStatus:
    return report_starting(session, SECOND, "room", StartType.WARM, "cloud", NOW)


def after(session: VoiceSession, status: VoiceSessionStatus) -> VoiceSession:
    return session.model_copy(update={"status": status})


def test_a_second_pod_starts_as_a_first_one_where_none_has_joined() -> None:
    session = make_session()
    session = after(session, report_starting(session, make_claimed_pod(), "room", StartType.WARM, "cloud", ago(5)))
    lost = report_waiting(session, Reason.WAITING_FOR_POD, "No pod is ready.", ago(1))
    assert (lost.phase, lost.attempts) == (Phase.PENDING, 1)
    status = starting_with_second(after(session, lost))
    assert (status.phase, status.attempts) == (Phase.STARTING, 2)
    assert joined_with(session, SECOND).phase is Phase.ACTIVE


def joined_with(session: VoiceSession, pod: AgentPod, since: float = 0.0) -> VoiceSessionStatus:
    return report_joined(session, pod, "room", "RM_1", StartType.WARM, "cloud", None, 90, ago(since))


def test_a_second_pod_recovers_a_call_in_which_an_agent_was() -> None:
    session = make_session()
    session = after(session, joined_with(session, FIRST, since=60))
    lost = report_lost(session, DEATH, 1, 1, "customer", ago(3))
    assert (lost.phase, lost.reason, lost.message) == (Phase.RECOVERING, "AgentCrashed", "It is gone.")
    assert (lost.attempts, lost.lost_attempt, lost.lost_agents, lost.participant_identity) == (1, 1, 1, "customer")
    session = after(session, lost)
    waiting = report_waiting(session, Reason.WAITING_FOR_POD, "No pod is ready.", ago(2))
    assert (waiting.phase, waiting.reason) == (Phase.RECOVERING, "WaitingForPod")
    starting = starting_with_second(after(session, waiting))
    assert (starting.phase, starting.reason, starting.pod_name) == (Phase.RECOVERING, "Joining", "second")
    why = find_condition(starting.conditions, ConditionType.AGENT_JOINED)
    assert why is not None
    assert (why.reason, why.last_transition_time) == ("AgentCrashed", ago(3))  # until it has joined
    session = after(session, starting)
    joined = joined_with(session, SECOND)
    assert (joined.phase, joined.pod_name, joined.node_name, joined.attempts) == (Phase.ACTIVE, "second", "node-2", 2)
    assert (joined.bound_at, joined.agent_joined_at) == (SECOND.claimed_at, ago(60))  # its own, and the first's
    assert joined.participant_identity == "customer"


def test_an_agent_that_is_heard_again_is_lost_no_more() -> None:
    session = make_session()
    session = after(session, joined_with(session, FIRST, since=60))
    session = after(session, report_lost(session, DEATH, 1, 1, None, ago(3)))
    status = report_returned(session, FIRST, NOW)
    assert (status.phase, status.lost_attempt, status.lost_agents) == (Phase.ACTIVE, 0, 0)
