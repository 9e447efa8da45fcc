"""A call as its customer hears it, with local models: answers, barge-in, the greeting, pauses, and stutter under load.

Everything is taken from the audio that reaches the customer, recorded frame by frame (10 ms).
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
from typing import Any

import aiohttp
from aiohttp import web

from benchmarks.report import Progress, percentile, print_result, print_table
from demo.customer import AUDIBLE_RMS, SAMPLE_RATE, Customer, HeardFrame, joined_room, reversed_until
from demo.front_door import ask_for_connection
from demo.progress import Step
from demo.release import Release
from demo.speech import synthesize
from demo.transcripts import words
from voicesession.names import API_VERSION

QUESTION = "What is my name, and what did I tell you so far?"
STORY = "Please tell me a long story."
INTERRUPTION = "Stop please, I have another question for you."
FIRST_HALF, SECOND_HALF = "I would like to order", "two large pizzas please."
PAUSE_SECONDS = 0.6
# The echo canceller's warm-up: the agent cannot be interrupted before.
WARM_UP_SECONDS = 3.5
TONE_SECONDS = 20
OTHER_PODS = 5


async def measure_answers(customer: Customer, question: bytes, turns: int) -> list[float]:
    """Returns the milliseconds from the end of speech to the first audible answer, turn by turn."""
    values = []
    for _ in range(turns):
        spoken = await customer.say(question)
        values.append((await customer.answer(spoken) - spoken) * 1000)
    return values


async def measure_barge_in(customer: Customer, story: bytes, interruption: bytes, count: int) -> list[float]:
    """Returns the milliseconds from the interruption's first sound until the agent is silent."""
    values = []
    for _ in range(count):
        spoken = await customer.say(story)
        await customer.until_audible(spoken, 20, "the story")
        await asyncio.sleep(WARM_UP_SECONDS)
        began = time.monotonic()
        if time.monotonic() - (customer.heard.last_audible() or 0) > 1:
            raise RuntimeError("the story was over before it could be interrupted")
        await customer.say(interruption)
        values.append((silent_from(reversed_until(customer.heard.frames, began)) - began) * 1000)
        await customer.answer(time.monotonic())
    return values


def silent_from(frames: list[HeardFrame], quiet_seconds: float = 0.4) -> float:
    """Returns when the last audible frame came before the first `quiet_seconds` without one."""
    last = frames[0].at
    for frame in frames:
        if frame.rms >= AUDIBLE_RMS:
            last = frame.at
        elif frame.at - last >= quiet_seconds:
            break
    return last


def longest_gap_millis(frames: list[HeardFrame]) -> float:
    """Returns the longest silence between the first and the last audible frame."""
    audible = [frame.at for frame in frames if frame.rms >= AUDIBLE_RMS]
    return max((b - a for a, b in itertools.pairwise(audible)), default=math.nan) * 1000


async def count_answers_to_a_paused_sentence(customer: Customer, halves: tuple[bytes, bytes]) -> int:
    """Says one sentence with a pause in it; returns how many turns of the customer's were made of it."""
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

    async def speech(_: web.Request) -> web.Response:
        count = SAMPLE_RATE * TONE_SECONDS
        tone = (int(8000 * math.sin(2 * math.pi * 440 * n / SAMPLE_RATE)) for n in range(count))
        return web.Response(body=struct.pack(f"<{count}h", *tone), content_type="audio/pcm")

    app = web.Application()
    app.router.add_post("/v1/audio/speech", speech)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, address, 0).start()
    try:
        yield f"http://{address}:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


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


async def measure_stutter(release: Release, front_door: str) -> float:
    """Returns the longest gap in milliseconds in the agent's speech while other pods start on its node."""
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
                return longest_gap_millis(customer.heard.frames)
        finally:
            await asyncio.to_thread(release.kubectl, "delete", "agentprofile/tone", "agentpool/tone", "--wait=false")


def address_towards(host: str) -> str:
    """Returns the address of this machine that `host` would see."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        return str(probe.getsockname()[0])


async def hold_call(release: Release, turns: int, interruptions: int) -> dict[str, object]:
    """Runs all measurements; returns the last line's figures."""
    front_door = f"http://{release.token_service_address()}"
    texts = (QUESTION, STORY, INTERRUPTION, FIRST_HALF, SECOND_HALF)
    speech = {text: await asyncio.to_thread(synthesize, release, text) for text in texts}
    progress = Progress("parts", 5, every=0)
    connection = await asyncio.to_thread(ask_for_connection, front_door)
    async with joined_room(connection.server_url, connection.token) as customer:
        await customer.answer(customer.connect_began_at)
        greeting = next(one.text for one in customer.heard.transcripts if one.identity != connection.identity)
        heard = await transcribe(release, bytes(customer.heard.pcm))
        progress.at(1)
        answers = await measure_answers(customer, speech[QUESTION], turns)
        progress.at(2)
        paused = await count_answers_to_a_paused_sentence(customer, (speech[FIRST_HALF], speech[SECOND_HALF]))
        progress.at(3)
        barge_in = await measure_barge_in(customer, speech[STORY], speech[INTERRUPTION], interruptions)
        progress.at(4)
    gap = await measure_stutter(release, front_door)
    progress.at(5)
    print_table(
        "A call, as heard", {"end of speech → audible answer": answers, "interruption begins → silence": barge_in}
    )
    print(f"  greeting {greeting!r}, heard as {heard!r}")
    print(f"  a sentence with {PAUSE_SECONDS} s of pause in it got {paused} answer(s)")
    print(f"  longest gap in speech while {OTHER_PODS} pods started on the node: {gap:.0f} ms")
    return {
        "answer_p50_ms": percentile(answers, 0.5),
        "answer_p90_ms": percentile(answers, 0.9),
        "barge_in_p50_ms": percentile(barge_in, 0.5),
        "greeting_first_word_whole": words(greeting)[:1] == words(heard)[:1],
        "answers_to_paused_sentence": paused,
        "longest_gap_ms": gap,
    }


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.call", description=__doc__)
    parser.add_argument("--turns", type=int, default=12, help="questions (default 12)")
    parser.add_argument("--interruptions", type=int, default=6, help="interruptions (default 6)")
    parser.add_argument("--release", default="voice", help="release and namespace (default voice, as the demo's)")
    arguments = parser.parse_args()
    release = Release(arguments.release, arguments.release)
    release.wait_until_ready(Step("release"), timeout=300)
    print_result(asyncio.run(hold_call(release, arguments.turns, arguments.interruptions)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
