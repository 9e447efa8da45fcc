"""A call as its customer hears it, with local models: answers, barge-in, the greeting, pauses, and stutter under load.

Everything is taken from the audio that reaches the customer, recorded frame by frame (10 ms). Of the customer's
sentences only what is audible is said.
"""

import argparse
import asyncio
import contextlib
import io
import itertools
import math
import socket
import struct
import sys
import time
import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from benchmarks.release import is_waiting, run_against
from benchmarks.report import Progress, percentile, print_result, print_table
from testing.customer import (
    ANSWER_OVER_SECONDS,
    Customer,
    CustomerError,
    HeardFrame,
    joined_room,
    reversed_until,
)
from testing.front_door import ask_for_connection
from testing.progress import Step
from testing.release import Release
from testing.sound import AUDIBLE_RMS, SAMPLE_RATE, audible_part
from testing.speech import synthesize
from testing.transcripts import words
from testing.web_server import serving
from voicesession.names import API_VERSION, POOL_LABEL

QUESTION = "What is my name, and what did I tell you so far?"
STORY = "Please tell me a long story."
INTERRUPTION = "Stop please, I have another question for you."
FIRST_HALF, SECOND_HALF = "I would like to order", "two large pizzas please."
PAUSE_SECONDS = 0.6
PAUSED_TIMES = 3
# The echo canceller's warm-up: the agent cannot be interrupted before.
WARM_UP_SECONDS = 3.5
TONE_SECONDS = 20
OTHER_PODS = 5


@dataclass
class Heard:
    """What came of a call. Milliseconds; `early`: answers that began before the question was over, and are in none."""

    greeting: str
    greeting_as_heard: str
    answers: list[float] = field(default_factory=list)
    early: int = 0
    barge_in: list[float] = field(default_factory=list)
    answers_to_pauses: list[int] = field(default_factory=list)

    @property
    def first_word_whole(self) -> bool:
        """Whether speech-to-text understands the greeting's first word."""
        return words(self.greeting)[:1] == words(self.greeting_as_heard)[:1]


async def ask(customer: Customer, question: bytes, heard: Heard) -> None:
    """Asks once, and notes the milliseconds from the end of the question to the first audible answer."""
    seconds = await customer.ask(question)
    if seconds < 0:
        heard.early += 1
    else:
        heard.answers.append(seconds * 1000)


async def interrupt(customer: Customer, story: bytes, interruption: bytes) -> float:
    """Interrupts a story; returns the milliseconds from the interruption's first sound until the agent is silent."""
    spoken = await customer.say(story)
    await customer.until_audible(spoken, 20, "the story")
    await asyncio.sleep(WARM_UP_SECONDS)
    began = time.monotonic()
    if began - (customer.heard.last_audible() or 0) > ANSWER_OVER_SECONDS:
        raise CustomerError("the story was over before it could be interrupted")
    await customer.say(interruption)
    silent = silent_from(reversed_until(customer.heard.frames, began))
    await customer.answer(time.monotonic())
    return (silent - began) * 1000


def silent_from(frames: list[HeardFrame]) -> float:
    """Returns when the last audible frame came before the first silence that is longer than speech's own pauses."""
    last = frames[0].at
    for frame in frames:
        if frame.rms >= AUDIBLE_RMS:
            last = frame.at
        elif frame.at - last >= ANSWER_OVER_SECONDS:
            break
    return last


def longest_gap_millis(frames: list[HeardFrame]) -> float:
    """Returns the longest silence between the first and the last audible frame, of which there are many."""
    audible = [frame.at for frame in frames if frame.rms >= AUDIBLE_RMS]
    return max(b - a for a, b in itertools.pairwise(audible)) * 1000


async def count_answers_to_a_paused_sentence(customer: Customer, halves: tuple[bytes, bytes]) -> int:
    """Says one sentence with a pause in it; returns how many answers it got."""
    before = len(customer.heard.transcripts)
    pause = bytes(int(SAMPLE_RATE * PAUSE_SECONDS) * 2)
    spoken = await customer.say(halves[0] + pause + halves[1])
    await customer.answer(spoken)
    said = customer.heard.transcripts[before:]
    identity = customer.room.local_participant.identity
    return sum(1 for part in said if part.identity != identity)


async def transcribe(release: Release, pcm: bytes) -> str:
    """Returns what the release's speech-to-text hears in 24 kHz samples."""
    wav = io.BytesIO()
    with wave.open(wav, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(pcm)
    form = aiohttp.FormData()
    form.add_field("model", "whisper-1")
    form.add_field("file", wav.getvalue(), filename="heard.wav", content_type="audio/wav")
    url = f"http://{release.local_models_address()}/v1/audio/transcriptions"
    async with aiohttp.ClientSession() as http, http.post(url, data=form) as answer:
        return str((await answer.json())["text"])


@contextlib.asynccontextmanager
async def tone_server(address: str) -> AsyncIterator[str]:
    """Serves a text-to-speech that is one unbroken tone, so that any silence in it is a stutter."""
    count = SAMPLE_RATE * TONE_SECONDS
    # Made before anybody listens: making it while frames are noted would look like a stutter.
    tone = struct.pack(f"<{count}h", *(int(8000 * math.sin(2 * math.pi * 440 * n / SAMPLE_RATE)) for n in range(count)))

    async def speech(_: web.Request) -> web.Response:
        return web.Response(body=tone, content_type="audio/pcm")

    app = web.Application()
    app.router.add_post("/v1/audio/speech", speech)
    async with serving(app, address) as port:
        yield f"http://{address}:{port}/v1"


def tone_objects(release: Release, tone_url: str, node: str) -> list[dict[str, Any]]:
    """Returns a pool on one node whose voice is the tone, and its profile."""
    pool = release.get("agentpool", "default")["spec"]
    local = next(one for one in pool["providers"] if one.get("stt"))
    provider = {**local, "name": "tone", "tts": {"baseUrl": tone_url, "model": "tone"}}
    spec = {
        **{key: pool[key] for key in ("image", "resources") if key in pool},
        "providers": [provider],
        "warm": {"min": 1, "max": 10, "maxStarting": OTHER_PODS},
        "pod": {"nodeSelector": {"kubernetes.io/hostname": node}},
    }
    return [
        {"apiVersion": API_VERSION, "kind": "AgentPool", "metadata": {"name": "tone"}, "spec": spec},
        {
            "apiVersion": API_VERSION,
            "kind": "AgentProfile",
            "metadata": {"name": "tone"},
            "spec": {"pool": "tone", "provider": "tone", "greeting": "A tone."},
        },
    ]


async def measure_stutter(release: Release, front_door: str) -> tuple[float, int]:
    """Returns the longest gap (ms) in the agent's speech, and how many pods started on its node meanwhile."""
    node = release.get("nodes")["items"][0]
    name = node["metadata"]["name"]
    host = next(one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP")
    async with tone_server(address_towards(host)) as tone_url:
        objects = tone_objects(release, tone_url, name)
        await asyncio.to_thread(release.apply, *objects)
        try:
            await asyncio.to_thread(release.wait_until_ready, Step("tone pool"), 120)
            connection = await asyncio.to_thread(ask_for_connection, front_door, profile="tone")
            async with joined_room(connection.server_url, connection.token) as customer:
                await customer.until_audible(0, 30, "the tone")
                scale = ("scale", "agentpool/tone", f"--replicas={OTHER_PODS}")
                await asyncio.to_thread(release.kubectl, *scale)
                await asyncio.sleep(TONE_SECONDS - 2)
                pods = await asyncio.to_thread(release.get, "pods", "-l", f"{POOL_LABEL}=tone")
                return longest_gap_millis(customer.heard.frames), sum(map(is_waiting, pods["items"]))
        finally:
            await asyncio.to_thread(release.kubectl, "delete", "agentprofile/tone", "agentpool/tone", "--wait=false")


def address_towards(host: str) -> str:
    """Returns the address of this machine that `host` would see."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        return str(probe.getsockname()[0])


async def hold_call(release: Release, front_door: str, turns: int, interruptions: int) -> Heard:
    """Holds one call in which all but the stutter is measured."""
    texts = (QUESTION, STORY, INTERRUPTION, FIRST_HALF, SECOND_HALF)
    speech = {text: audible_part(await asyncio.to_thread(synthesize, release, text)) for text in texts}
    progress = Progress("turns", turns + PAUSED_TIMES + interruptions)
    connection = await asyncio.to_thread(ask_for_connection, front_door)
    async with joined_room(connection.server_url, connection.token) as customer:
        await customer.answer(customer.connect_began_at)
        greeting = next(one.text for one in customer.heard.transcripts if one.identity != connection.identity)
        heard = Heard(greeting, await transcribe(release, bytes(customer.heard.pcm)))
        for turn in range(turns):
            await ask(customer, speech[QUESTION], heard)
            progress.at(turn + 1)
        for turn in range(PAUSED_TIMES):
            halves = (speech[FIRST_HALF], speech[SECOND_HALF])
            heard.answers_to_pauses.append(await count_answers_to_a_paused_sentence(customer, halves))
            progress.at(turns + turn + 1)
        for turn in range(interruptions):
            heard.barge_in.append(await interrupt(customer, speech[STORY], speech[INTERRUPTION]))
            progress.at(turns + PAUSED_TIMES + turn + 1)
    return heard


async def measure_all(release: Release, turns: int, interruptions: int) -> int:
    """Runs all measurements and prints what came of them."""
    front_door = f"http://{release.token_service_address()}"
    heard = await hold_call(release, front_door, turns, interruptions)
    print(f"  now a tone of {TONE_SECONDS} s while {OTHER_PODS} pods start", flush=True)
    gap, pods = await measure_stutter(release, front_door)
    rows = {"end of speech → audible answer": heard.answers, "interruption begins → silence": heard.barge_in}
    print_table("A call, as heard", rows)
    print(f"  {heard.early} answers began before the question was over")
    print(f"  greeting {heard.greeting!r}, heard as {heard.greeting_as_heard!r}")
    print(f"  a sentence with {PAUSE_SECONDS} s of pause in it got {heard.answers_to_pauses} answers")
    print(f"  longest gap in speech while {pods} pods started on the node: {gap:.0f} ms")
    print_result(
        {
            "answer_p50_ms": percentile(heard.answers, 0.5),
            "answer_p90_ms": percentile(heard.answers, 0.9),
            "early_answers": heard.early,
            "barge_in_p50_ms": percentile(heard.barge_in, 0.5),
            "greeting_first_word_whole": heard.first_word_whole,
            "answers_to_paused_sentence": max(heard.answers_to_pauses),
            "longest_gap_ms": gap,
            "pods_started": pods,
        }
    )
    return 0


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.call", description=__doc__)
    parser.add_argument("--turns", type=int, default=12, help="questions (default 12)")
    parser.add_argument("--interruptions", type=int, default=6, help="interruptions (default 6)")
    parser.add_argument("--release", default="voice", help="release and namespace (default voice, as the demo's)")
    arguments = parser.parse_args()

    def measure(release: Release) -> int:
        return asyncio.run(measure_all(release, arguments.turns, arguments.interruptions))

    return run_against(arguments.release, measure)


if __name__ == "__main__":
    sys.exit(main())
