"""Many calls whose agents measure: what an operator is told of them, for tests and benchmarks of its metrics."""

from collections.abc import Iterator
from dataclasses import replace

from voice_operator.cache import Cache
from voice_operator.calls.memory import Calls
from voicesession import clock
from voicesession.assignment import Heartbeat
from voicesession.measures import FirstWord, Measured, ModelFailures, ModelName, ModelUse, Turn
from voicesession.models import Phase
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, VOICE_SESSIONS

PROFILES = 20
TENANTS = 5
POOLS = 4
MODELS = 6


class MeasuredCalls:
    """Calls in progress of 20 profiles, 4 pools and 5 tenants, with 6 models of each kind."""

    def __init__(self, count: int) -> None:
        """`count`: how many."""
        self.calls = Calls()
        self.cache = Cache()
        now = clock.now().isoformat()
        for number in range(PROFILES):
            self._put(AGENT_PROFILES, f"profile-{number}", {}, now)
        for number in range(POOLS):
            self._put(AGENT_POOLS, f"pool-{number}", {"image": "agent:1"}, now)
        for number in range(count):
            name, phase = f"call-{number}", list(Phase)[number % len(Phase)]
            spec = {"profile": profile_of(number), "room": f"room-{number}", "tenant": f"tenant-{number % TENANTS}"}
            self._put(VOICE_SESSIONS, name, spec, now, {"phase": phase.value, "reason": "NoCapacity"})
            memory = self.calls.meet(f"uid-{name}", clock.steady())
            self.calls.keep(replace(memory, profile=profile_of(number), waited=number % 2 == 0))

    def _put(
        self, plural: str, name: str, spec: dict[str, str], now: str, status: dict[str, str] | None = None
    ) -> None:
        metadata = {"name": name, "uid": f"uid-{name}", "resourceVersion": "1", "creationTimestamp": now}
        self.cache.stores[plural].put({"metadata": metadata, "spec": spec, "status": status or {}})

    def measure(self) -> Iterator[tuple[str, Measured]]:
        """Yields what each call's agent tells of one answer, with the uid of the call."""
        for number, memory in enumerate(self.calls):
            yield memory.uid, build_measured(number)

    def heartbeats(self) -> Iterator[tuple[str, Heartbeat]]:
        """Yields each agent's last heartbeat, with its pool."""
        for number, _ in enumerate(self.calls):
            yield f"pool-{number % POOLS}", Heartbeat(at=clock.now(), memory_bytes=10**8 + number, unwritten_items=1)


def profile_of(number: int) -> str:
    """Returns the profile of the call of this number."""
    return f"profile-{number % PROFILES}"


def build_measured(number: int) -> Measured:
    """Returns what an answer tells in which everything happens that can."""
    stt, chat, voice = (ModelName(provider="acme", model=f"{kind}-{number % MODELS}") for kind in ("s", "l", "t"))
    return Measured(
        at=clock.now(),
        turn=Turn(
            transcription_millis=150,
            end_of_turn_millis=450,
            llm_first_token_millis=300 + number % 500,
            tts_first_byte_millis=180,
            answer_millis=900 + number % 900,
            llm=chat,
            tts=voice,
        ),
        first_word=FirstWord(),
        connect_millis=90,
        replies=1,
        interrupted=number % 2,
        used=[
            ModelUse(part="stt", **stt.model_dump(), speech_seconds=2.5),
            ModelUse(part="llm", **chat.model_dump(), input_tokens=900, cached_tokens=500, output_tokens=60),
            ModelUse(part="tts", **voice.model_dump(), characters=120, speech_seconds=6.0),
        ],
        failures=[ModelFailures(part="llm", provider="acme", outcome="retried", count=1)],
    )
