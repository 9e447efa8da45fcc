"""A customer presses start on the page in a real Chromium: who is first in the room, and when is a word heard?

The clock is the browser's own, from the click's time stamp to the page's User Timings. The page fetches its token at
the click, so that is inside. The agent was first where it was in the room when the browser's `Room.connect` returned:
LiveKit's log says when the agent's connection was complete, by the same machine's clock. Whether the browser knew of it
by then is told as well (seen): LiveKit tells others of a participant when it first says or publishes something. Heard
is the first sound of the received track above -45 dB, by an AnalyserNode that the page reads every 40 ms, so up to 40
ms late. By `/api/connection-details` the page only asks at that address instead of `/api/token`.

Every call is a new tab with an empty profile, loaded before the click, in one browser that has already allowed the
microphone. A call begins when no pod starts or ends. The two doors take turns, each with the agents of every node.
Browser and servers share the cores, the browser with the weight of one machine (`benchmarks/own_machine.py`).
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Browser
from playwright.async_api import Error as BrowserError

from benchmarks.own_machine import on_own_machine
from benchmarks.release import run_against, until_refilled
from benchmarks.report import Progress, percentile, print_result, print_table
from local_cluster.ports import free_port
from testing.browser import CHROMIUM, DESKTOP, TalkPage, chromium, write_wav
from testing.forwarding import start_forwarding
from testing.release import Release, ReleaseError, tool_environment
from voicesession.names import AGENT_IDENTITY

GREETING_MILLIS = 30_000
# What a pod that has just become ready still does: its greeting is spoken ahead.
SETTLE_SECONDS = 1.0
# From the click: as long as most calls take up to the first word.
QUIET_SECONDS = 1.0
# What LiveKit logged is read this much later at most.
LOG_SECONDS = 5.0
LOG_LINE_BYTES = 1 << 20

NOTE_CLICK = """
addEventListener("click", (event) => { window.clickedAt = event.timeStamp; }, { capture: true });
"""
ASK_FOR_CONNECTION_DETAILS = """
const ask = window.fetch;
window.fetch = (input, init) => ask(input === "/api/token" ? "/api/connection-details" : input, init);
"""
# The click in milliseconds since 1970, and milliseconds from it. The token's request is by its address: a call by the
# wrong door has none.
READ_CALL = """(door) => {
    const at = (name) => performance.getEntriesByName(name)[0].startTime - window.clickedAt;
    performance.getEntriesByName(new URL(door, location.href).href)[0].startTime;
    const marks = ["call-token", "call-connected", "call-agent", "call-firstAudio"].map(at);
    return [performance.timeOrigin + window.clickedAt, ...marks];
}"""
IS_HEARD = "() => performance.getEntriesByName('call-firstAudio').length > 0"


@dataclass(frozen=True)
class Call:
    """Milliseconds from the click."""

    token: float
    connected: float
    agent_in_room: float
    agent_seen: float
    greeting: float


@dataclass
class Door:
    """One way in, and the calls that came by it."""

    path: str
    script: str
    calls: list[Call] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def agent_first(self) -> int:
        """Returns how often the agent was in the room when the browser had connected."""
        return sum(call.agent_in_room <= call.connected for call in self.calls)

    def agent_seen_first(self) -> int:
        """Returns how often the browser knew of it then."""
        return sum(call.agent_seen <= call.connected for call in self.calls)

    def greetings(self) -> list[float]:
        """Returns when the first word was heard, call by call."""
        return [call.greeting for call in self.calls]

    def rows(self) -> dict[str, list[float]]:
        """Returns the table's rows."""
        return {
            f"{self.path}: its answer": [call.token for call in self.calls],
            f"{self.path}: connected": [call.connected for call in self.calls],
            f"{self.path}: the agent joined": [call.agent_in_room for call in self.calls],
            f"{self.path}: the agent is seen": [call.agent_seen for call in self.calls],
            f"{self.path}: the first word": self.greetings(),
        }


@contextlib.asynccontextmanager
async def opened_tab(browser: Browser, base_url: str, script: str) -> AsyncIterator[TalkPage]:
    """Yields the page, loaded and quiet, with a script of ours that ran before its own."""
    context = await browser.new_context(viewport=DESKTOP, permissions=["microphone"])
    try:
        await context.add_init_script(script)
        tab = await context.new_page()
        await tab.goto(base_url, wait_until="networkidle")
        yield TalkPage(tab)
    finally:
        await context.close()


@contextlib.asynccontextmanager
async def followed_agents(release: Release) -> AsyncIterator[asyncio.Queue[float]]:
    """Yields a queue that gets the moment when an agent's connection is complete, in milliseconds since 1970.

    From LiveKit's log, which is followed: asked for at each call, it may just have been rotated away.
    """
    process = await asyncio.create_subprocess_exec(
        *("kubectl", "--namespace", release.namespace),
        *("logs", f"deployment/{release.full_name('livekit')}", "--follow", "--tail=0"),
        env=tool_environment(),
        stdout=asyncio.subprocess.PIPE,
        limit=LOG_LINE_BYTES,
    )
    moments: asyncio.Queue[float] = asyncio.Queue()

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if b'"participant active"' in line:
                event = json.loads(line)
                if event["participant"] == AGENT_IDENTITY:
                    moments.put_nowait(1000 * float(event["ts"]))

    reader = asyncio.create_task(read())
    try:
        yield moments
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            process.terminate()
        await process.wait()
        await reader


async def next_agent(moments: asyncio.Queue[float]) -> float:
    """Returns the next of these moments.

    Raises:
        testing.release.ReleaseError: the log tells of none.
    """
    try:
        async with asyncio.timeout(LOG_SECONDS):
            return await moments.get()
    except TimeoutError:
        raise ReleaseError("LiveKit's log tells of no agent that joined; it has to log as JSON at info") from None


async def call_once(browser: Browser, base_url: str, door: Door, agents: asyncio.Queue[float]) -> None:
    """Makes one call by this door, up to the first word, and hangs up."""
    while not agents.empty():
        agents.get_nowait()  # of a call that failed
    async with opened_tab(browser, base_url, NOTE_CLICK + door.script) as page:
        try:
            await page.start()
            # Asking the page how far it is would take the CPU from it, and from the rest.
            await asyncio.sleep(QUIET_SECONDS)
            await page.tab.wait_for_function(IS_HEARD, polling=100, timeout=GREETING_MILLIS)
            clicked, token, connected, seen, greeting = await page.tab.evaluate(READ_CALL, door.path)
            active = await next_agent(agents)
            door.calls.append(Call(token, connected, active - clicked, seen, greeting))
            await page.button("Hang up").click()
            await page.until_look("ended")
        except BrowserError as error:
            shown = " ".join((await page.tab.locator("main").inner_text()).split())
            door.failures.append(f"{door.path}: {error.message.splitlines()[0]}; the page shows: {shown[:200]}")


async def make_calls(release: Release, base_url: str, doors: Sequence[Door], count: int, interval: float) -> None:
    """Makes `count` calls by each door, in turns, each from a full pool."""
    progress = Progress("calls", count * len(doors), every=30)
    with (
        tempfile.TemporaryDirectory(prefix="bench-front-door-") as folder,
        on_own_machine(CHROMIUM, Path(folder)) as program,
    ):
        silence = write_wav(Path(folder) / "silence.wav", [60.0])
        async with chromium(silence, program=program) as browser, followed_agents(release) as agents:
            for number in range(count * len(doors)):
                await until_refilled(release)
                await asyncio.sleep(SETTLE_SECONDS)
                began = time.monotonic()
                # Not simply in turns: pods of two nodes take turns too.
                door = doors[(number + number // len(doors)) % len(doors)]
                await call_once(browser, base_url, door, agents)
                progress.at(number + 1)
                await asyncio.sleep(max(0.0, interval - (time.monotonic() - began)))


@contextlib.contextmanager
def on_localhost(release: Release) -> Iterator[str]:
    """Yields the token service's address on localhost, where browsers grant a page the microphone."""
    port = free_port()
    process = start_forwarding(port, release.token_service_address())
    try:
        yield f"http://localhost:{port}"
    finally:
        os.kill(process, signal.SIGTERM)


def report(token: Door, details: Door, count: int) -> int:
    """Prints the table, what failed, and the last line; returns 1 where a call failed."""
    print_table("From the click, by the browser's clock", token.rows() | details.rows())
    for door in (token, details):
        first, seen = door.agent_first(), door.agent_seen_first()
        print(
            f"  {door.path}: the agent was in the room before the browser in {first} of {count} calls, seen in {seen}"
        )
    failures = token.failures + details.failures
    for failure in failures[:10]:
        print(f"  failed: {failure}")
    print_result(
        {
            "agent_first_token": token.agent_first(),
            "agent_first_details": details.agent_first(),
            "agent_seen_first_token": token.agent_seen_first(),
            "agent_seen_first_details": details.agent_seen_first(),
            # Of the calls by /api/token: the page's own way.
            "greeting_p50_ms": percentile(token.greetings(), 0.5),
            "greeting_p99_ms": percentile(token.greetings(), 0.99),
            "greeting_details_p50_ms": percentile(details.greetings(), 0.5),
            "greeting_details_p99_ms": percentile(details.greetings(), 0.99),
            "calls_by_each_door": count,
            "failures": len(failures),
        }
    )
    return 1 if failures else 0


def main() -> int:
    """Runs the benchmark; returns 1 where a call failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.front_door", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="calls by each door (default 100)")
    parser.add_argument("--interval", type=float, default=5.0, help="least seconds from call to call (default 5)")
    parser.add_argument("--release", default="voice", help="release and namespace (default voice, as the demo's)")
    arguments = parser.parse_args()

    def measure(release: Release) -> int:
        doors = (Door("/api/token", ""), Door("/api/connection-details", ASK_FOR_CONNECTION_DETAILS))
        with on_localhost(release) as base_url:
            asyncio.run(make_calls(release, base_url, doors, arguments.count, arguments.interval))
        return report(*doors, arguments.count)

    return run_against(arguments.release, measure)


if __name__ == "__main__":
    sys.exit(main())
