"""Puts tool calls together from the parts in which servers send them, where it is plain what is meant."""

import json
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Names that models write before a tool's own.
_PREFIXES = ("functions.", "function.", "tools.", "tool.", "default_api.")


@dataclass
class _Call:
    """One call as far as it has come."""

    id: str
    index: object
    name: str
    arguments: str = ""
    # What else the server needs to see again, as Google its thoughts' signature.
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether its arguments are whole JSON."""
        return bool(self.arguments) and len(_read_values(self.arguments)) > 0


class ToolCalls:
    """The calls of one answer. `offered` are the names of the tools that the model was told of."""

    def __init__(self, offered: Collection[str]) -> None:
        """No call yet."""
        self._offered = offered
        self._calls: list[_Call] = []

    def __bool__(self) -> bool:
        """Whether any has begun."""
        return bool(self._calls)

    def add(self, part: Mapping[str, Any]) -> None:
        """Takes one part: of a call that has begun, by its index, its id or its place; or the first of a new one."""
        function = part.get("function") or part
        name = str(function.get("name") or "")
        call = self._find(str(part.get("id") or ""), part.get("index"), name)
        call.id = call.id or str(part.get("id") or "")
        if name and name != call.name:
            call.name += name
        arguments = function.get("arguments", function.get("parameters"))
        call.arguments += arguments if isinstance(arguments, str) else _write(arguments)
        call.extra.update({key: part[key] for key in ("extra_content",) if part.get(key)})

    def build(self) -> list[dict[str, Any]]:
        """Returns the calls, each with an id and an index of its own, and arguments that are one JSON object.

        Arguments that cannot be read stay as they are: livekit-agents tells the model.
        """
        built: list[dict[str, Any]] = []
        for call, arguments in self._split():
            taken = {each["id"] for each in built}
            function = {"name": self._read_name(call.name), "arguments": arguments}
            if not call.id and function in (each["function"] for each in built):
                continue  # sent again, not meant twice
            id_ = call.id if call.id and call.id not in taken else f"call_{uuid.uuid4().hex[:16]}"
            built.append({"index": len(built), "id": id_, "type": "function", "function": function, **call.extra})
        return built

    def _find(self, id_: str, index: object, name: str) -> _Call:
        same = next((call for call in reversed(self._calls) if index is not None and call.index == index), None)
        if same is None and id_ and not (name and index is not None):
            same = next((call for call in self._calls if call.id == id_), None)
        if same is None and self._calls and (not name or (index is None and not id_)):
            same = self._calls[-1]
        if same is None or (name and self._begins_another(same, id_, name)):
            same = _Call(id_, index, "")
            self._calls.append(same)
        return same

    def _begins_another(self, call: _Call, id_: str, name: str) -> bool:
        """Tells whether a part with a name is another call's than the one at its index."""
        if not call.name:
            return False
        if name != call.name:
            # Some send a name in pieces.
            return bool(call.arguments) or name in self._offered or call.name in self._offered
        return call.is_whole and not (id_ and id_ == call.id)

    def _split(self) -> Iterator[tuple[_Call, str]]:
        """Yields each call with its arguments. Several objects, one after the other, are as many calls."""
        for call in self._calls:
            values = _read_values(call.arguments)
            different = [value for place, value in enumerate(values) if value not in values[:place]]
            if not different:
                yield call, call.arguments.strip() or "{}"
            for value in different:
                yield call, json.dumps(value)

    def _read_name(self, name: str) -> str:
        """Returns the offered name that is meant: without its prefix, or what was made of it by a call's number."""
        if name in self._offered:
            return name
        bare = name.strip().split(":")[0]
        candidates = (bare, *(bare.removeprefix(prefix) for prefix in _PREFIXES))
        return next((each for each in candidates if each in self._offered), name)


def read_written_calls(text: str, offered: Collection[str]) -> list[dict[str, Any]]:
    """Returns the parts of the calls that a model has written into its words, of tools that it was offered."""
    parts: list[dict[str, Any]] = []
    for value in _find_values(text):
        function = value.get("function") if isinstance(value.get("function"), dict) else value
        if isinstance(function, dict) and function.get("name") in offered:
            arguments = function.get("arguments", function.get("parameters", {}))
            parts.append({"index": len(parts), "function": {"name": function["name"], "arguments": arguments}})
    return parts


def _find_values(text: str) -> Iterator[dict[str, Any]]:
    """Yields each JSON object in the text, and of a list its objects."""
    decoder = json.JSONDecoder()
    place = 0
    while starts := [at for at in (text.find("{", place), text.find("[", place)) if at >= 0]:
        start = min(starts)
        try:
            value, place = decoder.raw_decode(text, start)
        except ValueError:
            place = start + 1
            continue
        yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, dict))


def _read_values(arguments: str) -> list[dict[str, Any]]:
    """Returns the objects that these arguments are, or none where they are anything else, or not whole."""
    decoder = json.JSONDecoder()
    values: list[dict[str, Any]] = []
    rest = arguments.strip()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
            # Some write the JSON as a string of JSON.
            value = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            return []
        if not isinstance(value, dict):
            return []
        values.append(value)
        rest = rest[end:].strip()
    return values


def _write(arguments: object) -> str:
    return "" if arguments is None else json.dumps(arguments)
