"""The pages in a browser: that of a call, with agents who come when it calls, and that of all calls."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from testing.browser import TalkPage, chromium, open_page, open_tab, write_wav
from testing.calls_examples import a_list
from testing.calls_stage import CallsStage, opened_calls_stage
from testing.livekit import LiveKitServer
from testing.page_stage import Stage, opened_stage
from testing.sound import build_murmur


@pytest.fixture
async def stage(livekit: LiveKitServer) -> AsyncIterator[Stage]:
    """Serves the page; an agent is about to be ready."""
    async with opened_stage(livekit) as opened:
        yield opened


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    """A browser whose microphone hears somebody every 3 s."""
    async with chromium(write_wav(tmp_path / "microphone.wav", [build_murmur(1.0), 2.0])) as started:
        yield started


@pytest.fixture
async def page(stage: Stage, browser: Browser) -> AsyncIterator[TalkPage]:
    """The page, about to be used."""
    async with open_page(browser, stage.base_url) as opened:
        yield opened


@pytest.fixture
async def tab(browser: Browser) -> AsyncIterator[Page]:
    """An empty tab."""
    async with open_tab(browser) as opened:
        yield opened


@pytest.fixture
async def calls() -> AsyncIterator[CallsStage]:
    """Serves the page of calls, with a few in its list."""
    async with opened_calls_stage() as opened:
        opened.calls = a_list()
        yield opened
