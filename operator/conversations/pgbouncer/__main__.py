"""`python -m conversations.pgbouncer` serves the metrics of the PgBouncer in its pod, until it is told to stop."""

import logging
import signal
import sys
from functools import partial

from prometheus_client import REGISTRY, start_http_server

from conversations.pgbouncer.metrics import PgBouncerCollector, ask_pgbouncer
from conversations.settings import PgBouncerSettings
from voice_telemetry.start import start

log = logging.getLogger("conversations.pgbouncer")


def main() -> None:
    """Serves."""
    # As a container's first process it would ignore the signal.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = start("conversations", PgBouncerSettings)
    password = settings.stats_database_password.get_secret_value()
    ports = {"agents": settings.agents_port, "services": settings.services_port}
    processes = {name: partial(ask_pgbouncer, port, password) for name, port in ports.items()}
    REGISTRY.register(PgBouncerCollector(processes))
    start_http_server(settings.metrics_port)
    log.info("serving PgBouncer's metrics", extra={"port": settings.metrics_port})
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
