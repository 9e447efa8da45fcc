"""The page in a real browser, beside a real LiveKit and a scripted agent: every state it shows, one after the other."""

from pathlib import Path

from playwright.async_api import expect

from testing.browser import TalkPage, chromium, open_page, write_wav
from testing.livekit import LiveKitServer
from testing.page_stage import AgentProcess, opened_stage
from testing.sound import build_murmur

WRITTEN_DOWN = [
    ("assistant", "Hello, this is Ada. How can I help?", False),
    ("user", "I would like to order two large pizzas.", False),
    ("assistant", "Two large pizzas. Would you", True),
    ("user", "And a bottle of water, please.", False),
    ("assistant", "Two large pizzas and a bottle of water. They will be with you at seven.", False),
]


async def come_silently(agent: AgentProcess) -> None:
    """Joins and says nothing yet."""
    await agent.tell("state", value="initializing")


async def test_every_state_of_a_call(livekit: LiveKitServer, tmp_path: Path) -> None:
    recording = write_wav(tmp_path / "microphone.wav", [build_murmur(4.0), 6.0])
    async with opened_stage(livekit) as stage, chromium(recording) as browser:
        stage.script = come_silently
        stage.profiles = [
            {"name": "default", "displayName": "Ada", "providers": ["local", "openai"], "localMode": True},
            {"name": "bank", "displayName": "the bank", "providers": ["openai"], "localMode": False},
        ]
        stage.transcript = [
            {
                "role": role,
                "content": content,
                "interrupted": cut,
                "kind": "message",
                "createdAt": "2026-01-01T00:00:00Z",
            }
            for role, content, cut in WRITTEN_DOWN
        ]
        async with open_page(browser, stage.base_url) as page:
            await expect(page.headline).to_have_text("Talk with Ada")
            await page.picture("start", all_looks=True)
            await page.start()
            await page.until_look("connecting")
            agent = await stage.until_agent()
            await page.picture("connecting")

            await see_a_turn(page, agent)
            await see_agent_lost(page, agent)
            await stage.send_agent(stage.rooms[-1])
            await see_agent_back(page)
            await see_mute(page)

            await page.button("Hang up").click()
            await see_transcript(page)


async def see_a_turn(page: TalkPage, agent: AgentProcess) -> None:
    await agent.tell("state", value="speaking")
    await agent.tell("say", text="Hello, this is Ada. How can I help?", seconds=5)
    await page.until_look("speaking")
    await page.until_line("agent", "Hello, this is")
    await expect(page.tab.locator('#lines li[data-state="open"]')).to_be_visible()
    await page.picture("speaking", all_looks=True)

    await agent.tell("state", value="listening")
    await page.until_look("listening")
    await expect(page.tab.locator('#lines li[data-state="open"]')).to_have_count(0)
    await page.picture("listening")
    await page.until_look("hearing")
    await page.picture("hearing")

    sentence = "I would like to order two large pizzas."
    await page.record_words()
    await agent.tell("hear", interim=["I would", "I would like to order"], text=sentence)
    await agent.tell("state", value="thinking")
    await page.until_look("thinking")
    await page.until_line("customer", sentence)
    assert [text for who, text in await page.lines() if who == "customer"] == [sentence], "interim words were left"
    assert await page.recorded_words() >= {"I would", "I would like to order", sentence}
    await page.picture("thinking")


async def see_agent_lost(page: TalkPage, agent: AgentProcess) -> None:
    await agent.tell("state", value="speaking")
    await agent.tell("mumble", text="Two large pizzas. Would you")
    await page.until_line("agent", "Two large pizzas. Would you")
    await agent.kill()
    await page.until_look("lost")
    await expect(page.tab.locator("#announcer")).to_contain_text("not heard")
    await expect(page.tab.locator('#lines li[data-state="cut"] .note')).to_have_text("cut off")
    await page.picture("lost")


async def see_agent_back(page: TalkPage) -> None:
    await page.until_line("agent", "Hello, how can I help you?")
    await page.until_look("listening", "hearing")
    await expect(page.tab.locator("#announcer")).to_contain_text("back")


async def see_mute(page: TalkPage) -> None:
    await page.button("Mute").click()
    await expect(page.headline).to_have_text("You are muted")
    await page.picture("muted")
    await page.button("Unmute").click()
    await page.until_look("hearing")


async def see_transcript(page: TalkPage) -> None:
    await page.until_look("ended")
    await expect(page.tab.locator("#words-note")).to_have_text("As it was written down")
    written = [("agent" if role == "assistant" else "customer", content) for role, content, _ in WRITTEN_DOWN]
    assert await page.lines() == written
    await expect(page.tab.locator("#milestones")).to_contain_text("First word heard")
    await expect(page.tab.locator("#hint")).to_have_text("You hung up.")
    await page.picture("ended", all_looks=True)
