"""A trace is read as a tree, whatever was lost of it."""

from testing.collector import SentSpan
from testing.waterfall import build_waterfall, order_spans


def build_span(identifier: str, parent: str = "", began: float = 0.0, ended: float = 1.0, **fields: bool) -> SentSpan:
    return SentSpan(
        service="voice-agent",
        scope="voice-agent",
        name=f"span <{identifier}>",
        trace="t",
        id=identifier,
        parent=parent,
        began=began,
        ended=ended,
        failed=fields.get("failed", False),
        links=(),
        text="",
    )


def test_spans_are_below_their_parents_in_the_order_of_their_beginnings() -> None:
    spans = [
        build_span("turn", "agent", 2.0),
        build_span("join", "call", 0.5),
        build_span("agent", "call", 1.0),
        build_span("call"),
    ]
    assert [(depth, span.id) for depth, span in order_spans(spans)] == [
        (0, "call"),
        (1, "join"),
        (1, "agent"),
        (2, "turn"),
    ]


def test_a_span_whose_parent_was_lost_with_its_agent_is_below_the_call() -> None:
    spans = [build_span("orphan", "gone", began=-1.0), build_span("call")]
    assert [(depth, span.id) for depth, span in order_spans(spans)] == [(0, "call"), (1, "orphan")]


def test_each_span_is_a_bar_of_its_length_and_a_failed_one_is_red() -> None:
    rows = [(0, build_span("call", ended=4.0)), (1, build_span("agent", "call", 1.0, 2.0, failed=True))]
    page = build_waterfall("A <call>", rows)
    assert "A &lt;call&gt;" in page
    assert page.count("span &lt;") == 2
    assert page.count('fill="#b91c1c"') == 1
    assert ">4.0 s</text>" in page
    assert ">1.0 s</text>" in page
