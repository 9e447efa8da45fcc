"""Model servers that answer oddly, in real calls: what the customer hears, how soon, and for how long nothing.

Each oddity of testing/odd_chats.py, odd_speech.py and odd_transcripts.py is what one spoken question meets. It comes
out right, or as an apology for a failure that the pod names. Then calls whose chat model stalls and has a second
provider behind it, each with the next call of its pool. LiveKit and the agents are real, with the time-outs and the
words that pools and profiles have by default; all models are fakes, which answer at once.
"""

import argparse
import asyncio
import sys
from collections import deque
from collections.abc import Sequence

from benchmarks.odd_calls import Oddity, Outcome, Result, list_oddities, odd_call
from benchmarks.processes import run_benchmark
from benchmarks.report import Progress, percentile, print_result, print_table
from benchmarks.second_model import Fallback, fall_back
from testing.livekit import LiveKitServer, running_livekit

CALLS_AT_ONCE = 3
FALLBACKS = 10
RESULT_SECONDS, SILENCE_SECONDS, FALLBACK_SECONDS = 10.0, 4.0, 6.0


async def meet_all(livekit: LiveKitServer, oddities: Sequence[Oddity], at_once: int) -> list[Outcome]:
    """Has each met in some call, so many calls at a time."""
    waiting, outcomes, progress = deque(oddities), list[Outcome](), Progress("oddities", len(oddities))

    async def hold_calls() -> None:
        while waiting:
            async with odd_call(livekit) as call:
                while waiting and not call.is_over:
                    outcomes.append(await call.meet(waiting.popleft()))
                    progress.at(len(outcomes))

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(hold_calls())
    return outcomes


async def fall_back_again(livekit: LiveKitServer, times: int) -> list[Fallback]:
    """Has a second model answer so often, two calls at a time."""
    gate, progress, done = asyncio.Semaphore(2), Progress("calls with a second model", times), list[Fallback]()

    async def hold_calls() -> None:
        async with gate:
            done.append(await fall_back(livekit))
            progress.at(len(done))

    async with asyncio.TaskGroup() as group:
        for _ in range(times):
            group.create_task(hold_calls())
    return done


def report(outcomes: Sequence[Outcome], fallbacks: Sequence[Fallback]) -> int:
    """Prints the tables, what is not as promised, and the last line; returns 1 where there is any."""
    parts = sorted({(each.oddity.part, each.result) for each in outcomes})
    of_part = {part: [each for each in outcomes if (each.oddity.part, each.result) == part] for part in parts}
    print_table(
        "Last word → right answer, or apology",
        {
            **{f"{part}, {result}": [1000 * each.seconds for each in of] for (part, result), of in of_part.items()},
            "chat, by the second model": [1000 * each.seconds for each in fallbacks],
            "chat, in the next call": [1000 * each.next_seconds for each in fallbacks],
        },
    )
    rows = {f"{part}, {result}": [1000 * each.silence for each in of] for (part, result), of in of_part.items()}
    print_table("Longest silence until then", rows)
    for each in outcomes:
        if each.result is Result.WRONG or each.seconds > RESULT_SECONDS or each.silence > SILENCE_SECONDS:
            figures = f"{each.seconds:.1f} s, {each.silence:.1f} s of silence"
            print(f"  {each.oddity.part}, {each.oddity.name}: {each.result}, {figures}; {each.detail}")
    in_time = sum(each.result is not Result.WRONG and each.seconds <= RESULT_SECONDS for each in outcomes)
    longest_silence = max((each.silence for each in outcomes), default=0.0)
    answered = [each.seconds for each in fallbacks]
    began_there = sum(each.next_began_there for each in fallbacks)
    print_result(
        {
            "oddities": len(outcomes),
            "named_or_right": in_time,
            "longest_s": max((each.seconds for each in outcomes), default=0.0),
            "longest_silence_s": longest_silence,
            "fallback_calls": len(fallbacks),
            "fallback_answer_p50_s": percentile(answered, 0.5),
            "fallback_answer_longest_s": max(answered, default=0.0),
            "next_call_began_there": began_there,
        }
    )
    is_kept = in_time == len(outcomes) and longest_silence <= SILENCE_SECONDS and began_there == len(fallbacks)
    return 0 if is_kept and all(each <= FALLBACK_SECONDS for each in answered) else 1


async def measure(oddities: Sequence[Oddity], at_once: int, fallbacks: int) -> int:
    """Tries all of it."""
    with running_livekit() as livekit:
        outcomes = await meet_all(livekit, oddities, at_once)
        return report(outcomes, await fall_back_again(livekit, fallbacks))


def main() -> int:
    """Runs the benchmark; returns 1 where it is not as promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.oddities", description=__doc__)
    parser.add_argument("--only", default="", help="the oddities whose part and name have this in them")
    parser.add_argument("--calls", type=int, default=CALLS_AT_ONCE, help=f"at once (default {CALLS_AT_ONCE})")
    parser.add_argument("--fallbacks", type=int, default=FALLBACKS, help=f"how many (default {FALLBACKS})")
    arguments = parser.parse_args()
    oddities = [each for each in list_oddities() if arguments.only in f"{each.part}, {each.name}"]
    return run_benchmark(measure(oddities, arguments.calls, arguments.fallbacks))


if __name__ == "__main__":
    sys.exit(main())
