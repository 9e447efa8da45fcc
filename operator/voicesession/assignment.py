"""What the operator hands to an agent pod, and the events the pod answers with."""

import hashlib
import hmac
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from voicesession.measures import Measured
from voicesession.models import AgentProfileSpec, EffectiveLimits, EndReason, Model
from voicesession.provider_keys import Part
from voicesession.server_api import MOST_REQUEST_BYTES, ApiRefusal

# How operator and pods speak with each other. Another number where one that speaks the old one would not be understood;
# not for what the other side may ignore, nor for fields that are unset in an ordinary call.
PROTOCOL = 2


class Recovery(Model):
    """What an attempt is told that carries on the call of one whose agent died.

    `reason`: why that one died, a condition's `Reason`. `gap_seconds`: since when the customer has heard no agent, when
    the assignment was made.
    """

    reason: str
    gap_seconds: float = Field(ge=0)


class FailingModel(Model):
    """A provider's model that has failed lately, in other calls: what is behind it is asked first."""

    provider: str
    part: Part


class Assignment(Model):
    """One call for one pod: body of `POST /assignment`. Refuses unknown fields."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")

    session_id: str  # the VoiceSession's uid
    voice_session: str  # its name
    attempt: int = Field(ge=1)
    room: str
    room_sid: str | None = None
    livekit_url: str
    room_token: str
    participant_identity: str | None = None
    profile_name: str
    profile: AgentProfileSpec
    provider: str  # name of one of the pool's providers
    local_mode: bool = False
    limits: EffectiveLimits
    variables: dict[str, str] = Field(default_factory=dict)
    tenant: str | None = None
    write_token: str
    # Unset for an ordinary call: a pod of the release before knows none of them, and refuses what it does not know.
    failing: list[FailingModel] | None = None
    recovery: Recovery | None = None
    standby: bool | None = None  # all but the joining, which is `POST /take-over`'s
    traceparent: str | None = None  # W3C Trace Context: what the agent's spans are below, where calls are traced

    def key(self) -> tuple[str, int]:
        """Returns what makes two assignments the same one: session and attempt."""
        return (self.session_id, self.attempt)


class Greeting(Model):
    """A greeting to synthesize while the pod is idle."""

    provider: str
    voice: str | None = None
    text: str


class Preparation(Model):
    """What an idle pod can do ahead of its call: body of `POST /prepare`."""

    greetings: list[Greeting] = Field(default_factory=list)


class EndRequest(Model):
    """A wanted end: body of `POST /end`."""

    reason: EndReason = EndReason.ENDED_BY_REQUEST
    message: str = ""


class HandOverRequest(Model):
    """A call that shall go to another pod: body of `POST /hand-over`. How long it may wait for a quiet moment."""

    patience_seconds: float = Field(default=20.0, ge=0)


class TakeOver(Model):
    """What a standby joins with: body of `POST /take-over`. Again: `state` alone, of what came late.

    `state`: as its predecessor gave it, in `HandedOver` or `HeardLate`; empty where that could not tell anything.
    """

    room_token: str = Field(default="", repr=False)
    state: dict[str, Any] = Field(default_factory=dict, repr=False)


class Accepted(Model):
    """The pod has taken the assignment."""

    type: Literal["accepted"] = "accepted"
    at: datetime


class Joined(Model):
    """The agent is in the room. `connect_millis`: `Room.connect` alone; `joined_millis`: since the assignment came."""

    type: Literal["joined"] = "joined"
    at: datetime
    connect_millis: int
    joined_millis: int
    room_sid: str | None = None


class CustomerKnown(Model):
    """Who the customer is, where the assignment did not say; a later attempt is told so."""

    type: Literal["customer-known"] = "customer-known"
    at: datetime
    participant_identity: str


class Ready(Model):
    """A standby has all that it can have before it joins."""

    type: Literal["ready"] = "ready"
    at: datetime


class HandedOver(Model):
    """The agent has fallen silent, and waits for its successor to join. `state` is the successor's; words are in it.

    `quiet`: nobody was cut off.
    """

    type: Literal["handed-over"] = "handed-over"
    at: datetime
    quiet: bool
    state: dict[str, Any] = Field(default_factory=dict, repr=False)


class HeardLate(Model):
    """What the customer said to the agent after it had handed its call over; the successor is to know."""

    type: Literal["heard-late"] = "heard-late"
    at: datetime
    state: dict[str, Any] = Field(repr=False)


class Resumed(Model):
    """No successor came: the agent goes on with its call."""

    type: Literal["resumed"] = "resumed"
    at: datetime


class Heartbeat(Model):
    """The pod lives; at most 3 s apart. `memory_bytes`: what its process holds of it, anonymous or not."""

    type: Literal["heartbeat"] = "heartbeat"
    at: datetime
    agent_state: str | None = None
    unwritten_items: int = 0
    memory_bytes: int | None = None


class RoomDeletionRequested(Model):
    """The agent's code asked for its room to be deleted; only the operator can."""

    type: Literal["room-deletion-requested"] = "room-deletion-requested"
    at: datetime


class ApiRequest(Model):
    """The agent's code asks for something of LiveKit's server API. It is told again until it is answered or given up.

    `number`: ascending in a pod; `body`: the protobuf message of LiveKit's `method`, Base64 on the wire.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    type: Literal["api-request"] = "api-request"
    at: datetime
    number: int = Field(ge=1)
    method: str = Field(max_length=80)
    body: bytes = Field(max_length=MOST_REQUEST_BYTES, repr=False)


class ApiAnswer(Model):
    """What came of an `ApiRequest`: body of `POST /api-answer`. LiveKit's answer, Base64 on the wire, or a refusal."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    number: int
    body: bytes = Field(default=b"", repr=False)
    refusal: ApiRefusal | None = None


class OtherAgent(Model):
    """Somebody else's agent is in the call's room too: told once, of the first that is met."""

    type: Literal["other-agent"] = "other-agent"
    at: datetime
    identity: str


class ModelFailed(Model):
    """A provider's model has failed, and the one behind it is asked first from here on; told once in a while."""

    type: Literal["model-failed"] = "model-failed"
    at: datetime
    provider: str = Field(max_length=40)
    part: Part


class Finishing(Model):
    """The call is over for its customer, and the agent still works: its tools, its code's end hooks.

    `reason`, `message`: as in `CallEnded`. `seconds`: the longest that the work may take.
    """

    type: Literal["finishing"] = "finishing"
    at: datetime
    reason: EndReason
    message: str = ""
    seconds: float


class CallEnded(Model):
    """The last event. `end_written`: the database has all of the conversation; else somebody has to see to its end.

    `cut_short`: what the agent was at when its time was over.
    """

    type: Literal["ended"] = "ended"
    at: datetime
    reason: EndReason
    message: str = ""
    usage: dict[str, Any] = Field(default_factory=dict)
    end_written: bool = False
    cut_short: list[str] = Field(default_factory=list)


PodEvent = Annotated[
    Accepted
    | Ready
    | Joined
    | CustomerKnown
    | HandedOver
    | HeardLate
    | Resumed
    | Heartbeat
    | Measured
    | RoomDeletionRequested
    | ApiRequest
    | OtherAgent
    | ModelFailed
    | Finishing
    | CallEnded,
    Field(discriminator="type"),
]
_POD_EVENT: TypeAdapter[PodEvent] = TypeAdapter(PodEvent)


def parse_pod_event(line: str | bytes) -> PodEvent:
    """Returns the event in one line of the stream.

    Raises:
        pydantic.ValidationError: the line is no known event.
    """
    return _POD_EVENT.validate_json(line)


class TerminationMessage(Model):
    """What a pod leaves in /dev/termination-log as JSON (at most 4096 bytes).

    `reason`: an EndReason for a call that ended; `CodeImportFailed` for a pod whose agent code cannot be loaded,
    `ProtocolUnknown` for one whose image does not speak the operator's protocol.
    `end_written`: as in `CallEnded`.
    """

    reason: str
    message: str = ""
    end_written: bool = False


def conversation_write_token(key: bytes, session_id: str, attempt: int) -> str:
    """Returns the hex HMAC-SHA256 that lets one attempt of one session write to its own conversation."""
    return hmac.new(key, f"{session_id}|{attempt}".encode(), hashlib.sha256).hexdigest()
