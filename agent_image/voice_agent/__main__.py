"""`python -m voice_agent`: gets everything ready, then waits for one call."""

import asyncio
import ctypes
import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from voice_agent.process import lean_imports
from voice_agent.process.termination import (
    CODE_IMPORT_FAILED,
    HANG,
    PROTOCOL_UNKNOWN,
    leave,
    write_termination_message,
)
from voice_agent.settings import AgentSettings, drop_livekit_secrets, read_settings
from voice_telemetry.logs import hide, keep_logs, set_process_fields
from voice_telemetry.start import start
from voicesession.assignment import PROTOCOL, Assignment

if TYPE_CHECKING:
    from voice_agent.workshop import Workshop

# Set before livekit-agents is imported: no turn detector's 243 MB unless a profile asks, no reports to any cloud.
os.environ.setdefault("LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE", "0")
# One thread drives LiveKit's connection. With more, on a busy machine, a new request to negotiate can come just as the
# loop that negotiates ends: it never runs again, and the agent neither hears nor is heard (livekit 1.1.21, rust-sdks:
# `queue_negotiation`). Audio has threads of its own.
os.environ.setdefault("TOKIO_WORKER_THREADS", "1")
lean_imports.install()

log = logging.getLogger("voice_agent")


def main() -> None:
    """Runs the pod's whole life; with the word `check` only looks at the agent's code, with `try` is a customer."""
    match sys.argv[1:]:
        case ["check", *arguments]:
            from voice_agent import check  # noqa: PLC0415 - after the finder above is installed

            leave(check.main(arguments))
        case ["try", *arguments]:
            from voice_agent import trial  # noqa: PLC0415 - likewise

            leave(trial.main(arguments))
    # Without a handler, a container's first process does not get the signal at all: a pod that is deleted while it
    # starts would go on importing until its grace period is over.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    refuse_other_protocols(os.environ)
    settings = start("voice_agent", lambda: read_settings(os.environ))
    keep_logs()
    set_process_fields(pod=settings.pod_name)
    if dropped := drop_livekit_secrets(os.environ):
        log.warning("LiveKit's secrets are kept from the agent's code", extra={"variables": dropped})
    workshop = prepare(settings)
    asyncio.run(run(settings, workshop))


def refuse_other_protocols(environment: Mapping[str, str]) -> None:
    """Ends the process where its operator speaks otherwise than this image; before anything else of it is read."""
    asked = environment.get("OPERATOR_PROTOCOL", "1")
    if asked == str(PROTOCOL):
        return
    message = (
        f"this image speaks protocol {PROTOCOL} with its operator, which speaks {asked}: "
        "build the pool's image on the agent image of the operator's release"
    )
    print(message, file=sys.stderr)  # noqa: T201 - no log is set up yet
    file = Path(environment.get("TERMINATION_LOG", AgentSettings.model_fields["termination_log"].default))
    write_termination_message(file, PROTOCOL_UNKNOWN, message)
    leave(1)


def note_assignment(assignment: Assignment) -> None:
    """Makes every log line name the call, and hide its tokens."""
    hide(assignment.room_token, assignment.write_token)
    set_process_fields(
        session=assignment.session_id,
        voicesession=assignment.voice_session,
        attempt=assignment.attempt,
        room=assignment.room,
        tenant=assignment.tenant,
        profile=assignment.profile_name,
    )


def end_standstill(settings: AgentSettings, at: list[str]) -> None:
    """Ends a process whose event loop stands still; `at` is where."""
    log.error("the agent's code holds the event loop up", extra={"at": at})
    message = f"the agent's code held its event loop up for {settings.agent_hang_seconds} s; the pod's log says where"
    write_termination_message(settings.termination_log, HANG, message)
    leave(1)


def prepare(settings: AgentSettings) -> "Workshop":
    """Loads and builds all that a call needs; ends the process where the agent's code cannot be used."""
    # Imported here, after the finder above is installed and errors can be told.
    from voice_agent import customer_return, first_words, moments, other_sessions, session_host  # noqa: PLC0415
    from voice_agent.code_loader import CodeLoadError  # noqa: PLC0415
    from voice_agent.process import native_logs  # noqa: PLC0415
    from voice_agent.workshop import build_workshop  # noqa: PLC0415

    native_logs.silence()
    try:
        session_host.keep_shut()
        customer_return.keep_sessions_open()
        other_sessions.tell_of_others()
        first_words.survive_interruption()
        moments.take_turns()
        return build_workshop(settings, hide)
    except (CodeLoadError, session_host.SessionHostError) as error:
        log.exception("the pod cannot take calls")
        write_termination_message(settings.termination_log, CODE_IMPORT_FAILED, str(error))
        leave(1)


async def run(settings: AgentSettings, workshop: "Workshop") -> None:
    """Listens, and waits until the call's end ends the process."""
    from aiohttp import web  # noqa: PLC0415

    from voice_agent.pod import Pod  # noqa: PLC0415
    from voice_agent.process import watchdog  # noqa: PLC0415
    from voice_agent.process.rehearsal import rehearse  # noqa: PLC0415
    from voice_agent.server import PodServer  # noqa: PLC0415

    pod = Pod(workshop, leave, note_assignment)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, pod.terminate)
    app = PodServer(pod, settings.operator_public_key, settings.pod_uid, settings.pod_seal_key).build_app()
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await rehearse()
    # What has been built stays: the collector need not walk it again during the call. What was freed goes back: 2 MB.
    gc.collect()
    gc.freeze()
    ctypes.CDLL(None).malloc_trim(0)
    if settings.agent_hang_seconds:
        watchdog.watch_event_loop(settings.agent_hang_seconds, lambda at: end_standstill(settings, at))
    await web.TCPSite(runner, settings.agent_address, settings.agent_port).start()
    workshop.warmer.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
