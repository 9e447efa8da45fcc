"""Draws a trace as a picture: its spans in their tree, each as a bar at its time."""

import html
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from playwright.async_api import ViewportSize

from testing.browser import chromium, write_small
from testing.collector import SentSpan

WIDTH = 1200
_NAMES = 330  # pixels of the column of names
_ROW = 20
_HEAD = 62
_TICKS = 8
_COLOURS = {"voice-token-service": "#7c3aed", "voice-operator": "#0369a1", "voice-agent": "#0f766e"}
_OURS = "voice-agent"  # the scope of spans that this project tells; another's are lighter


# What a picture leaves out.
_DEEPEST = 4
_SHORTEST = 0.005


async def draw_waterfall(title: str, spans: Sequence[SentSpan], path: Path) -> None:
    """Writes a PNG of a trace's spans, but those that are very deep in it, or over in less than 5 ms."""
    rows = [
        (depth, span)
        for depth, span in order_spans(spans)
        if depth <= _DEEPEST and span.ended - span.began >= _SHORTEST
    ]
    async with chromium() as browser:
        page = await browser.new_page(viewport=ViewportSize(width=WIDTH, height=_HEAD + _ROW * len(rows) + 16))
        await page.set_content(build_waterfall(title, rows))
        write_small(await page.screenshot(), path)


def order_spans(spans: Sequence[SentSpan]) -> Iterator[tuple[int, SentSpan]]:
    """Yields spans as a tree is read, with their depth; one whose parent never came stands below the first."""
    known = {span.id for span in spans}
    roots = [span for span in spans if not span.parent or span.parent not in known]
    below: defaultdict[str, list[SentSpan]] = defaultdict(list)
    first = min(roots, key=lambda span: (bool(span.parent), span.began))
    for span in spans:
        if span is not first:
            below[span.parent if span.parent in known else first.id].append(span)

    def walk(span: SentSpan, depth: int) -> Iterator[tuple[int, SentSpan]]:
        yield depth, span
        for child in sorted(below[span.id], key=lambda each: each.began):
            yield from walk(child, depth + 1)

    return walk(first, 0)


def build_waterfall(title: str, rows: Sequence[tuple[int, SentSpan]]) -> str:
    """Returns the page."""
    began, ended = min(span.began for _, span in rows), max(span.ended for _, span in rows)
    scale = (WIDTH - _NAMES - 90) / max(0.001, ended - began)
    lines = "".join(_build_row(number, depth, span, began, scale) for number, (depth, span) in enumerate(rows))
    height = _HEAD + _ROW * len(rows) + 16
    return (
        "<style>body{margin:0;background:#fff}text{font:12px system-ui,sans-serif;fill:#1f2937}"
        ".head{font-weight:600;font-size:15px}.dim{fill:#6b7280;font-size:11px}</style>"
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}">'
        f'<text class="head" x="12" y="22">{html.escape(title)}</text>{_build_legend()}'
        f"{_build_axis(ended - began, scale, height)}{lines}</svg>"
    )


def _build_legend() -> str:
    parts = []
    for number, (service, colour) in enumerate(_COLOURS.items()):
        x = WIDTH - 520 + 165 * number
        parts.append(f'<rect x="{x}" y="13" width="10" height="10" rx="2" fill="{colour}"/>')
        parts.append(f'<text class="dim" x="{x + 15}" y="22">{service}</text>')
    return "".join(parts)


def _build_axis(seconds: float, scale: float, height: int) -> str:
    step = _find_step(seconds)
    parts = []
    for number in range(int(seconds / step) + 1):
        x = _NAMES + number * step * scale
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_HEAD - 8}" y2="{height - 8}" stroke="#e5e7eb"/>')
        parts.append(f'<text class="dim" x="{x:.1f}" y="{_HEAD - 14}" text-anchor="middle">{number * step:g} s</text>')
    return "".join(parts)


def _find_step(seconds: float) -> float:
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
    return next((step for step in steps if seconds / step <= _TICKS), 600)


def _build_row(number: int, depth: int, span: SentSpan, began: float, scale: float) -> str:
    y = _HEAD + _ROW * number
    x, width = _NAMES + (span.began - began) * scale, max(2.0, (span.ended - span.began) * scale)
    colour = "#b91c1c" if span.failed else _COLOURS.get(span.service, "#6b7280")
    paleness = 1.0 if span.scope == _OURS else 0.55
    stripe = f'<rect x="0" y="{y - 2}" width="{WIDTH}" height="{_ROW}" fill="#f9fafb"/>' if number % 2 else ""
    bar = f'<rect x="{x:.1f}" y="{y + 1}" width="{width:.1f}" height="{_ROW - 7}" rx="3" fill="{colour}"'
    return (
        f'{stripe}<text x="{12 + 14 * depth}" y="{y + 12}">{html.escape(span.name)}</text>'
        f'{bar} opacity="{paleness}"/><text class="dim" x="{x + width + 5:.1f}" y="{y + 12}">'
        f"{_say_duration(span.ended - span.began)}</text>"
    )


def _say_duration(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
