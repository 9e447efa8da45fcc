"""The failure that a status of 200 hides, and how servers write errors into what they call a success."""

import re
from collections.abc import Mapping
from typing import Any

import httpx2

# What a server may be quoted with: the name of an error. A sentence of its own may hold the customer's words.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{1,39}")


class WrongAnswerError(httpx2.RequestError):
    """A server called it a success, and it is none; the text says what it is, in no words of a conversation.

    `status` is what the server should have answered, where its error tells.
    """

    def __init__(self, what: str, status: int | None = None) -> None:
        """`what` completes "answered with …"."""
        super().__init__(what)
        self.status = status


def raise_error(value: object) -> None:
    """Returns if this JSON is no error.

    Raises:
        WrongAnswerError: it is one.
    """
    if not isinstance(value, Mapping):
        return
    error = value.get("error") or None
    if error is None and (value.get("object") == "error" or value.get("type") == "error"):
        error = value
    if error is None:
        return
    details: Mapping[str, Any] = error if isinstance(error, Mapping) else value
    names = (details.get(key) for key in ("code", "type"))
    name = next((each for each in names if isinstance(each, str) and _NAME.fullmatch(each) and each != "error"), "")
    raise WrongAnswerError(
        f"an error in a success ({name})" if name else "an error in a success", _find_status(details)
    )


def _find_status(details: Mapping[str, Any]) -> int | None:
    for key in ("code", "status", "status_code", "http_status_code"):
        text = str(details.get(key, ""))
        if text.isdecimal() and 400 <= int(text) < 600:
            return int(text)
    return None
