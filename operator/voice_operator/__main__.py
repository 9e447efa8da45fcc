"""Runs the operator: `python -m voice_operator`."""

import asyncio
import gc
import os
import threading
from pathlib import Path

import kopf
import uvloop

import voice_operator.handlers  # noqa: F401 - registers with kopf
from voice_operator.app import Operator
from voice_operator.metrics import show_phases
from voice_operator.settings import Keys, OperatorSettings
from voice_telemetry.server import build_health_app, serving
from voice_telemetry.start import refuse_to_start, start
from voicesession.key_files import KeyFileError

# Objects that are made before the youngest of them are looked through for garbage; Python's default is 700.
_GARBAGE_THRESHOLDS = (50_000, 50, 100)


async def run_operator(
    operator: Operator, settings: OperatorSettings, stop_flag: threading.Event | None = None
) -> None:
    """Runs until a signal comes or `stop_flag` is set. Whoever elects a leader calls this as the leader."""
    app = build_health_app(
        is_live=lambda: None,
        is_ready=lambda: None if operator.synced else "the first lists are not complete",
        before_scrape=lambda: show_phases(session.status.phase for session in operator.cache.sessions.all()),
    )
    async with serving(app, settings.http_port):
        await kopf.operator(
            namespaces=[settings.namespace],
            standalone=True,
            memo=kopf.Memo(operator=operator),
            stop_flag=stop_flag,
        )


def collect_garbage_less_often() -> None:
    """Spares a tenth of the CPU: thousands of JSON objects come and go, hardly one of them in a cycle."""
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)


def main() -> None:
    """Reads the environment and runs."""
    settings = start("voice_operator", OperatorSettings, packages=("conversations", "kube", "rooms"))
    keys = read_keys(settings)
    collect_garbage_less_often()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_open_and_run(settings, keys))


def read_keys(settings: OperatorSettings) -> Keys:
    """Returns the operator's keys; ends the process where one cannot be used."""
    try:
        return Keys(settings)
    except KeyFileError as error:
        refuse_to_start("voice_operator", f"CONVERSATION_KEY_FILE or INSTALLATION_KEY_FILE: {error}")
    except (OSError, ValueError) as error:
        refuse_to_start("voice_operator", f"SIGNING_KEY_FILE: {error}")


async def _open_and_run(settings: OperatorSettings, keys: Keys) -> None:
    kubeconfig = os.environ.get("KUBECONFIG")
    operator = await Operator.open(settings, keys, Path(kubeconfig) if kubeconfig else None)
    await run_operator(operator, settings)


if __name__ == "__main__":
    main()
