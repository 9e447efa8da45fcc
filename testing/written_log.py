"""What a part in this process logs, as its own process would write it."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from voice_telemetry.logs import JsonFormatter


@dataclass(frozen=True)
class WrittenLog:
    """The log so far."""

    stream: StringIO = field(default_factory=StringIO)

    @property
    def text(self) -> str:
        """The log as it is written."""
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log's lines."""
        return [json.loads(line) for line in self.text.splitlines()]


@contextmanager
def written_log(part: str) -> Iterator[WrittenLog]:
    """Keeps what the part's package logs meanwhile, from INFO on."""
    written = WrittenLog()
    handler = logging.StreamHandler(written.stream)
    handler.setFormatter(JsonFormatter({part}))
    logger, level = logging.getLogger(part), logging.getLogger(part).level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield written
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
