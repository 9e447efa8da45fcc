"""What an operator knows of a call at this moment, as it tells whoever runs the release. Pure: names and numbers."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from voicesession.models import Model

# The port of each operator's pod, on its loopback address.
CALLS_PORT = 8082
# So many answers of a call are remembered.
MOST_ANSWERS = 50

AgentState = Literal["initializing", "idle", "listening", "thinking", "speaking"]


class LiveCall(Model):
    """One call in progress. `name`: of its VoiceSession.

    `agent_state`, `memory_bytes`: of at most some seconds ago. `answers_millis`: its last answers, the newest last,
    each from the customer's last sound to the first of the answer.
    """

    name: str
    agent_state: AgentState | None = None
    memory_bytes: int | None = None
    answers_millis: Annotated[list[int], Field(max_length=MOST_ANSWERS)] = Field(default_factory=list)


LIVE_CALLS: TypeAdapter[list[LiveCall]] = TypeAdapter(list[LiveCall])
