"""Writes the chart's Grafana dashboards, each from a list of its panels: `python -m charts.dashboards`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent / "voice-agent" / "dashboards"
_WIDTH, _HEIGHT = 12, 8
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Grafana's: lines over time; a bar for each sum of the time that is looked at; how a state of 0 or 1 has changed.
Kind = Literal["timeseries", "bargauge", "state-timeline"]
# In each query in place of the labels by which an installation is chosen.
_SCOPE = 'namespace="$namespace"'


@dataclass(frozen=True)
class Panel:
    """One panel. `queries`: PromQL with the text of its legend; `%` stands for the installation's labels."""

    title: str
    unit: str  # Grafana's name of it
    queries: tuple[tuple[str, str], ...]
    kind: Kind = "timeseries"
    floor: int | None = 0  # where its scale begins; None: wherever the values do
    decimals: int | None = None  # None: as many as Grafana finds good


@dataclass(frozen=True)
class Dashboard:
    """A page of Grafana's. `name`: of its file."""

    name: str
    title: str
    panels: tuple[Panel, ...]


def quantiles(metric: str, by: str, legend: str) -> tuple[tuple[str, str], ...]:
    """Returns the queries of the median and the slowest tenth of a histogram."""
    rate = f"sum by (le, {by}) (rate({metric}_bucket{{%}}[$__rate_interval]))"
    return tuple((f"histogram_quantile({share}, {rate})", f"{legend} p{share * 100:.0f}") for share in (0.5, 0.9))


def rate(metric: str, by: str, legend: str, labels: str = "") -> tuple[tuple[str, str], ...]:
    """Returns the query of how often a second something is counted."""
    return ((f"sum by ({by}) (rate({metric}{{%{labels}}}[$__rate_interval]))", legend),)


def total(metric: str, by: str, legend: str, labels: str = "") -> tuple[tuple[str, str], ...]:
    """Returns the query of how much was counted in the time that is looked at."""
    return ((f"sum by ({by}) ({_grown(f'{metric}{{%{labels}}}')})", legend),)


def _grown(series: str) -> str:
    """Returns by how much each counter has grown in the time that is looked at.

    Prometheus's own `increase` sees none where a counter came with its first count: one failure would be no failure.
    """
    return f"last_over_time({series}[$__range]) unless {series} offset $__range or increase({series}[$__range])"


def level(metric: str, by: str, legend: str, how: str = "sum") -> tuple[tuple[str, str], ...]:
    """Returns the query of how a gauge stands."""
    return ((f"{how} by ({by}) ({metric}{{%}})", legend),)


def cost(metric: str, price: str, labels: str, what: str) -> tuple[tuple[str, str], ...]:
    """Returns the query of what was paid in the time that is looked at, by the prices of the chart's values."""
    paid = f"({_grown(f'{metric}{{%}}')}) * on (namespace, {labels}) group_left () {price}{{%}}"
    return ((f"sum by (provider, model) ({paid})", f"{{{{provider}}}} {{{{model}}}} {what}"),)


DASHBOARDS = (
    Dashboard(
        "overview",
        "Voice agents: overview",
        (
            Panel(
                "Customers without an agent, by why",
                "short",
                level("voice_operator_waiting_sessions", "reason", "{{reason}}"),
            ),
            Panel("The longest wait", "s", level("voice_operator_longest_wait_seconds", "reason", "{{reason}}", "max")),
            Panel("Calls by phase", "short", level("voice_operator_sessions", "phase", "{{phase}}")),
            Panel(
                "Calls with an agent, by profile",
                "short",
                (('sum by (profile) (voice_operator_sessions{%,phase="Active"})', "{{profile}}"),),
            ),
            Panel("First word", "s", quantiles("voice_agent_first_word_seconds", "start_type", "{{start_type}}")),
            Panel("Agent in the room", "s", quantiles("voice_operator_joined_seconds", "start_type", "{{start_type}}")),
            Panel(
                "Calls that ended, by reason",
                "short",
                total("voice_operator_sessions_finished_total", "phase, reason", "{{phase}}: {{reason}}"),
                "bargauge",
                decimals=0,
            ),
            Panel(
                "Calls that ended, by door",
                "short",
                total("voice_operator_sessions_finished_total", "door", "{{door}}"),
                "bargauge",
                decimals=0,
            ),
            Panel("Starts at the door", "ops", rate("voice_token_service_admissions_total", "outcome", "{{outcome}}")),
            Panel(
                "Answers of the token service",
                "reqps",
                rate("voice_token_service_request_seconds_count", "route, status", "{{route}} {{status}}"),
            ),
        ),
    ),
    Dashboard(
        "quality",
        "Voice agents: call quality",
        (
            Panel("Last word to answer", "s", quantiles("voice_agent_answer_seconds", "profile", "{{profile}}")),
            Panel("End of turn", "s", quantiles("voice_agent_end_of_turn_seconds", "profile", "{{profile}}")),
            Panel("Transcription", "s", quantiles("voice_agent_transcription_seconds", "profile", "{{profile}}")),
            Panel(
                "First token",
                "s",
                quantiles("voice_agent_llm_first_token_seconds", "provider, model", "{{provider}} {{model}}"),
            ),
            Panel(
                "First audio",
                "s",
                quantiles("voice_agent_tts_first_audio_seconds", "provider, model", "{{provider}} {{model}}"),
            ),
            Panel(
                "Answers that were interrupted",
                "percentunit",
                (
                    (
                        'sum by (profile) (rate(voice_agent_replies_total{%,interrupted="true"}[$__rate_interval])) / '
                        "sum by (profile) (rate(voice_agent_replies_total{%}[$__rate_interval]))",
                        "{{profile}}",
                    ),
                ),
            ),
            Panel(
                "Agents lost",
                "short",
                total("voice_operator_agents_lost_total", "reason", "{{reason}}"),
                "bargauge",
                decimals=0,
            ),
            Panel(
                "Without an agent, after a loss or in a move",
                "s",
                (
                    *quantiles("voice_operator_recovery_seconds", "namespace", "recovery"),
                    *quantiles("voice_operator_move_silence_seconds", "namespace", "move"),
                ),
            ),
        ),
    ),
    Dashboard(
        "pools",
        "Voice agents: pools and capacity",
        (
            Panel("Pods by state", "short", level("voice_operator_pool_pods", "pool, state", "{{pool}} {{state}}")),
            Panel(
                "Ready pods beyond the least",
                "short",
                (
                    (
                        'sum by (pool) (voice_operator_pool_pods{%,state="ready"})'
                        " - sum by (pool) (voice_operator_pool_minimum_pods{%})",
                        "{{pool}}",
                    ),
                ),
                floor=None,
            ),
            Panel("Calls that wait for a pod", "short", level("voice_operator_pool_waiting", "pool", "{{pool}}")),
            Panel(
                "Whether a pool has its pods, and why not",
                "short",
                level("voice_operator_pool_ready", "pool, reason", "{{pool}}: {{reason}}", "max"),
                "state-timeline",
            ),
            Panel(
                "Pods made and failed",
                "short",
                (
                    *total("voice_operator_pool_pods_created_total", "pool", "{{pool}} made"),
                    *total("voice_operator_pool_pods_failed_total", "pool", "{{pool}} failed"),
                ),
                "bargauge",
                decimals=0,
            ),
            Panel(
                "Memory of agents in calls",
                "bytes",
                (
                    *level("voice_agent_memory_max_bytes", "pool", "{{pool}}, the largest", "max"),
                    *level("voice_agent_memory_bytes", "pool", "{{pool}}, all"),
                ),
            ),
            Panel("Time to a pod", "s", quantiles("voice_operator_claim_seconds", "start_type", "{{start_type}}")),
            Panel(
                "Claims that met another", "ops", rate("voice_operator_claim_conflicts_total", "namespace", "conflicts")
            ),
        ),
    ),
    Dashboard(
        "providers",
        "Voice agents: providers and cost",
        (
            Panel(
                "Cost, by the chart's metrics.prices",
                "short",
                (
                    *cost("voice_agent_tokens_total", "voice_agent_token_price", "provider, model, kind", "tokens"),
                    *cost("voice_agent_speech_seconds_total", "voice_agent_speech_price", "provider, model", "speech"),
                    *cost(
                        "voice_agent_characters_total", "voice_agent_character_price", "provider, model", "characters"
                    ),
                ),
                "bargauge",
            ),
            Panel(
                "Failures",
                "short",
                total(
                    "voice_agent_model_failures_total", "provider, part, outcome", "{{provider}} {{part}}: {{outcome}}"
                ),
                "bargauge",
                decimals=0,
            ),
            Panel(
                "Tokens",
                "short",
                total("voice_agent_tokens_total", "provider, model, kind", "{{provider}} {{model}} {{kind}}"),
                "bargauge",
                decimals=0,
            ),
            Panel(
                "Speech",
                "s",
                total("voice_agent_speech_seconds_total", "provider, model, part", "{{provider}} {{model}} {{part}}"),
                "bargauge",
            ),
            Panel(
                "Characters spoken",
                "short",
                total("voice_agent_characters_total", "provider, model", "{{provider}} {{model}}"),
                "bargauge",
                decimals=0,
            ),
        ),
    ),
    Dashboard(
        "control-plane",
        "Voice agents: control plane",
        (
            Panel("Operators that lead", "short", level("voice_operator_leading", "namespace", "leaders")),
            Panel("Keys that wait", "short", level("voice_operator_queue_depth", "kind", "{{kind}}")),
            Panel("Reconciliations", "s", quantiles("voice_operator_reconcile_seconds", "kind", "{{kind}}")),
            Panel(
                "Reconciliations to be retried",
                "ops",
                rate("voice_operator_reconcile_errors_total", "kind", "{{kind}}"),
            ),
            Panel(
                "Requests to the API server",
                "reqps",
                rate("voice_operator_api_requests_total", "method, status", "{{method}} {{status}}"),
            ),
            Panel("LiveKit's webhooks", "ops", rate("voice_token_service_webhooks_total", "outcome", "{{outcome}}")),
            Panel(
                "From a room's start to its VoiceSession, by webhook",
                "s",
                quantiles("voice_token_service_start_seconds", "namespace", "webhook"),
            ),
            Panel(
                "Rooms that the poll found", "ops", rate("voice_operator_rooms_polled_total", "outcome", "{{outcome}}")
            ),
            Panel(
                "Rows on their way",
                "short",
                (
                    *level("voice_agent_unwritten_rows", "namespace", "in pods"),
                    *level("voice_operator_undelivered_rows", "namespace", "in ConfigMaps"),
                ),
            ),
            Panel(
                "Who waits for a connection to Postgres",
                "short",
                level("pgbouncer_pools_client_waiting_connections", "user", "{{user}}"),
            ),
            Panel(
                "The longest wait for one",
                "s",
                level("pgbouncer_pools_client_maxwait_seconds", "user", "{{user}}", "max"),
            ),
            Panel(
                "Connections to Postgres",
                "short",
                (
                    *level("pgbouncer_pools_server_active_connections", "user", "{{user}}, busy"),
                    *level("pgbouncer_pools_server_idle_connections", "user", "{{user}}, idle"),
                ),
            ),
        ),
    ),
)


def expressions(dashboard: Dashboard) -> Iterator[str]:
    """Yields every query of a dashboard, as Grafana has it."""
    return (query.replace("%", _SCOPE) for panel in dashboard.panels for query, _ in panel.queries)


def build(dashboard: Dashboard) -> dict[str, Any]:
    """Returns what Grafana loads."""
    return {
        "uid": f"voice-agent-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["voice-agent"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_SOURCE_VARIABLE, _NAMESPACE_VARIABLE]},
        "panels": [_build_panel(number, panel) for number, panel in enumerate(dashboard.panels)],
    }


_SOURCE_VARIABLE = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
_NAMESPACE_VARIABLE = {
    "name": "namespace",
    "label": "Namespace",
    "type": "query",
    "datasource": _SOURCE,
    "query": "label_values(voice_operator_leading, namespace)",
    "refresh": 2,
}


def _build_panel(number: int, panel: Panel) -> dict[str, Any]:
    column, row = number % 2, number // 2
    return {
        "id": number + 1,
        "title": panel.title,
        "type": panel.kind,
        "datasource": _SOURCE,
        "gridPos": {"h": _HEIGHT, "w": _WIDTH, "x": column * _WIDTH, "y": row * _HEIGHT},
        "fieldConfig": {"defaults": _build_scale(panel), "overrides": []},
        **_OPTIONS[panel.kind],
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _SOURCE,
                "expr": query.replace("%", _SCOPE),
                "legendFormat": legend,
                **_once(panel.kind == "bargauge"),
            }
            for place, (query, legend) in enumerate(panel.queries)
        ],
    }


# Beside what all kinds have; lines are drawn as Grafana does by itself.
_OPTIONS: dict[Kind, dict[str, Any]] = {
    "timeseries": {},
    "bargauge": {
        "options": {
            "orientation": "horizontal",
            "displayMode": "basic",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    },
    "state-timeline": {"options": {"mergeValues": True, "showValue": "auto", "legend": {"showLegend": False}}},
}
_STATES = {
    "0": {"text": "short", "color": "red", "index": 0},
    "1": {"text": "has its pods", "color": "green", "index": 1},
}


def _build_scale(panel: Panel) -> dict[str, Any]:
    if panel.kind == "state-timeline":
        return {"mappings": [{"type": "value", "options": _STATES}]}
    bounds = {"min": panel.floor, "decimals": panel.decimals}
    return {"unit": panel.unit, **{name: value for name, value in bounds.items() if value is not None}}


def _once(is_sum: bool) -> dict[str, bool]:
    """Returns whether Prometheus is asked for the values of now, or of all the time that is looked at."""
    return {"instant": is_sum, "range": not is_sum}


def main() -> None:
    """Writes them."""
    FOLDER.mkdir(exist_ok=True)
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.name}.json").write_text(json.dumps(build(dashboard), indent=1) + "\n")


if __name__ == "__main__":
    main()
