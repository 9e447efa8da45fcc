"""Tells how much memory this process holds."""

import os
from pathlib import Path

_STATM = Path("/proc/self/statm")


def read_resident_bytes() -> int | None:
    """Returns the bytes of this process that are in memory; None where the system does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return None
