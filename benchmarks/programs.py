"""Public programs as they are: which of a folder's run in an agent pod, and what keeps the others from it.

Each file that has an entrypoint for LiveKit's worker is loaded as a pod would load it, in a process of its own, with a
real LiveKit and the test models beside it; the keys of vendors that it may want are dummies. It gets one call, and one
question: typed, then spoken. Give the machine nothing else to reach: in a network namespace of its own vendors are
away, and nothing of the programs gets out.

Fetch the programs and install their packages first; the Python that runs this runs them too.
"""

import argparse
import contextlib
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from benchmarks.processes import run_benchmark
from testing.agent_pod import AgentPod, Follower, build_assignment, build_provider, running_pod
from testing.customer import Customer, CustomerError, joined_room
from testing.fake_openai import FakeOpenAI, running_fake_openai
from testing.livekit import LiveKitServer, new_room, running_livekit
from testing.sound import build_murmur
from testing.waiting import eventually
from voicesession.assignment import CallEnded

LOAD_SECONDS, START_SECONDS, ANSWER_SECONDS = 120.0, 40.0, 15.0
QUESTION = "What can you do for me today?"
_ENTRYPOINT = re.compile(r"def entrypoint|rtc_session|WorkerOptions\(")
_VARIABLE = re.compile(r"""(?:environ\[|environ\.get\(|getenv\()\s*['"]([A-Z][A-Z0-9_]*)""")
_PLUGINS = re.compile(r"from livekit\.plugins(?:\.(\w+)[\w.]*)? import \(?([\w,\s]*)")
_MESSAGE = re.compile(r"[A-Za-z_.]*(?:Error|Exception)\b[^\n]*")
# Where a plugin's key is not called after it.
_OTHER_KEYS = {"elevenlabs": "ELEVEN_API_KEY", "aws": "AWS_ACCESS_KEY_ID", "playai": "PLAYAI_USER_ID"}

ANSWERS, STARTS, JOINS, FAILS, NO_PACKAGE, NO_LOAD = (
    "answers",
    "session starts, no answer",
    "joins, no session",
    "fails in the call",
    "wants a package",
    "cannot be loaded",
)

Ask = Callable[[Customer, FakeOpenAI], Awaitable[None]]


@dataclass(frozen=True)
class Tried:
    """How far one program came, and in one line what stopped it."""

    program: str
    result: str
    detail: str = ""


def find_programs(folder: Path) -> Iterator[Path]:
    """Yields every file below that has an entrypoint."""
    for file in sorted(folder.rglob("*.py")):
        if _ENTRYPOINT.search(file.read_text(errors="replace")):
            yield file


def build_environment(program: Path) -> dict[str, str]:
    """Returns a stand-in for every variable that the program or its plugins may read, but LiveKit's own."""
    texts = [file.read_text(errors="replace") for file in program.parent.rglob("*.py")]
    names = {name for text in texts for name in _VARIABLE.findall(text)}
    for text in texts:
        for module, imported in _PLUGINS.findall(text):
            for plugin in [module] if module else re.findall(r"\w+", imported):
                names.update({_OTHER_KEYS.get(plugin, ""), f"{plugin.upper()}_API_KEY"})
    return {name: "dummy" for name in names if name and not name.startswith(("LIVEKIT_", "OPENAI_"))}


def find_last_error(pod: AgentPod) -> str:
    """Returns the newest error that the pod's log tells, in one line."""
    for line in reversed(pod.lines):
        if line.get("level") in {"error", "critical"}:
            told = line.get("reason") or line.get("detail") or line.get("error") or ""
            return f"{line['message']}: {told}"[:200]
    found = _MESSAGE.findall(pod.log)
    return found[-1][:200] if found else ""


async def try_program(program: Path, name: str, livekit: LiveKitServer, fake: FakeOpenAI) -> Tried:
    """Loads one program, calls it, and asks it one question."""
    environment = {
        **build_environment(program),
        "AGENT_CODE": program.stem,
        "WORKING_FOLDER": str(program.parent),
    }
    async with running_pod([build_provider(fake.base_url)], None, wait=False, **environment) as pod:
        try:
            await eventually(lambda: is_settled(pod), LOAD_SECONDS, "loaded")
        except TimeoutError:
            return Tried(name, NO_LOAD, f"not loaded after {LOAD_SECONDS:.0f} s")
        if pod.process.returncode is not None:
            message = pod.termination().message if (pod.folder / "termination").exists() else "the process ended"
            is_package = "ModuleNotFoundError" in message or "ImportError" in message
            return Tried(name, NO_PACKAGE if is_package else NO_LOAD, message)
        room = new_room()
        follower = await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            result = await hold_call(customer, follower, fake)
        ended = follower.all_of(CallEnded)
        if result == ANSWERS and "a model failed" in pod.log:
            # What was heard may have been the apology.
            result = STARTS
        detail = "" if result == ANSWERS else (ended[0].message if ended else "") or find_last_error(pod)
        return Tried(name, result, detail)


async def is_settled(pod: AgentPod) -> bool:
    """Tells whether the pod waits for its call, or has ended."""
    if pod.process.returncode is not None:
        return True
    with contextlib.suppress(aiohttp.ClientError):
        return await pod.get("/readyz") == 200
    return False


async def hold_call(customer: Customer, follower: Follower, fake: FakeOpenAI) -> str:
    """Waits for the agent's session, asks, and tells how far it came."""
    try:
        await customer.until(lambda: customer.agent_state or follower.all_of(CallEnded), START_SECONDS, "a session")
    except CustomerError:
        return JOINS if customer.heard.agent_joins else FAILS
    if customer.agent_state is None:
        return FAILS
    try:
        await customer.until(lambda: customer.agent_state != "initializing", START_SECONDS, "one that listens")
        for ask in (type_question, speak_question):
            if await is_answered(customer, fake, ask):
                return ANSWERS
    except CustomerError:
        pass
    return STARTS


async def type_question(customer: Customer, _fake: FakeOpenAI) -> None:
    """As a text."""
    await customer.type(QUESTION)


async def speak_question(customer: Customer, fake: FakeOpenAI) -> None:
    """As sound, of which the test models hear the words."""
    fake.transcripts.append(QUESTION)
    await customer.say(build_murmur(2.0) + bytes(48_000))


async def is_answered(customer: Customer, fake: FakeOpenAI, ask: Ask) -> bool:
    """Asks until the model has heard the question and the agent has said something since; twice at most."""
    began = time.monotonic()
    for _ in range(2):
        await ask(customer, fake)
        with contextlib.suppress(CustomerError):
            await customer.until(lambda: was_asked(fake), ANSWER_SECONDS, "the question at the model")
            await customer.until(lambda: has_said(customer, began), ANSWER_SECONDS, "an answer")
            return True
    return False


def was_asked(fake: FakeOpenAI) -> bool:
    """Tells whether a model of ours has had the question."""
    return QUESTION in json.dumps([fake.chats, fake.realtime_events])


def has_said(customer: Customer, since: float) -> bool:
    """Tells whether the agent has spoken since then, in words or aloud."""
    written = any(said.at > since and said.identity == "agent" and said.text for said in customer.heard.transcripts)
    return written or customer.heard.audible_after(since) is not None


async def try_folder(folder: Path, only: str, results: Path | None) -> list[Tried]:
    """Tries each program of the folder, one after the other; `results` gets a line for each as it comes."""
    tried = []
    programs = [program for program in find_programs(folder) if re.search(only, str(program))]
    with running_livekit() as livekit:
        for number, program in enumerate(programs, 1):
            async with running_fake_openai() as fake:
                one = await try_program(program, str(program.relative_to(folder)), livekit, fake)
            tried.append(one)
            print(f"{number}/{len(programs)} {one.program}: {one.result} {one.detail}", file=sys.stderr, flush=True)
            if results:
                with results.open("a") as file:
                    file.write(json.dumps(asdict(one)) + "\n")
    return tried


def build_table(tried: Sequence[Tried]) -> str:
    """Returns the results as a page's tables: how many came how far, and each program."""
    counts = Counter(one.result for one in tried)
    order = [result for result in (ANSWERS, STARTS, JOINS, FAILS, NO_PACKAGE, NO_LOAD) if counts[result]]
    lines = ["| result | programs |", "|---|---|", *(f"| {result} | {counts[result]} |" for result in order), ""]
    lines += ["| program | result | what stopped it |", "|---|---|---|"]
    for one in sorted(tried, key=lambda one: (order.index(one.result), one.program)):
        detail = one.detail.replace("|", "/")
        lines.append(f"| {one.program} | {one.result} | {detail} |")
    return "\n".join(lines)


def main() -> int:
    """Tries them, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the programs are")
    parser.add_argument("--only", default="", help="a regular expression: those whose path has it")
    parser.add_argument("--results", type=Path, help="gets a JSON object a line, as each program is done")
    options = parser.parse_args()

    async def run() -> int:
        print(build_table(await try_folder(options.folder, options.only, options.results)))
        return 0

    return run_benchmark(run())


if __name__ == "__main__":
    raise SystemExit(main())
