"""Log lines as JSON, with the conversation they belong to, without its words and without keys."""

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

# Libraries that quote requests and answers at their lower levels.
_CHATTY = ("httpx", "httpx2", "httpcore2", "openai", "aiohttp.access", "livekit", "mcp", "psycopg")
_FRAMEWORK = "livekit"
# asyncio tells of tasks whose errors nobody took, the framework's and its clients' among them.
_QUOTING = {_FRAMEWORK, "asyncio"}
_STANDARD = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_LONGEST_MESSAGE = 2000


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the fields of the context, and where an error came from."""

    def __init__(self) -> None:
        """Starts without a conversation and without anything to hide."""
        super().__init__()
        self.context: dict[str, str] = {}
        self.secrets: set[str] = set()

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message_of(record)[:_LONGEST_MESSAGE],
            **self.context,
            **_extra_of(record),
        }
        if record.exc_info and record.exc_info[0]:
            fields |= _describe_error(record.exc_info, quotes_text=_is_framework(record))
        line = json.dumps(fields, default=str, ensure_ascii=False)
        for secret in self.secrets:
            line = line.replace(secret, "***")
        return line


def configure_logs(level: str) -> JsonFormatter:
    """Sends every log line to standard error as JSON; returns the formatter, to be told context and secrets."""
    formatter = JsonFormatter()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    return formatter


def _is_framework(record: logging.LogRecord) -> bool:
    return record.name.split(".")[0] in _QUOTING or f"/{_FRAMEWORK}/" in record.pathname


def _message_of(record: logging.LogRecord) -> str:
    # The framework's texts end in ": " and what failed, which may quote the conversation or a provider's answer.
    if _is_framework(record):
        return record.getMessage().split(": ", 1)[0]
    return record.getMessage()


def _extra_of(record: logging.LogRecord) -> dict[str, object]:
    if _is_framework(record):
        return {}
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD and name[0] != "_"}


def _describe_error(
    info: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None], quotes_text: bool
) -> dict[str, object]:
    kind, error, traceback = info
    if kind is None:
        return {}
    described: dict[str, object] = {"error": kind.__name__, "at": _frames(traceback)}
    if not quotes_text:
        described["error_message"] = str(error)[:_LONGEST_MESSAGE]
    return described


def _frames(traceback: TracebackType | None) -> list[str]:
    frames: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        path = Path(code.co_filename)
        frames.append(f"{path.parent.name}/{path.name}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return frames[-12:]
