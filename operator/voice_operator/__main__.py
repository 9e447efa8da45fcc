"""Runs the operator: `python -m voice_operator`."""

import asyncio
import gc
import logging
import os
import sys
import threading
from pathlib import Path

import kopf
import uvloop
from aiohttp import web
from pydantic import ValidationError

import voice_operator.handlers  # noqa: F401 - registers with kopf
from voice_operator.app import Operator
from voice_operator.http_server import build_http_app
from voice_operator.settings import OperatorSettings

log = logging.getLogger("voice_operator")

# Objects that are made before the youngest of them are looked through for garbage; Python's default is 700.
_GARBAGE_THRESHOLDS = (50_000, 50, 100)


async def run_operator(
    operator: Operator, settings: OperatorSettings, stop_flag: threading.Event | None = None
) -> None:
    """Runs until a signal comes or `stop_flag` is set. Whoever elects a leader calls this as the leader."""
    runner = web.AppRunner(build_http_app(operator), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=settings.http_port).start()
        await kopf.operator(
            namespaces=[settings.namespace],
            standalone=True,
            memo=kopf.Memo(operator=operator),
            stop_flag=stop_flag,
        )
    finally:
        await runner.cleanup()


def configure_logging(level: str) -> None:
    """Logs to standard error, with kopf's and its client's daily business left out."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    for name in ("kopf", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)


def collect_garbage_less_often() -> None:
    """Spares a tenth of the CPU: thousands of JSON objects come and go, hardly one of them in a cycle."""
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)


def main() -> None:
    """Reads the environment and runs."""
    try:
        settings = OperatorSettings()
    except ValidationError as error:
        sys.exit(f"The environment is not complete; see docs/reference/environment.md.\n{error}")
    configure_logging(settings.log_level)
    collect_garbage_less_often()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_open_and_run(settings))


async def _open_and_run(settings: OperatorSettings) -> None:
    kubeconfig = os.environ.get("KUBECONFIG")
    operator = await Operator.open(settings, Path(kubeconfig) if kubeconfig else None)
    await run_operator(operator, settings)


if __name__ == "__main__":
    main()
