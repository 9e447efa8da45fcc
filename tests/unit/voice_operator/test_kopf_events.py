"""What takes the place of kopf's own processing of an event."""

import kopf
import pytest
from kopf._core.reactor import processing

from voice_operator.kopf_events import hand_events_to

PODS = kopf.Resource("", "v1", "pods", namespaced=True)
EVENT = {"type": "ADDED", "object": {"metadata": {"name": "pod-a"}}}


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing, "process_resource_event", processing.process_resource_event)


async def test_an_event_is_handed_over_as_it_came() -> None:
    seen = []

    async def see(**event: object) -> None:
        seen.append(event)

    hand_events_to(see)
    await processing.process_resource_event(memobase="memo", resource=PODS, raw_event=EVENT, registry=None)  # type: ignore[call-arg,arg-type]
    assert seen == [{"memo": "memo", "resource": PODS, "event": EVENT}]


async def test_one_that_cannot_be_taken_in_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    async def see(**_: object) -> None:
        raise KeyError("uid")

    hand_events_to(see)
    await processing.process_resource_event(memobase="memo", resource=PODS, raw_event=EVENT)  # type: ignore[call-arg,arg-type]
    assert "an event could not be taken in" in caplog.text
