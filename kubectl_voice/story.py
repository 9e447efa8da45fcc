"""A call's story: what happened when, in the order of time, from whatever knows of it. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from kubectl_voice.evidence import Evidence
from kubectl_voice.turns import read_turns
from voicesession.conditions import ConditionType, find_condition


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a story. `who` tells it: the call, an Event's subject, a pod, the conversation."""

    at: datetime
    who: str
    what: str
    warning: bool = False


def tell(evidence: Evidence) -> list[Moment]:
    """Returns the moments that are known of a call. Without words of the conversation."""
    moments = [*_of_session(evidence), *_of_pods(evidence), *_of_events(evidence), *_of_rows(evidence)]
    return sorted(moments, key=lambda moment: moment.at)


def _of_session(evidence: Evidence) -> Iterator[Moment]:
    session, status = evidence.session, evidence.session.status
    if created := session.metadata.creation_timestamp:
        asked = [f"profile {session.spec.profile}"]
        asked += [f"tenant {session.spec.tenant}"] if session.spec.tenant else []
        asked += [f"provider {session.spec.llm_provider}"] if session.spec.llm_provider else []
        asked += ["local mode"] if session.spec.local_mode else []
        yield Moment(created, "call", f"asked for: {', '.join(asked)}")
    if status.bound_at:
        yield Moment(status.bound_at, "call", f"given pod {status.pod_name} on node {status.node_name}")
    if status.agent_joined_at:
        took = f", {status.connect_millis} ms after it was asked for" if status.connect_millis is not None else ""
        start = f" ({status.start_type.value.lower()} start)" if status.start_type else ""
        yield Moment(status.agent_joined_at, "call", f"the first agent is in the room{took}{start}")
    waits = find_condition(status.conditions, ConditionType.POD_BOUND)
    if waits and waits.status == "False":
        yield Moment(waits.last_transition_time, "call", f"waits: {waits.reason}: {waits.message}", warning=True)
    done = find_condition(status.conditions, ConditionType.AGENT_DONE)
    if done:
        yield Moment(done.last_transition_time, "call", f"{done.reason}: {done.message}", done.reason == "WorkLost")
    if status.ended_at:
        why = f" ({status.end_reason.value})" if status.end_reason else ""
        failed = status.phase is not None and status.phase.value == "Failed"
        yield Moment(status.ended_at, "call", f"{status.phase}: {status.message or status.reason}{why}", failed)


def _of_pods(evidence: Evidence) -> Iterator[Moment]:
    for pod in evidence.pods:
        if pod.ended and pod.ended_at:
            yield Moment(pod.ended_at, f"pod {pod.name}", f"its process ended: {pod.ended}", warning=True)


def _of_events(evidence: Evidence) -> Iterator[Moment]:
    for event in evidence.events:
        times = f" ({event.count} times)" if event.count > 1 else ""
        who = "operator" if event.about.startswith("VoiceSession ") else event.about
        yield Moment(event.at, who, f"{event.reason}: {event.message}{times}", event.warning)


def _of_rows(evidence: Evidence) -> Iterator[Moment]:
    items = evidence.items or ()
    if not items:
        return
    turns = read_turns(items)
    answered = sum(1 for turn in turns if turn.answer_millis is not None)
    yield Moment(items[0].created_at, "conversation", "the first row")
    what = f"the last of {len(items)} rows; {answered} answers"
    yield Moment(items[-1].created_at, "conversation", what)
