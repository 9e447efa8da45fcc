"""`python -m voice_agent try http://token-service:3000`: is a customer for one call, as `helm test` wants one.

It asks for a call as a backend does, joins as a browser does, hears the agent, types a question, and reads question and
answer in the transcript.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
from livekit import rtc

QUESTION = "Hello, is everything all right?"
CALL_SECONDS = 90.0
# Not every agent greets.
GREETING_SECONDS = 10.0
# An agent that has just come may not be told of its customer yet: what is typed until then nobody takes.
TYPE_AGAIN_SECONDS = 8.0
LOOK_SECONDS = 1.0
REQUEST_SECONDS = 10.0
# Of 32767: comfort noise stays below.
AUDIBLE = 500


class TrialError(Exception):
    """The call did not come to pass; the message says what is to be looked at."""


def main(arguments: Sequence[str]) -> int:
    """Tries a call and says how it went. Returns 0 where it was whole."""
    parser = argparse.ArgumentParser(prog="python -m voice_agent try", description="Tries a call as a customer.")
    parser.add_argument("url", help="the token service's, for example http://token-service:3000")
    parser.add_argument("--profile", help="the profile to call; the default one unless given")
    given = parser.parse_args(arguments)
    try:
        asyncio.run(_try(given.url.rstrip("/"), given.profile, os.environ.get("API_KEY")))
    except TrialError as error:
        print(f"The call failed: {error}.", file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    print("The call was whole.")  # noqa: T201 - likewise
    return 0


async def _try(url: str, profile: str | None, key: str | None) -> None:
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    async with aiohttp.ClientSession(url, timeout=timeout, trust_env=False) as http:
        began = time.monotonic()
        call = await _request(http, "POST", "/api/connection-details", key, {"profile": profile} if profile else {})
        customer = _Customer()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await customer.join(call["serverUrl"], call["participantToken"])
                _tell(began, "connected to LiveKit")
                await customer.greeted()
                await customer.type_until(_until_answered(http, call))
                _tell(began, "question and answer are in the transcript")
                await customer.heard()
                _tell(began, "the agent was heard")
        except TimeoutError as error:
            state = await _request(http, "GET", f"/api/sessions/{call['roomName']}", call["participantToken"])
            raise TrialError(
                f"{customer.waits_for} did not come within {CALL_SECONDS:.0f} s; of the call is known: {state}"
            ) from error
        finally:
            await customer.leave()


async def _until_answered(http: aiohttp.ClientSession, call: dict[str, Any]) -> None:
    """Returns when the transcript has the question, and something of the agent's after it."""
    while True:
        path = f"/api/sessions/{call['roomName']}/transcript"
        items = (await _request(http, "GET", path, call["participantToken"]))["items"]
        asked = [number for number, item in enumerate(items) if item.get("content") == QUESTION]
        if asked and any(item.get("role") == "assistant" for item in items[asked[0] :]):
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _request(
    http: aiohttp.ClientSession, method: str, path: str, bearer: str | None, body: Any = None
) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    try:
        async with http.request(method, path, json=body, headers=headers) as answer:
            if answer.status == 401 and not bearer:
                raise TrialError("the token service wants a key: name a Secret that has one with test.apiKeySecret")
            if answer.status >= 400:
                raise TrialError(f"{method} {path}: {answer.status} {(await answer.text())[:500]}")
            found: dict[str, Any] = await answer.json()
            return found
    except (aiohttp.ClientError, TimeoutError) as error:
        raise TrialError(f"the token service does not answer ({method} {path}): {error or 'no answer'}") from error


def _tell(began: float, what: str) -> None:
    print(f"{time.monotonic() - began:6.2f} s  {what}", flush=True)  # noqa: T201 - likewise


@dataclass
class _Customer:
    """Somebody in the room who listens and types. `waits_for`: what has not happened yet, in words."""

    waits_for: str = "a connection to LiveKit"
    _audible: asyncio.Event = field(default_factory=asyncio.Event)
    _room: rtc.Room = field(default_factory=rtc.Room)
    _listening: asyncio.Task[None] | None = None

    async def join(self, url: str, token: str) -> None:
        self._room.on("track_subscribed", self._on_track)
        try:
            await self._room.connect(url, token)
        except rtc.ConnectError as error:
            raise TrialError(
                f"LiveKit at {url}, where browsers are sent (livekit.publicUrl), is not reached: {error}"
            ) from error

    async def greeted(self) -> None:
        """Waits for a first sound of the agent's, and not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GREETING_SECONDS):
                await self._audible.wait()

    async def type_until(self, answered: Coroutine[None, None, None]) -> None:
        """Types the question, again where it is not taken, until it was answered."""
        self.waits_for = "an answer to what was typed"
        looking = asyncio.create_task(answered)
        try:
            while not looking.done():
                await self._room.local_participant.send_text(QUESTION, topic="lk.chat")
                await asyncio.wait({looking}, timeout=TYPE_AGAIN_SECONDS)
            await looking
        finally:
            looking.cancel()

    async def heard(self) -> None:
        """Waits until the agent was audible, whenever that was."""
        self.waits_for = "the agent's voice"
        await self._audible.wait()

    async def leave(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening
        await self._room.disconnect()

    def _on_track(self, track: rtc.Track, *_: object) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO and self._listening is None:
            self._listening = asyncio.create_task(self._listen(track))

    async def _listen(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track)
        try:
            async for event in stream:
                if np.abs(np.frombuffer(event.frame.data, np.int16).astype(int)).max() >= AUDIBLE:
                    self._audible.set()
                    return
        finally:
            await stream.aclose()
