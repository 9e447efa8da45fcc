"""A livekit-agents worker without an agent name, as a team may still have one running: LiveKit sends it to every room.

A program: `python -m testing.plain_worker start`, with LiveKit's address and keys in its environment.
"""

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from livekit.agents import AgentServer, JobContext, JobExecutorType, cli

from testing.livekit import KEY, SECRET, LiveKitServer
from testing.waiting import eventually

READY_SECONDS = 60.0

# A thread is enough for one that says nothing. A busy machine makes a worker refuse by default.
server = AgentServer(job_executor_type=JobExecutorType.THREAD, num_idle_processes=1, load_fnc=lambda: 0.0, port=0)


@server.rtc_session()
async def entrypoint(context: JobContext) -> None:
    """Is in the room."""
    await context.connect()


@contextlib.asynccontextmanager
async def running_plain_worker(livekit: LiveKitServer) -> AsyncIterator[None]:
    """Runs one; it is registered with LiveKit when the block begins."""
    environment = {**os.environ, "LIVEKIT_URL": livekit.url, "LIVEKIT_API_KEY": KEY, "LIVEKIT_API_SECRET": SECRET}
    with tempfile.NamedTemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "testing.plain_worker", "start"),
            env=environment,
            stdout=log,
            stderr=log,
        )

        def has_registered() -> bool:
            written = Path(log.name).read_text()
            assert process.returncode is None, written
            return "registered worker" in written

        try:
            await eventually(has_registered, READY_SECONDS, lambda: Path(log.name).read_text())
            yield
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


if __name__ == "__main__":
    cli.run_app(server)
