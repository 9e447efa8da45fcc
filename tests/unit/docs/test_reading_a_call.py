"""Whoever reads a reason in an Event or a condition finds it on the page."""

import pytest

from local_cluster.layout import REPOSITORY
from voice_operator.events import EventReason
from voicesession.conditions import Reason

PAGE = (REPOSITORY / "docs" / "reading-a-call.md").read_text()


@pytest.mark.parametrize("reason", [*EventReason, *Reason])
def test_each_reason_is_on_the_page(reason: str) -> None:
    assert f"`{reason}`" in PAGE
