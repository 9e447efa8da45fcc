"""What the operator has seen of the API server so far, and the answers to its own writes at once."""

from collections.abc import Mapping
from typing import Any

from kube.store import Store
from voice_operator.keys import Key, Kind
from voice_operator.pods.agent_pod import AgentPod, read_pod, with_sight
from voicesession import clock
from voicesession.admission import SESSION_INDEXES
from voicesession.models import AgentPool, AgentProfile, VoiceSession
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, API_VERSION, VOICE_SESSIONS

PODS = "pods"
# What objects of a kind call themselves.
KINDS = {
    VOICE_SESSIONS: (API_VERSION, "VoiceSession"),
    AGENT_POOLS: (API_VERSION, "AgentPool"),
    AGENT_PROFILES: (API_VERSION, "AgentProfile"),
    PODS: ("v1", "Pod"),
}


class Cache:
    """VoiceSessions, AgentPools, AgentProfiles and agent pods, as far as seen."""

    def __init__(self) -> None:
        self.sessions: Store[VoiceSession] = Store(
            VoiceSession.model_validate,
            {"uid": lambda session: session.metadata.uid, **SESSION_INDEXES},
        )
        self.pools: Store[AgentPool] = Store(AgentPool.model_validate)
        self.profiles: Store[AgentProfile] = Store(AgentProfile.model_validate)
        self.pods: Store[AgentPod] = Store(
            self._read_pod,
            {
                "pool": lambda pod: pod.pool,
                "starting-pool": lambda pod: pod.pool if pod.warm and not pod.ready else None,
                "session": lambda pod: pod.session,
            },
        )
        self.stores: dict[str, Store[Any]] = {
            VOICE_SESSIONS: self.sessions,
            AGENT_POOLS: self.pools,
            AGENT_PROFILES: self.profiles,
            PODS: self.pods,
        }

    def find_session(self, uid: str) -> VoiceSession | None:
        """Returns the VoiceSession of this uid, or None."""
        return next(iter(self.sessions.by("uid", uid)), None)

    def log_fields(self, key: Key) -> dict[str, str | None]:
        """Returns by what log lines name the thing that is reconciled."""
        match key.kind:
            case Kind.CALL | Kind.ROOM | Kind.POD | Kind.CLOSING:
                session = self.find_session(key.name)
                return session.log_fields if session else {"session": key.name}
            case Kind.POOL | Kind.PREPARATION:
                return {"pool": key.name}
            case Kind.PROFILE:
                return {"profile": key.name}

    def _read_pod(self, raw: Mapping[str, Any]) -> AgentPod:
        pod = read_pod(raw)
        return with_sight(pod, self.pods.get(pod.name), clock.steady())
