"""Each alert fires at its fault, and is quiet before and after: promtool runs the rules over series with that fault.

With real faults most of them are set off by the e2e tests; tests/e2e/test_metrics.py says which are not.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from local_cluster.layout import REPOSITORY
from testing.prometheus import complaints_about_rules

RULES = (REPOSITORY / "charts" / "voice-agent" / "alerts.yaml").read_text().replace("SCOPE", 'namespace="here"')
NAMES = [rule["alert"] for group in yaml.safe_load(RULES)["groups"] for rule in group["rules"]]

# Every 30 s: 20 minutes of calm, 20 of the fault, 100 of calm again.
QUIET_BEFORE, DURING, QUIET_AFTER = "19m", "38m", "130m"


def gauge(calm: int, fault: int) -> str:
    """Returns a level that is another one during the fault."""
    return f"{calm}x40 {fault}x40 {calm}x200"


def counter(calm: int, fault: int) -> str:
    """Returns a count that grows by so much each 30 s."""
    first, second = 40 * calm, 40 * calm + 41 * fault
    return f"0+{calm}x40 {first}+{fault}x40 {second}+{calm}x200"


def slow(name: str, labels: str) -> dict[str, str]:
    """Returns a histogram whose observations are all over 5 s during the fault, and under one else."""
    fast, every = counter(10, 0), counter(10, 10)
    return {f'{name}_bucket{{{labels}le="{le}"}}': fast if le == "1.0" else every for le in ("1.0", "10.0", "+Inf")}


FINISHED, REQUESTS = "voice_operator_sessions_finished_total", "voice_token_service_request_seconds_count"
FAULTS: dict[str, dict[str, str]] = {
    "VoiceCustomersWait": {'voice_operator_longest_wait_seconds{reason="NoCapacity"}': gauge(2, 14)},
    "VoiceCallsFail": {
        FINISHED + '{phase="Ended",reason="CallEnded"}': counter(5, 5),
        FINISHED + '{phase="Failed",reason="AgentError"}': counter(0, 1),
    },
    "VoiceStartsSlow": slow("voice_agent_first_word_seconds", ""),
    "VoiceAnswersSlow": slow("voice_agent_answer_seconds", 'profile="shop",'),
    "VoiceModelsFail": {
        'voice_agent_model_failures_total{provider="acme",part="llm",outcome="failed"}': counter(0, 1),
        'voice_agent_model_failures_total{provider="acme",part="llm",outcome="retried"}': counter(9, 9),
    },
    "VoiceAgentsLost": {'voice_operator_agents_lost_total{reason="NodeLost"}': counter(0, 1)},
    "VoiceForeignAgent": {"voice_operator_other_agents_total{}": counter(0, 1)},
    "VoicePoolShort": {'voice_operator_pool_ready{pool="desk",reason="QuotaExceeded"}': gauge(1, 0)},
    "VoicePodsFail": {'voice_operator_pool_pods_failed_total{pool="desk"}': counter(0, 1)},
    "VoiceNoLeader": {
        'voice_operator_leading{pod="a"}': gauge(1, 0),
        'voice_operator_leading{pod="b"}': gauge(0, 0),
    },
    "VoiceOperatorBehind": {'voice_operator_queue_depth{kind="call"}': gauge(1, 900)},
    "VoiceWebhooksLost": {'voice_operator_rooms_polled_total{outcome="lost-webhook"}': counter(0, 1)},
    "VoiceWebhooksLate": slow("voice_token_service_start_seconds", ""),
    "VoiceTokensFail": {
        REQUESTS + '{route="/api/token",status="201"}': counter(10, 10),
        REQUESTS + '{route="/api/token",status="500"}': counter(0, 2),
    },
    "VoiceDatabaseBusy": {'pgbouncer_pools_client_maxwait_seconds{user="voice_agent"}': gauge(0, 4)},
    "VoiceRowsWait": {"voice_agent_unwritten_rows{}": gauge(3, 90), "voice_operator_undelivered_rows{}": gauge(0, 0)},
    "VoiceRowsLost": {"voice_operator_rows_lost_total{}": counter(0, 1)},
    "VoiceObjectsUnreadable": {'voice_operator_unreadable_objects{kind="agentpools"}': gauge(0, 1)},
}
HEALTHY = {'voice_operator_leading{pod="a"}': gauge(1, 1)}


def build_tests(alert: str, folder: Path) -> dict[str, Any]:
    """Returns promtool's tests of one alert, which is the only one that its fault sets off."""
    (folder / "rules.yml").write_text(RULES)
    series = {
        each.replace("{", '{namespace="here",').replace(",}", "}"): values
        for each, values in {**HEALTHY, **FAULTS[alert]}.items()
    }

    def fires(when: str, firing: list[str]) -> dict[str, Any]:
        samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in firing]
        return {
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": when,
            "exp_samples": samples,
        }

    return {
        "rule_files": [str(folder / "rules.yml")],
        "evaluation_interval": "30s",
        "tests": [
            {
                "interval": "30s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [fires(QUIET_BEFORE, []), fires(DURING, [alert]), fires(QUIET_AFTER, [])],
            }
        ],
    }


def test_each_alert_has_its_fault() -> None:
    assert list(FAULTS) == NAMES


@pytest.mark.parametrize("alert", NAMES)
async def test_an_alert_fires_at_its_fault_and_at_no_other_time(alert: str, tmp_path: Path) -> None:
    assert await complaints_about_rules(build_tests(alert, tmp_path), tmp_path) == ""


async def test_operators_that_are_not_scraped_are_noticed(tmp_path: Path) -> None:
    tests = build_tests("VoiceNoLeader", tmp_path)
    tests["tests"][0]["input_series"] = [
        {"series": 'voice_operator_leading{namespace="here"}', "values": "1x40 _x40 1x200"}
    ]
    assert await complaints_about_rules(tests, tmp_path) == ""
