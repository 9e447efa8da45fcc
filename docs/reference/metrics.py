"""Builds the page of the metrics from the collectors themselves."""

from collections.abc import Iterator
from types import ModuleType

from prometheus_client.metrics import MetricWrapperBase

from conversations.pgbouncer import metrics as pgbouncer
from local_models import metrics as local_models
from token_service import metrics as token_service
from voice_operator import agent_metrics
from voice_operator import metrics as voice_operator

# Each part with its module, what holds the collectors, and the variable of the port that serves them.
PARTS: dict[str, tuple[ModuleType, object, str]] = {
    "Operator": (voice_operator, voice_operator, "HTTP_PORT"),
    "Agents, by the operator": (agent_metrics, agent_metrics, "HTTP_PORT"),
    "Token service": (token_service, token_service, "HEALTH_PORT"),
    "PgBouncer, by the container beside it": (pgbouncer, pgbouncer, "METRICS_PORT"),
    "Local models": (local_models, local_models.Metrics(), "LOCAL_MODELS_LISTEN_PORT"),
}


def build_page() -> str:
    """Returns the page."""
    parts = [
        "# Metrics\n",
        "Made from the collectors by `make reference`; change those, not this page. Each part serves its metrics at "
        "`/metrics`, with those of its process (`process_*`) beside them. A histogram has `_bucket`, `_sum` and "
        "`_count`; times are in seconds. Agent pods serve none: what they tell, the operator counts. "
        "[Which one answers which question](../metrics.md).\n",
    ]
    parts += [_build_part(title, holder, port) for title, (_, holder, port) in PARTS.items()]
    return "\n".join(parts)


def find_collectors(holder: object) -> Iterator[MetricWrapperBase]:
    """Yields the collectors that a module or an object holds."""
    return (each for each in vars(holder).values() if isinstance(each, MetricWrapperBase))


def exposed_name(collector: MetricWrapperBase) -> str:
    """Returns the name that Prometheus scrapes; of a histogram, without its suffixes."""
    (family,) = collector.describe()
    return f"{family.name}_total" if family.type == "counter" else family.name


def _build_part(title: str, holder: object, port: str) -> str:
    rows = [_build_row(collector) for collector in find_collectors(holder)]
    head = [f"## {title}\n", f"On port [`{port}`](environment.md).\n", "| metric | kind | labels | meaning |"]
    return "\n".join([*head, "|---|---|---|---|", *rows, ""])


def _build_row(collector: MetricWrapperBase) -> str:
    (family,) = collector.describe()
    labels = ", ".join(f"`{label}`" for label in collector._labelnames)  # noqa: SLF001 - nowhere else before a sample
    return f"| `{exposed_name(collector)}` | {family.type} | {labels} | {family.documentation} |"
