"""What goes wrong, in a real browser: the page says what happened and what to do, and works again afterwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import expect

from local_cluster.ports import free_port
from testing.browser import TalkPage, chromium, open_page, write_wav
from testing.livekit import LiveKitProcess, restartable_livekit
from testing.page_stage import Refusal, RefusedRoom, Stage, opened_stage
from testing.sound import build_murmur
from voicesession.conditions import Reason
from voicesession.customer_words import RefusalReason

# The page waits 20 s for an agent; noticing that one has died takes it 3 s more.
PATIENCE_MILLIS = 40_000


async def test_a_refused_microphone_takes_no_agent_and_leaves_typing(stage: Stage) -> None:
    async with chromium(allowed=False) as browser, open_page(browser, stage.base_url) as page:
        await page.start()
        words = await page.until_problem("microphone-refused")
        assert "Allow it for this page" in words
        assert stage.token_requests == []
        await page.picture("microphone-refused")

        await page.button("Go on without a microphone").click()
        agent = await stage.until_talking(page)
        await expect(page.button("Mute")).to_be_disabled()
        await page.say("Are you there?")
        await agent.until("chat", text="Are you there?")


async def test_an_unreachable_service(stage: Stage, page: TalkPage) -> None:
    await stage.stop_listening()
    await page.start()
    words = await page.until_problem("service-unreachable")
    assert "Check your internet connection" in words
    await page.picture("unreachable")
    await stage.listen()
    await page.button("Try again").click()
    await stage.until_talking(page)
    await expect(page.notice).to_be_hidden()


async def test_an_unreachable_livekit(stage: Stage, page: TalkPage) -> None:
    stage.public_url = f"ws://127.0.0.1:{free_port()}"
    await page.tab.reload()  # the page may talk to what it was served with
    await page.start()
    words = await page.until_problem("service-unreachable", PATIENCE_MILLIS)
    assert "voice connection" in words


async def test_a_full_profile_says_when_to_try_again(stage: Stage, page: TalkPage) -> None:
    stage.refusal = Refusal(429, {"title": "No free place", "retryAfterSeconds": 30})
    await page.start()
    await page.until_problem("full")
    await expect(page.notice).to_contain_text("Try again in 2")
    await page.picture("full")
    stage.refusal = None
    await page.button("Try again").click()
    await stage.until_talking(page)


REFUSALS = [
    (Refusal(503, {"detail": "LiveKit is away", "retryAfterSeconds": 2}), "service-unreachable", "ry again"),
    (Refusal(401), "key-needed", "only callers with a key"),
    (Refusal(422, {"detail": "there is no profile of this name"}), "service-refused", "There is no profile"),
    (Refusal(500), "service-unreachable", "comes back by itself"),
]

REFUSED_ROOMS: list[tuple[Reason | RefusalReason, str, str]] = [
    (Reason.NO_CAPACITY, "full", "Try again in"),
    (RefusalReason.TICKET_EXPIRED, "service-refused", "This token is too old."),
    (RefusalReason.PROFILE_FULL, "full", "Try again in"),
]


async def test_other_refusals(stage: Stage, page: TalkPage) -> None:
    for refusal, code, words in REFUSALS:
        stage.refusal = refusal
        await page.start()
        assert words in await page.until_problem(code)


@pytest.mark.parametrize("told", [True, False], ids=["told in the room", "told by the status alone"])
async def test_refused_rooms(stage: Stage, page: TalkPage, told: bool) -> None:
    for reason, code, words in REFUSED_ROOMS:
        stage.refused_room = RefusedRoom(reason, "this token is too old", told)
        await page.start()
        await page.until_problem(code)
        await expect(page.notice).to_contain_text(words, timeout=PATIENCE_MILLIS)


async def test_a_full_service_whose_room_the_browser_never_reached(stage: Stage, page: TalkPage) -> None:
    stage.public_url = f"ws://127.0.0.1:{free_port()}"
    stage.status = {"phase": "Failed", "reason": "NoCapacity", "retryAfterSeconds": 15}
    await page.tab.reload()  # the page may talk to what it was served with
    await page.start()
    assert "Try again in" in await page.until_problem("full", PATIENCE_MILLIS)


async def test_a_killed_agent_that_comes_back(stage: Stage, page: TalkPage) -> None:
    await page.start()
    agent = await stage.until_talking(page)
    await stage.keep_spare_ready()
    await agent.kill()
    await page.until_look("lost")
    await expect(page.headline).to_have_text("The agent is not heard")
    stage.status = {"phase": "Recovering"}
    await expect(page.headline).to_have_text("Another agent is coming")
    successor = await stage.send_agent(stage.rooms[-1])
    await page.until_look("listening", "hearing")
    await successor.tell("say", text="I am back.")
    await page.until_line("agent", "I am back.")
    # It is the same room, and it still hears the customer.
    await successor.until("heard", audible=True)
    assert len(stage.rooms) == 1


async def test_an_agent_replaced_at_once(stage: Stage, page: TalkPage) -> None:
    await page.start()
    agent = await stage.until_talking(page)
    await agent.tell("mumble", text="I was about to")
    await page.until_line("agent", "I was about to")
    await stage.keep_spare_ready()
    await agent.kill()
    successor = await stage.send_agent(stage.rooms[-1])
    await successor.tell("say", text="As I said.")
    await page.until_line("agent", "As I said.")
    await page.until_look("listening", "hearing")
    await expect(page.tab.locator("#lines li", has_text="I was about to")).to_have_attribute("data-state", "cut")


async def test_a_killed_agent_that_does_not_come_back(stage: Stage, page: TalkPage) -> None:
    stage.status = {"phase": "Failed", "reason": "AgentCrashed"}
    await page.start()
    agent = await stage.until_talking(page)
    await agent.kill()
    await page.until_look("lost")
    words = await page.until_problem("agent-lost", PATIENCE_MILLIS)
    assert "did not come back" in words
    assert ("agent", "Hello, how can I help you?") in await page.lines()
    await page.picture("agent-lost")
    await page.button("Start again").click()
    await stage.until_talking(page, call=2)


async def test_a_room_closed_because_its_agent_failed(stage: Stage, page: TalkPage) -> None:
    stage.status = {"phase": "Failed", "reason": "OutOfMemory"}
    await page.start()
    await stage.until_talking(page)
    await stage.delete_room(stage.rooms[-1])
    await page.until_problem("agent-lost")


async def test_an_agent_that_hangs_up(stage: Stage, page: TalkPage) -> None:
    stage.status = {"phase": "Ended", "endReason": "idle"}
    await page.start()
    agent = await stage.until_talking(page)
    await agent.tell("leave")
    await page.until_look("leaving")
    await page.until_look("ended")
    await expect(page.tab.locator("#hint")).to_contain_text("nothing was said")
    await expect(page.notice).to_be_hidden()


@asynccontextmanager
async def talking_over_own_livekit(tmp_path: Path) -> AsyncIterator[tuple[LiveKitProcess, TalkPage]]:
    """A page in a call, on a LiveKit that the test may freeze and kill."""
    recording = write_wav(tmp_path / "microphone.wav", [build_murmur(1.0), 3.0])
    with restartable_livekit() as livekit:
        async with (
            opened_stage(livekit.server) as stage,
            chromium(recording) as browser,
            open_page(browser, stage.base_url) as page,
        ):
            await page.start()
            await stage.until_talking(page)
            yield livekit, page


async def test_a_network_that_carries_nothing_is_not_the_agents_fault(tmp_path: Path) -> None:
    async with talking_over_own_livekit(tmp_path) as (livekit, page):
        await page.record_looks()
        with livekit.frozen():
            # LiveKit's library notices after 15 s.
            await page.until_look("reconnecting")
        await page.until_look("listening", "hearing")
        assert "lost" not in await page.recorded_looks()


async def test_a_browser_that_is_offline_says_so_at_once(stage: Stage, page: TalkPage) -> None:
    await page.start()
    await stage.until_talking(page)
    await page.record_looks()
    await page.tab.context.set_offline(True)
    await page.until_look("reconnecting")
    await page.tab.context.set_offline(False)
    await page.until_look("listening", "hearing")
    assert "lost" not in await page.recorded_looks()


async def test_a_lost_connection_of_the_customer(tmp_path: Path) -> None:
    async with talking_over_own_livekit(tmp_path) as (livekit, page):
        await asyncio.to_thread(livekit.kill)
        await page.until_look("reconnecting")
        await page.picture("reconnecting")
        await page.until_problem("connection-lost", 120_000)
