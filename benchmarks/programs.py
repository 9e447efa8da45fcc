"""Public programs as they are: which of a folder's run in an agent pod, and what keeps the others from it.

Each file that has an entrypoint for LiveKit's worker is loaded as a pod would load it, in a process of its own, with a
real LiveKit and the test models beside it; the keys of vendors that it may want are dummies, and at the addresses of
some (`testing.fake_vendors`) are the test models too, by a proxy. It gets one call, and one question: typed, then
spoken. Give the machine nothing else to reach: in a network namespace of its own other vendors are away, and nothing of
the programs gets out.

Fetch the programs and install their packages first; the Python that runs this runs them too. `--page` tries nothing:
it prints the tables of the results that are kept.
"""

import argparse
import contextlib
import json
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from benchmarks.processes import run_benchmark
from benchmarks.program_needs import build_environment, find_programs, has_chat_model, read_needs
from benchmarks.program_results import (
    ANSWERS,
    FAILS,
    HEARS,
    JOINS,
    KEPT,
    NO_LOAD,
    NO_PACKAGE,
    STARTS,
    WORDS,
    Tried,
    build_tables,
    keep,
    read_results,
)
from testing.agent_pod import AgentPod, Follower, build_assignment, build_provider, running_pod
from testing.company_network import company_network
from testing.customer import Customer, CustomerError, joined_room
from testing.fake_openai import FakeOpenAI, RealtimeConversation, running_fake_openai
from testing.fake_vendors import HOSTS, FakeVendors
from testing.livekit import LiveKitServer, new_room, running_livekit
from testing.local_speech import speech_pcm
from testing.waiting import eventually
from testing.web_server import serving
from voicesession.assignment import CallEnded, Finishing
from voicesession.names import AGENT_IDENTITY

LOAD_SECONDS, START_SECONDS, ANSWER_SECONDS, SOUND_SECONDS = 120.0, 40.0, 15.0, 8.0
QUESTION = "What can you do for me today?"
_MESSAGE = re.compile(r"""[A-Za-z_.]*(?:Error|Exception)\b[^\n"]*""")


@dataclass(frozen=True)
class Asked:
    """The customer's question, each time that it was asked. `at`: of the first time, monotonic seconds."""

    customer: Customer
    follower: Follower
    fake: FakeOpenAI
    at: float

    @property
    def is_over(self) -> bool:
        """Whether the call has ended, or is ending: nobody answers any more."""
        return bool(self.follower.all_of(CallEnded) or self.follower.all_of(Finishing))

    @property
    def reached_model(self) -> bool:
        """Whether a model of ours has had it."""
        return QUESTION in json.dumps([self.fake.chats, self.fake.realtime_events])

    @property
    def is_answered(self) -> bool:
        """Whether the agent has said an answer to it: the test models' have it in them, or are always the same."""
        answers = (QUESTION, RealtimeConversation.ANSWER) if self.fake.realtime_events else (QUESTION,)
        return self.reached_model and any(
            said.at > self.at and said.identity == AGENT_IDENTITY and answer in said.text
            for said in self.customer.heard.transcripts
            for answer in answers
        )

    @property
    def is_heard(self) -> bool:
        """Whether it comes back without a model: in words, as of one who transcribes, or in sound, as an echo."""
        if self.fake.chats or self.fake.realtime_events:
            return False
        written = any(QUESTION in said.text for said in self.customer.heard.transcripts)
        return written or (not self.fake.spoken and self.is_audible)

    @property
    def is_audible(self) -> bool:
        """Whether the agent has been heard since."""
        return self.customer.heard.audible_after(self.at) is not None


def find_last_error(pod: AgentPod) -> str:
    """Returns the newest error that the pod's log tells, in one line."""
    for line in reversed(pod.lines):
        if line.get("level") in {"error", "critical"}:
            told = line.get("reason") or line.get("detail") or line.get("error") or ""
            return f"{line['message']}: {told}"[:200]
    found = _MESSAGE.findall(pod.log)
    return found[-1][:200] if found else ""


@contextlib.asynccontextmanager
async def vendors_network(fake: FakeOpenAI) -> AsyncIterator[Mapping[str, str]]:
    """Has the test models at the vendors' addresses too; yields the variables by which a pod finds them there."""
    with tempfile.TemporaryDirectory(prefix="vac-vendors-") as folder:
        async with (
            serving(FakeVendors(fake).build_app()) as port,
            company_network(port, Path(folder) / "pki", HOSTS) as network,
        ):
            yield network.environment


async def try_program(
    program: Path, name: str, livekit: LiveKitServer, fake: FakeOpenAI, network: Mapping[str, str]
) -> Tried:
    """Loads one program, calls it, and asks it one question. `network`: variables that all programs get."""
    environment = {
        **build_environment(program),
        **network,
        "AGENT_CODE": program.stem,
        "WORKING_FOLDER": str(program.parent),
    }
    async with running_pod([build_provider(fake.base_url)], None, wait=False, shows_log=True, **environment) as pod:
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
        if result == HEARS and (has_chat_model(program) or "a model failed" in pod.log):
            # It should have answered; or what was heard was the apology.
            result = STARTS
        ended = follower.all_of(CallEnded)
        detail = "" if result in {ANSWERS, HEARS} else (ended[0].message if ended else "") or find_last_error(pod)
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
    asked = Asked(customer, follower, fake, time.monotonic())
    with contextlib.suppress(CustomerError):
        await customer.until(
            lambda: asked.is_over or customer.agent_state not in {None, "initializing"},
            START_SECONDS,
            "one that listens",
        )
        if asked.is_over:
            return FAILS
        asked = replace(asked, at=time.monotonic())
        for ask in (type_question, speak_question):
            if await is_answered(asked, ask):
                return await tell_answer(asked)
        if asked.is_heard:
            return HEARS
    return STARTS


async def tell_answer(asked: Asked) -> str:
    """Tells whether what was answered in words is heard too."""
    try:
        await asked.customer.until(lambda: asked.is_audible, SOUND_SECONDS, "the answer's sound")
    except CustomerError:
        return WORDS
    return ANSWERS


async def type_question(asked: Asked) -> None:
    """As a text."""
    await asked.customer.type(QUESTION)


async def speak_question(asked: Asked) -> None:
    """As speech, of which the test models hear the words."""
    asked.fake.transcripts.append(QUESTION)
    await asked.customer.say(speech_pcm(QUESTION) + bytes(48_000))


async def is_answered(asked: Asked, ask: Callable[[Asked], Awaitable[None]]) -> bool:
    """Asks until the agent has answered, twice at most."""
    for _ in range(2):
        await ask(asked)
        with contextlib.suppress(CustomerError):
            await asked.customer.until(
                lambda: asked.is_over or asked.reached_model, ANSWER_SECONDS, "the question at the model"
            )
            await asked.customer.until(lambda: asked.is_over or asked.is_answered, ANSWER_SECONDS, "an answer")
            return asked.is_answered
        if asked.is_heard:
            return False
    return False


async def try_folder(folder: Path, only: str, keep_one: Callable[[Tried], None]) -> None:
    """Tries each program of the folder, one after the other; `keep_one` is told of each as it is done."""
    programs = [program for program in find_programs(folder) if re.search(only, str(program))]
    with running_livekit() as livekit:
        for number, program in enumerate(programs, 1):
            async with running_fake_openai() as fake, vendors_network(fake) as network:
                one = await try_program(program, str(program.relative_to(folder)), livekit, fake, network)
            print(f"{number}/{len(programs)} {one.program}: {one.result} {one.detail}", file=sys.stderr, flush=True)
            keep_one(replace(one, detail=one.detail.replace(f"{folder}/", ""), needs=read_needs(program)))


def main() -> int:
    """Tries them, or prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="where the programs are")
    parser.add_argument("--only", default="", help="a regular expression: those whose path has it")
    parser.add_argument("--repository", default="", help="the folder's, for the results")
    parser.add_argument("--commit", default="", help="the one that was fetched, likewise")
    parser.add_argument("--results", type=Path, default=KEPT, help="where results are kept, a JSON object a line")
    parser.add_argument("--page", action="store_true", help="print the results' tables, and try nothing")
    options = parser.parse_args()
    if options.page:
        print(build_tables(read_results(options.results)))
        return 0
    if options.folder is None:
        parser.error("name a folder, or give --page")

    def keep_one(one: Tried) -> None:
        keep(options.results, replace(one, repository=options.repository, commit=options.commit))

    async def run() -> int:
        await try_folder(options.folder, options.only, keep_one)
        return 0

    return run_benchmark(run())


if __name__ == "__main__":
    raise SystemExit(main())
