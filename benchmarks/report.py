"""What every benchmark prints: progress on the way, a table, and one JSON object as its last line."""

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the value below which `share` (0 to 1) of `values` lie; nan where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Progress:
    """Says at most every `every` seconds how far a long run is."""

    def __init__(self, what: str, total: int, every: float = 10.0) -> None:
        """Takes what is counted and how many there will be."""
        self.what, self.total, self.every = what, total, every
        self.began = self._last = time.monotonic()
        self._is_complete = False

    def at(self, done: int) -> None:
        """Tells that `done` are done."""
        now = time.monotonic()
        is_new = done == self.total and not self._is_complete
        if now - self._last >= self.every or is_new:
            self._last, self._is_complete = now, done == self.total
            print(f"  {done}/{self.total} {self.what}, {now - self.began:.0f} s (Ctrl-C stops)", flush=True)


def print_table(title: str, rows: Mapping[str, Sequence[float]], unit: str = "ms") -> None:
    """Prints count, p50, p90, p99 and the maximum of each row's values."""
    print(f"\n{title}   [{unit}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {platform.machine()}]")
    print(f"  {'':<44}{'n':>5}{'p50':>9}{'p90':>9}{'p99':>9}{'max':>9}")
    for name, values in rows.items():
        figures = "".join(f"{percentile(values, share):9.0f}" for share in (0.5, 0.9, 0.99, 1.0))
        print(f"  {name:<44}{len(values):>5}{figures}")


def print_result(result: Mapping[str, object]) -> None:
    """Prints the last line."""
    print(json.dumps({name: round(value, 3) if isinstance(value, float) else value for name, value in result.items()}))
