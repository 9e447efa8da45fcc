"""What probes are told."""

from dataclasses import dataclass

import pytest

from voice_operator.health import Health

NOW = 1000.0


@dataclass
class Known:
    """What the operator and its watches tell, as a test wants it."""

    silent: float = 1.0
    synced: bool = True
    stuck_seconds: float = 0.0
    answered_at: float = NOW
    obstacle: str | None = None

    def find_silent(self) -> tuple[str, float]:
        return "pods", self.silent


def health_of(known: Known) -> Health:
    return Health(known, known, silence_seconds=75, now=lambda: NOW)


@pytest.mark.parametrize(
    ("known", "told"),
    [
        (Known(), None),
        (Known(silent=89), None),
        (Known(silent=91), "the watch of pods was not heard for 91 s, though the API server answers"),
        (Known(silent=91, answered_at=NOW - 31), None),  # away: a new process would hear no more
        (Known(silent=601, answered_at=NOW - 601), "the API server has not answered for 601 s"),
        (Known(stuck_seconds=61), "nothing was looked at for 61 s, though something is to be"),
        (Known(synced=False), None),
        (Known(obstacle="another release"), None),
    ],
)
def test_it_lives_unless_only_a_new_process_can_help(known: Known, told: str | None) -> None:
    assert health_of(known).is_live() == told


def test_it_is_ready_when_it_has_seen_everything_and_nobody_bars_it() -> None:
    assert health_of(Known()).is_ready() is None
    assert health_of(Known(synced=False)).is_ready() == "the first lists are not complete"
    assert health_of(Known(obstacle="another release serves this namespace")).is_ready() == (
        "another release serves this namespace"
    )
