"""What callers send and are answered: the models that the OpenAPI page shows."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AliasChoices, AliasGenerator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from voicesession.models import EndReason, Phase

VariableName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
VariableValue = Annotated[str, StringConstraints(max_length=1024)]
Variables = Annotated[dict[VariableName, VariableValue], Field(max_length=32)]
Metadata = Annotated[str, StringConstraints(max_length=4096)]
ProviderName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$")]
ProfileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$")]


class _Request(BaseModel):
    """Refuses unknown fields. Fields are snake_case; camelCase, protobuf's other JSON form, is taken too."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=AliasGenerator(validation_alias=lambda name: AliasChoices(name, to_camel(name))),
    )


class AgentDispatch(_Request):
    """LiveKit's `RoomAgentDispatch`: which agent. It chooses an AgentProfile and never enters the token."""

    agent_name: str | None = Field(default=None, max_length=63, description="Name of a public profile.")
    metadata: str | None = Field(
        default=None,
        max_length=8192,
        description="A JSON object of texts. `llm_provider` and `is_local_mode` choose; all others are call variables, "
        "which the agent takes for what they are: the customer's own words.",
        examples=['{"llm_provider": "local", "customer_name": "Ada"}'],
    )
    deployment: str | None = Field(default=None, description="Refused unless empty: there is one deployment.")
    restart_policy: int | str | None = Field(
        default=None,
        description="`JRP_ON_FAILURE` (0): an agent that fails is replaced, as often as the profile's limits allow. "
        "The other is refused.",
    )
    attributes: dict[str, str] | None = Field(default=None, description="Refused unless empty; use `metadata`.")


class RoomConfig(_Request):
    """LiveKit's `RoomConfiguration`. What a profile decides is refused, with the reason."""

    agents: list[AgentDispatch] | None = Field(default=None, description="At most one.")
    max_participants: int | None = Field(default=None, ge=0, le=100, description="0: no limit. Agents do not count.")
    name: str | None = Field(default=None, description="Refused unless empty: LiveKit's presets are not used.")
    empty_timeout: int | None = Field(default=None, description="Refused unless 0: the profile decides.")
    departure_timeout: int | None = Field(default=None, description="Refused unless 0: the profile decides.")
    metadata: str | None = Field(default=None, description="Refused unless empty: the room's metadata is the ticket.")
    egress: dict[str, Any] | None = Field(default=None, description="Refused unless empty: recording is not offered.")
    min_playout_delay: int | None = Field(default=None, description="Refused unless 0.")
    max_playout_delay: int | None = Field(default=None, description="Refused unless 0.")
    sync_streams: bool | None = Field(default=None, description="Refused unless false.")
    tags: dict[str, str] | None = Field(default=None, description="Refused unless empty.")


class TokenRequest(_Request):
    """LiveKit's `TokenSourceRequest`, every field optional, and our own fields after it."""

    room_name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_.=-]{0,64}$",
        description="Only where the service allows it; prefixed by your tenant. An unguessable name where it is empty.",
    )
    participant_name: str | None = Field(default=None, max_length=256, description="Shown to others in the room.")
    participant_identity: str | None = Field(
        default=None, max_length=256, description="By default an unguessable name. Not `agent`."
    )
    participant_metadata: Metadata | None = Field(default=None, description="The participant's, as LiveKit has it.")
    participant_attributes: Annotated[dict[str, Metadata], Field(max_length=64)] | None = Field(
        default=None, description="The participant's, as LiveKit has them. Names beginning with `lk.` are LiveKit's."
    )
    room_config: RoomConfig | None = None

    profile: ProfileName | None = Field(default=None, description="As `room_config.agents[0].agent_name`.")
    llm_provider: ProviderName | None = Field(default=None, description="One of the profile's providers.")
    is_local_mode: bool | None = Field(
        default=None, description="Serve this call by models inside the cluster, from a pod that cannot leave it."
    )
    variables: Variables | None = Field(
        default=None,
        description="What the agent is told of this call. By `/api/token` the customer can read them in the room's "
        "metadata; by `/api/connection-details` only the agent gets them.",
    )


class TokenResponse(BaseModel):
    """LiveKit's `TokenSourceResponse`."""

    server_url: str = Field(examples=["wss://livekit.example.com"])
    participant_token: str = Field(description="A JWT for one room, to be used within a minute.")


class ConnectionDetails(BaseModel):
    """The older form of the same."""

    serverUrl: str = Field(examples=["wss://livekit.example.com"])  # noqa: N815 - as it is sent
    roomName: str = Field(examples=["voice_assistant_room_9QH2xW0hS4m3oQ4o4g5wRA"])  # noqa: N815
    participantName: str = Field(description="The participant's name, or its identity.")  # noqa: N815
    participantToken: str = Field(description="A JWT for one room, to be used within a minute.")  # noqa: N815


class ProfileChoice(BaseModel):
    """A public profile."""

    name: str = Field(examples=["default"])
    displayName: str = Field(examples=["Table reservations"])  # noqa: N815 - as it is sent
    providers: list[str] = Field(examples=[["local", "openai"]])
    localMode: bool = Field(description="Whether `is_local_mode` can be asked for.")  # noqa: N815


class Profiles(BaseModel):
    """What can be asked for."""

    profiles: list[ProfileChoice]


class CallState(BaseModel):
    """Where a call stands. What is not known is left out."""

    room: str
    phase: Phase
    reason: str | None = Field(default=None, description="The reason in one word.", examples=["CallEnded"])
    message: str | None = Field(default=None, description="The same in a sentence.")
    endReason: EndReason | None = None  # noqa: N815 - as it is sent
    retryAfterSeconds: int | None = None  # noqa: N815
    sessionId: str | None = Field(default=None, description="An identifier, not a secret.")  # noqa: N815
    profile: str | None = None
    llmProvider: str | None = None  # noqa: N815
    agentJoinedAt: datetime | None = None  # noqa: N815
    endedAt: datetime | None = None  # noqa: N815


class TranscriptItem(BaseModel):
    """One thing that was said or done."""

    kind: str = Field(examples=["message"], description="message, tool_call, tool_result or handoff")
    role: str | None = Field(default=None, examples=["user"])
    content: str | None = None
    interrupted: bool = False
    createdAt: datetime  # noqa: N815 - as it is sent


class Transcript(BaseModel):
    """A call's words, in order."""

    items: list[TranscriptItem]
