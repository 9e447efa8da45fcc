"""Who may ask: nobody is asked for a key (`none`), or everybody (`api-key`). OIDC would be a third `Authenticator`."""

import hashlib
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from token_service.problems import HttpProblem
from token_service.settings import TokenServiceSettings

log = logging.getLogger(__name__)

_LINE = re.compile(r"(?P<name>[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?):(?:sha256:)?(?P<hash>[0-9a-fA-F]{64})")
_RELOAD_SECONDS = 10.0


@dataclass(frozen=True)
class Caller:
    """Who asks. `tenant`: the name of the key; None where nobody is asked for one."""

    tenant: str | None = None


class Authenticator(Protocol):
    """Tells who asks."""

    async def authenticate(self, bearer: str | None) -> Caller:
        """Returns the caller who shows this bearer token; raises HttpProblem 401 for a stranger."""


class Anybody:
    """Lets everybody in."""

    async def authenticate(self, bearer: str | None) -> Caller:
        """Returns the nameless caller."""
        return Caller()


class ApiKeys:
    """Named keys from a file of lines `name:sha256-hex`; a name may have several, so that keys can be changed."""

    def __init__(self, path: Path) -> None:
        """Reads the file; it is read again when it changes, as a mounted Secret does.

        Raises:
            ValueError: a line is malformed, or there is none.
            OSError: the file cannot be read.
        """
        self._path = path
        self._read_at = self._checked_at = 0.0
        self._names: dict[str, str] = {}
        self._load()

    async def authenticate(self, bearer: str | None) -> Caller:
        """Returns the caller whose key this is."""
        self._reload()
        if bearer is None:
            raise _unauthorized("Send your key as `Authorization: Bearer KEY`.")
        # Keys are long and random, so a plain hash is enough, and looking it up tells nothing of its neighbours.
        name = self._names.get(hashlib.sha256(bearer.encode()).hexdigest())
        if name is None:
            raise _unauthorized("This key is not known here.")
        return Caller(name)

    def _reload(self) -> None:
        now = time.monotonic()
        if now - self._checked_at < _RELOAD_SECONDS:
            return
        self._checked_at = now
        try:
            if self._path.stat().st_mtime != self._read_at:
                self._load()
        except (OSError, ValueError) as error:
            log.exception("API keys stay as they are", extra={"reason": str(error)})

    def _load(self) -> None:
        modified = self._path.stat().st_mtime
        self._names = parse_api_keys(self._path.read_text())
        self._read_at = modified
        log.info("API keys read", extra={"keys": len(self._names), "tenants": len(set(self._names.values()))})


def parse_api_keys(text: str) -> dict[str, str]:
    """Returns tenant names by SHA-256 (hex) of their keys.

    Raises:
        ValueError: a line is malformed, a key has two names, or there is no key at all.
    """
    names: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"line {number} of the API keys: write NAME:SHA256, the hash of the key in hex")
        if names.setdefault(match["hash"].lower(), match["name"]) != match["name"]:
            raise ValueError(f"line {number} of the API keys: this key has another name already")
    if not names:
        raise ValueError("the API keys file holds no key")
    return names


def build_authenticator(settings: TokenServiceSettings) -> Authenticator:
    """Returns what the settings ask for, and says loudly when that is nothing."""
    if settings.auth_mode == "api-key" and settings.api_keys_file is not None:
        return ApiKeys(settings.api_keys_file)
    log.warning(
        "AUTH_MODE=none: ANYBODY WHO REACHES THIS SERVICE CAN START CALLS. For a demo on your own machine only; "
        "set AUTH_MODE=api-key for anything else."
    )
    return Anybody()


def read_bearer(authorization: str | None) -> str | None:
    """Returns the token of an `Authorization: Bearer` header, or None."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _unauthorized(detail: str) -> HttpProblem:
    return HttpProblem(401, "unauthorized", "Who are you?", detail, headers={"WWW-Authenticate": "Bearer"})
