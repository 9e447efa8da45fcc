"""Values that everybody can store and send: Postgres takes no NUL and no NaN, and UTF-8 no half of a character."""

import json
import math
import re
from typing import Any

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean_text(text: str) -> str:
    """Returns the text with a replacement character for what cannot be stored or sent."""
    return _UNSTORABLE.sub("\ufffd", text)


def clean(value: Any) -> Any:
    """Returns the same JSON with each text in it made clean, and a text for each number that JSON does not know."""
    match value:
        case str():
            return clean_text(value)
        case float() if not math.isfinite(value):
            return json.dumps(value)
        case dict():
            return {clean(key): clean(each) for key, each in value.items()}
        case list() | tuple():
            return [clean(each) for each in value]
        case _:
            return value
