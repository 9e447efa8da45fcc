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


def test_the_page_asks_nobody_else() -> None:
    built = WEB / "dist"
    assert (built / "index.html").exists(), "the page is not built: run `make web`"
    page = (built / "index.html").read_text()
    for attribute in ('src="', 'href="'):
        addresses = [part.split('"', 1)[0] for part in page.split(attribute)[1:]]
        assert addresses, "the page loads nothing: this test would prove nothing"
        assert all(address.startswith("/") for address in addresses), addresses
    style = next((built / "assets").glob("*.css")).read_text()
    assert "url(http" not in style
    assert "@import" not in style
