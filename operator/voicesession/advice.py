"""What to do about each reason for which a call waits, loses its agent or fails. Pure.

Why it does is the message's: who reads of it, in an Event or by `kubectl voice`, is told both.
"""

from voicesession.conditions import Reason

ADVICE = {
    Reason.WAITING_FOR_POD: "`kubectl voice pool` shows whether pods are starting. With a higher `warm.min` or "
    "`warm.buffer` of the pool the next call will not wait.",
    Reason.NO_CAPACITY: "Raise the pool's `warm.max`, `warm.min` or `warm.buffer`, or give the cluster more nodes.",
    Reason.UNSCHEDULABLE: "No node has room, or none fits the pool's `pod.nodeSelector` and `tolerations`: add "
    "nodes, or lower `resources`.",
    Reason.IMAGE_PULL_FAILED: "Check the pool's `image`, and that its registry's key is in `pod.imagePullSecrets`.",
    Reason.CODE_IMPORT_FAILED: "The team's code does not start. `kubectl logs` of a pod of the pool has the traceback; "
    "`python -m voice_agent check` in the image finds it before a deployment.",
    Reason.PROTOCOL_UNKNOWN: "Build the pool's image on the agent image of the operator's release.",
    Reason.CRASH_LOOPING: "The team's code ends as it starts: see `kubectl logs` of a pod of the pool.",
    Reason.QUOTA_EXCEEDED: "The namespace's ResourceQuota is used up: raise it, or lower the pool's `warm.max`.",
    Reason.POD_CONFIG_INVALID: "A Secret, ConfigMap or key that the pool names is missing: make it.",
    Reason.POD_SANDBOX_FAILED: "The node cannot give pods a network: look at the node and its CNI.",
    Reason.POD_CREATION_FAILED: "The API server refuses the pool's pods: correct the pool, or the policy.",
    Reason.LIVEKIT_UNAVAILABLE: "The operator cannot reach LiveKit: check its URL, its key, and the network between.",
    Reason.ASSIGNMENT_FAILED: "Pods took the call and did not join: the operator's log names each; often they cannot "
    "reach LiveKit, or a NetworkPolicy or mesh is between operator and port 8081.",
    Reason.OUT_OF_MEMORY: "Raise the pool's `resources.memoryLimit`, or find what in the team's code holds memory.",
    Reason.AGENT_CRASHED: "The agent's process ended by itself: its pod's log has the last words.",
    Reason.AGENT_HUNG: "Something in the team's code blocks the event loop: look for calls that wait without `await`.",
    Reason.POD_DELETED: "Somebody deleted the pod. `kubectl voice drain` and `kubectl drain` move calls instead.",
    Reason.EVICTED: "The node was drained, or was short of memory: see the node's Events.",
    Reason.NODE_LOST: "The node is gone or cut off: see `kubectl get nodes`.",
    Reason.AGENT_ERROR: "The agent's code or its provider failed for good, so another agent would, too: see the "
    "message, and the provider's key and quota.",
    Reason.ROOM_TAKEN: "Two VoiceSessions were made for one room: end the other one first, or use another room.",
    Reason.SUPERSEDED: "Another agent took the room over: see the VoiceSession that has the room now.",
    Reason.PROFILE_MISSING: "Make the AgentProfile, or name another one in the call.",
    Reason.POOL_MISSING: "Make the AgentPool that the profile names, or correct the profile.",
    Reason.PROVIDER_MISSING: "Name one of the pool's providers, or add it to the pool.",
    Reason.LIMIT_REACHED: "Raise the profile's `maxSessions` or the tenant's limit, or wait until a call ends.",
}

# Their messages say it already, with the names of what is meant.
_SAID = frozenset(
    {
        Reason.NO_CAPACITY,
        Reason.OUT_OF_MEMORY,
        Reason.LIMIT_REACHED,
        Reason.ROOM_TAKEN,
        Reason.PROFILE_MISSING,
        Reason.POOL_MISSING,
        Reason.PROVIDER_MISSING,
    }
)


def with_advice(reason: str, message: str) -> str:
    """Returns a message, and after it what to do, where that is known and not in it."""
    known = Reason(reason) if reason in set(Reason) else None
    advice = ADVICE.get(known, "") if known and known not in _SAID else ""
    return f"{message} {advice}".strip()
