"""What both processes of PgBouncer tell of themselves, for Prometheus, each time that it asks.

Names are those of the Prometheus community's exporter, so that dashboards made for that one fit; the label `process`
is ours.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import psycopg
from prometheus_client import Counter, Gauge, Metric
from prometheus_client.registry import Collector
from psycopg.rows import dict_row

log = logging.getLogger(__name__)

_USER = "voice_stats"
_CONNECT_SECONDS = 2

_POOL = ("process", "database", "user")
_DATABASE = ("process", "database")
UP = Gauge("pgbouncer_up", "1 where a process of PgBouncer (agents, services) answers.", ("process",), registry=None)
CLIENTS_ACTIVE = Gauge(
    "pgbouncer_pools_client_active_connections",
    "Connections of clients that wait for nothing: idle, or with a connection to Postgres.",
    _POOL,
    registry=None,
)
CLIENTS_WAITING = Gauge(
    "pgbouncer_pools_client_waiting_connections",
    "Connections of clients that have asked something and wait for a connection to Postgres.",
    _POOL,
    registry=None,
)
LONGEST_WAIT = Gauge(
    "pgbouncer_pools_client_maxwait_seconds", "How long the first of those that wait has waited.", _POOL, registry=None
)
SERVERS_ACTIVE = Gauge(
    "pgbouncer_pools_server_active_connections", "Connections to Postgres with a client.", _POOL, registry=None
)
SERVERS_IDLE = Gauge(
    "pgbouncer_pools_server_idle_connections", "Connections to Postgres without one.", _POOL, registry=None
)
QUERIES = Counter("pgbouncer_stats_queries_pooled_total", "Statements.", _DATABASE, registry=None)
QUERY_SECONDS = Counter(
    "pgbouncer_stats_queries_duration_seconds_total", "Time that statements took in Postgres.", _DATABASE, registry=None
)
WAIT_SECONDS = Counter(
    "pgbouncer_stats_client_wait_seconds_total",
    "Time that clients have waited for a connection to Postgres.",
    _DATABASE,
    registry=None,
)
ALL = (
    UP,
    *(CLIENTS_ACTIVE, CLIENTS_WAITING, LONGEST_WAIT, SERVERS_ACTIVE, SERVERS_IDLE),
    *(QUERIES, QUERY_SECONDS, WAIT_SECONDS),
)

Row = dict[str, Any]
# What a process tells: the rows of SHOW POOLS and of SHOW STATS.
Told = tuple[list[Row], list[Row]]


class PgBouncerCollector(Collector):
    """Asks each process when it is scraped: scrapes are seldom, and no figure is older than its scrape."""

    def __init__(self, processes: Mapping[str, Callable[[], Told]]) -> None:
        """`processes`: how each is asked, by its name."""
        self._processes = processes
        self._lock = threading.Lock()  # each scrape has a thread

    def describe(self) -> Iterable[Metric]:
        """Returns all metrics, without asking."""
        return [metric for each in ALL for metric in each.describe()]

    def collect(self) -> Iterable[Metric]:
        """Returns what stands now; of a process that does not answer, that alone."""
        with self._lock:
            for each in ALL:
                each.clear()
            for name, ask in self._processes.items():
                self._show(name, ask)
            return [metric for each in ALL for metric in each.collect()]

    def _show(self, process: str, ask: Callable[[], Told]) -> None:
        try:
            pools, totals = ask()
        except psycopg.Error as error:
            log.warning("PgBouncer does not answer", extra={"pgbouncer": process, "error": error})
            UP.labels(process).set(0)
            return
        UP.labels(process).set(1)
        for row in _of_databases(pools):
            labels = process, row["database"], row["user"]
            CLIENTS_ACTIVE.labels(*labels).set(row["cl_active"])
            CLIENTS_WAITING.labels(*labels).set(row["cl_waiting"])
            LONGEST_WAIT.labels(*labels).set(row["maxwait"] + row["maxwait_us"] / 1e6)
            SERVERS_ACTIVE.labels(*labels).set(row["sv_active"])
            SERVERS_IDLE.labels(*labels).set(row["sv_idle"])
        for row in _of_databases(totals):
            QUERIES.labels(process, row["database"]).inc(int(row["total_query_count"]))
            QUERY_SECONDS.labels(process, row["database"]).inc(int(row["total_query_time"]) / 1e6)
            WAIT_SECONDS.labels(process, row["database"]).inc(int(row["total_wait_time"]) / 1e6)


def ask_pgbouncer(port: int, password: str) -> Told:
    """Returns what the process at this port of the pod tells. One that hangs is soon ended by its liveness probe.

    Raises:
        psycopg.Error: it does not answer, or refuses.
    """
    with psycopg.connect(
        host="127.0.0.1",
        port=port,
        dbname="pgbouncer",
        user=_USER,
        password=password,
        connect_timeout=_CONNECT_SECONDS,
        autocommit=True,
        row_factory=dict_row,
    ) as connection:
        return connection.execute("SHOW POOLS").fetchall(), connection.execute("SHOW STATS").fetchall()


def _of_databases(rows: list[Row]) -> Iterator[Row]:
    """Yields those that are not about PgBouncer's own console."""
    return (row for row in rows if row["database"] != "pgbouncer")
