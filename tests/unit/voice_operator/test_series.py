"""Series do not grow with calls."""

from prometheus_client import REGISTRY

from testing.measured_calls import MeasuredCalls
from voice_operator.calls.measuring import Measuring
from voice_operator.keys import Kind
from voice_operator.state_metrics import show_state

# The page says how many there are by themselves; other tests of this process add theirs.
MOST = 2600


def drive(count: int) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Returns our series after so many calls have measured an answer each."""
    stage = MeasuredCalls(count)
    measuring = Measuring(stage.calls)
    for uid, measured in stage.measure():
        measuring.take(uid, measured)
    show_state(stage.cache, stage.heartbeats(), dict.fromkeys(Kind, 0), leading=True)
    samples = (sample for family in REGISTRY.collect() for sample in family.samples)
    return {(each.name, tuple(sorted(each.labels.items()))) for each in samples if each.name.startswith("voice_")}


def test_a_thousand_calls_have_the_series_of_a_hundred() -> None:
    few, many = drive(120), drive(1000)
    assert many - few == set()
    assert len(many) < MOST
    named = {name for _, labels in many for name, _ in labels}
    assert not named & {"tenant", "room", "session", "participant", "voicesession", "pod"}
