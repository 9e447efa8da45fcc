"""The cookie of somebody who has signed in to the page of calls: who, by which key, until when. Pure."""

import hashlib
import hmac
from datetime import datetime, timedelta

import jwt
from jwt.types import Options

from token_service.callers import Caller

COOKIE = "voice-calls"
LONGEST = timedelta(hours=8)
_AUDIENCE = "voice-agent/calls"
_ALGORITHM = "HS256"
# What is longer is no cookie of ours.
_COOKIE_CHARACTERS = 2048
_REQUIRED: Options = {"require": ["aud", "exp", "sub"]}


class SignIns:
    """Signs cookies and knows its own again, by a key that the installation's is made into: for nothing else."""

    def __init__(self, installation_key: bytes) -> None:
        self._key = hmac.digest(installation_key, b"voice-agent/calls/sign-in", hashlib.sha256)

    def sign(self, caller: Caller, now: datetime) -> tuple[str, int]:
        """Returns a cookie, and for how many seconds it is good: no longer than what the caller has shown."""
        ends = int((now + LONGEST).timestamp())
        if caller.expires_at is not None:
            ends = min(ends, caller.expires_at)
        claims = {"aud": _AUDIENCE, "exp": ends, "sub": caller.tenant, "key": caller.key_hash}
        return jwt.encode(claims, self._key, _ALGORITHM), max(0, ends - int(now.timestamp()))

    def read(self, cookie: str) -> Caller | None:
        """Returns who has signed in; None where the cookie is over, or none of ours."""
        if len(cookie) > _COOKIE_CHARACTERS:
            return None
        try:
            claims = jwt.decode(cookie, self._key, [_ALGORITHM], audience=_AUDIENCE, options=_REQUIRED)
        except jwt.PyJWTError:
            return None
        return Caller(claims["sub"], claims.get("key"), claims["exp"])
