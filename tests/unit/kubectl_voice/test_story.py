"""A story has every moment once, in the order of time, and no word of the conversation."""

from kubectl_voice.evidence import Evidence
from kubectl_voice.facts import EventFacts, PodFacts
from kubectl_voice.story import tell
from testing.operator_objects import NOW, ago, finished_conditions, make_session
from tests.unit.kubectl_voice.test_findings import TALKED
from voicesession.models import EndReason, Phase, StartType

CALL = make_session(
    conditions=finished_conditions(),
    tenant="acme",
    status_phase=Phase.ENDED,
    status_reason="CallEnded",
    status_message="The customer left.",
    status_pod_name="pod-b",
    status_node_name="node-2",
    status_start_type=StartType.WARM,
    status_connect_millis=90,
    status_agent_joined_at=ago(59),
    status_bound_at=ago(30),
    status_ended_at=ago(1),
    status_end_reason=EndReason.PARTICIPANT_LEFT,
)
LOST = EventFacts(ago(31), True, "AgentLost", "OutOfMemory: it took more.", "VoiceSession call")
DEAD = PodFacts("pod-a", ago(100), ended="OOMKilled, exit code 137", ended_at=ago(31.5))


def _story() -> list[tuple[str, str, bool]]:
    metadata = CALL.metadata.model_copy(update={"creation_timestamp": ago(60)})
    session = CALL.model_copy(update={"metadata": metadata})
    evidence = Evidence(session=session, now=NOW, pods=(DEAD,), events=(LOST,), items=TALKED)
    return [(moment.who, moment.what, moment.warning) for moment in tell(evidence)]


def test_a_story_is_told_in_the_order_of_time() -> None:
    assert _story() == [
        ("call", "asked for: profile default, tenant acme", False),
        ("call", "the first agent is in the room, 90 ms after it was asked for (warm start)", False),
        ("conversation", "the first row", False),
        ("conversation", "the last of 2 rows; 1 answers", False),
        ("pod pod-a", "its process ended: OOMKilled, exit code 137", True),
        ("operator", "AgentLost: OutOfMemory: it took more.", True),
        ("call", "given pod pod-b on node node-2", False),
        ("call", "Ended: The customer left. (participant_left)", False),
    ]


def test_a_story_has_no_words_of_the_conversation() -> None:
    assert TALKED[0].content
    assert all(TALKED[0].content not in what for _, what, _ in _story())
