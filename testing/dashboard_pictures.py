"""Draws a Grafana dashboard's panels from what a real Prometheus answers to their queries, without Grafana.

It knows the three kinds of panels that ours are, their places, units and legends; colours are its own.
"""

import html
import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import ViewportSize

from testing.browser import chromium
from testing.prometheus import Prometheus, Series, read_points

# A folder for the docs' pictures: DASHBOARD_IMAGES=docs/images pytest tests/e2e/test_metrics.py
_IMAGES_VARIABLE = "DASHBOARD_IMAGES"
# Grafana's grid: 24 columns, rows of 30 pixels and a gap.
_COLUMN, _ROW, _GAP, _MARGIN = 50, 34, 8, 16
_COLOURS = (
    "#3d71d9",
    "#e0752d",
    "#56a64b",
    "#b877d9",
    "#e02f44",
    "#1f9e9e",
    "#c4a000",
    "#8a5a44",
    "#7c8494",
    "#d683ce",
)
_RED, _GREEN = "#e02f44", "#56a64b"
_POINTS = 240
_MOST_LINES = 11
# Four of Prometheus' scrapes at least, as Grafana has it, and enough for the steps of the picture.
_RATE_SECONDS = 30
_BYTES = ("B", "KiB", "MiB", "GiB")

Raw = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """One series of a panel. `points`: moments in seconds of the wall clock, and values."""

    legend: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Data:
    """What Prometheus answered to each query of a dashboard, in their order, panel by panel, and for which time."""

    began: float
    ended: float
    answers: list[list[list[Series]]]


async def ask_for_data(dashboard: Raw, prometheus: Prometheus, namespace: str) -> Data:
    """Asks every query of a dashboard as Grafana does, for all the time that this Prometheus has watched."""
    began, ended = prometheus.began, time.time()
    step = max(2.0, (ended - began) / _POINTS)
    values = {
        "$namespace": namespace,
        "$__rate_interval": f"{max(_RATE_SECONDS, 2 * step):.0f}s",
        "$__range": f"{ended - began:.0f}s",
    }

    async def ask(target: Raw) -> list[Series]:
        query = target["expr"]
        for name, value in values.items():
            query = query.replace(name, value)
        return await (prometheus.query(query) if target["instant"] else prometheus.query_range(query, step))

    answers = [[await ask(target) for target in panel["targets"]] for panel in dashboard["panels"]]
    return Data(began, ended, answers)


def find_gaps(dashboard: Raw, data: Data) -> list[str]:
    """Returns the queries that found no number, or none with all that their legend names."""
    gaps = []
    for panel, answers in zip(dashboard["panels"], data.answers, strict=True):
        for target, found in zip(panel["targets"], answers, strict=True):
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            if not any(named <= {*series["metric"]} and read_points(series) for series in found):
                gaps.append(f"{panel['title']}: {target['expr']}")
    return gaps


async def take_picture(dashboard: Raw, data: Data, name: str) -> None:
    """Draws a dashboard into a PNG, for the docs, where DASHBOARD_IMAGES names a folder."""
    if not (folder := os.environ.get(_IMAGES_VARIABLE)):
        return
    width, height = _size(dashboard)
    async with chromium() as browser:
        page = await browser.new_page(viewport=ViewportSize(width=width, height=height))
        await page.set_content(build_page(dashboard, data))
        await page.screenshot(path=Path(folder, f"dashboard-{name}.png"))


def build_page(dashboard: Raw, data: Data) -> str:
    """Returns a dashboard as a page of HTML."""
    panels = zip(dashboard["panels"], data.answers, strict=True)
    drawn = "".join(_draw_panel(panel, _lines(panel, answers), data) for panel, answers in panels)
    title = html.escape(dashboard["title"])
    return f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>{drawn}"


def show_value(value: float, unit: str, decimals: int | None = None) -> str:
    """Returns a value as it is read; `unit`: Grafana's name of it."""
    if unit == "s":
        return _show_seconds(value)
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    if unit == "bytes":
        power = min(len(_BYTES) - 1, int(math.log(max(1.0, abs(value)), 1024)))
        return f"{_shorten(value / 1024**power)} {_BYTES[power]}"
    words = {"ops": " ops/s", "reqps": " req/s"}.get(unit, "")
    if decimals is not None:
        return f"{value:,.{decimals}f}{words}"
    return f"{_shorten(value)}{words}"


def _shorten(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _show_seconds(value: float) -> str:
    if abs(value) >= 120:
        return f"{value / 60:.3g} min"
    return f"{value:.3g} s" if abs(value) >= 1 or value == 0 else f"{value * 1000:.3g} ms"


def _size(dashboard: Raw) -> tuple[int, int]:
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    bottom = max(place["y"] + place["h"] for place in places)
    return 24 * _COLUMN + 2 * _MARGIN, bottom * _ROW + 4 * _MARGIN


def _lines(panel: Raw, answers: list[list[Series]]) -> list[Line]:
    """Returns what a panel shows, each series by its legend."""
    lines = []
    for target, found in zip(panel["targets"], answers, strict=True):
        drawn = ((_fill(target["legendFormat"], series["metric"]), read_points(series)) for series in found)
        lines += [Line(legend, points) for legend, points in drawn if points]
    return sorted(lines, key=lambda line: line.legend)


def _fill(legend: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda name: labels.get(name.group(1), ""), legend)


def _draw_panel(panel: Raw, lines: list[Line], data: Data) -> str:
    place = panel["gridPos"]
    left, top = place["x"] * _COLUMN + _MARGIN, place["y"] * _ROW + 3 * _MARGIN
    width, height = place["w"] * _COLUMN - _GAP, place["h"] * _ROW - _GAP
    draw = {"timeseries": _draw_lines, "bargauge": _draw_bars, "state-timeline": _draw_states}[panel["type"]]
    inside = draw(panel, lines, data, width - 24, height - 44) if lines else "<p class=none>No data</p>"
    box = f"left:{left}px;top:{top}px;width:{width}px;height:{height}px"
    return f'<section style="{box}"><h2>{html.escape(panel["title"], quote=False)}</h2>{inside}</section>'


def _draw_bars(panel: Raw, lines: list[Line], _data: Data, _width: int, height: int) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    most = max(line.points[-1][1] for line in lines) or 1.0
    each = min(34, height // len(lines))
    rows = []
    for number, line in enumerate(lines):
        value = line.points[-1][1]
        bar = f"width:{max(0.0, 100 * value / most):.1f}%;background:{_COLOURS[number % len(_COLOURS)]}"
        shown = show_value(value, defaults["unit"], defaults.get("decimals"))
        rows.append(
            f'<div class=bar style="height:{each}px"><span>{html.escape(line.legend)}</span>'
            f'<i><b style="{bar}"></b></i><em>{shown}</em></div>'
        )
    return "".join(rows)


def _draw_lines(panel: Raw, lines: list[Line], data: Data, width: int, height: int) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    highest = sorted(lines, key=lambda line: -max(value for _, value in line.points))[:_MOST_LINES]
    left_out = len(lines) - len(highest)
    lines = [line for line in lines if line in highest]
    rows = math.ceil((len(lines) + bool(left_out)) / 3)
    grain = 2**20 if defaults["unit"] == "bytes" else 1
    chart = Chart(data, width, height - 17 * rows, *_scale(lines, defaults.get("min"), grain), grain=grain)
    drawn = [*chart.grid(defaults["unit"])]
    for number, line in enumerate(lines):
        drawn += chart.line(line.points, _COLOURS[number % len(_COLOURS)])
    keys = "".join(
        f'<li><b style="background:{_COLOURS[number % len(_COLOURS)]}"></b>{html.escape(line.legend)}</li>'
        for number, line in enumerate(lines)
    )
    keys += f"<li>{left_out} lower ones</li>" if left_out else ""
    return f"<svg width={width} height={chart.height}>{''.join(drawn)}</svg><ul>{keys}</ul>"


def _draw_states(panel: Raw, lines: list[Line], data: Data, width: int, height: int) -> str:
    states = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    named = 190
    chart = Chart(data, width, height, 0, 1, left=named)
    each = (height - 22) / len(lines)
    drawn = [*chart.times()]
    for number, line in enumerate(lines):
        top = number * each
        label = html.escape(line.legend)
        drawn.append(f'<text x="{named - 8}" y="{top + each / 2 + 4:.1f}" text-anchor=end>{label}</text>')
        for begin, end, value in _spans(line.points, chart.gap):
            colour = _GREEN if value > 0 else _RED
            x, wide = chart.x(begin), max(2.0, chart.x(end) - chart.x(begin))
            band = f'x="{x:.1f}" y="{top + 2:.1f}" width="{wide:.1f}" height="{max(3, each - 4):.1f}"'
            drawn.append(f'<rect {band} fill="{colour}" fill-opacity=".75"/>')
            words = states[f"{int(value > 0)}"]["text"]
            if wide > 7 * len(words) and each > 13:
                middle = f'x="{x + wide / 2:.1f}" y="{top + each / 2 + 4:.1f}"'
                drawn.append(f"<text class=in {middle} text-anchor=middle>{words}</text>")
    return f"<svg width={width} height={height}>{''.join(drawn)}</svg>"


def _spans(points: Sequence[tuple[float, float]], gap: float) -> Iterator[tuple[float, float, float]]:
    """Yields from when to when a series had each of its values."""
    begin, (last, value) = points[0][0], points[0]
    for at, now in points[1:]:
        if now != value or at - last > gap:
            yield begin, (at if at - last <= gap else last), value
            begin, value = at, now
        last = at
    yield begin, last, value


def _scale(lines: list[Line], floor: float | None, grain: int) -> tuple[float, float]:
    """Returns bounds for these lines that are round in `grain`s."""
    values = [value for line in lines for _, value in line.points]
    low, high = (min(0.0, *values) if floor is None else floor), max(0.0, *values)
    step = _round_step((high - low or 1.0) / 4, grain)
    return math.floor(low / step) * step, math.ceil((high or step) / step) * step


def _round_step(least: float, grain: int) -> float:
    power = grain * 10.0 ** math.floor(math.log10(least / grain))
    return next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= least * 0.999)


@dataclass(frozen=True)
class Chart:
    """Where a moment and a value are in an SVG. Sizes in pixels."""

    data: Data
    width: int
    height: int
    low: float
    high: float
    left: int = 64
    grain: int = 1

    @property
    def gap(self) -> float:
        """How far two points may be from each other and still be one line, in seconds."""
        return max(5.0, 2.5 * (self.data.ended - self.data.began) / _POINTS)

    def x(self, at: float) -> float:
        """Returns where a moment is."""
        share = (at - self.data.began) / (self.data.ended - self.data.began)
        return self.left + share * (self.width - self.left - 8)

    def y(self, value: float) -> float:
        """Returns where a value is."""
        return 6 + (1 - (value - self.low) / (self.high - self.low)) * (self.height - 28)

    def times(self) -> Iterator[str]:
        """Draws the minutes."""
        minutes = (self.data.ended - self.data.began) / 60
        step = next(size for size in (1, 2, 5, 10, 15, 30, 60, 600) if minutes / size <= 8) * 60
        at = math.ceil(self.data.began / step) * step
        while at <= self.data.ended:
            clock = time.strftime("%H:%M", time.gmtime(at))
            x = f"{self.x(at):.1f}"
            yield f'<line x1="{x}" x2="{x}" y1=4 y2="{self.height - 20}"/>'
            yield f'<text x="{x}" y="{self.height - 6}" text-anchor=middle>{clock}</text>'
            at += step

    def grid(self, unit: str) -> Iterator[str]:
        """Draws the scales."""
        yield from self.times()
        step = _round_step((self.high - self.low) / 4, self.grain)
        for number in range(round((self.high - self.low) / step) + 1):
            value = self.low + number * step
            y = self.y(value)
            yield f'<line x1={self.left} x2={self.width - 8} y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text x={self.left - 6} y="{y + 4:.1f}" text-anchor=end>{show_value(value, unit)}</text>'

    def line(self, points: Sequence[tuple[float, float]], colour: str) -> Iterator[str]:
        """Draws one series, with a gap where it had no value, and a dot where it had one alone."""
        pieces: list[list[tuple[float, float]]] = []
        for point in points:
            if not pieces or point[0] - pieces[-1][-1][0] > self.gap:
                pieces.append([])
            pieces[-1].append(point)
        for piece in pieces:
            if len(piece) == 1:
                yield f'<circle cx="{self.x(piece[0][0]):.1f}" cy="{self.y(piece[0][1]):.1f}" r=2 fill="{colour}"/>'
            else:
                path = " ".join(f"{self.x(at):.1f},{self.y(value):.1f}" for at, value in piece)
                yield f'<polyline points="{path}" stroke="{colour}"/>'


_STYLE = """
body { margin: 0; background: #f4f5f5; font: 12px/1.3 'DejaVu Sans', sans-serif; color: #24292e; position: relative }
h1 { position: absolute; margin: 0; left: 16px; top: 14px; font-size: 18px; font-weight: 500 }
section { position: absolute; box-sizing: border-box; background: #fff; border: 1px solid #dcdfe3; border-radius: 3px;
  padding: 8px 12px; overflow: hidden }
h2 { margin: 0 0 8px; font-size: 13px; font-weight: 600 }
svg { display: block }
svg line { stroke: #e7e9ec }
svg polyline { fill: none; stroke-width: 1.5 }
svg text { font-size: 10.5px; fill: #59636e }
svg text.in { fill: #fff }
ul { margin: 0; padding: 0; list-style: none; display: flex; flex-wrap: wrap; font-size: 11px }
ul li { width: 33.3%; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; height: 17px }
ul b { display: inline-block; width: 12px; height: 3px; margin: 0 6px 3px 0 }
.bar { display: flex; align-items: center; gap: 10px }
.bar span { width: 215px; text-align: right; white-space: nowrap; overflow: hidden; text-overflow: ellipsis }
.bar i { flex: 1; background: #f0f1f3; height: 62% }
.bar b { display: block; height: 100% }
.bar em { width: 70px; font-style: normal }
.none { text-align: center; color: #8b949e; margin-top: 80px }
"""
