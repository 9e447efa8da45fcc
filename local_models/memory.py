"""What a customer has told about themselves: a name, numbers, an order."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from local_models.words import NUMBER_WORD, digits_at_start, sentences

_NAME = re.compile(r"\b(?:my name is|my name's|i am called|call me|the name is)\s+([a-z][\w'-]*)", re.IGNORECASE)
# "I'm Anna", but not "I'm looking": only a capital tells.
_I_AM = re.compile(r"\b[Ii](?:'m| am) ([A-Z][a-z]+)\b")
_NUMBER = re.compile(r"\b(?:(\w+) )?(?:number|code|pin|id)(?:'s| is|:)\s*(?:the number )?(?=.)", re.IGNORECASE)
# Far more than a number is spelled in.
_LONGEST_NUMBER = 300
_WISH = (
    r"(?:i(?:'d| would) (?:like|love) to|i want to|i need to|i wish to|i'll|i will|can i|could i|may i|let me|please)"
)
_QUANTITY = rf"(?:\d+|{NUMBER_WORD}|some|a|an|the)\b"
_ORDER = (
    re.compile(rf"\b{_WISH}(?: please)? (?P<verb>order|book|reserve|buy) (?P<what>.+)", re.IGNORECASE),
    re.compile(rf"^(?P<verb>order|book|reserve|buy) (?P<what>(?:me |us )?{_QUANTITY}.+)", re.IGNORECASE),
    re.compile(rf"\b(?:i'll|i will) (?:have|take) (?P<what>{_QUANTITY}.+)", re.IGNORECASE),
    re.compile(rf"\bi(?:'d| would) like (?P<what>(?:\d+|{NUMBER_WORD})\b.+)", re.IGNORECASE),
)
_AFTER_ORDER = re.compile(r",? (?:please|thank you|thanks|and my|my name|and i)\b.*$|[,;]$", re.IGNORECASE)
_UNLABELLED = {"my", "the", "a", "your", "is", "and"}


@dataclass(frozen=True)
class Order:
    """What was ordered: verb "order", what "two pizzas"."""

    verb: str
    what: str


@dataclass(frozen=True)
class Memory:
    """Everything known; `numbers` is label ("account", or "" for none) → digits, the newest last."""

    name: str = ""
    numbers: dict[str, str] = field(default_factory=dict)
    order: Order | None = None

    def is_empty(self) -> bool:
        """Returns whether nothing is known."""
        return not (self.name or self.numbers or self.order)

    def number(self, label: str) -> str:
        """Returns the number with that label, with "" the newest of all; "" when it is not known."""
        if label:
            return self.numbers.get(label, "")
        return next(reversed(self.numbers.values()), "")


def remember(said: Iterable[str]) -> Memory:
    """Returns what the customer told in all of `said`, oldest first. What is said later wins."""
    name, numbers, order = "", dict[str, str](), None
    for text in said:
        for sentence in sentences(text):
            name = _find_name(sentence) or name
            order = _find_order(sentence) or order
        # A recognizer may put a full stop inside a number, so this looks at the whole.
        for label, digits in _find_numbers(" ".join(text.split())):
            numbers.pop(label, None)
            numbers[label] = digits
    return Memory(name, numbers, order)


def _find_name(sentence: str) -> str:
    match = _NAME.search(sentence) or _I_AM.search(sentence)
    return match[1].removesuffix("'s").capitalize() if match else ""


def _find_numbers(text: str) -> list[tuple[str, str]]:
    found = []
    for match in _NUMBER.finditer(text):
        digits = digits_at_start(text[match.end() : match.end() + _LONGEST_NUMBER])
        label = (match[1] or "").lower()
        if digits:
            found.append(("" if label in _UNLABELLED else label, digits))
    return found


def _find_order(sentence: str) -> Order | None:
    for pattern in _ORDER:
        if match := pattern.search(sentence):
            what = _AFTER_ORDER.sub("", match["what"]).strip(" ,")
            return Order(match.groupdict().get("verb", "order").lower(), what)
    return None
