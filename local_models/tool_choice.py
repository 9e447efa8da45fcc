"""Which of the offered tools the customer's words ask for, and with which arguments."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from local_models.request_bodies import Function
from local_models.words import digits_at_start, integers_in, plain_words, straighten

# Words that a tool's name or description has, but that tell nothing about what it is for.
_EMPTY_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a about agent all an and any are as at be been by can check create current currently customer data do does
        else fetch find for from function get give given has have help her him his how i if in information into is
        it its keep look lookup make may me must my need new no not now of on one or our out perform please query
        retrieve return returns run say search set should some specific tell that the their them then there this to
        tool up us use used user using want wants was we what when whether which will with would you your
        """,
    )
)
_SAME_WORD = dict.fromkeys(("speak", "talk", "connect", "forward", "switch"), "transfer")
_REQUEST = re.compile(
    r"\?|^(?:what|where|when|which|who|how|is|are|do|does|can|could|would|will|please|tell|give|show|check|find|get|look|"
    r"look up|search|call|use|run|set|turn|send|make|start|stop|open|close|play|add|take|cancel|book|order|transfer)\b"
    r"|\b(?:please|i want|i need|i'd like|i would like|can you|could you|let me)\b",
    re.IGNORECASE,
)
_WEAKEST_MATCH = 3

_STOP = (
    r"(?=[,.;:?!]|$| (?:in|for|at|from|to|about|on|with|and|by|please|today|tomorrow|tonight|now|right now|called)\b)"
)
_PHRASE = re.compile(rf"\b(in|for|at|from|to|about|on|of|called|named)\s+(.+?){_STOP}", re.IGNORECASE)
_PREFERRED = {
    "origin": "from", "source": "from", "from": "from", "destination": "to", "to": "to", "time": "at", "topic": "about",
    "city": "in", "location": "in", "place": "in", "country": "in",
}  # fmt: skip
_DAY = re.compile(r"\b(?:(?:next )?(?:mon|tues|wednes|thurs|fri|satur|sun)day|today|tonight|tomorrow)\b", re.IGNORECASE)
_DIGIT_PARAMETERS = {"number", "id", "code", "pin", "phone", "zip", "account"}
_TEXT_PARAMETERS = {"text", "message", "note", "query", "question", "content", "reason", "topic", "subject", "request"}
_NOBODY = {"me", "you", "us", "it", "that", "this", "them", "a moment"}


@dataclass(frozen=True)
class Arguments:
    """What a tool is called with; `missing`: the first required parameter that the words do not give, or ""."""

    values: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""


def choose_tool(said: str, offered: Sequence[Function]) -> Function | None:
    """Returns the tool that `said` asks for: all telling words of its name, or enough of name and description."""
    scored = [(_score(said, function), function) for function in offered]
    best = max(scored, key=lambda pair: pair[0], default=None)
    return best[1] if best and best[0] >= _WEAKEST_MATCH else None


def fill_arguments(said: str, function: Function) -> Arguments:
    """Returns arguments for `function` from the words of `said`.

    Fills strings, whole numbers, numbers, booleans and enums; of other kinds only what may be left out.
    """
    schema = function.parameters or {}
    heard = _Heard(said, _spaced(function.name))
    values: dict[str, Any] = {}
    missing = ""
    for name, parameter in schema.get("properties", {}).items():
        nullable = "null" in _kinds(parameter)
        needed = name in schema.get("required", []) and not nullable
        value = heard.take(_spaced(name), parameter, guess=needed)
        if value is not None or nullable:
            values[name] = value
        elif needed:
            missing = missing or _spaced(name)
    return Arguments(values, missing)


def _score(said: str, function: Function) -> int:
    told = _telling(said)
    name = _telling(_spaced(function.name))
    description = _telling(function.description or "")
    requested = _REQUEST.search(straighten(said)) is not None
    if name and name <= told and (requested or len(name) > 1):
        return 100 + len(name)
    if not requested:
        return 0
    # Two telling words of the description, or one of the name that the description repeats.
    return 2 * len(name & told) + len(description & told) + (0 if name else 1)


def _telling(text: str) -> set[str]:
    return {_stem(_SAME_WORD.get(word, word)) for word in plain_words(text) if word not in _EMPTY_WORDS}


def _stem(word: str) -> str:
    word = word.partition("'")[0]
    for ending in ("ing", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


def _spaced(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[_-]+", " ", name).lower()


def _kinds(parameter: Mapping[str, Any]) -> set[str]:
    """Returns the JSON types that a parameter may have."""
    options = parameter.get("anyOf", [parameter])
    kinds = [option.get("type", "string") for option in options]
    return {kind for item in kinds for kind in (item if isinstance(item, list) else [item])}


class _Heard:
    """The customer's words, of which each number, phrase and proper name goes to one parameter only."""

    def __init__(self, said: str, tool: str) -> None:
        self._text = straighten(said)
        self._tool = _telling(tool)
        self._numbers = iter(integers_in(self._text))
        self._phrases = [phrase for phrase in _phrases(self._text) if not _telling(phrase[1]) & self._tool]
        # A recognizer writes proper names with a capital.
        self._names = re.findall(r"(?<=[a-z,] )(?!I\b)[A-Z]\w+(?: [A-Z]\w+)*", self._text)

    def take(self, name: str, parameter: Mapping[str, Any], *, guess: bool) -> Any:
        """Returns the value of a parameter, or None. `guess`: rather something that may be meant than nothing."""
        kinds = _kinds(parameter)
        options = parameter.get("anyOf", [parameter])
        if choices := [choice for option in options for choice in option.get("enum", [])]:
            return next((choice for choice in choices if _spaced(str(choice)) in self._text.lower()), None)
        if kinds & {"integer", "number"}:
            return next(self._numbers, None)
        if "boolean" in kinds and (guess or name in self._text.lower()):
            return not re.search(r"\b(?:no|not|don't|without|off)\b", self._text, re.IGNORECASE)
        if "string" in kinds:
            told = self._take_told(name)
            return self._take_guessed() if told is None and guess else told
        return None

    def _take_told(self, name: str) -> str | None:
        words = set(name.split())
        if words & _DIGIT_PARAMETERS and (digits := _first_digits(self._text)):
            return digits
        named = rf"\b{re.escape(name)}(?: is| of| called| named| to|:)? (.+?){_STOP}"
        if (match := re.search(named, self._text, re.IGNORECASE)) is not None:
            return match[1]
        if words & {"day", "date", "when"} and (day := _DAY.search(self._text)) is not None:
            return day[0]
        if words & _TEXT_PARAMETERS:
            return self._after_the_tools_name() or self._text
        preferred = {_PREFERRED[word] for word in words if word in _PREFERRED}
        chosen = next((phrase for phrase in self._phrases if phrase[0] in preferred), None)
        return self._use(chosen) if chosen is not None else None

    def _take_guessed(self) -> str | None:
        if self._phrases:
            return self._use(self._phrases[0])
        return self._names.pop(0) if self._names else None

    def _use(self, phrase: tuple[str, str]) -> str:
        self._phrases.remove(phrase)
        self._names = [name for name in self._names if name not in phrase[1]]
        return phrase[1]

    def _after_the_tools_name(self) -> str:
        """Returns what is said after the last word of the tool's name."""
        places = [match.end() for match in re.finditer(r"[\w']+", self._text) if _telling(match[0]) & self._tool]
        rest = self._text[places[-1] :] if places else ""
        return re.sub(r"^[\s,:]*(?:that |for |about |of )?", "", rest).strip(" .?!")


def _phrases(text: str) -> list[tuple[str, str]]:
    """Returns what follows each preposition, as (preposition, words)."""
    found = [(match[1].lower(), re.sub(r"^(?:the|a|an) ", "", match[2])) for match in _PHRASE.finditer(text)]
    return [(preposition, words) for preposition, words in found if words.lower() not in _NOBODY]


def _first_digits(text: str) -> str:
    words = text.split()
    return next((digits for i in range(len(words)) if (digits := digits_at_start(" ".join(words[i:])))), "")
