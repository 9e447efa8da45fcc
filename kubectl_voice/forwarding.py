"""A pod's port on this machine's loopback, by `kubectl port-forward`: by the user's own rights, in any cluster."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence

_LISTENS = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+)")
_START_SECONDS = 15.0
_END_SECONDS = 3.0


class ForwardingError(Exception):
    """The port cannot be reached; the message has kubectl's own words."""


@contextlib.asynccontextmanager
async def forwarded(target: str, port: int, namespace: str, context: str | None) -> AsyncIterator[int]:
    """Yields the local port that answers for `port` of `target` ("service/NAME", "pod/NAME").

    Raises:
        ForwardingError: kubectl is missing, may not, or has not begun within 15 s.
    """
    options = ["--namespace", namespace, *(["--context", context] if context else [])]
    process = await _start([*options, "port-forward", "--address", "127.0.0.1", target, f":{port}"])
    try:
        yield await _read_port(process, target)
    finally:
        await _end(process)


async def _start(arguments: Sequence[str]) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            "kubectl", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError as error:
        raise ForwardingError("kubectl is not on the PATH, which opens the way to the database") from error


async def _read_port(process: asyncio.subprocess.Process, target: str) -> int:
    out, err = _streams(process)
    try:
        async with asyncio.timeout(_START_SECONDS):
            while line := await out.readline():
                if found := _LISTENS.match(line):
                    return int(found[1])
            words = (await err.read()).decode(errors="replace").strip()
    except TimeoutError as error:
        raise ForwardingError(f"{target} does not answer within {_START_SECONDS:.0f} s") from error
    raise ForwardingError(f"{target} cannot be reached: {words or 'kubectl said nothing'}")


def _streams(process: asyncio.subprocess.Process) -> tuple[asyncio.StreamReader, asyncio.StreamReader]:
    if process.stdout is None or process.stderr is None:
        raise ForwardingError("kubectl was started without its output")
    return process.stdout, process.stderr


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
