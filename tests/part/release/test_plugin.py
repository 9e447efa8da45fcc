"""`kubectl voice` as krew gets it: packed, unpacked, and started by a link, and a Python without our packages."""

import os
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from release.builders import native_platform
from release.plugin import PLATFORMS, pack_plugin
from release.source import Source

SOURCE = Source("1.2.3", "abc", datetime(2026, 1, 1, tzinfo=UTC))
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with links to what the archive for this machine has, as krew makes one."""
    folder = tmp_path_factory.mktemp("krew")
    native = [each for each in PLATFORMS if f"{each.os}/{each.arch}" == native_platform()]
    [archive] = pack_plugin(SOURCE, folder, native, [PYTHON])
    with tarfile.open(archive.path) as packed:
        packed.extractall(folder / "store", filter="data")
    (folder / "bin").mkdir()
    for name in ("kubectl-voice", "kubectl_complete-voice"):
        (folder / "bin" / name).symlink_to(Path("..") / "store" / name)
    return folder / "bin"


def start(programs: Path, name: str, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """Starts a program with a PATH that has this Python, and variables that would mislead it."""
    base = Path(sys.base_prefix) / "bin"
    environment = {"PATH": path or f"{base}:{os.defpath}", "PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"}
    return subprocess.run(
        [programs / name, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_it_starts_where_nothing_of_ours_is_installed(programs: Path) -> None:
    done = start(programs, "kubectl-voice", "--help")
    assert done.returncode == 0, done.stderr
    assert "doctor" in done.stdout


def test_tab_completes(programs: Path) -> None:
    done = start(programs, "kubectl_complete-voice", "tim")
    assert done.stdout.split() == ["timeline", ":4"], done.stderr


def test_without_a_python_that_fits_it_says_which_would(programs: Path, tmp_path: Path) -> None:
    for name in ("dirname", "readlink", "sh"):
        (tmp_path / name).symlink_to(f"/bin/{name}")
    done = start(programs, "kubectl-voice", "top", path=str(tmp_path))
    assert (done.returncode, done.stderr) == (1, "error: kubectl voice needs Python 3.11 to 3.14 on the PATH\n")
