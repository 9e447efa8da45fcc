"""The three custom resources as typed values: what the CRDs store, read and written by alias (camelCase)."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from voicesession.names import CALL_LABEL, TRACEPARENT_ANNOTATION


class Model(BaseModel):
    """A frozen value with camelCase on the wire; unknown fields are ignored, so that newer objects can be read."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    def to_wire(self) -> dict[str, Any]:
        """Returns the JSON-ready dict with camelCase keys, without what is unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Metadata(Model):
    """The part of an object's metadata that decisions read."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Condition(Model):
    """A Kubernetes condition. `last_transition_time` changes only with `status`."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    last_transition_time: datetime
    observed_generation: int | None = None


class Phase(StrEnum):
    """Where a VoiceSession stands; derived from its conditions."""

    PENDING = "Pending"
    STARTING = "Starting"
    ACTIVE = "Active"
    RECOVERING = "Recovering"
    ENDED = "Ended"
    FAILED = "Failed"


class EndReason(StrEnum):
    """Why a call ended: what the agent leaves in its termination message and in `conversation_sessions`."""

    PARTICIPANT_LEFT = "participant_left"
    NEVER_JOINED = "never_joined"
    IDLE = "idle"
    MAX_DURATION = "max_duration"
    ROOM_CLOSED = "room_closed"
    ENDED_BY_REQUEST = "ended_by_request"
    SHUTDOWN = "shutdown"
    SUPERSEDED = "superseded"
    ERROR = "error"
    # In `conversation_sessions` alone: VoiceSession and pod were gone before anybody had written the end.
    UNKNOWN = "unknown"


class StartType(StrEnum):
    """Whether a pod was waiting for the session, or the session for its pod."""

    WARM = "Warm"
    COLD = "Cold"


class Limits(Model):
    """Limits of one call, times in seconds. None: the profile's. `max_attempts`: agents that may have it in turn."""

    max_duration_seconds: int | None = Field(default=None, ge=10)
    join_timeout_seconds: int | None = Field(default=None, ge=1)
    idle_timeout_seconds: int | None = Field(default=None, ge=5)
    reconnect_grace_seconds: int | None = Field(default=None, ge=0)
    return_grace_seconds: int | None = Field(default=None, ge=0)
    finish_seconds: int | None = Field(default=None, ge=0)
    ttl_seconds_after_finished: int | None = Field(default=None, ge=0)
    max_attempts: int | None = Field(default=None, ge=1)


class EffectiveLimits(Model):
    """A profile's limits, whole: also the ceiling for what a VoiceSession may ask."""

    max_duration_seconds: int = Field(default=3600, ge=10)
    join_timeout_seconds: int = Field(default=60, ge=1)
    idle_timeout_seconds: int = Field(default=300, ge=5)
    reconnect_grace_seconds: int = Field(default=15, ge=0)
    return_grace_seconds: int = Field(default=5, ge=0)
    finish_seconds: int = Field(default=60, ge=0)
    ttl_seconds_after_finished: int = Field(default=600, ge=0)
    max_attempts: int = Field(default=5, ge=1)

    def narrowed_by(self, asked: Limits | None) -> "EffectiveLimits":
        """Returns the limits that hold for a call that asked for `asked`: never beyond these."""
        if asked is None:
            return self
        wanted = asked.model_dump(exclude_none=True)
        return EffectiveLimits(
            **{name: min(value, wanted.get(name, value)) for name, value in self.model_dump().items()}
        )


class VoiceSessionSpec(Model):
    """What a call needs. Immutable as a whole but for `end`, which goes only from false to true, and `move`."""

    profile: str = "default"
    room: str | None = None
    room_sid: str | None = None
    participant_identity: str | None = None
    llm_provider: str | None = None
    local_mode: bool = False
    limits: Limits | None = None
    variables: dict[str, str] = Field(default_factory=dict)
    tenant: str | None = None
    end: bool = False
    move: str | None = None  # a value that it has not had: go to another pod


class VoiceSessionStatus(Model):
    """What the operator knows of a call."""

    phase: Phase | None = None
    reason: str | None = None
    message: str | None = None
    conditions: list[Condition] = Field(default_factory=list)
    session_id: str | None = None
    room: str | None = None
    room_sid: str | None = None
    pod_name: str | None = None
    node_name: str | None = None
    start_type: StartType | None = None
    llm_provider: str | None = None
    participant_identity: str | None = None
    attempts: int | None = None
    moved: str | None = None  # the `spec.move` that was obeyed last
    lost_attempt: int | None = None  # up to this one, all have lost the call
    lost_agents: int | None = None  # how many had accepted it
    connect_millis: int | None = None
    bound_at: datetime | None = None
    agent_joined_at: datetime | None = None
    ended_at: datetime | None = None
    end_reason: EndReason | None = None


class VoiceSession(Model):
    """One customer's conversation."""

    metadata: Metadata
    spec: VoiceSessionSpec
    status: VoiceSessionStatus = Field(default_factory=VoiceSessionStatus)

    @property
    def trace_seed(self) -> str:
        """Returns what the call's trace follows from: the call id of its ticket, where a room's start has made it."""
        return self.metadata.labels.get(CALL_LABEL) or self.metadata.uid

    @property
    def traceparent(self) -> str | None:
        """Returns the span that the call is below, of its caller's, as whoever made the VoiceSession has it."""
        return self.metadata.annotations.get(TRACEPARENT_ANNOTATION)

    @property
    def log_fields(self) -> dict[str, str | None]:
        """Returns what names the call in a line of any log."""
        return {
            "session": self.metadata.uid,
            "voicesession": self.metadata.name,
            "room": self.spec.room or self.status.room,
            "tenant": self.spec.tenant,
            "profile": self.spec.profile,
        }


class SecretRef(Model):
    """A key of a Secret in the release's namespace."""

    name: str
    key: str = "api-key"


class Header(Model):
    """A header of each request to a model's server: with this value, or with a Secret's."""

    name: str
    value: str | None = None
    secret_ref: SecretRef | None = None


class Timeouts(Model):
    """How long a model's server is waited for, in seconds: to connect, and for its next byte. None: by the case."""

    connect_seconds: float = Field(default=3.0, gt=0)
    read_seconds: float | None = Field(default=None, gt=0)


class ModelServer(Model):
    """Where one model of a provider is, and how it is asked. `secret_ref`: its key, in place of the provider's.

    `fallback`: the provider whose model of this kind answers where this one fails; None: the provider's.
    """

    base_url: str | None = None
    secret_ref: SecretRef | None = None
    headers: list[Header] | None = None
    timeouts: Timeouts | None = None
    fallback: str | None = None
    model: str


class SttModel(ModelServer):
    """A speech-to-text model behind OpenAI's `POST /audio/transcriptions`."""


class LlmModel(ModelServer):
    """A chat model behind OpenAI's `POST /chat/completions`. `strict_tools`: None: at OpenAI's own server."""

    temperature: float | None = None
    strict_tools: bool | None = None


class TtsModel(ModelServer):
    """A text-to-speech model behind OpenAI's `POST /audio/speech`."""

    voice: str = "alloy"
    speed: float | None = None
    response_format: Literal["pcm", "wav", "mp3", "opus", "flac", "aac"] | None = None
    sample_rate: int | None = Field(default=None, ge=8000, le=48000)


class RealtimeModel(Model):
    """A speech-to-speech model behind OpenAI's realtime WebSocket."""

    base_url: str | None = None
    model: str
    voice: str = "alloy"


class Provider(Model):
    """A set of models that serve a call: either stt, llm and tts, or realtime.

    `secret_ref`: the key of those that have none of their own, as far as it is for their host: see `provider_keys`.
    `warm_up`: the chat model is asked for a word while pods wait. `fallback`: the provider that answers where one of
    this one's models fails.
    """

    name: str
    local: bool = False
    stt: SttModel | None = None
    llm: LlmModel | None = None
    tts: TtsModel | None = None
    realtime: RealtimeModel | None = None
    secret_ref: SecretRef | None = None
    warm_up: bool | None = None
    fallback: str | None = None


class PlainHeader(Model):
    """A header of each request to a tool server that a profile describes itself."""

    name: str
    value: str


class McpServer(Model):
    """A tool server that a profile's agents may call. Without `url` it is the one of this name in the pool.

    `transport`, where it is None: SSE where the URL ends in /sse, else streamable HTTP.
    """

    name: str
    url: str | None = None
    transport: Literal["streamable-http", "sse"] | None = None
    headers: list[PlainHeader] | None = None
    timeout_seconds: int = Field(default=60, ge=1, le=600)


class PoolMcpServer(Model):
    """A tool server with its key, for the profiles that name it. The key goes to its URL alone."""

    name: str
    url: str
    transport: Literal["streamable-http", "sse"] | None = None
    secret_ref: SecretRef | None = None
    headers: list[Header] | None = None
    timeout_seconds: int = Field(default=60, ge=1, le=600)


class Resources(Model):
    """What an agent pod asks for. No CPU limit where the pool names none: throttling tears audio.

    `extra`: further resources by name, each as request and limit.
    """

    memory_request: str = "160Mi"
    memory_limit: str = "512Mi"
    cpu_request: str = "100m"
    cpu_limit: str | None = None
    extra: dict[str, int | str] | None = None


class ObjectRef(Model):
    """A Secret or ConfigMap in the release's namespace. `optional`: pods start without it, too."""

    name: str
    optional: bool | None = None


class KeyRef(ObjectRef):
    """A key of a Secret or ConfigMap."""

    key: str


class FieldRef(Model):
    """A field of the pod itself."""

    field_path: str


class VariableSource(Model):
    """Where a variable's value comes from: one of these."""

    secret_key_ref: KeyRef | None = None
    config_map_key_ref: KeyRef | None = None
    field_ref: FieldRef | None = None


class Variable(Model):
    """A variable of a pool's own, as in a Pod's spec: `value` or `value_from`."""

    name: str
    value: str | None = None
    value_from: VariableSource | None = None


class Variables(Model):
    """All keys of a Secret or of a ConfigMap as variables, as in a Pod's spec."""

    prefix: str | None = None
    secret_ref: ObjectRef | None = None
    config_map_ref: ObjectRef | None = None


class FileOfKey(Model):
    """A key of a Secret or ConfigMap, and the file that it becomes."""

    key: str
    path: str


class SecretVolume(Model):
    """A Secret's keys as files."""

    secret_name: str
    items: list[FileOfKey] | None = None
    optional: bool | None = None


class ConfigMapVolume(Model):
    """A ConfigMap's keys as files."""

    name: str
    items: list[FileOfKey] | None = None
    optional: bool | None = None


class EmptyDirVolume(Model):
    """An empty folder of the pod's own."""

    medium: Literal["", "Memory"] | None = None
    size_limit: str | None = None


class Volume(Model):
    """A volume of a pool's own, as in a Pod's spec: one of the three."""

    name: str
    secret: SecretVolume | None = None
    config_map: ConfigMapVolume | None = None
    empty_dir: EmptyDirVolume | None = None

    @property
    def source(self) -> str | None:
        """Returns what it is made of, for people, or None for an empty folder."""
        if self.secret:
            return f"Secret {self.secret.secret_name!r}"
        return f"ConfigMap {self.config_map.name!r}" if self.config_map else None


class VolumeMount(Model):
    """Where a volume is found, as in a Pod's spec."""

    name: str
    mount_path: str
    sub_path: str | None = None
    read_only: bool | None = None


class PodSettings(Model):
    """The allow-list of pod settings a pool may choose; raw Kubernetes values below each."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[dict[str, Any]] = Field(default_factory=list)
    affinity: dict[str, Any] | None = None
    topology_spread_constraints: list[dict[str, Any]] = Field(default_factory=list)
    runtime_class_name: str | None = None
    priority_class_name: str | None = None
    service_account_name: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    image_pull_secrets: list[dict[str, str]] = Field(default_factory=list)


class Warm(Model):
    """How many unassigned pods wait. `buffer`: pods, or a percentage ("20%") of those in use."""

    min: int = Field(default=1, ge=0)
    max: int = Field(default=100, ge=0)
    buffer: int | str = 0
    scale_down_delay_seconds: int = Field(default=60, ge=0)
    max_starting: int = Field(default=4, ge=1)


class OnDrain(StrEnum):
    """What becomes of a call whose pod is told to stop: by a drain, an eviction, a deletion."""

    MOVE = "Move"
    WAIT = "Wait"


class Disruption(Model):
    """What a drain does to calls in progress. `grace_seconds`: for a pod with a call; None: as long as that needs."""

    on_drain: OnDrain = OnDrain.MOVE
    grace_seconds: int | None = Field(default=None, ge=15, le=86400)


class HandOverTerms(Model):
    """How a call leaves its pod for another. `patience_seconds`: how long a quiet moment is waited for."""

    patience_seconds: int = Field(default=20, ge=0, le=300)


class Rollout(Model):
    """What a changed pool does with calls in progress."""

    long_calls: Literal["Keep", "Move"] = "Keep"


class AgentPoolSpec(Model):
    """What a pod is, and how many wait."""

    image: str
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    code: str = ""
    env: list[Variable] = Field(default_factory=list)
    env_from: list[Variables] = Field(default_factory=list)
    volumes: list[Volume] = Field(default_factory=list)
    volume_mounts: list[VolumeMount] = Field(default_factory=list)
    vad: Literal["native", "silero"] = "native"
    hang_seconds: int = Field(default=15, ge=0)
    inference: Literal["Pool", "LiveKit"] = "Pool"  # who serves what code asks of LiveKit Inference
    resources: Resources = Field(default_factory=Resources)
    pod: PodSettings = Field(default_factory=PodSettings)
    providers: list[Provider] = Field(default_factory=list)
    mcp_servers: list[PoolMcpServer] = Field(default_factory=list)
    warm: Warm = Field(default_factory=Warm)
    disruption: Disruption = Field(default_factory=Disruption)
    handover: HandOverTerms = Field(default_factory=HandOverTerms)
    rollout: Rollout = Field(default_factory=Rollout)


class AgentPoolStatus(Model):
    """How a pool stands. `replicas`: unassigned pods; `selector`: their labels, for /scale."""

    replicas: int = 0
    ready: int = 0
    starting: int = 0
    in_use: int = 0
    waiting: int = 0
    selector: str = ""
    observed_generation: int | None = None
    conditions: list[Condition] = Field(default_factory=list)


class AgentPool(Model):
    """The platform team's object."""

    metadata: Metadata
    spec: AgentPoolSpec
    status: AgentPoolStatus = Field(default_factory=AgentPoolStatus)


# In place of a language's tag: whichever is spoken.
ANY_LANGUAGE = "auto"


class TurnTaking(Model):
    """When the agent thinks the customer is done. Delays in milliseconds."""

    detection: Literal["vad", "turn-detector"] = "vad"
    min_endpointing_millis: int = Field(default=800, ge=0)
    max_endpointing_millis: int = Field(default=3000, ge=0)
    dynamic_endpointing: bool = True
    allow_interruptions: bool = True
    min_interruption_millis: int = Field(default=300, ge=0)


class TextInput(Model):
    """How much one participant may type to an agent, in bytes of UTF-8."""

    max_message_bytes: int = Field(default=8192, ge=1, le=65536)
    messages_per_minute: int = Field(default=30, ge=1, le=600)
    max_conversation_bytes: int = Field(default=65536, ge=1, le=1048576)


class Permission(StrEnum):
    """What an agent's code may ask LiveKit's server API for, of its call's own room."""

    READ_ROOM = "ReadRoom"
    SEND_DATA = "SendData"
    UPDATE_ROOM = "UpdateRoom"
    UPDATE_PARTICIPANTS = "UpdateParticipants"
    MUTE_PARTICIPANTS = "MuteParticipants"
    REMOVE_PARTICIPANTS = "RemoveParticipants"


def ordinary_permissions() -> list[Permission]:
    """Returns what whoever is in a room can do there anyway."""
    return [Permission.READ_ROOM, Permission.SEND_DATA]


class ModelChoices(Model):
    """Models to use instead of the provider's own."""

    stt: str | None = None
    llm: str | None = None
    tts: str | None = None
    realtime: str | None = None
    voice: str | None = None


class RecoveryWords(Model):
    """What is said by an agent that goes on for one that died, after a gap that the customer has heard."""

    apology: str = "I am sorry, I was gone for a moment."


class TroubleWords(Model):
    """What is said while a model keeps the customer waiting, and after one has failed for good.

    `moment`, where it is None: see `one_moment`.
    """

    moment: str | None = None
    apology: str = "I am sorry, something went wrong just now. Could you say that again?"


class AgentProfileSpec(Model):
    """Who answers. Reaches the pod with the assignment, so changing it needs no new pod."""

    pool: str = "default"
    local_pool: str | None = None
    provider: str | None = None
    models: ModelChoices = Field(default_factory=ModelChoices)
    display_name: str | None = None
    public: bool = True
    allowed_tenants: list[str] | None = None
    instructions: str = "You are a helpful voice assistant. Answer briefly and speak plainly."
    greeting: str = "Hello, how can I help you?"
    goodbye: str = "Goodbye."
    recovery: RecoveryWords = Field(default_factory=RecoveryWords)
    trouble: TroubleWords = Field(default_factory=TroubleWords)
    language: str = "en"
    turn_taking: TurnTaking = Field(default_factory=TurnTaking)
    text_input: TextInput = Field(default_factory=TextInput)
    permissions: list[Permission] = Field(default_factory=ordinary_permissions)
    mcp_servers: list[McpServer] = Field(default_factory=list)
    limits: EffectiveLimits = Field(default_factory=EffectiveLimits)
    max_sessions: int | None = Field(default=None, ge=0)

    def is_for(self, tenant: str | None) -> bool:
        """Tells whether this tenant may ask for it; None: somebody who shows no key."""
        return self.allowed_tenants is None or tenant in self.allowed_tenants


class AgentProfileStatus(Model):
    """How a profile stands."""

    active_sessions: int = 0
    observed_generation: int | None = None
    conditions: list[Condition] = Field(default_factory=list)


class AgentProfile(Model):
    """The application team's object."""

    metadata: Metadata
    spec: AgentProfileSpec = Field(default_factory=AgentProfileSpec)
    status: AgentProfileStatus = Field(default_factory=AgentProfileStatus)
