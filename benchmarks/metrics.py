"""What metrics cost the operator: an agent's message taken in, and a scrape with 1,000 calls in progress.

20 profiles, 5 tenants, 4 pools, 6 models of each kind; in one process, with nothing else.
"""

import argparse
import time

from prometheus_client import disable_created_metrics, generate_latest

from benchmarks.report import percentile, print_result, print_table
from testing.measured_calls import MeasuredCalls
from voice_operator.__main__ import collect_garbage_less_often
from voice_operator.calls.measuring import Measuring
from voice_operator.keys import Kind
from voice_operator.state_metrics import show_state
from voicesession.assignment import parse_pod_event
from voicesession.measures import Measured

ROUNDS = 100


def main() -> None:
    """Runs."""
    # As the operator does.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    collect_garbage_less_often()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics", description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    stage = MeasuredCalls(parser.parse_args().calls)
    measuring = Measuring(stage.calls)
    lines = [(uid, measured.model_dump_json(by_alias=True)) for uid, measured in stage.measure()]
    takes, scrapes, scrape_cpus, text = [], [], [], b""
    for _ in range(ROUNDS):
        cpu = time.process_time()
        for uid, line in lines:
            event = parse_pod_event(line)
            if isinstance(event, Measured):
                measuring.take(uid, event)
        takes.append(1e6 * (time.process_time() - cpu) / len(lines))
        began, cpu = time.perf_counter(), time.process_time()
        show_state(stage.cache, stage.heartbeats(), dict.fromkeys(Kind, 0), leading=True)
        text = generate_latest()
        scrapes.append(1000 * (time.perf_counter() - began))
        scrape_cpus.append(1000 * (time.process_time() - cpu))
    series = sum(line.startswith(b"voice_") for line in text.splitlines())
    print_table("CPU for a message of an agent's, read and counted", {"message": takes}, unit="µs")
    print_table("A scrape", {"scrape": scrapes, "its CPU": scrape_cpus})
    print(f"  {series} series of ours, {len(text) / 1024:.0f} KiB")
    print_result(
        {
            "benchmark": "metrics",
            "series": series,
            "kib": len(text) / 1024,
            "message_us_p50": percentile(takes, 0.5),
            "scrape_ms_p50": percentile(scrapes, 0.5),
            "scrape_ms_p99": percentile(scrapes, 0.99),
            "scrape_cpu_ms_p50": percentile(scrape_cpus, 0.5),
            "scrape_cpu_ms_p99": percentile(scrape_cpus, 0.99),
        }
    )


if __name__ == "__main__":
    main()
