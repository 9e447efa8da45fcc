"""What a VoiceSession's status says of a second pod."""

from testing.operator_objects import NOW, ago, make_claimed_pod, make_session
from voice_operator.calls.status import report_joined, report_starting, report_waiting
from voicesession.conditions import Reason
from voicesession.models import Phase, StartType, VoiceSession, VoiceSessionStatus

SECOND = make_claimed_pod("second", attempt=2)


def starting_with_second(session: VoiceSession) -> VoiceSessionStatus:
    return report_starting(session, SECOND, "room", StartType.WARM, "cloud", NOW)


def after(session: VoiceSession, status: VoiceSessionStatus) -> VoiceSession:
    return session.model_copy(update={"status": status})


def test_a_second_pod_starts_as_a_first_one_where_none_has_joined() -> None:
    session = make_session()
    session = after(session, report_starting(session, make_claimed_pod(), "room", StartType.WARM, "cloud", ago(5)))
    lost = report_waiting(session, Reason.POD_LOST, "The pod is gone.", ago(1))
    assert (lost.phase, lost.attempts) == (Phase.PENDING, 1)
    status = starting_with_second(after(session, lost))
    assert (status.phase, status.attempts) == (Phase.STARTING, 2)
    assert report_joined(session, SECOND, "room", None, StartType.WARM, "cloud", 900, NOW).phase is Phase.ACTIVE


def test_a_second_pod_recovers_a_call_in_which_an_agent_was() -> None:
    session = make_session()
    session = after(
        session, report_joined(session, make_claimed_pod(), "room", "RM_1", StartType.WARM, "cloud", 90, ago(5))
    )
    assert starting_with_second(session).phase is Phase.RECOVERING
