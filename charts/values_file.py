"""The chart's values.yaml: each value's default, and the comment that explains it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "voice-agent"


@dataclass(frozen=True)
class ValuesFile:
    """What a file of values says, by the dotted path of each value and of each map of them."""

    defaults: dict[str, Any]
    comments: dict[str, str]

    @classmethod
    def load(cls) -> "ValuesFile":
        """Returns the chart's own."""
        return cls.parse((CHART / "values.yaml").read_text())

    @classmethod
    def parse(cls, text: str) -> "ValuesFile":
        """Returns what a text in YAML says."""
        comments = {path: _find_comment(text.splitlines(), *nodes) for path, *nodes in _walk_nodes(yaml.compose(text))}
        return cls(dict(_walk(yaml.safe_load(text))), {path: words for path, words in comments.items() if words})

    def has_default(self, path: str) -> bool:
        """Tells whether there is such a value, and it is not null."""
        return self.defaults.get(path) is not None

    def explain(self, path: str) -> str:
        """Returns a value's comment, else that of the nearest map that it is in."""
        while path and path not in self.comments:
            path = path.rpartition(".")[0]
        return self.comments.get(path, "")


def join(path: str, name: str) -> str:
    """Returns the path of a value in the map that has this path; the whole file's is empty."""
    return f"{path}.{name}" if path else name


def _walk(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        yield join(path, name), value
        if isinstance(value, dict):
            yield from _walk(value, join(path, name))


def _walk_nodes(mapping: Any, path: str = "") -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    for key, value in mapping.value:
        yield join(path, key.value), key, value
        # What stands behind a map in braces is about all of it.
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield from _walk_nodes(value, join(path, key.value))


def _find_comment(lines: list[str], key: yaml.Node, value: yaml.Node) -> str:
    """Returns what stands above a value, and behind it on its line, as one line."""
    at = key.start_mark.line
    first = at
    while first and lines[first - 1].startswith(" " * key.start_mark.column + "# "):
        first -= 1
    above = [line.strip().removeprefix("# ") for line in lines[first:at]]
    behind = re.search("# (.*)", lines[at][_find_end(key, value) :])
    return " ".join([*above, *([behind[1]] if behind else [])])


def _find_end(key: yaml.Node, value: yaml.Node) -> int:
    """Returns the column in the key's line where the key, or a value on the same line, ends."""
    ends_there = value.end_mark.line == key.start_mark.line
    return value.end_mark.column if ends_there else key.end_mark.column
