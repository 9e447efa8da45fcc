"""Text that everybody can store and send: Postgres takes no NUL, and UTF-8 no half of a character."""

import re
from typing import Any

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean_text(text: str) -> str:
    """Returns the text with a replacement character for what cannot be stored or sent."""
    return _UNSTORABLE.sub("\ufffd", text)


def clean(value: Any) -> Any:
    """Returns the same JSON with each text in it made clean."""
    match value:
        case str():
            return clean_text(value)
        case dict():
            return {clean(key): clean(each) for key, each in value.items()}
        case list() | tuple():
            return [clean(each) for each in value]
        case _:
            return value
