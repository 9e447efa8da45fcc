"""What the token service counts, for Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS = Histogram(
    "voice_token_service_request_seconds",
    "Duration of HTTP requests by route and status.",
    ["method", "route", "status"],
    buckets=_SECONDS,
)
API_REQUESTS = Counter(
    "voice_token_service_kubernetes_requests_total",
    "Requests to the Kubernetes API server by method and status.",
    ["method", "status"],
)
RATE_LIMITED = Counter(
    "voice_token_service_rate_limited_total",
    "Requests refused because there were too many, by whom they are counted: tenant, call (its customer), address.",
    ["by"],
)
KEY_FETCHES = Counter(
    "voice_token_service_key_fetches_total",
    "Times that the issuer's keys were asked for: fetched or failed, after which those from before still count.",
    ["outcome"],
)
ADMISSIONS = Counter(
    "voice_token_service_admissions_total",
    "Started rooms by what became of them: admitted, repeated, not-ours, foreign (another installation's ticket), or "
    "the reason of the refusal.",
    ["outcome"],
)
START_SECONDS = Histogram(
    "voice_token_service_start_seconds",
    "From a room's start, by LiveKit's clock, to its VoiceSession being made, where a webhook told of it.",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
WEBHOOKS = Counter(
    "voice_token_service_webhooks_total",
    "LiveKit's webhooks: fresh, confirmed (old, and the room is there), stale, forged, failed or ignored.",
    ["outcome"],
)
CACHED_OBJECTS = Gauge("voice_token_service_cached_objects", "Objects in the watch cache by kind.", ["kind"])
WATCH_RESTARTS = Counter(
    "voice_token_service_watch_restarts_total", "Watches that had to begin anew, by kind and cause.", ["kind", "cause"]
)


def count_api_request(method: str, status: int) -> None:
    """Counts a request to the API server by its answer."""
    API_REQUESTS.labels(method, status).inc()
