"""What runs before or outside of our environment needs nothing of it: plain sh, and a Python without our packages."""

import subprocess
from pathlib import Path

from local_cluster import images

PACKAGE = Path(images.__file__).parent


def test_the_setup_script_is_plain_sh() -> None:
    subprocess.run(["sh", "-n", PACKAGE / "setup.sh"], check=True, timeout=10)


def test_the_supervisor_starts_in_a_bare_python() -> None:
    ends_for_want_of_a_spec = subprocess.run(
        ["python3", "-I", PACKAGE / "supervisor.py", "/nonexistent"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert "FileNotFoundError" in ends_for_want_of_a_spec.stderr
