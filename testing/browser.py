"""A real Chromium without a window, and the page in it as its customer meets it."""

import contextlib
import io
import os
import re
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.async_api import Browser, Locator, Page, ViewportSize, async_playwright, expect

from local_cluster.layout import REPOSITORY
from testing.sound import SAMPLE_RATE

CHROMIUM = "/usr/bin/chromium"
AXE = REPOSITORY / "web" / "node_modules" / "axe-core" / "axe.min.js"
# Looks of a call (`data-look`); `docs/page.md` tells what each means.
Look = Literal[
    "start", "connecting", "listening", "hearing", "thinking", "speaking", "lost", "reconnecting", "leaving", "ended"
]
DESKTOP = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=390, height=844)
# A folder for the docs' pictures: PAGE_IMAGES=docs/images pytest tests/part/page/test_looks.py
IMAGES_VARIABLE = "PAGE_IMAGES"
_WAIT_MILLIS = 30_000

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
)


def write_wav(path: Path, parts: Sequence[bytes | float]) -> Path:
    """Writes a microphone's recording: 24 kHz mono 16-bit samples, and seconds of silence between them."""
    with wave.open(str(path), "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(SAMPLE_RATE)
        for part in parts:
            recording.writeframes(part if isinstance(part, bytes) else bytes(2 * int(part * SAMPLE_RATE)))
    return path


@contextlib.asynccontextmanager
async def chromium(
    microphone: Path | None = None,
    *,
    loop: bool = True,
    allowed: bool = True,
    program: str = CHROMIUM,
) -> AsyncIterator[Browser]:
    """Yields a browser.

    microphone: a WAV that it hears, again and again where `loop`; None: beeps.
    allowed: whether pages that ask for the microphone get it.
    """
    flags = [*_FLAGS, "--use-fake-ui-for-media-stream" if allowed else "--deny-permission-prompts"]
    if microphone is not None:
        flags.append(f"--use-file-for-fake-audio-capture={microphone}{'' if loop else '%noloop'}")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=flags)
        try:
            yield browser
        finally:
            await browser.close()


class TalkPage:
    """The page, by what is on it for the customer."""

    def __init__(self, page: Page) -> None:
        """Takes a tab; see `open_page`."""
        self.tab = page
        self.root = page.locator("#page")
        self.headline = page.locator("#headline")
        self.notice = page.locator("#notice")

    def button(self, name: str) -> Locator:
        """Returns the button that is called exactly this."""
        return self.tab.get_by_role("button", name=name, exact=True)

    async def start(self) -> None:
        """Presses start."""
        await self.tab.locator("#start").click()

    async def say(self, text: str) -> None:
        """Types a message and sends it."""
        await self.tab.get_by_placeholder("Or type a message").fill(text)
        await self.tab.keyboard.press("Enter")

    async def until_look(self, *looks: Look, timeout_millis: float = _WAIT_MILLIS) -> None:
        """Waits until the page shows one of these states."""
        pattern = re.compile(rf"^({'|'.join(looks)})$")
        await expect(self.root).to_have_attribute("data-look", pattern, timeout=timeout_millis)

    def shows(self, look: Look) -> Callable[[], Awaitable[bool]]:
        """Returns what tells whether the page shows this state."""

        async def is_shown() -> bool:
            return await self.root.get_attribute("data-look") == look

        return is_shown

    async def until_problem(self, code: str, timeout_millis: float = _WAIT_MILLIS) -> str:
        """Waits until the page says what went wrong; returns its words."""
        await expect(self.notice).to_be_visible(timeout=timeout_millis)
        await expect(self.notice).to_have_attribute("data-code", code, timeout=timeout_millis)
        return await self.notice.inner_text()

    async def until_line(self, who: Literal["agent", "customer"], text: str) -> None:
        """Waits until somebody's words are on the page."""
        line = self.tab.locator(f'#lines li[data-who="{who}"] .text', has_text=text)
        await expect(line.first).to_be_visible(timeout=_WAIT_MILLIS)

    async def lines(self) -> list[tuple[str, str]]:
        """Returns (who, words) of every line on the page."""
        items = self.tab.locator("#lines li")
        found = await items.evaluate_all("all => all.map(li => [li.dataset.who, li.querySelector('.text').innerText])")
        return [(str(who), str(text)) for who, text in found]

    async def record_words(self) -> None:
        """Notes every text that a line on the page has from now on."""
        await self.tab.evaluate(
            """() => {
                window.words = new Set();
                const note = () => document.querySelectorAll('#lines .text').forEach((e) => words.add(e.textContent));
                const changes = { childList: true, characterData: true, subtree: true };
                new MutationObserver(note).observe(document.getElementById('lines'), changes);
            }"""
        )

    async def recorded_words(self) -> set[str]:
        """Returns the texts that were noted."""
        return set(await self.tab.evaluate("[...window.words]"))

    async def record_looks(self) -> None:
        """Notes every state that the page shows from now on."""
        await self.tab.evaluate(
            """() => {
                const root = document.getElementById('page');
                window.looks = [];
                const note = () => looks.push(root.dataset.look);
                new MutationObserver(note).observe(root, { attributes: true, attributeFilter: ['data-look'] });
            }"""
        )

    async def recorded_looks(self) -> list[str]:
        """Returns the states that were noted, in order."""
        return [str(look) for look in await self.tab.evaluate("window.looks")]

    async def picture(self, name: str, *, all_looks: bool = False) -> None:
        """Takes pictures for the docs; see `take_pictures`."""
        await take_pictures(self.tab, f"page-{name}", all_looks=all_looks)


async def take_pictures(tab: Page, name: str, *, all_looks: bool = False, whole: bool = False) -> None:
    """Takes pictures for the docs where PAGE_IMAGES names a folder.

    Desktop in light and phone in dark; with `all_looks` the other two as well.

    whole: also what one has to scroll to.
    """
    folder = os.environ.get(IMAGES_VARIABLE)
    if folder is None:
        return
    for width, scheme, wanted in (
        ("desktop", "light", True),
        ("desktop", "dark", all_looks),
        ("phone", "light", all_looks),
        ("phone", "dark", True),
    ):
        if not wanted:
            continue
        await tab.set_viewport_size(PHONE if width == "phone" else DESKTOP)
        await tab.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        await tab.wait_for_timeout(300)
        write_small(await tab.screenshot(full_page=whole), Path(folder) / f"{name}-{width}-{scheme}.png")
    await tab.set_viewport_size(DESKTOP)


@contextlib.asynccontextmanager
async def open_page(browser: Browser, base_url: str, *scripts: str) -> AsyncIterator[TalkPage]:
    """Yields the page in a tab of a profile of its own; see `open_tab`."""
    async with open_tab(browser, *scripts) as tab:
        await tab.goto(base_url)
        yield TalkPage(tab)


@contextlib.asynccontextmanager
async def open_tab(browser: Browser, *scripts: str) -> AsyncIterator[Page]:
    """Yields an empty tab of a profile of its own; fails if what it loaded threw an error that nobody caught.

    `scripts`: run before whatever it loads.
    """
    context = await browser.new_context(viewport=DESKTOP)
    tab = await context.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    try:
        for script in scripts:
            await tab.add_init_script(script)
        yield tab
    finally:
        await context.close()
    assert not errors, f"the page threw: {errors}"


async def check_accessibility(tab: Page) -> None:
    """Fails where axe finds a violation, in light and dark, or where a small phone would have to scroll sideways."""
    # The page's own rules keep foreign scripts out; evaluating one goes past them.
    await tab.evaluate(AXE.read_text())
    for scheme in ("light", "dark"):
        await tab.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
        await tab.wait_for_timeout(700)
        found = await tab.evaluate(
            "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map("
            "v => `${v.id}: ${v.nodes.map(n => n.target + ' ' + n.failureSummary).join('; ')}`))"
        )
        assert found == [], f"{scheme}: {found}"
    size = tab.viewport_size
    await tab.set_viewport_size({"width": 320, "height": PHONE["height"]})
    assert await tab.evaluate("document.documentElement.scrollWidth") <= 320
    assert size is not None
    await tab.set_viewport_size(size)


def write_small(png: bytes, path: Path) -> None:
    """Writes a picture with few colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
    picture.save(path, optimize=True)
