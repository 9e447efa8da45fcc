"""One release for most e2e tests, on the cluster that `make cluster` gives; each brings its own pool or profile.

Beside it is a company's, for what is not ours: LiveKit, Postgres, models, and rules of its own.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from local_cluster.layout import HOST_ADDRESS
from testing.chart import render
from testing.collector import Collector, collector_beside
from testing.company import DATABASE, NAMESPACE, Company
from testing.forwarding import start_forwarding
from testing.log_keeper import LogKeeper
from testing.outside_postgres import OutsidePostgres
from testing.progress import Step
from testing.prometheus import Prometheus, hasten, scraping_listed
from testing.release import Release
from testing.scrape_targets import PODS_ARE_REACHED, ScrapeTargets
from testing.speech import synthesize

E2E_PORT = 3010
COLLECTOR_PORT = 4318
NAME = "e2e"
# Alerts' minutes are seconds here: 15 of them are 45 s.
HASTE = 20
MONITORING = {
    "alerts": {"enabled": True},
    # Of the local models: what they would cost.
    "prices": [
        {"provider": "local", "model": "rule-based-partner", "inputMillionTokens": 0.4, "outputMillionTokens": 1.6},
        {"provider": "local", "model": "whisper-tiny.en", "speechHour": 0.36},
        {"provider": "local", "model": "hibari", "millionCharacters": 15},
    ],
}
# The rest stands between them, in the order of their names.
FIRST = ["test_upgrade.py"]  # on a cluster that has no CRDs yet
LAST = ["test_metrics.py", "test_whole_session.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts first and last what has to be."""
    items.sort(key=lambda item: _place(item.path.name))


def _place(file: str) -> int:
    return -1 if file in FIRST else LAST.index(file) + 1 if file in LAST else 0


@pytest.fixture(scope="session", autouse=True)
def kept_logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogKeeper]:
    """What the pods of all releases here have logged, also those that are gone."""
    keeper = LogKeeper(tmp_path_factory.mktemp("logs"), "e2e")
    yield keeper
    keeper.end()


@pytest.fixture(scope="session", autouse=True)
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that scrapes the release as long as there are tests, with the chart's own rules, hastened."""
    folder = tmp_path_factory.mktemp("prometheus")
    made = [each for each in render({"metrics": MONITORING}, NAME, namespace=NAME) if each["kind"] == "PrometheusRule"]
    rules = {"groups": [group for each in made for group in each["spec"]["groups"]]}
    targets = ScrapeTargets(folder / "targets.json")
    with scraping_listed(folder / "targets.json", folder, hasten(rules, HASTE)) as running:
        yield replace(running, blind=not PODS_ARE_REACHED)
    targets.end()


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """What the release's spans go to: on this machine, where pods of its own cluster find it."""
    if os.environ.get("CLUSTER") in {"current", "kind"}:
        yield Collector()
        return
    with collector_beside(HOST_ADDRESS, COLLECTOR_PORT) as running:
        yield running


@pytest.fixture(scope="session")
def release(collector: Collector) -> Iterator[Release]:
    """The chart, installed into a namespace of its own; removed at the end unless KEEP_RELEASE is set."""
    installed = Release(NAME, NAME)
    # Ports of its own: a demo may run beside it.
    ports = {"http": 7890, "tcp": 7891, "udp": 7892}
    spans = [{"port": COLLECTOR_PORT, "protocol": "TCP"}]
    to_collector = [{"to": [{"ipBlock": {"cidr": f"{HOST_ADDRESS}/32"}}], "ports": spans}]
    installed.install(
        {
            "livekit": {"ports": ports},
            "defaultPool": {"warm": {"min": 2, "max": 12}},
            "tracing": {"endpoint": collector.url},
            "networkPolicies": {"partsEgress": to_collector, "agentEgress": to_collector},
            "metrics": {"scrapeAnnotations": True},
            "pgbouncer": {"metrics": {"enabled": True}},
        }
    )
    installed.wait_until_ready(Step("e2e release"), timeout=420)
    yield installed
    if not os.environ.get("KEEP_RELEASE"):
        installed.uninstall()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutsidePostgres]:
    """A Postgres outside of every release, with TLS."""
    server = OutsidePostgres(tmp_path_factory.mktemp("postgres"))
    server.start(DATABASE)
    yield server
    if not os.environ.get("KEEP_RELEASE"):
        server.end()


@pytest.fixture(scope="session")
def company(release: Release, postgres: OutsidePostgres) -> Iterator[Company]:
    """A second release in a namespace that is `restricted`, with the first one's LiveKit and models."""
    installed = Company(Release("company", NAMESPACE))
    installed.release.uninstall()  # one that was kept has other keys, and another database
    installed.install(release, postgres)
    installed.release.wait_until_ready(Step("company's release"))
    yield installed
    if not os.environ.get("KEEP_RELEASE"):
        installed.release.uninstall()


@pytest.fixture(scope="session")
def front_door(release: Release) -> str:
    """The token service's base URL, reached on its node port."""
    return f"http://{release.token_service_address()}"


@pytest.fixture(scope="session")
def localhost_front_door(release: Release) -> Iterator[str]:
    """The token service on localhost, where a browser grants the page its microphone."""
    pid = start_forwarding(E2E_PORT, release.token_service_address())
    yield f"http://localhost:{E2E_PORT}"
    os.kill(pid, 15)


@pytest.fixture(scope="session")
def speak(release: Release) -> Callable[[str], bytes]:
    """Turns a sentence into 24 kHz mono 16-bit samples, by the release's own text-to-speech."""

    def samples(sentence: str) -> bytes:
        return synthesize(release, sentence)

    return samples
