"""Names that the parts agree on: the API group, labels, object names, rooms and identities."""

import hashlib
import re
import secrets

GROUP = "voiceagents.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

VOICE_SESSIONS = "voicesessions"
AGENT_POOLS = "agentpools"
AGENT_PROFILES = "agentprofiles"

# Labels of agent pods.
POOL_LABEL = f"{GROUP}/pool"  # the AgentPool's name
STATE_LABEL = f"{GROUP}/state"  # WARM or CLAIMED
SESSION_LABEL = f"{GROUP}/session"  # uid of the VoiceSession that claimed the pod
TEMPLATE_LABEL = f"{GROUP}/template"  # hash of the pool's pod template: tells outdated warm pods
EGRESS_LABEL = f"{GROUP}/egress"  # LOCAL_EGRESS: a NetworkPolicy keeps the pod inside the cluster
ON_DRAIN_LABEL = f"{GROUP}/on-drain"  # the pool's OnDrain; a PodDisruptionBudget keeps claimed pods that wait
WARM = "warm"
CLAIMED = "claimed"
LOCAL_EGRESS = "local"

# Annotations of agent pods, written by the claim.
ATTEMPT_ANNOTATION = f"{GROUP}/attempt"
CLAIMED_AT_ANNOTATION = f"{GROUP}/claimed-at"
STANDS_BY_ANNOTATION = f"{GROUP}/stands-by-for"  # the attempt whose call it is claimed for, while that one has it

# And by the pod's template: which content of the agents' database Secret it reads.
DATABASE_ANNOTATION = f"{GROUP}/database"

# Likewise: the PROTOCOL of the operator that made the pod.
PROTOCOL_ANNOTATION = f"{GROUP}/protocol"

# Annotations of others: whoever takes nodes away may take that of a pod with the first, which would be kept for its
# volume and its unknown owner; and leaves that of a pod with the others alone, which a claim writes.
FREE_ANNOTATIONS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}
KEEP_ANNOTATIONS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}

# ConfigMaps that hold a part of a conversation, encrypted, which the database has not got. Besides: SESSION_LABEL and
# ATTEMPT_ANNOTATION of whose it is.
UNDELIVERED_LABEL = f"{GROUP}/undelivered"  # "true"
ROWS_ANNOTATION = f"{GROUP}/rows"  # how many rows are in it

# Labels of VoiceSessions, written by whoever creates them by admission.
PROFILE_LABEL = f"{GROUP}/profile"
TENANT_LABEL = f"{GROUP}/tenant"
CALL_LABEL = f"{GROUP}/call-id"
ROOM_HASH_LABEL = f"{GROUP}/room-hash"

# Annotation of VoiceSessions: the span that the call is below, of its caller's, as W3C Trace Context has it.
TRACEPARENT_ANNOTATION = f"{GROUP}/traceparent"

# Annotation of VoiceSessions, written with `spec.end`: the EndReason for which it was set.
END_REASON_ANNOTATION = f"{GROUP}/end-reason"

# The agent has this identity in every room, so that LiveKit evicts a mistaken second one.
AGENT_IDENTITY = "agent"

AGENT_PORT = 8081

# Of the data messages by which a customer is told that there is no agent, or that it failed.
DATA_TOPIC = "voice-agent"

ROOM_PREFIX = "voice_assistant_room_"
USER_PREFIX = "voice_assistant_user_"

_ROOM_PATTERN = re.compile(r"[A-Za-z0-9_.:=-]{1,128}")


def short_hash(text: str, length: int = 16) -> str:
    """Returns `length` lowercase hex characters of the SHA-256 of `text`: valid in names and labels."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def voice_session_name(room_sid: str) -> str:
    """Returns the one name a VoiceSession for this start of a room has, whoever creates it.

    Room sids (`RM_DHFTioov…`) are no Kubernetes names, so the name is made of their hash.
    """
    return f"vs-{short_hash(room_sid)}"


def new_room_name() -> str:
    """Returns a room name with 128 random bits: nobody can guess it, and two never collide."""
    return ROOM_PREFIX + secrets.token_urlsafe(16)


def new_participant_identity() -> str:
    """Returns a participant identity with 128 random bits."""
    return USER_PREFIX + secrets.token_urlsafe(16)


def is_valid_room(room: str) -> bool:
    """Tells whether `room` fits the pattern that the VoiceSession CRD asks of `spec.room`."""
    return _ROOM_PATTERN.fullmatch(room) is not None
