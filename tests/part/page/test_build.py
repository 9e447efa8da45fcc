"""The page's own unit tests, and its types, by the tools that build it."""

import shutil
import subprocess

import pytest

from local_cluster.layout import REPOSITORY

WEB = REPOSITORY / "web"


@pytest.mark.parametrize("script", ["check", "test"])
def test_the_page_by_its_own_tools(script: str) -> None:
    assert shutil.which("npm"), "npm is missing: run `make setup`"
    assert (WEB / "node_modules").exists(), "the page is not built: run `make web`"
    done = subprocess.run(
        ["npm", "run", "--silent", script], cwd=WEB, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize("name", ["index.html", "calls/index.html", "calls/sign-in.html"])
def test_the_page_asks_nobody_else(name: str) -> None:
    built = WEB / "dist" / name
    assert built.exists(), "the page is not built: run `make web`"
    page = built.read_text()
    for attribute in ('src="', 'href="'):
        addresses = [part.split('"', 1)[0] for part in page.split(attribute)[1:]]
        assert addresses, "the page loads nothing: this test would prove nothing"
        assert all(address.startswith("/") for address in addresses), addresses
    for style in (built.parent / "assets").glob("*.css"):
        text = style.read_text()
        assert "url(http" not in text
        assert "@import" not in text


def test_the_page_of_calls_brings_no_client_of_livekit_and_makes_no_markup() -> None:
    programs = [file.read_text() for file in (WEB / "dist" / "calls" / "assets").glob("*.js")]
    assert len(programs) == 2, "the program and the sign-in's"
    for program in programs:
        assert "livekit" not in program.lower()
        assert "innerHTML" not in program
        assert "insertAdjacentHTML" not in program
