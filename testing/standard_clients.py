"""Standard clients in calls, and what each has of its agent: the page, a page of LiveKit's hooks alone, the Python SDK.

All of them are given the address of a token endpoint.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import aiohttp
import jwt
from aiohttp import web
from livekit import rtc
from playwright.async_api import Browser, Page

from local_cluster.layout import REPOSITORY
from testing.browser import TalkPage, open_page, open_tab
from testing.customer import Customer, joined_room
from testing.waiting import WAIT_SECONDS, eventually, stays
from testing.web_server import serving
from voicesession.names import AGENT_IDENTITY

HOOKS_PAGE = REPOSITORY / "web" / "hooks" / "dist"
# When the hooks look whether their agent is at work, and hang up on one that just then is not; they look once.
HOOKS_LOOK_SECONDS = 20.0
# How loud silence may be: Chromium's `totalAudioEnergy`, or seconds of sound.
SILENCE = 1e-4

# Tells of each voice that is attached to an <audio> that plays how much sound its packets have brought.
_LISTEN = """
    window.peers = [];
    window.RTCPeerConnection = class extends RTCPeerConnection {
        constructor(...options) { super(...options); window.peers.push(this); }
    };
    window.soundOfVoices = async () => {
        const elements = [...document.querySelectorAll('audio')].filter((audio) => !audio.paused && !audio.muted);
        const tracks = elements.flatMap((audio) => audio.srcObject?.getAudioTracks() ?? []);
        const playing = new Set(tracks.filter((track) => track.readyState === 'live').map((track) => track.id));
        const reports = await Promise.all(window.peers.map((peer) => peer.getStats()));
        const voices = reports.flatMap((report) => [...report.values()]).filter((each) => each.type === 'inbound-rtp');
        const heard = voices.filter((voice) => playing.has(voice.trackIdentifier));
        return Object.fromEntries(heard.map((voice) => [voice.trackIdentifier, voice.totalAudioEnergy ?? 0]));
    };
"""
# Every state of its agent that the page of hooks has told, also those of a few milliseconds.
_NOTE_STATES = """
    window.agentStates = [];
    new MutationObserver((changes) => {
        for (const { target } of changes) window.agentStates.push(target.dataset.agent);
    }).observe(document, { subtree: true, attributeFilter: ['data-agent'] });
"""


class StandardClient(Protocol):
    """A client in a call: in this room, as this participant."""

    name: str
    room: str
    identity: str

    async def agent_state(self) -> str:
        """Returns the agent's state as the client tells it."""

    async def agent_said(self) -> list[str]:
        """Returns the agent's sentences as they were transcribed, so far."""

    async def sound(self) -> Mapping[str, float]:
        """Returns how much sound each voice that plays now has brought; it only grows."""

    async def type(self, text: str) -> None:
        """Sends a typed message."""

    async def is_in_call(self) -> bool:
        """Tells whether the client takes its call for one that goes on."""


@dataclass
class PageClient:
    """The page."""

    page: TalkPage
    room: str
    identity: str
    name: str = "page"

    async def agent_state(self) -> str:
        return await self.page.root.get_attribute("data-look") or ""

    async def agent_said(self) -> list[str]:
        return [text for who, text in await self.page.lines() if who == "agent"]

    async def sound(self) -> Mapping[str, float]:
        return await _sound_in(self.page.tab)

    async def type(self, text: str) -> None:
        await self.page.say(text)

    async def is_in_call(self) -> bool:
        return await self.agent_state() != "ended" and not await self.page.notice.is_visible()


@dataclass
class HooksClient:
    """The page of LiveKit's hooks alone; see `web/hooks`."""

    tab: Page
    room: str
    identity: str
    started_at: float  # monotonic
    name: str = "hooks"

    async def agent_state(self) -> str:
        states = {await _attribute(self.tab, hook) for hook in ("agent", "assistant")}
        return " or ".join(sorted(states))  # useAgent and useVoiceAssistant are to agree

    async def agent_said(self) -> list[str]:
        return await self.tab.locator('#call li[data-type="agentTranscript"]').all_inner_texts()

    async def sound(self) -> Mapping[str, float]:
        return await _sound_in(self.tab)

    async def type(self, text: str) -> None:
        await self.tab.locator("#call input").fill(text)
        await self.tab.keyboard.press("Enter")

    async def is_in_call(self) -> bool:
        return await _attribute(self.tab, "connection") == "connected"

    async def until_looked(self) -> None:
        """Waits until they have looked at their agent: a call that is between two agents just then is over."""
        left = self.started_at + HOOKS_LOOK_SECONDS + 1 - time.monotonic()
        await stays(self.is_in_call, left, "the hooks have given their agent up")

    async def states_since_it_listened(self) -> set[str]:
        """Returns every state that the page has told since its agent listened first."""
        states: list[str] = await self.tab.evaluate("agentStates")
        return set(states[states.index("listening") :])


@dataclass
class PythonClient:
    """LiveKit's Python SDK."""

    customer: Customer
    room: str
    identity: str
    name: str = "python"

    async def agent_state(self) -> str:
        return self.customer.agent_state or ""

    async def agent_said(self) -> list[str]:
        return [said.text for said in self.customer.heard.transcripts if said.identity == AGENT_IDENTITY]

    async def sound(self) -> Mapping[str, float]:
        return {"agent": self.customer.heard.audible_seconds()}

    async def type(self, text: str) -> None:
        await self.customer.type(text)

    async def is_in_call(self) -> bool:
        connected = self.customer.room.connection_state == rtc.ConnectionState.CONN_CONNECTED
        return connected and self.customer.heard.disconnected is None


@contextlib.asynccontextmanager
async def standard_clients(browser: Browser, base_url: str) -> AsyncIterator[list[StandardClient]]:
    """Yields one client of each kind, each in a room of its own; `base_url` has the page, and a token endpoint.

    The hooks give a call up whose agent does not come within 20 s.
    """
    if not HOOKS_PAGE.exists():
        raise RuntimeError("the page of hooks is not built: run `make web`")
    async with (
        open_page(browser, base_url, _LISTEN) as page,
        _hooks_server(base_url) as hooks_url,
        open_tab(browser, _LISTEN, _NOTE_STATES) as tab,
        _python_client(base_url) as python,
    ):
        await tab.goto(hooks_url)
        yield [await _start_page(page), await _start_hooks(tab), python]


async def until_answered(client: StandardClient, question: str, answer: str, seconds: float = WAIT_SECONDS) -> None:
    """Asks, once the agent listens; returns when these words of an answer have been read and heard.

    Raises:
        TimeoutError: not within `seconds` each.
    """

    state = ""

    async def listens() -> bool:
        nonlocal state
        state = await client.agent_state()
        return state == "listening"

    async def times_said() -> int:
        return sum(answer in text for text in await client.agent_said())

    async def is_read() -> bool:
        return await times_said() > said

    async def is_heard() -> bool:
        return any(now > before.get(voice, 0) + SILENCE for voice, now in (await client.sound()).items())

    await eventually(listens, seconds, lambda: f"{client.name} shows an agent that is {state}, not listening")
    said, before = await times_said(), await client.sound()
    await client.type(question)
    await eventually(is_read, seconds, f"{answer!r} is read in {client.name}")
    await eventually(is_heard, seconds, f"{answer!r} is heard in {client.name}")


async def _start_page(page: TalkPage) -> PageClient:
    async with page.tab.expect_response("**/api/token") as answer:
        await page.start()
    token = (await (await answer.value).json())["participant_token"]
    return PageClient(page, *_read_token(token))


async def _start_hooks(tab: Page) -> HooksClient:
    started_at = time.monotonic()
    await tab.get_by_role("button", name="Start").click()

    async def is_connected() -> bool:
        return await _attribute(tab, "connection") == "connected"

    await eventually(is_connected, why="the hooks connect")
    return HooksClient(tab, await _attribute(tab, "room"), await _attribute(tab, "identity"), started_at)


@contextlib.asynccontextmanager
async def _python_client(base_url: str) -> AsyncIterator[PythonClient]:
    async with aiohttp.ClientSession() as http, http.post(f"{base_url}/api/token", json={}) as answer:
        details = await answer.json()
    token = details["participant_token"]
    async with joined_room(details["server_url"], token) as customer:
        yield PythonClient(customer, *_read_token(token))


@contextlib.asynccontextmanager
async def _hooks_server(base_url: str) -> AsyncIterator[str]:
    """Serves the page of hooks, with a token endpoint that passes requests on, as a team's own server would."""

    async def pass_on(request: web.Request) -> web.Response:
        async with http.post(f"{base_url}/api/token", json=await request.json()) as answer:
            return web.Response(body=await answer.read(), status=answer.status, content_type=answer.content_type)

    app = web.Application()
    app.router.add_post("/api/token", pass_on)
    app.router.add_static("/", HOOKS_PAGE)
    async with aiohttp.ClientSession() as http, serving(app) as port:
        yield f"http://localhost:{port}/index.html"


async def _sound_in(tab: Page) -> dict[str, float]:
    return {str(voice): float(sound) for voice, sound in (await tab.evaluate("soundOfVoices()")).items()}


async def _attribute(tab: Page, name: str) -> str:
    return await tab.locator("#call").get_attribute(f"data-{name}") or ""


def _read_token(token: str) -> tuple[str, str]:
    """Returns the room, and who may enter it."""
    claims = jwt.decode(token, options={"verify_signature": False})
    return str(claims["video"]["room"]), str(claims["sub"])
