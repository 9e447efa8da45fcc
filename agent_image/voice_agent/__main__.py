"""`python -m voice_agent`: gets everything ready, then waits for one call."""

import asyncio
import ctypes
import gc
import os
import signal
import sys

from voice_agent.logs import JsonFormatter, configure_logs
from voice_agent.process import lean_imports
from voice_agent.process.termination import CODE_IMPORT_FAILED, leave, write_termination_message
from voice_agent.settings import AgentSettings, SettingsError, read_settings
from voicesession.assignment import Assignment

# Set before livekit-agents is imported: no turn detector's 243 MB unless a profile asks, no reports to any cloud.
os.environ.setdefault("LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE", "0")
# One thread drives LiveKit's connection. With more, on a busy machine, a new request to negotiate can come just as the
# loop that negotiates ends: it never runs again, and the agent neither hears nor is heard (livekit 1.1.21, rust-sdks:
# `queue_negotiation`). Audio has threads of its own.
os.environ.setdefault("TOKIO_WORKER_THREADS", "1")
lean_imports.install()


def main() -> None:
    """Runs the pod's whole life."""
    # Without a handler, a container's first process does not get the signal at all: a pod that is deleted while it
    # starts would go on importing until its grace period is over.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    logs = configure_logs(settings.agent_log_level)
    asyncio.run(run(settings, logs))


def note_assignment(logs: JsonFormatter, assignment: Assignment) -> None:
    """Makes every log line name the call, and hide its tokens."""
    logs.context.update(session=assignment.session_id)
    logs.secrets.update({assignment.room_token, assignment.write_token})


async def run(settings: AgentSettings, logs: JsonFormatter) -> None:
    """Loads and builds everything, listens, and waits until the call's end ends the process."""
    # Imported here, after the finder above is installed and errors can be told.
    from aiohttp import web  # noqa: PLC0415

    from voice_agent.code_loader import CodeLoadError  # noqa: PLC0415
    from voice_agent.pod import Pod  # noqa: PLC0415
    from voice_agent.process import native_logs  # noqa: PLC0415
    from voice_agent.process.rehearsal import rehearse  # noqa: PLC0415
    from voice_agent.server import PodServer  # noqa: PLC0415
    from voice_agent.workshop import build_workshop  # noqa: PLC0415

    native_logs.silence()
    try:
        workshop = build_workshop(settings, logs.secrets.add)
    except CodeLoadError as error:
        write_termination_message(settings.termination_log, CODE_IMPORT_FAILED, str(error))
        leave(1)
    pod = Pod(workshop, leave, lambda assignment: note_assignment(logs, assignment))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, pod.terminate)
    app = PodServer(pod, settings.operator_public_key, settings.pod_uid).build_app()
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await rehearse()
    # What has been built stays: the collector need not walk it again during the call. What was freed goes back: 2 MB.
    gc.collect()
    gc.freeze()
    ctypes.CDLL(None).malloc_trim(0)
    await web.TCPSite(runner, "0.0.0.0", settings.agent_port).start()  # noqa: S104 - the operator is another pod
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
