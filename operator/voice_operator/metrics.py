"""What the operator counts of its own doing, for Prometheus.

Every label has a closed set of values, or those of `label_names`.
"""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 20.0)

API_REQUESTS = Counter(
    "voice_operator_api_requests_total", "Requests to the Kubernetes API server, watches aside.", ("method", "status")
)
CRD_FIELDS_MISSING = Gauge(
    "voice_operator_crd_fields_missing",
    "Fields of this release that the cluster's CRDs lack, and so drop.",
)
SESSIONS = Gauge(
    "voice_operator_sessions", "VoiceSessions by phase, finished ones that are kept among them.", ("profile", "phase")
)
WAITING = Gauge(
    "voice_operator_waiting_sessions",
    "VoiceSessions that have no agent in their room, or have lost it, by why: the reason in their status.",
    ("reason",),
)
LONGEST_WAIT_SECONDS = Gauge(
    "voice_operator_longest_wait_seconds",
    "For how long the first of those that have no agent has waited: since it was made, or since it lost its agent.",
    ("reason",),
)
SESSIONS_FINISHED = Counter(
    "voice_operator_sessions_finished_total",
    "VoiceSessions that finished, by how, and by the door that the call came through: token, connection-details, or "
    "applied (kubectl and the like).",
    ("profile", "door", "phase", "reason", "end_reason"),
)
CLAIM_SECONDS = Histogram(
    "voice_operator_claim_seconds",
    "From a VoiceSession being seen to its pod being claimed.",
    ("start_type",),
    buckets=_SECONDS,
)
JOINED_SECONDS = Histogram(
    "voice_operator_joined_seconds",
    "From a VoiceSession being seen to its agent being in the room.",
    ("profile", "start_type"),
    buckets=_SECONDS,
)
AGENTS_LOST = Counter(
    "voice_operator_agents_lost_total",
    "Agents that had accepted their call and were lost, so that another one was to carry it on, by why.",
    ("reason",),
)
RECOVERY_SECONDS = Histogram(
    "voice_operator_recovery_seconds",
    "From an agent being found lost to another one being in its room.",
    buckets=_SECONDS,
)
MOVES = Counter(
    "voice_operator_moves_total", "Calls that went to another pod while they were in progress, by why.", ("trigger",)
)
MOVE_SECONDS = Histogram(
    "voice_operator_move_seconds",
    "From a call being found to have to leave its pod to its next agent being in the room: mostly the wait for a quiet "
    "moment.",
    buckets=_SECONDS,
)
MOVE_SILENCE_SECONDS = Histogram(
    "voice_operator_move_silence_seconds",
    "From an agent's having handed its call over to the next one being in the room.",
    buckets=_SECONDS,
)
UNDELIVERED_ROWS = Gauge(
    "voice_operator_undelivered_rows", "Rows of conversations that wait in ConfigMaps until the database takes them."
)
ROWS_LOST = Counter(
    "voice_operator_rows_lost_total",
    "Rows of conversations that were too large to be kept, or that the database refused when they came late.",
)
WORK_LOST = Counter(
    "voice_operator_work_lost_total",
    "Agents that could not finish what was left of their call: tools, end hooks.",
)
CONVERSATIONS_SWEPT = Counter(
    "voice_operator_conversations_swept_total",
    "Conversations that were found open although their call was over, and closed, by the reason they were given.",
    ("end_reason",),
)
CLAIM_CONFLICTS = Counter("voice_operator_claim_conflicts_total", "Claims that found their pod taken or gone.")
PODS_LOST = Counter("voice_operator_pods_lost_total", "Claimed pods that never accepted their call.")
PODS_ORPHANED = Counter(
    "voice_operator_pods_orphaned_total", "Pods of calls whose VoiceSession was gone without a word; they are ended."
)
PODS_SILENT = Counter("voice_operator_pods_silent_total", "Times that the pod of a call fell silent.")
OTHER_AGENTS = Counter(
    "voice_operator_other_agents_total", "Calls in whose room somebody else's agent was seen, as the pods tell."
)
AGENT_REQUESTS = Counter(
    "voice_operator_agent_requests_total",
    "What agents' code has asked of LiveKit's server API, by what came of it: done, refused (by LiveKit too), dropped "
    "(too many of one pod).",
    ("outcome",),
)
QUEUE_DEPTH = Gauge("voice_operator_queue_depth", "Keys that wait for their reconciliation.", ("kind",))
RECONCILE_SECONDS = Histogram(
    "voice_operator_reconcile_seconds", "One reconciliation, waiting for others' answers included.", ("kind",)
)
RECONCILE_ERRORS = Counter("voice_operator_reconcile_errors_total", "Reconciliations to be retried.", ("kind",))
LEADING = Gauge("voice_operator_leading", "1 where this operator leads, 0 where it stands by.")
WATCH_RESTARTS = Counter(
    "voice_operator_watch_restarts_total",
    "Watches that began anew, by kind and cause: error; or all of them: silent, ended.",
    ("kind", "cause"),
)
UNREADABLE = Gauge(
    "voice_operator_unreadable_objects", "Objects that are passed over since they cannot be read.", ("kind",)
)
MISSED_DELETIONS = Counter(
    "voice_operator_missed_deletions_total", "Deletions that no watch told; a full list found them.", ("kind",)
)
POOL_PODS = Gauge("voice_operator_pool_pods", "Pods of a pool by state: ready, starting or in-use.", ("pool", "state"))
POOL_WAITING = Gauge("voice_operator_pool_waiting", "VoiceSessions that wait for a pod.", ("pool",))
POOL_MINIMUM = Gauge("voice_operator_pool_minimum_pods", "How many ready pods a pool is to have at least.", ("pool",))
POOL_READY = Gauge(
    "voice_operator_pool_ready",
    "1 where a pool has the pods that it is to have, 0 where it has not; the reason says why.",
    ("pool", "reason"),
)
POOL_CREATED = Counter("voice_operator_pool_pods_created_total", "Pods created.", ("pool",))
POOL_FAILED = Counter("voice_operator_pool_pods_failed_total", "Pods that failed before they had a call.", ("pool",))
EVENTS_DROPPED = Counter("voice_operator_events_dropped_total", "Kubernetes Events that were not written.")
ROOMS_POLLED = Counter(
    "voice_operator_rooms_polled_total",
    "Rooms without a live VoiceSession, by what the poll made of them: lost-webhook, refused, left-over, served, "
    "not-ours, or foreign (another installation's ticket).",
    ("outcome",),
)
# Of these: a room whose webhook never came.
LOST_WEBHOOK = "lost-webhook"
LIVEKIT = Gauge(
    "voice_operator_livekit",
    "1 for how LiveKit answered the leader's last look at its rooms, 0 for the others: reached, unresolved (nobody "
    "knows its name), unanswered, or refused (most often the API key).",
    ("outcome",),
)
CALL_ROOMS = Counter(
    "voice_operator_call_rooms_total",
    "Rooms of calls in progress that the poll found changed: moved (LiveKit has given it another sid), missing, or "
    "back.",
    ("change",),
)


def show_livekit(outcome: str) -> None:
    """Shows how LiveKit has answered."""
    for each in ("reached", "unresolved", "unanswered", "refused"):
        LIVEKIT.labels(each).set(each == outcome)


def count_api_request(method: str, status: int) -> None:
    """Counts a request to the API server by its answer."""
    API_REQUESTS.labels(method, status).inc()
