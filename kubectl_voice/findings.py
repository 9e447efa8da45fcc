"""What was bad about a call, the worst first, each with what to do about it. Pure: tables and a few questions."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from kubectl_voice.evidence import Evidence
from kubectl_voice.turns import Turn, median_answer, read_turns, slowest_part
from voicesession.advice import ADVICE
from voicesession.conditions import ConditionType, Reason, find_condition
from voicesession.models import EndReason, Phase

# A customer takes a longer silence than this for a fault.
SLOW_ANSWER_MILLIS = 2000
SLOW_START_MILLIS = 1000
# A VoiceSession that no operator has looked at by then has none.
UNSEEN_SECONDS = 5.0


class Weight(IntEnum):
    """How bad it is: for the customer; for whoever runs this; worth knowing; nothing."""

    CUSTOMER = 0
    OPERATION = 1
    NOTE = 2
    FINE = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found. `code` is a word for programs; `advice` what to do, empty where there is nothing."""

    code: str
    weight: Weight
    sentence: str
    advice: str = ""


# Ends that are no failure, and yet often not what was wanted.
_ODD_ENDS = {
    EndReason.NEVER_JOINED: (
        "The customer never came: the agent waited in vain.",
        "Often the client could not reach LiveKit's media ports, or the microphone was refused. The profile's "
        "`joinTimeoutSeconds` says how long it is waited.",
    ),
    EndReason.IDLE: (
        "Nobody spoke for longer than the call's `idleTimeoutSeconds`.",
        "Where the customer did speak, no sound came: their microphone, or LiveKit's media ports.",
    ),
    EndReason.MAX_DURATION: (
        "The call reached its `maxDurationSeconds`.",
        "Raise it in the profile, if such calls are meant.",
    ),
    EndReason.ROOM_CLOSED: (
        "LiveKit closed the room under the call.",
        "LiveKit was restarted, or somebody deleted the room: see LiveKit's log.",
    ),
}


def judge(evidence: Evidence) -> list[Finding]:
    """Returns what was found, the worst first: the first is the verdict. Never empty."""
    found = [
        *_find_unseen(evidence),
        *_find_failure(evidence),
        *_find_trouble(evidence),
        *_find_odd_end(evidence),
        *_find_losses(evidence),
        *_find_pod_trouble(evidence),
        *_find_told(evidence),
        *_find_slowness(evidence),
        *_find_books(evidence),
    ]
    unique: dict[str, Finding] = {}
    for finding in found:
        unique.setdefault(finding.code, finding)
    ordered = sorted(unique.values(), key=lambda finding: finding.weight)
    return ordered or [_all_is_well(evidence)]


def _all_is_well(evidence: Evidence) -> Finding:
    phase = evidence.session.status.phase
    if phase is Phase.ENDED:
        return Finding("fine", Weight.FINE, "Nothing was wrong with this call: it ended as its people wanted.")
    if phase is Phase.ACTIVE:
        return Finding("fine", Weight.FINE, "Nothing is wrong: the agent is in the room.")
    return Finding("fine", Weight.FINE, "Nothing is wrong so far: the call is being connected.")


def _find_unseen(evidence: Evidence) -> Iterator[Finding]:
    session = evidence.session
    created = session.metadata.creation_timestamp
    age = (evidence.now - created).total_seconds() if created else 0.0
    if session.status.phase is None and not evidence.pods and age > UNSEEN_SECONDS:
        yield Finding(
            "unseen",
            Weight.CUSTOMER,
            f"No operator has looked at this VoiceSession for {round(age)} s.",
            "No operator leads in this namespace, or it is down: `kubectl voice doctor`.",
        )


def _find_failure(evidence: Evidence) -> Iterator[Finding]:
    status = evidence.session.status
    if status.phase is Phase.FAILED and status.reason:
        yield _of_reason(status.reason, status.message or "The call failed.", Weight.CUSTOMER)


def _find_trouble(evidence: Evidence) -> Iterator[Finding]:
    """What keeps a call from its agent at this moment."""
    status = evidence.session.status
    if status.phase not in {Phase.PENDING, Phase.STARTING, Phase.RECOVERING} or not status.reason:
        return
    if status.reason in {Reason.BOUND, Reason.JOINED, Reason.JOINING}:
        return
    words = status.message or "The call waits for its agent."
    waited = _waited(evidence)
    yield _of_reason(status.reason, f"{words}{f' It has waited {waited} s.' if waited else ''}", Weight.CUSTOMER)


def _waited(evidence: Evidence) -> int:
    bound = find_condition(evidence.session.status.conditions, ConditionType.POD_BOUND)
    since = bound.last_transition_time if bound else evidence.session.metadata.creation_timestamp
    return round((evidence.now - since).total_seconds()) if since else 0


def _of_reason(reason: str, sentence: str, weight: Weight) -> Finding:
    known = reason in set(Reason)
    return Finding(reason, weight, sentence, ADVICE.get(Reason(reason), "") if known else "")


def _find_odd_end(evidence: Evidence) -> Iterator[Finding]:
    status = evidence.session.status
    if status.phase is Phase.ENDED and status.end_reason in _ODD_ENDS:
        sentence, advice = _ODD_ENDS[status.end_reason]
        weight = Weight.NOTE if status.end_reason is EndReason.MAX_DURATION else Weight.CUSTOMER
        yield Finding(status.end_reason.value, weight, sentence, advice)
    done = find_condition(status.conditions, ConditionType.AGENT_DONE)
    if done and done.reason == Reason.WORK_LOST:
        yield Finding(
            "WorkLost",
            Weight.OPERATION,
            f"What the agent still had to do after the call is lost: {done.message}",
            "Give it longer by the profile's `finishSeconds`, or do such work outside of the call.",
        )


def _find_losses(evidence: Evidence) -> Iterator[Finding]:
    """Agents that were lost in a call that went on."""
    lost = evidence.session.status.lost_agents or 0
    if not lost or evidence.session.status.phase is Phase.FAILED:
        return
    told = [event for event in evidence.events if event.reason == "AgentLost"]
    reason = next((each for each in Reason if told and told[-1].message.startswith(f"{each}:")), None)
    advice = ADVICE.get(reason, "") if reason else ""
    words = f" {told[-1].message.replace(f' {advice}', '')}" if told else ""
    yield Finding(
        f"Recovered{reason or ''}",
        Weight.OPERATION,
        f"{lost} agent{'s were' if lost > 1 else ' was'} lost in the middle of the call, and another went on.{words}",
        advice,
    )


def _find_pod_trouble(evidence: Evidence) -> Iterator[Finding]:
    for pod in evidence.pods:
        if pod.waiting and not pod.ready and pod.waiting != "ContainerCreating":
            yield Finding(
                pod.waiting,
                Weight.CUSTOMER,
                f"Pod {pod.name} does not start: {pod.waiting_message or pod.waiting}",
                f"`kubectl describe pod {pod.name}` says more.",
            )


_TOLD = {
    "OtherAgent": (
        Weight.CUSTOMER,
        "Stop the livekit-agents worker that also answers on this LiveKit, or give it an `agent_name`.",
    ),
    "Unreadable": (Weight.CUSTOMER, "Correct the object, or upgrade the operator: it was written by a newer release."),
    "StatusRefused": (Weight.OPERATION, "The CRD is older than the operator: apply the chart's CRDs."),
    "Stuck": (Weight.OPERATION, "The operator cannot get on with this call: its log says why."),
    "ModelFailed": (Weight.CUSTOMER, "The agent's log has what the provider answered."),
    "ModelReplaced": (Weight.OPERATION, "The agent's log has what the provider answered."),
    "ClaimRefused": (Weight.OPERATION, "See admission policies and webhooks for pods, and the operator's Role."),
    "MoveDelayed": (Weight.NOTE, "A pod that stands by has to start and to reach the database: see the pool's pods."),
}


def _find_told(evidence: Evidence) -> Iterator[Finding]:
    for event in evidence.events:
        if event.reason in _TOLD:
            weight, advice = _TOLD[event.reason]
            yield Finding(event.reason, weight, event.message, advice)


def _find_slowness(evidence: Evidence) -> Iterator[Finding]:
    millis = evidence.session.status.connect_millis
    if millis is not None and millis > SLOW_START_MILLIS:
        start = evidence.session.status.start_type
        cold = start is not None and start.value == "Cold"
        why = "no pod was waiting, so one had to be started" if cold else "a pod was waiting, and was slow to join"
        advice = ADVICE[Reason.WAITING_FOR_POD] if cold else "See LiveKit's load, and the network to it."
        sentence = f"The agent came {millis / 1000:.1f} s after its VoiceSession: {why}."
        yield Finding("slow-start", Weight.CUSTOMER, sentence, advice)
    turns = read_turns(evidence.items or ())
    median = median_answer(turns)
    if median is not None and median > SLOW_ANSWER_MILLIS:
        yield _slow_answers(turns, median)


def _slow_answers(turns: tuple[Turn, ...], median: int) -> Finding:
    part = slowest_part(turns)
    longest = max(turn.answer_millis or 0 for turn in turns)
    what = f" Most of it is {part}." if part else ""
    return Finding(
        "slow-answers",
        Weight.CUSTOMER,
        f"Answers took {median / 1000:.1f} s in the median of {len(turns)}, at most {longest / 1000:.1f} s.{what}",
        "`kubectl voice timeline` shows it turn by turn; a faster model, a nearer region or a `fallback` helps.",
    )


def _find_books(evidence: Evidence) -> Iterator[Finding]:
    if evidence.undelivered_rows:
        yield Finding(
            "undelivered",
            Weight.OPERATION,
            f"{evidence.undelivered_rows} rows of the conversation wait for the database.",
            "The operator delivers them once Postgres takes them: see its health, and PgBouncer's.",
        )
    status = evidence.session.status
    silent = evidence.items is not None and not evidence.items and not evidence.undelivered_rows
    if silent and status.agent_joined_at and status.phase is Phase.ENDED:
        yield Finding(
            "no-words",
            Weight.NOTE,
            "An agent was in the room, and not one word is in the conversation.",
            "Where somebody did speak: see the speech-to-text's key and quota in the pod's log.",
        )
