"""The page, which is livekit-client in a browser, goes on when the pod of its call dies, or its node is cut off."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from testing.agent_cluster import AgentCluster
from testing.browser import TalkPage, chromium, open_page, write_wav
from testing.page_stage import Stage
from testing.waiting import eventually
from voicesession.models import AgentProfileSpec

WARM = 2
RECOVERED_SECONDS = 30


@pytest.fixture
async def quiet_page(stage: Stage, tmp_path: Path) -> AsyncIterator[TalkPage]:
    """The page of a customer who says nothing, and types."""
    microphone = write_wav(tmp_path / "microphone.wav", [5.0])
    async with chromium(microphone) as browser, open_page(browser, stage.base_url) as opened:
        yield opened


async def say(page: TalkPage, text: str) -> None:
    await page.tab.get_by_placeholder("Or type a message").fill(text)
    await page.tab.keyboard.press("Enter")


@pytest.mark.parametrize("fault", ["kill", "node"])
async def test_the_page_goes_on_with_the_next_agent(
    agents: AgentCluster, stage: Stage, quiet_page: TalkPage, fault: str
) -> None:
    page = quiet_page
    stage.script = None  # real agents come instead
    agents.start_operator()
    await agents.create_warm_pool(WARM)
    await page.start()
    room, customer = await stage.until_customer()
    session = await agents.create_session(room=room, participantIdentity=customer)
    await page.until_line("agent", AgentProfileSpec().greeting)
    await say(page, "My name is Robert.")
    await page.until_line("agent", "You said: My name is Robert.")
    await page.record_looks()

    pod = await agents.pod_of(session)
    if fault == "kill":
        pod.kill()
    else:
        agents.kubelet.cut(agents.kubelet.node_of(pod.name))

    async def goes_on() -> bool:
        now = await agents.session(session.metadata.name)
        return now is not None and (now.status.attempts, now.status.phase) == (2, "Active")

    await eventually(goes_on, RECOVERED_SECONDS)
    await page.until_look("listening")
    await say(page, "What is my name?")
    await page.until_line("agent", "Your name is Robert.")
    assert "ended" not in await page.recorded_looks()
    await expect(page.notice).to_be_hidden()
