"""Runs the operator: `python -m voice_operator`."""

import asyncio
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import uvloop

from voice_operator.app import Operator
from voice_operator.calls.live import build_live_app
from voice_operator.ending import block_signals, exit_now, stop_on_signal
from voice_operator.handlers import start_watches
from voice_operator.health import Health
from voice_operator.settings import Keys, OperatorSettings
from voice_operator.watches import Watches
from voice_telemetry.server import build_health_app, serving
from voice_telemetry.start import refuse_to_start, start
from voice_telemetry.traces import end_traces, start_traces
from voicesession.key_files import KeyFileError

# Objects that are made before the youngest of them are looked through for garbage; Python's default is 700.
_GARBAGE_THRESHOLDS = (50_000, 50, 100)
# To here alone the kubelet forwards a port, and no other pod gets.
_LOOPBACK = "127.0.0.1"
# A quiet watch is asked for anew so often that it is never taken for a dead one.
_QUIET_SHARE = 0.25


async def run_operator(
    operator: Operator,
    settings: OperatorSettings,
    stop: asyncio.Event,
    give_up: Callable[[str], NoReturn] = exit_now,
) -> None:
    """Watches, and leads when it is this operator's turn, until `stop` is set.

    `give_up` is told why the process cannot go on: the watches do not end, or another operator leads.
    """
    silence = settings.watch_silence_seconds
    watches = Watches(
        operator.cache.stores,
        silence,
        lambda: start_watches(operator, watches, settings.namespace, silence * _QUIET_SHARE),
        operator.list_all,
    )
    health = Health(operator, watches, silence)
    app = build_health_app(is_live=health.is_live, is_ready=health.is_ready, before_scrape=operator.show_state)
    live = build_live_app(operator.list_live_calls)
    async with serving(app, settings.http_port), serving(live, settings.calls_port, _LOOPBACK):
        await operator.start()
        parts = [
            asyncio.create_task(each, name=name) for name, each in (("watch", watches.run()), ("lead", operator.lead()))
        ]
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait([*parts, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            give_up(_describe_end(parts))
        await operator.stop()
        for task in parts:
            task.cancel()
        await asyncio.gather(*parts, return_exceptions=True)


def _describe_end(parts: list[asyncio.Task[NoReturn]]) -> str:
    ended = next(task for task in parts if task.done())
    error = None if ended.cancelled() else ended.exception()
    return f"{ended.get_name()} has ended: {type(error).__name__}: {error}"


def collect_garbage_less_often() -> None:
    """Spares a tenth of the CPU: thousands of JSON objects come and go, hardly one of them in a cycle."""
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)


def main() -> None:
    """Reads the environment and runs."""
    settings = start("voice_operator", OperatorSettings, packages=("conversations", "kube", "rooms"))
    keys = read_keys(settings)
    block_signals()  # first: whatever sends spans has a thread
    start_traces("voice-operator", settings.otel_exporter_otlp_endpoint)
    collect_garbage_less_often()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_open_and_run(settings, keys))
    end_traces()


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
    stop = asyncio.Event()
    stop_on_signal(stop)
    operator = await Operator.open(settings, keys, Path(kubeconfig) if kubeconfig else None)
    looking = asyncio.create_task(operator.look_at_crds(), name="crds")
    await run_operator(operator, settings, stop)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


if __name__ == "__main__":
    main()
