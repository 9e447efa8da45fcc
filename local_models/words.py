"""Words and numbers in what a speech recognizer wrote, whatever its casing and punctuation."""

import re

_UNITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_UNITS += ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_VALUES = {word: value for value, word in enumerate(_UNITS)} | {word: 20 + 10 * i for i, word in enumerate(_TENS)}

NUMBER_WORD = "|".join(_VALUES)
_NUMBER = re.compile(rf"\d+|\b(?:{NUMBER_WORD})\b", re.IGNORECASE)
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[\s,.-]+(?=\d)")


def straighten(text: str) -> str:
    """Returns `text` with plain apostrophes and single spaces."""
    return " ".join(text.replace("\u2019", "'").split())


def plain_words(text: str) -> list[str]:
    """Returns the words in lower case, without punctuation; "What's" is "what's"."""
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)?", straighten(text).lower())


def plain(text: str) -> str:
    """Returns the plain words, one space between each."""
    return " ".join(plain_words(text))


def sentences(text: str) -> list[str]:
    """Returns the sentences of `text`, without the mark that ends them."""
    return [part.strip() for part in re.split(r"[.?!]+(?:\s+|$)", straighten(text)) if part.strip()]


def number_word(value: int) -> str:
    """Returns 0 to 99 as words."""
    if value < len(_UNITS):
        return _UNITS[value]
    tens, unit = _TENS[value // 10 - 2], value % 10
    return f"{tens}-{_UNITS[unit]}" if unit else tens


def integers_in(text: str) -> list[int]:
    """Returns the whole numbers said, in order: "two" and "2" are 2, "twenty-five" is 25, "1,250" is 1250."""
    found: list[int] = []
    tens_before = False
    for match in _NUMBER.finditer(re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)):
        value = int(match.group()) if match.group().isdigit() else _VALUES[match.group().lower()]
        if tens_before and not match.group().isdigit() and 0 < value < 10:
            found[-1] += value
        else:
            found.append(value)
        tens_before = match.group().lower() in _TENS
    return found


def digits_at_start(text: str) -> str:
    """Returns the digits of the number that `text` begins with, "" without one: "4-7 one 1 and so on" gives "4711"."""
    digits = ""
    for word in _BETWEEN_DIGITS.sub(" ", text).replace("-", " ").replace(",", " ").split():
        word_alone = word.strip(".;:!?").lower()
        if word_alone.isdigit():
            digits += word_alone
        elif word_alone in _VALUES:
            digits += str(_VALUES[word_alone])
        else:
            break
    return digits


def speak_digits(digits: str) -> str:
    """Returns digits as they are read aloud, one by one: "4711" gives "4 7 1 1"."""
    return " ".join(digits)


def as_sentence(text: str) -> str:
    """Returns `text` with a mark at its end, so that a speech synthesizer knows that it ends."""
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
