"""Who asks: anybody, where nobody is asked for a key, or who has one of the keys in a file."""

import hashlib
import logging
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from token_service.problems import HttpProblem

log = logging.getLogger(__name__)

# As a VoiceSession's `spec.tenant` may be.
_TENANT = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LINE = re.compile(rf"(?P<name>{_TENANT.pattern}):(?:sha256:)?(?P<hash>[0-9a-fA-F]{{64}})")
_RELOAD_SECONDS = 10.0


@dataclass(frozen=True)
class Caller:
    """Who asks. `tenant`: whom the key or token is of; None where nobody is asked for one.

    `key_hash`: of the API key that was shown. `expires_at`: until when the token that was shown is good, as Unix time.
    """

    tenant: str | None = None
    key_hash: str | None = field(default=None, compare=False, repr=False)
    expires_at: int | None = field(default=None, compare=False)


class Authenticator(Protocol):
    """Tells who asks."""

    async def follow(self) -> None:
        """Keeps what it knows of callers fresh, until cancelled or where there is nothing to keep."""

    async def authenticate(self, bearer: str | None) -> Caller:
        """Returns the caller who shows this bearer token; raises HttpProblem 401 for a stranger."""

    def still_knows(self, caller: Caller) -> bool:
        """Tells whether this caller, who has not expired, would be let in again by what was shown then."""


class Anybody:
    """Lets everybody in."""

    async def follow(self) -> None:
        """Has nothing to keep fresh."""

    async def authenticate(self, bearer: str | None) -> Caller:
        """Returns the nameless caller."""
        return Caller()

    def still_knows(self, caller: Caller) -> bool:
        """Tells that nobody has a name here."""
        return False


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

    async def follow(self) -> None:
        """Has nothing to do: the file is looked at when somebody asks."""

    async def authenticate(self, bearer: str | None) -> Caller:
        """Returns the caller whose key this is."""
        self._reload()
        if bearer is None:
            raise unauthorized("Send your key as `Authorization: Bearer KEY`.")
        # Keys are long and random, so a plain hash is enough, and looking it up tells nothing of its neighbours.
        key_hash = hashlib.sha256(bearer.encode()).hexdigest()
        name = self._names.get(key_hash)
        if name is None:
            raise unauthorized("This key is not known here.")
        return Caller(name, key_hash)

    def still_knows(self, caller: Caller) -> bool:
        """Tells whether the file still has the key, under the same name."""
        self._reload()
        return caller.key_hash is not None and self._names.get(caller.key_hash) == caller.tenant

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


def read_bearer(authorization: str | None) -> str | None:
    """Returns the token of an `Authorization: Bearer` header, or None."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def is_tenant(name: str) -> bool:
    """Tells whether a tenant may have this name."""
    return _TENANT.fullmatch(name) is not None


def unauthorized(detail: str, error: str | None = None) -> HttpProblem:
    """Returns the refusal of a stranger. `error`: RFC 6750's word for what is wrong with the token."""
    challenge = f'Bearer error="{error}"' if error else "Bearer"
    return HttpProblem(401, "unauthorized", "Who are you?", detail, headers={"WWW-Authenticate": challenge})
