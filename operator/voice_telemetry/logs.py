"""The log of every part: one JSON object a line, with the call it belongs to, without secrets or a customer's words.

`message` never changes from line to line: values stand beside it, given as `extra=`. An error is given as it is, as a
field or by `exc_info`; what may be told of it is decided here.
"""

import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, TextIO

# Ours in every part. Which others are ours differs: in the agent image `conversations` may be a team's own.
_EVERYWHERE_OURS = frozenset({"voice_telemetry", "voicesession"})
# Below a warning they tell of their daily business. Their texts end in what failed, which may be a customer's words, a
# model's or a request's: there they are cut. asyncio's and concurrent's end in errors that nobody took, anyone's.
_LIBRARIES = frozenset(
    {
        "aiohttp",
        "asyncio",
        "concurrent",
        "httpcore2",
        "httpx",
        "httpx2",
        "kopf",
        "kubernetes",
        "livekit",
        "mcp",
        "openai",
        "opentelemetry",
        "psycopg",
        "psycopg_pool",
        "urllib3",
        "uvicorn",
    }
)
_WHERE_THEY_QUOTE = re.compile(r": |\n|[(\[{<]")
_LIBRARY_PATH = re.compile(r"/(?:site|dist)-packages/(\w+)")
_STANDARD = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
# So often a library may warn of the same, as a busy node's speech detection does ten times a second.
_SAME_WARNING_SECONDS = 60.0
_LONGEST_TEXT = 2000
_MOST_FRAMES = 12
# What is shorter stands in other words too, and is no secret.
_SHORTEST_SECRET = 8
_TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*")

log = logging.getLogger(__name__)

_process: dict[str, object] = {}
_context: ContextVar[Mapping[str, object]] = ContextVar("log context", default=MappingProxyType({}))
_secrets: list[str] = []  # the longest first


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object: `time` (RFC 3339), `level`, `logger`, `message`, then its fields."""

    def __init__(self, packages: Iterable[str]) -> None:
        """`packages`: those whose errors are worded by us, so that their text may be told."""
        super().__init__()
        self._ours = _EVERYWHERE_OURS | set(packages)

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line; of one that cannot be written as it was meant, at least where it comes from."""
        try:
            return hide_secrets(self._build_line(record))
        except Exception as error:
            # Python would print it outside the log, with what it was about and nothing hidden.
            fields = {**_begin(record, "a log line could not be written"), "error": type(error).__name__}
            at = [describe_place(record.pathname, record.lineno, record.funcName or "")]
            return json.dumps({**fields, "at": at})

    def _build_line(self, record: logging.LogRecord) -> str:
        library = _is_library(record)
        # Whoever else logs here is a team's own code, which tells of its errors what it likes.
        tell = self._tell_error if library or self._is_ours(record.name) else _tell_whole_error
        fields = _begin(record, _message_of(record, library=library)[:_LONGEST_TEXT])
        more = {**_process, **_context.get(), **({} if library else _extra_of(record)), **_error_of(record)}
        for name, value in more.items():
            if value is not None:
                fields.setdefault(name, value)

        def to_text(value: object) -> str:
            return tell(_innermost(value))[:_LONGEST_TEXT] if isinstance(value, BaseException) else str(value)

        return json.dumps(fields, default=to_text, ensure_ascii=False)

    def _is_ours(self, name: str) -> bool:
        return name.split(".", 1)[0] in self._ours

    def _tell_error(self, error: BaseException) -> str:
        # The text of an error that is not ours may quote what a customer said, what a model answered, or a row.
        return _tell_whole_error(error) if self._is_ours(type(error).__module__) else type(error).__name__


class SeldomWarnings(logging.Filter):
    """Lets a library's warning pass once a minute from each place of its code; errors always, and all of ours."""

    def __init__(self) -> None:
        """Nothing has passed yet."""
        super().__init__()
        self._passed_at: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tells whether the record is to be written."""
        if record.levelno != logging.WARNING or not _is_library(record):
            return True
        place = (record.pathname, record.lineno)
        if record.created < self._passed_at.get(place, float("-inf")) + _SAME_WARNING_SECONDS:
            return False
        self._passed_at[place] = record.created
        return True


def configure_logs(level: str, packages: Iterable[str]) -> None:
    """Sends every line to standard error as JSON from now on, uncaught errors and Python's warnings too.

    `packages`: as of `JsonFormatter`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(packages))
    handler.addFilter(SeldomWarnings())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.excepthook = _tell_uncaught
    threading.excepthook = lambda failed: _tell_uncaught(failed.exc_type, failed.exc_value, failed.exc_traceback)
    warnings.showwarning = _tell_warning


def keep_logs() -> None:
    """Has `logging.basicConfig(force=True)` change nothing: it would put lines beside ours that hide no key."""
    configure: Any = logging.basicConfig

    def configure_if_nobody_has(**wanted: Any) -> None:
        configure(**{**wanted, "force": False})

    logging.basicConfig = configure_if_nobody_has


@contextmanager
def log_context(**fields: object) -> Iterator[None]:
    """Has every line that is written inside, also by tasks begun there, hold these fields. None is left out."""
    with fresh_log_context(**{**_context.get(), **fields}):
        yield


@contextmanager
def fresh_log_context(**fields: object) -> Iterator[None]:
    """As `log_context`, without the fields of what is around it: that has set this off, and it is about something else.

    So a server begins a connection's next request in the midst of the one before, and a task may serve many calls.
    """
    token = _context.set(fields)
    try:
        yield
    finally:
        _context.reset(token)


def add_to_log_context(**fields: object) -> None:
    """Has the further lines of the surrounding `log_context` hold these fields too."""
    _context.set({**_context.get(), **fields})


def set_process_fields(**fields: object) -> None:
    """Has every further line of this process hold these fields: whatever thread or callback writes it."""
    _process.update(fields)


def hide(*secrets: str) -> None:
    """Keeps these out of every further line, and of what `hide_secrets` returns."""
    known = {*_secrets, *secrets, *(json.dumps(secret, ensure_ascii=False)[1:-1] for secret in secrets)}
    _secrets[:] = sorted((secret for secret in known if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)


def hide_secrets(text: str) -> str:
    """Returns the text with `***` for what `hide` was told, and for JWTs: LiveKit quotes those it refuses."""
    for secret in _secrets:
        text = text.replace(secret, "***")
    return _TOKEN.sub("***", text)


def describe_place(filename: str, line: int, function: str = "") -> str:
    """Returns how lines tell of a place in the code, as `at`."""
    path = Path(filename)
    return f"{path.parent.name}/{path.name}:{line} {function}".rstrip()


def _begin(record: logging.LogRecord, message: str) -> dict[str, object]:
    return {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": message,
    }


def _is_library(record: logging.LogRecord) -> bool:
    # Not every logger is named by its library: mcp's client has one named `client`.
    path = _LIBRARY_PATH.search(record.pathname)
    return record.name.split(".", 1)[0] in _LIBRARIES or (path is not None and path[1] in _LIBRARIES)


def _message_of(record: logging.LogRecord, *, library: bool) -> str:
    text = record.getMessage()
    return _WHERE_THEY_QUOTE.split(text, maxsplit=1)[0] if library else text


def _extra_of(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD and name[0] != "_"}


def _error_of(record: logging.LogRecord) -> dict[str, object]:
    error = record.exc_info[1] if record.exc_info else None
    return {"error": error, "at": _frames(_innermost(error).__traceback__)} if error else {}


def _innermost(error: BaseException) -> BaseException:
    # What a task group raises says nothing itself.
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _tell_whole_error(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _frames(traceback: TracebackType | None) -> list[str]:
    frames: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(describe_place(code.co_filename, traceback.tb_lineno, code.co_name))
        traceback = traceback.tb_next
    return frames[-_MOST_FRAMES:]


def _tell_uncaught(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    if error is None or issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    log.critical("an error was caught by nobody", exc_info=(kind, error, traceback))


def _tell_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    # Its text is left out: pydantic's quote the values that they warn of.
    fields = {"warning": category.__name__, "at": [describe_place(filename, lineno)]}
    log.warning("a warning of Python's", extra=fields)
