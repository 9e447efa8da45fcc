"""The pod of a talking agent dies: how soon is the next one there, what does it know, and what is lost of the words.

Each call: the customer gives their name, asks for a long story, and in the middle of a sentence the agent's process is
killed (-9). From the death until the customer's client is told of the successor, and until its first audible sound.
Then the customer asks for the name that was told before. Afterwards the rows are compared with what was heard: each
sentence of both sides, the one that was cut off too. `doubled` counts what was written, or greeted with, twice.

Beside it a plain livekit-agents worker, whose job processes are killed in the same way: whether any agent comes back.
Apart, a few each: the kernel's kill for want of memory, code that blocks, which the pod's own watchdog ends, a node
whose network is gone; and `kubectl delete pod` and an eviction, of which the agent hears in time to hand over.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from livekit import api, rtc

from benchmarks.call_stage import POD_FAULTS, Call, CallStage, Row, is_message
from benchmarks.release import run_against
from benchmarks.release_stage import LiveKitsNodeError, ReleaseStage, require_nodes
from benchmarks.report import Progress, percentile, print_result, print_table
from benchmarks.worker import Worker, peer_door, room_of, running_worker
from testing.customer import Customer, CustomerError, Transcribed
from testing.livekit import KEY, SECRET, running_livekit
from testing.release import Release, ReleaseError
from testing.transcripts import words
from voicesession.names import AGENT_IDENTITY

INTRODUCTION = "Hello, my name is Robert."
NAME = "robert"
STORY = "Please tell me a long story."
QUESTION = "What is my name?"
# How long into the story its teller dies; what was said less than two seconds ago need not be written.
EARLIEST, LATEST = 2.5, 5.0
# By these the agent is not dead at once: it talks until it has handed over in a quiet moment.
WARNED = {"delete", "evict"}
SUCCESSOR_SECONDS = 60.0
FIRST_WORD_SECONDS = 20.0
ANSWER_SECONDS = 15.0
TRIES = 2
# A successor cannot be interrupted while its echo canceller warms up.
WARM_UP_SECONDS = 3.5
PEER_AT_ONCE = 4
PEER_JOIN_SECONDS = 30.0
# LiveKit misses a dead agent after some 20 s; whoever sends another would have done so by then.
PEER_SECONDS = 45.0
EACH_OTHER = 5
MOST_CALLS = 12
SEED = 1


@dataclass
class Outcome:
    """What came of one call. Seconds from the death on; `problem`: why it was not carried on."""

    fault: str
    joined: float | None = None
    first_word: float | None = None
    remembered: bool = False
    rows_lost: int = 0
    doubled: int = 0
    problem: str = ""


async def suffer(stage: CallStage, fault: str, dice: random.Random) -> Outcome:
    """Holds one call whose pod suffers a fault in the middle of a sentence."""
    outcome = Outcome(fault)
    async with stage.call() as call:
        try:
            await _until_in_a_story(call, dice.uniform(EARLIEST, LATEST))
            known = set(call.customer.heard.agent_joins)
            hurt_at = await stage.hurt(call, fault)
            joined_at = await call.customer.until_successor(known, SUCCESSOR_SECONDS)
            outcome.joined = joined_at - hurt_at
            if fault not in WARNED:
                first = await call.customer.until_audible(joined_at, FIRST_WORD_SECONDS, "the successor's first word")
                outcome.first_word = first - hurt_at
            outcome.remembered = await _is_remembered(call)
        except LiveKitsNodeError:
            raise
        except (CustomerError, ReleaseError) as error:
            outcome.problem = str(error)
        finally:
            await stage.mend()
        heard = call.transcript()
    try:
        rows = await stage.rows_at_end(call)
    except (TimeoutError, ReleaseError) as error:
        outcome.problem = f"{outcome.problem}; not over: {error}"
        return outcome
    outcome.rows_lost, outcome.doubled = compare(rows, heard, call.spoken)
    return outcome


async def _until_in_a_story(call: Call, seconds: float) -> None:
    customer = call.customer
    await customer.answer(customer.connect_began_at)
    await customer.answer(await call.say(INTRODUCTION))
    await customer.until_audible(await call.say(STORY), ANSWER_SECONDS, "a story")
    await asyncio.sleep(seconds)


async def _is_remembered(call: Call) -> bool:
    """Asks for the name; tells whether the agent knows it. Once more where it was not heard."""
    await asyncio.sleep(WARM_UP_SECONDS)
    for _ in range(TRIES):
        before = len(call.customer.heard.transcripts)
        await call.say(QUESTION)
        try:
            await call.customer.until(lambda: _names_robert(call.customer, before), ANSWER_SECONDS, "the name")  # noqa: B023
        except CustomerError:
            continue
        return True
    return False


def _names_robert(customer: Customer, before: int) -> bool:
    answers = customer.heard.transcripts[before:]
    return any(said.identity == AGENT_IDENTITY and NAME in words(said.text) for said in answers)


def compare(rows: Sequence[Row], heard: Sequence[Transcribed], spoken: Sequence[str] = ()) -> tuple[int, int]:
    """Returns how many sentences that were heard are in no row, and how many are there, or were said, twice.

    The sentence in which the agent died had no end to be heard: something of it has to be in a row of its own. One that
    the customer interrupted is written as far as it was heard, to a word. A greeting is said twice where a successor
    begins as if it were the first. `spoken`: what the customer said, of which a transcription may not have come.
    """
    messages = [row for row in rows if is_message(row)]
    agents = [row for row in messages if row["role"] == "assistant"]
    customers = [row for row in messages if row["role"] == "user"]
    said = Counter(tuple(words(one.text)) for one in heard if words(one.text))
    by_agent = {tuple(words(one.text)) for one in heard if one.identity == AGENT_IDENTITY}
    lost = sum(1 for text in said if not _is_written(agents if text in by_agent else customers, text))
    story = next((row for row in reversed(customers) if "story" in words(row["content"])), None)
    if story:
        told = [row for row in agents if row["attempt"] == story["attempt"] and row["position"] > story["position"]]
        lost += 0 if any(words(row["content"]) for row in told) else 1
    sentences = Counter(tuple(words(row["content"])) for row in customers)
    asked = Counter(tuple(words(text)) for text in spoken)
    doubled = sum(max(0, count - max(1, said[text], asked[text])) for text, count in sentences.items())
    greeting = next((tuple(words(one.text)) for one in heard if one.identity == AGENT_IDENTITY), ())
    greeted = sum(1 for row in agents if tuple(words(row["content"])) == greeting)
    return lost, doubled + max(0, greeted - 1)


def _is_written(rows: Sequence[Row], text: tuple[str, ...]) -> bool:
    """Tells whether the text is in rows of one side: in one, in several, or as far as it was heard."""
    everything = f" {' '.join(word for row in rows for word in words(row['content']))} "
    if f" {' '.join(text)} " in everything:
        return True
    interrupted = (tuple(words(row["content"]))[:-1] for row in rows if row["interrupted"])
    return any(written and text[: len(written)] == written for written in interrupted)


async def _suffer_away_from_livekit(stage: CallStage, fault: str, dice: random.Random) -> Outcome:
    """Holds calls until one has a pod whose node can be cut off, where that is the fault."""
    for _ in range(MOST_CALLS):
        await stage.until_ready()
        with contextlib.suppress(LiveKitsNodeError):
            return await suffer(stage, fault, dice)
    raise ReleaseError(f"of {MOST_CALLS} calls none was on another node than LiveKit's")


async def suffer_all(stage: CallStage, faults: Sequence[str], seed: int = SEED) -> list[Outcome]:
    """Holds one call after the other, each with its fault."""
    dice, outcomes = random.Random(seed), []
    progress = Progress("calls", len(faults))
    for number, fault in enumerate(faults, start=1):
        outcome = await _suffer_away_from_livekit(stage, fault, dice)
        if outcome.problem:
            print(f"  {fault} {number}: {outcome.problem}", flush=True)
        outcomes.append(outcome)
        progress.at(number)
    return outcomes


# The peer


async def kill_peers(release: Release, count: int) -> int:
    """Kills the job processes of `count` calls of a plain worker; returns into how many rooms an agent came back."""
    recovered, progress = 0, Progress("calls of the plain worker", count)
    with running_livekit() as livekit:
        models = f"http://{release.local_models_address()}/v1"
        async with livekit.client() as client, running_worker(livekit.url, models, PEER_AT_ONCE) as worker:
            for begun in range(0, count, PEER_AT_ONCE):
                group = range(begun, min(count, begun + PEER_AT_ONCE))
                came_back = await asyncio.gather(*(_kill_peer(client, livekit.url, worker) for _ in group))
                recovered += sum(came_back)
                progress.at(group.stop)
    return recovered


async def _kill_peer(client: api.LiveKitAPI, url: str, worker: Worker) -> bool:
    """Kills the process of one call; tells whether an agent came back while its customer waited."""
    _, token = await peer_door(url, KEY, SECRET)()
    name = room_of(token)
    room, sids = rtc.Room(), set[str]()
    room.on("participant_connected", lambda who: sids.add(who.sid))
    await room.connect(url, token)
    try:
        sids |= {who.sid for who in room.remote_participants.values()}
        async with asyncio.timeout(PEER_JOIN_SECONDS):
            while (process := worker.process_of(name)) is None or not sids:  # noqa: ASYNC110 - it tells by its log
                await asyncio.sleep(0.2)
        before = len(sids)
        os.kill(process, signal.SIGKILL)
        try:
            async with asyncio.timeout(PEER_SECONDS):
                while len(sids) == before:  # noqa: ASYNC110 - told by LiveKit's events
                    await asyncio.sleep(0.2)
        except TimeoutError:
            return False
        return True
    finally:
        await room.disconnect()
        await client.room.delete_room(api.DeleteRoomRequest(room=name))


# What is told


def report(outcomes: Sequence[Outcome], others: Sequence[Outcome], worker_killed: int, worker_recovered: int) -> int:
    """Prints the tables and the last line; returns 1 where a call was not carried on, or a word was lost."""
    by_fault = {fault: [each for each in others if each.fault == fault] for fault in POD_FAULTS}
    by_fault = {"kill": list(outcomes), **{fault: each for fault, each in by_fault.items() if each}}
    rows = {f"{fault} → the next agent": [each * 1000 for each in joined(of)] for fault, of in by_fault.items()}
    spoken = {fault: first(of) for fault, of in by_fault.items() if fault not in WARNED}
    rows |= {f"{fault} → its first word": [each * 1000 for each in seconds] for fault, seconds in spoken.items()}
    print_table("A pod dies in the middle of a sentence", rows)
    print(f"  A plain worker's job processes killed: {worker_killed}, an agent came back: {worker_recovered}")
    everything = [*outcomes, *others]
    lacking = [each for each in everything if each.problem or not each.remembered or each.rows_lost or each.doubled]
    for each in lacking:
        print(f"  {each}")
    print_result(
        {
            "killed": len(outcomes),
            "recovered": len(joined(outcomes)),
            "joined_p50_ms": percentile(joined(outcomes), 0.5) * 1000,
            "joined_p99_ms": percentile(joined(outcomes), 0.99) * 1000,
            "first_word_p50_ms": percentile(first(outcomes), 0.5) * 1000,
            "remembered": sum(each.remembered for each in outcomes),
            "rows_lost": sum(each.rows_lost for each in everything),
            "doubled": sum(each.doubled for each in everything),
            "worker_killed": worker_killed,
            "worker_recovered": worker_recovered,
            "others": len(others),
            "others_recovered": len(joined(others)),
            "others_remembered": sum(each.remembered for each in others),
            **{
                f"{fault}_joined_p50_s": percentile(joined(of), 0.5)
                for fault, of in by_fault.items()
                if fault != "kill"
            },
        }
    )
    return 1 if lacking else 0


def joined(outcomes: Sequence[Outcome]) -> list[float]:
    """Returns the seconds until the successor was there, of those calls that had one."""
    return [each.joined for each in outcomes if each.joined is not None]


def first(outcomes: Sequence[Outcome]) -> list[float]:
    """Returns the seconds until its first word, of those that were heard."""
    return [each.first_word for each in outcomes if each.first_word is not None]


async def measure(release: Release, count: int, each_other: int, peers: int, *, spoken: bool) -> int:
    """Runs everything."""
    recovered = await kill_peers(release, peers) if peers else 0
    stage = ReleaseStage(release, spoken)
    outcomes = await suffer_all(stage, ["kill"] * count)
    others = await suffer_all(stage, [fault for fault in POD_FAULTS if fault != "kill" for _ in range(each_other)])
    return report(outcomes, others, peers, recovered)


def main() -> int:
    """Runs the benchmark; returns 1 where a call was not carried on, or a word was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("--count", type=int, default=40, help="kills, and those of the plain worker (default 40)")
    parser.add_argument("--others", type=int, default=EACH_OTHER, help=f"of each other fault (default {EACH_OTHER})")
    parser.add_argument("--peers", type=int, help="kills of the plain worker, where others than --count")
    parser.add_argument("--typed", action="store_true", help="customers type instead of speaking")
    parser.add_argument("--release", default="voice", help="release and namespace (default voice, as the demo's)")
    arguments = parser.parse_args()
    os.environ.setdefault("NODES", "2")
    peers = arguments.count if arguments.peers is None else arguments.peers

    def run(release: Release) -> int:
        require_nodes(release)
        return asyncio.run(measure(release, arguments.count, arguments.others, peers, spoken=not arguments.typed))

    return run_against(arguments.release, run)


if __name__ == "__main__":
    sys.exit(main())
