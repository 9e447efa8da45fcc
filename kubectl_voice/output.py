"""Prints tables for people, and JSON for programs."""

import json
from collections.abc import Sequence
from enum import StrEnum

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from kubectl_voice.findings import Finding, Weight
from kubectl_voice.tables import Row

_COLOURS = {Weight.CUSTOMER: "red", Weight.OPERATION: "yellow", Weight.NOTE: "blue", Weight.FINE: "green"}
# Of these the end may be cut where a terminal is narrow; all others stay whole.
_LONG = {"MESSAGE", "WHAT", "WORDS"}
# Who wants them too says `-o wide`.
_WIDE = {"POD", "NODE"}


class Format(StrEnum):
    """How something is printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"


def console() -> Console:
    """Returns where people read: colours only in a terminal, no line broken where there is none."""
    made = Console(highlight=False, soft_wrap=False)
    return made if made.is_terminal else Console(highlight=False, width=1000)


def print_rows(rows: Sequence[Row], form: Format, empty: str) -> None:
    """Prints rows of the same columns; `empty` where there are none."""
    if form is Format.JSON:
        print_json(rows)
    elif rows:
        console().print(build_table(rows, wide=form is Format.WIDE))
    else:
        console().print(empty)


def print_json(value: object) -> None:
    """Prints a value as JSON."""
    Console(highlight=False, soft_wrap=True, width=10**6).print(json.dumps(value, indent=2, default=str), markup=False)


def build_table(rows: Sequence[Row], *, wide: bool = False) -> Table:
    """Returns a table as kubectl's: no lines. A column that has nothing is left out; `wide`: no other."""
    shown = [name for name in rows[0] if wide or name not in _WIDE]
    columns = [name for name in shown if any(row[name] is not None for row in rows)]
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=name not in _LONG, overflow="fold" if name in _LONG else "ignore")
    for row in rows:
        table.add_row(*(Text("-" if row[name] is None else str(row[name])) for name in columns))
    return table


def build_findings(findings: Sequence[Finding]) -> RenderableType:
    """Returns findings as sentences, each with its advice below."""
    lines: list[RenderableType] = []
    for finding in findings:
        lines.append(Text.assemble(("● ", _COLOURS[finding.weight]), finding.sentence))
        if finding.advice:
            lines.append(Text(f"  {finding.advice}"))
    return Group(*lines)
