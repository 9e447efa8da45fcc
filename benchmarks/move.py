"""Calls go on in another pod while both sides speak: how long is nothing heard, and is a word lost.

Each turn the customer says a sentence that the agent repeats, and at a random moment of it, while the one or the other
speaks or nobody does, `spec.move` is set. `silence` is the longest time in which no sound could come: from the last
frame of the one agent's audio to the first of the next one's. A pause that was there anyway is none: LiveKit sends
silence too. Each sentence's words are looked for in the rows and in what the agent has said.

Then a node with four talking calls is drained, of its agent pods; and a pool whose calls never end gets a new image,
with `rollout.longCalls: Move`: until none of its pods has the old one.
"""

import argparse
import asyncio
import contextlib
import difflib
import itertools
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.call import transcribe
from benchmarks.call_stage import Call, CallStage, Row, is_message
from benchmarks.capacity import require_room
from benchmarks.release import is_waiting, run_against, until_refilled
from benchmarks.release_stage import ReleaseStage, drain_agents, require_nodes
from benchmarks.report import Progress, percentile, print_result, print_table
from local_cluster.handout import IMAGES_JSON
from testing.customer import Customer, CustomerError
from testing.progress import Step
from testing.release import Release, ReleaseError
from testing.speech import synthesize
from testing.transcripts import words
from testing.waiting import eventually_sync
from voicesession.names import AGENT_IDENTITY, API_VERSION, POOL_LABEL, STATE_LABEL, TEMPLATE_LABEL, WARM

SENTENCES = (
    "Repeat after me: seven green apples lie on the kitchen table.",
    "Repeat after me: the train to London leaves tomorrow morning.",
    "Repeat after me: my brother has bought a small white house.",
)
MOVES_IN_CALL = len(SENTENCES)
# From the begin of a sentence: it takes some four seconds, its answer begins a second later.
LATEST_MOVE = 7.0
# The agent goes on talking for so long at most before it hands over, and some more.
MOVED_SECONDS = 40.0
AFTER_SECONDS = 2.0
DRAINED_CALLS = 4
DRAIN_SECONDS = 120
ROLLED_CALLS = 2
SEED = 1


@dataclass
class Moves:
    """What came of them. Seconds; `answers`: from the end of a sentence to the answer, with a move in between."""

    asked: int = 0
    silences: list[float] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)  # from asked to the next agent
    answers: list[float] = field(default_factory=list)
    words_lost: int = 0
    calls_lost: int = 0
    problems: list[str] = field(default_factory=list)


async def hold_moving_call(
    stage: CallStage, count: int, sentences: Mapping[str, Sequence[str]], dice: random.Random, moves: Moves
) -> None:
    """Holds one call that is moved `count` times. `sentences`: their words as they are understood."""
    chosen = list(itertools.islice(itertools.cycle(sentences), count))
    async with stage.call() as call:
        customer = call.customer
        try:
            await customer.answer(customer.connect_began_at)
            for text in chosen:
                moves.asked += 1
                await _speak_and_move(stage, call, text, dice.uniform(0, LATEST_MOVE), moves)
        except (CustomerError, ReleaseError) as error:
            moves.problems.append(str(error))
        if customer.heard.disconnected is not None:
            moves.calls_lost += 1
        said = [one.text for one in customer.heard.transcripts if one.identity == AGENT_IDENTITY]
    try:
        rows = await stage.rows_at_end(call)
    except (TimeoutError, ReleaseError) as error:
        moves.problems.append(f"not over: {error}")
        return
    lost = find_lost_words([sentences[text] for text in chosen], rows, said)
    moves.words_lost += len(lost)
    if lost:
        moves.problems.append(f"words lost in {call.room}: {' '.join(lost)}")


async def _speak_and_move(stage: CallStage, call: Call, text: str, after: float, moves: Moves) -> None:
    customer, known = call.customer, set(call.customer.heard.agent_joins)
    speaking = asyncio.create_task(call.say(text))
    await asyncio.sleep(after)
    asked_at = await stage.move(call)
    spoken_at = await speaking
    joined_at = await customer.until_successor(known, MOVED_SECONDS)
    first = await customer.answer(spoken_at, MOVED_SECONDS)
    await customer.until(lambda: time.monotonic() > joined_at + AFTER_SECONDS, MOVED_SECONDS, "some seconds")
    moves.taken.append(joined_at - asked_at)
    moves.answers.append(first - spoken_at)
    moves.silences.append(longest_silence(customer, asked_at, joined_at + AFTER_SECONDS))


def longest_silence(customer: Customer, begin: float, end: float) -> float:
    """Returns the longest time (s) between two frames of any agent's, silent ones too, in these moments."""
    moments = [frame.at for frame in customer.heard.frames if begin <= frame.at <= end]
    return max((b - a for a, b in itertools.pairwise(moments)), default=end - begin)


def find_lost_words(sentences: Sequence[Sequence[str]], rows: Sequence[Row], said: Sequence[str]) -> list[str]:
    """Returns the customer's words that are in no row of theirs, and the agent's that it wrote and did not say.

    A word that was taken for another one is none of a move's: what is counted is missing. Of a sentence in which an
    agent stopped for its successor the last word stands for what it did not come to.
    """
    messages = [row for row in rows if is_message(row)]
    expected = [word for sentence in sentences for word in sentence]
    heard, told = (
        [word for row in messages if row["role"] == role for word in words(row["content"])]
        for role in ("user", "assistant")
    )
    spoken = [word for text in said for word in words(text)]
    pairs = itertools.pairwise(messages)
    stopped = [one for one, after in pairs if one["interrupted"] and one["attempt"] != after["attempt"]]
    cut_off = [words(row["content"])[-1] for row in stopped if row["role"] == "assistant"]
    return [*_find_missing(expected, heard), *_find_missing(told, spoken), *cut_off]


def _find_missing(expected: Sequence[str], found: Sequence[str]) -> Iterator[str]:
    matcher = difflib.SequenceMatcher(None, expected, found, autojunk=False)
    for _, begin, end, found_begin, found_end in matcher.get_opcodes():
        if (missing := (end - begin) - (found_end - found_begin)) > 0:
            yield from expected[end - missing : end]


async def move_all(stage: CallStage, count: int, sentences: Mapping[str, Sequence[str]], seed: int = SEED) -> Moves:
    """Holds as many calls as `count` moves need, one after the other."""
    dice, moves, progress = random.Random(seed), Moves(), Progress("moves", count)
    while (left := count - moves.asked) > 0:
        await stage.until_ready()
        before = moves.asked
        await hold_moving_call(stage, min(left, MOVES_IN_CALL), sentences, dice, moves)
        if moves.asked == before:
            break
        progress.at(moves.asked)
        longest = max(moves.silences, default=float("nan")) * 1000
        print(f"  moved {len(moves.taken)}; the longest silence {longest:.0f} ms; {len(moves.problems)} problems")
    return moves


async def understand(release: Release) -> dict[str, list[str]]:
    """Returns each sentence's words as the release's speech-to-text understands them: what may be expected of it."""
    understood = {}
    for text in SENTENCES:
        understood[text] = words(await transcribe(release, await asyncio.to_thread(synthesize, release, text)))
    return understood


# A drain


@dataclass(frozen=True)
class Ended:
    """How something that moves several calls went: how long it took, and how many were lost."""

    seconds: float
    lost: int


async def drain(stage: ReleaseStage, count: int) -> Ended:
    """Drains a node on which `count` calls talk, of its agent pods."""
    async with gathered(stage, count) as drained, talking(stage, count) as calls:
        await asyncio.to_thread(make_room, stage.release, drained, count)
        began = time.monotonic()
        await asyncio.to_thread(drain_agents, stage.release, drained, DRAIN_SECONDS)
        seconds = time.monotonic() - began
        return Ended(seconds, await count_lost_calls(calls))


@contextlib.asynccontextmanager
async def gathered(stage: ReleaseStage, count: int) -> AsyncIterator[str]:
    """Has `count` pods wait, all of them on one node without LiveKit; yields the node, and mends all at the end.

    Until there is room elsewhere (`make_room`) no pod begins on another one.
    """
    release = stage.release
    node = next(name for name in _nodes(release) if name != stage.livekit_node())
    minimum = release.get("agentpool", "default")["spec"]["warm"]["min"]
    try:
        await asyncio.to_thread(_gather_warm, release, node, count)
        yield node
    finally:
        for name in _nodes(release):
            release.kubectl("uncordon", name)
        release.kubectl("scale", "agentpool/default", f"--replicas={minimum}")


def _nodes(release: Release) -> list[str]:
    return [node["metadata"]["name"] for node in release.get("nodes")["items"]]


def _gather_warm(release: Release, node: str, count: int) -> None:
    others = [name for name in _nodes(release) if name != node]
    for other in others:
        release.kubectl("cordon", other)
    release.kubectl("scale", "agentpool/default", f"--replicas={count}")
    for other in others:
        selector = f"{STATE_LABEL}={WARM}"
        release.kubectl("delete", "pods", "-l", selector, f"--field-selector=spec.nodeName={other}", "--wait=false")
    _until_warm_on(release, [node], count)


def make_room(release: Release, node: str, count: int) -> None:
    """Has as many pods wait on other nodes than this one as calls will come."""
    others = [name for name in _nodes(release) if name != node]
    for other in others:
        release.kubectl("uncordon", other)
    release.kubectl("scale", "agentpool/default", f"--replicas={2 * count}")
    _until_warm_on(release, others, count)


def _until_warm_on(release: Release, nodes: Sequence[str], count: int) -> None:
    def are_there() -> bool:
        pods = release.get("pods", "-l", f"{STATE_LABEL}={WARM}")["items"]
        return sum(is_waiting(pod) and pod["spec"].get("nodeName") in nodes for pod in pods) >= count

    eventually_sync(are_there, 180, f"there are not {count} pods that wait on {', '.join(nodes)}", pace=1)


@contextlib.asynccontextmanager
async def talking(stage: CallStage, count: int) -> AsyncIterator[list[Call]]:
    """Yields so many calls, in each of which both sides talk all the time."""
    async with contextlib.AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(stage.call()) for _ in range(count)]
        for call in calls:
            await call.customer.answer(call.customer.connect_began_at)
        tasks = [asyncio.create_task(_talk(call)) for call in calls]
        try:
            yield calls
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _talk(call: Call) -> None:
    for text in itertools.cycle(SENTENCES):
        with contextlib.suppress(CustomerError):
            await call.customer.answer(await call.say(text))
        await asyncio.sleep(1)


async def count_lost_calls(calls: Sequence[Call]) -> int:
    """Returns how many of the calls are over, or whose agent is not heard any more."""
    since = time.monotonic()
    lost = 0
    for call in calls:
        try:
            await call.customer.until_audible(since, MOVED_SECONDS, "the agent after all of it")
        except CustomerError:
            lost += 1
            continue
        lost += call.customer.heard.disconnected is not None
    return lost


# A new image


async def roll(release: Release, count: int) -> Ended:
    """Gives a pool with `count` calls that do not end a new image, the examples'; until no pod has the old one."""
    image = release.get("agentpool", "default")["spec"]["image"]
    await asyncio.to_thread(release.apply, *_build_rolled_pool(release, image, count))
    try:
        await asyncio.to_thread(release.wait_until_ready, Step("the pool that is rolled"), 120)
        stage = ReleaseStage(release, spoken=False, profile="rolled")
        async with talking(stage, count) as calls:
            pods = release.get("pods", "-l", f"{POOL_LABEL}=rolled")["items"]
            old = {pod["metadata"]["labels"][TEMPLATE_LABEL] for pod in pods}
            began = time.monotonic()
            patch = json.dumps({"spec": {"image": json.loads(IMAGES_JSON.read_text())["example-agents"]}})
            await asyncio.to_thread(release.kubectl, "patch", "agentpool", "rolled", "--type=merge", "-p", patch)
            await asyncio.to_thread(_until_rolled, release, old)
            return Ended(time.monotonic() - began, await count_lost_calls(calls))
    finally:
        await asyncio.to_thread(release.kubectl, "delete", "agentprofile/rolled", "agentpool/rolled", "--wait=false")


def _build_rolled_pool(release: Release, image: str, count: int) -> list[dict[str, Any]]:
    spec = release.get("agentpool", "default")["spec"]
    pool = {
        **{key: spec[key] for key in ("resources", "providers") if key in spec},
        "image": image,
        "warm": {"min": count, "max": 3 * count},
        "rollout": {"longCalls": "Move"},
    }
    profile = {"pool": "rolled", "provider": next(one["name"] for one in spec["providers"] if one.get("stt"))}
    return [
        {"apiVersion": API_VERSION, "kind": "AgentPool", "metadata": {"name": "rolled"}, "spec": pool},
        {"apiVersion": API_VERSION, "kind": "AgentProfile", "metadata": {"name": "rolled"}, "spec": profile},
    ]


def _until_rolled(release: Release, old: set[str]) -> None:
    def is_rolled() -> bool:
        pods = release.get("pods", "-l", f"{POOL_LABEL}=rolled")["items"]
        return bool(pods) and all(pod["metadata"]["labels"][TEMPLATE_LABEL] not in old for pod in pods)

    eventually_sync(is_rolled, 300, "pods of the old image are left", pace=0.5)


# What is told


def report(moves: Moves, drained: Ended, rolled: Ended) -> int:
    """Prints the table and the last line; returns 1 where a call or a word was lost."""
    rows = {"asked to move → the next agent is there": moves.taken, "nothing could be heard": moves.silences}
    rows["end of a sentence → its answer, moved meanwhile"] = moves.answers
    print_table("Calls that move", {name: [each * 1000 for each in row] for name, row in rows.items()})
    for problem in moves.problems:
        print(f"  not moved: {problem}")
    print_result(
        {
            "asked": moves.asked,
            "moved": len(moves.taken),
            "silence_p50_ms": percentile(moves.silences, 0.5) * 1000,
            "silence_p99_ms": percentile(moves.silences, 0.99) * 1000,
            "words_lost": moves.words_lost,
            "calls_lost": moves.calls_lost,
            "taken_p50_s": percentile(moves.taken, 0.5),
            "answer_p50_ms": percentile(moves.answers, 0.5) * 1000,
            "drain_s": drained.seconds,
            "drain_lost": drained.lost,
            "rolled_s": rolled.seconds,
            "rolled_lost": rolled.lost,
        }
    )
    whole = len(moves.taken) == moves.asked and not (moves.words_lost or moves.calls_lost)
    return 0 if whole and not (drained.lost or rolled.lost) else 1


async def measure(release: Release, count: int, calls: int) -> int:
    """Runs everything."""
    stage = ReleaseStage(release)
    moves = await move_all(stage, count, await understand(release))
    await until_refilled(release)
    print(f"  now a node with {calls} talking calls is drained", flush=True)
    drained = await drain(stage, calls)
    await until_refilled(release)
    print("  now a pool with calls gets a new image", flush=True)
    return report(moves, drained, await roll(release, ROLLED_CALLS))


def main() -> int:
    """Runs the benchmark; returns 1 where a call or a word was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.move", description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="moves (default 60)")
    parser.add_argument(
        "--calls", type=int, default=DRAINED_CALLS, help=f"on the node that is drained (default {DRAINED_CALLS})"
    )
    parser.add_argument("--release", default="voice", help="release and namespace (default voice, as the demo's)")
    arguments = parser.parse_args()
    os.environ.setdefault("NODES", "2")

    def run(release: Release) -> int:
        require_nodes(release)
        require_room(release, 3 * arguments.calls)
        try:
            return asyncio.run(measure(release, arguments.count, arguments.calls))
        except TimeoutError as error:
            raise ReleaseError(str(error)) from error

    return run_against(arguments.release, run)


if __name__ == "__main__":
    sys.exit(main())
