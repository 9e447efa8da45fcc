"""Tells, in Events, what happens to a call that its status does not say: troubles on its way, moves. Each kind once.

No words of a conversation: a provider is told by its name as in metrics, the rest is the operator's own.
"""

from voice_operator.cache import Cache
from voice_operator.calls.hand_over import Trigger
from voice_operator.calls.memory import CallMemory
from voice_operator.events import EventReason, EventRecorder, Subject
from voice_operator.label_names import PROVIDERS
from voice_operator.pods.agent_pod import AgentPod
from voicesession.measures import FailureOutcome, ModelFailures

# Kinds of incidents that are told of one call; whatever comes beyond tells nothing new.
_MOST = 30
_PARTS = {"stt": "speech-to-text", "llm": "chat", "tts": "text-to-speech", "realtime": "realtime"}
_OUTCOMES: dict[FailureOutcome, tuple[str, str]] = {
    "retried": (
        EventReason.MODEL_RETRIED,
        "It was asked again. Where that happens often, see the provider's status and its limits.",
    ),
    "fallback": (
        EventReason.MODEL_REPLACED,
        "The provider behind it answers in its place. See the first one's status, key and quota.",
    ),
    "failed": (
        EventReason.MODEL_FAILED,
        "The customer got no answer. See the provider's status, key and quota; a `fallback` would answer in its place.",
    ),
}
_WHY_IT_MOVES = {
    Trigger.DELETED: "it is being deleted",
    Trigger.EVICTED: "it is being evicted, as by a drain",
    Trigger.REQUESTED: "`spec.move` asks for it",
    Trigger.OUTDATED: "its pool has changed",
}


class Incidents:
    """What has been told of each call, by the uid of its VoiceSession; another operator's is not told again."""

    def __init__(self, cache: Cache, events: EventRecorder) -> None:
        self._cache = cache
        self._events = events
        self._told: dict[str, set[str]] = {}

    def forget(self, uid: str) -> None:
        """Drops what is remembered of a call."""
        self._told.pop(uid, None)

    def tell_model_failures(self, uid: str, failures: list[ModelFailures]) -> None:
        """Tells whose models have failed, at what, and what came of it."""
        for failed in failures:
            (provider,), part = PROVIDERS.bound(failed.provider), _PARTS[failed.part]
            reason, consequence = _OUTCOMES[failed.outcome]
            message = f"Provider {provider!r} failed at a {part} request. {consequence}"
            self._tell(uid, reason, message, f"{provider}/{part}")

    def tell_not_accepted(self, memory: CallMemory, pod: AgentPod, detail: str) -> None:
        """Tells that a pod was claimed and has not taken the call; one that stood by is missed by nobody yet."""
        why = f" {detail}" if detail else ""
        if pod.stands_by_for:
            message = f"Pod {pod.name}, which stood by, is let go.{why} The call goes on where it is."
            self._tell(memory.uid, EventReason.MOVE_DELAYED, message, f"{pod.stands_by_for}")
        else:
            message = f"Pod {pod.name} was claimed and has not taken the call.{why} Another one is tried."
            self._tell(memory.uid, EventReason.POD_LOST, message, pod.name)

    def tell_claim_refused(self, memory: CallMemory, why: str) -> None:
        """Tells that the API server lets no pod be claimed for the call."""
        message = (
            f"No pod can be claimed: {why} It is tried until the call's patience is over. See which policy or right"
        )
        self._tell(memory.uid, EventReason.CLAIM_REFUSED, f"{message} forbids it.")

    def tell_moving(self, memory: CallMemory) -> None:
        """Tells that the call is to go to another pod, and why."""
        trigger, pod = memory.move.trigger, memory.last_pod
        if trigger is None or pod is None:
            return
        message = (
            f"The call is to leave pod {pod.name}: {_WHY_IT_MOVES[trigger]}. Another pod is prepared beside it, and "
            "takes over in a pause."
        )
        self._tell(memory.uid, EventReason.MOVING, message, f"{pod.name}/{trigger}", kind="Normal")

    def tell_rows_wait(self, memory: CallMemory, rows: int, lost: int) -> None:
        """Tells that the database has not taken all of the conversation. `lost`: rows that nobody keeps."""
        if rows:
            message = (
                f"{rows} rows of the conversation are not in the database yet. They are kept, and delivered once it"
            )
            self._tell(
                memory.uid, EventReason.ROWS_WAIT, f"{message} takes them: see Postgres, and PgBouncer.", f"{rows}"
            )
        if lost:
            message = f"{lost} rows of the conversation are too large to be kept, and are lost."
            self._tell(memory.uid, EventReason.ROWS_LOST, message, f"{lost}")

    def _tell(self, uid: str, reason: str, message: str, about: str = "", kind: str = "Warning") -> None:
        session = self._cache.find_session(uid)
        if session is None:
            return  # deleted, and its Events with it soon
        told = self._told.setdefault(uid, set())
        key = f"{reason}/{about}"
        if key not in told and len(told) < _MOST:
            told.add(key)
            self._events.record_once(Subject.of(session), reason, message, kind=kind, about=about)
