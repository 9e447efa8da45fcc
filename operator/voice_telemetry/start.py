"""How every part starts: its settings are read and its log begins, or it says in one sentence why it cannot."""

import contextlib
import re
import resource
import sys
from collections.abc import Callable, Generator, Iterable
from typing import Annotated, Any, Literal, NoReturn, Protocol, TypeVar

from pydantic import BeforeValidator, SecretStr, ValidationError

from voice_telemetry.logs import configure_logs, hide

EXIT_CODE = 2
_PASSWORD = re.compile(r"://[^:/@]*:([^/@]+)@")


def _in_capitals(level: object) -> object:
    return level.upper() if isinstance(level, str) else level


LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_in_capitals)]


class Settings(Protocol):
    """What the settings of every part have: they are a pydantic model, and know the level of the log."""

    @property
    def log_level(self) -> str:
        """The lowest level that is logged."""

    def __iter__(self) -> Generator[tuple[str, Any], None, None]:
        """Yields each setting's name and value."""


S = TypeVar("S", bound=Settings)


def start(part: str, read: Callable[[], S], *, packages: Iterable[str] = (), prefix: str = "") -> S:
    """Reads the settings, has the log hide the secrets among them, and begins to log.

    `part`: its package. `packages`: what it imports of ours besides; the text of their errors is told in the log.
    `prefix`: what the names of its variables begin with. Ends the process where the settings are wrong.
    """
    try:
        settings = read()
    except ValidationError as error:
        refuse_to_start(part, describe_wrong_settings(error, prefix))
    _allow_connections()
    hide(*find_secrets(settings))
    configure_logs(settings.log_level, {part, *packages})
    return settings


def _allow_connections() -> None:
    """Lets the process have as many files and connections open as it ever may.

    Newer container runtimes begin with 1,024, and the operator has a connection to each call's pod.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # as a laptop's system may answer
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def refuse_to_start(part: str, reason: str) -> NoReturn:
    """Ends the process with exit code 2 and one line on standard error."""
    sys.stderr.write(f"{part} cannot start: {reason}\n")
    sys.exit(EXIT_CODE)


def describe_wrong_settings(error: ValidationError, prefix: str = "") -> str:
    """Returns each variable that is wrong and why; never its value."""
    return "; ".join(
        f"{_name_variable(item['loc'], prefix)}{item['msg'].removeprefix('Value error, ')}"
        for item in error.errors(include_input=False, include_url=False, include_context=False)
    )


def find_secrets(settings: Settings) -> list[str]:
    """Returns what the settings keep secret, and the passwords in URLs among it."""
    found = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    return found + [password for secret in found for password in _PASSWORD.findall(secret)]


def _name_variable(place: tuple[int | str, ...], prefix: str) -> str:
    if not place:
        return ""  # about several at once, whose names are in the text
    name = str(place[0])
    # An alias is a variable's whole name already.
    variable = name if name.isupper() else f"{prefix}{name}"
    return ".".join([variable, *map(str, place[1:])]).upper() + ": "
