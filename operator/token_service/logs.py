"""Logs as JSON, one object a line, each with the id of the request that it belongs to."""

import json
import logging
from datetime import UTC, datetime

from token_service.middleware import request_id

_EXTRA = ("milliseconds", "tenant")


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "requestId": request_id.get() or None,
            **{name: getattr(record, name, None) for name in _EXTRA},
            "error": self.formatException(record.exc_info) if record.exc_info else None,
        }
        return json.dumps({name: value for name, value in line.items() if value is not None})


def configure_logging(level: str) -> None:
    """Sends every log line to standard error as JSON.

    Raises:
        ValueError: there is no such level.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # It repeats our access log, and would write down the rooms' names.
    logging.getLogger("uvicorn.access").disabled = True
