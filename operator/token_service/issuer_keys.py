"""An OpenID Connect issuer's public keys: found by discovery, fetched again and again, and held while it is away."""

import asyncio
import json
import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import aiohttp
import jwt
from jwt.algorithms import AllowedPublicKeys

from token_service.metrics import KEY_FETCHES

log = logging.getLogger(__name__)

# All that is there of asymmetric ones, by the kind of key, and for an elliptic curve by the curve.
_ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
}
_FETCH_SECONDS = 5.0
_ANSWER_BYTES = 256 * 1024
# A key that the issuer has taken back is taken for so long.
_REFRESH_SECONDS = 300.0
# After a failure; and between two fetches that were brought about by tokens of keys that nobody knows.
_AGAIN_SECONDS = 10.0


class KeysUnavailableError(Exception):
    """The issuer does not give its keys now."""


@dataclass(frozen=True)
class IssuerKey:
    """A public key, and what may be signed by it."""

    public: AllowedPublicKeys
    algorithms: tuple[str, ...]


class IssuerKeys:
    """The keys by their ids. They stay as they are while the issuer is away: nobody new comes in, nobody is put out."""

    def __init__(self, issuer: str, jwks_url: str | None, algorithms: Collection[str]) -> None:
        """`jwks_url`: None where the issuer's discovery document is to tell it. `algorithms`: those that are taken."""
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._algorithms = algorithms
        self._keys: Mapping[str, IssuerKey] = {}
        self._is_away = True
        self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def follow(self) -> NoReturn:
        """Fetches the keys every five minutes, until cancelled."""
        while True:
            await self._fetch_unless_tried()
            await asyncio.sleep(_AGAIN_SECONDS if self._is_away else _REFRESH_SECONDS)

    async def find(self, key_id: str | None) -> IssuerKey | None:
        """Returns the key of this id, or None where the issuer has none; without an id, the only one that there is.

        One that is not known is asked for, once in ten seconds, whoever shows a token of it.

        Raises:
            KeysUnavailableError: it is not known, and the issuer cannot be asked.
        """
        known = self._find_known(key_id)
        if known is None:
            await self._fetch_unless_tried()
            known = self._find_known(key_id)
        if known is None and self._is_away:
            raise KeysUnavailableError
        return known

    def _find_known(self, key_id: str | None) -> IssuerKey | None:
        if key_id is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(key_id)

    async def _fetch_unless_tried(self) -> None:
        async with self._fetching:
            if time.monotonic() - self._tried_at < _AGAIN_SECONDS:
                return
            try:
                self._keys = await self._fetch()
                self._is_away = False
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError) as error:
                self._is_away = True
                log.warning("the issuer's keys stay as they are", extra={"error": error, "keys": len(self._keys)})
            self._tried_at = time.monotonic()
            KEY_FETCHES.labels("failed" if self._is_away else "fetched").inc()

    async def _fetch(self) -> Mapping[str, IssuerKey]:
        timeout = aiohttp.ClientTimeout(total=_FETCH_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as http:
            url = self._jwks_url or await self._discover(http)
            keys = read_keys(await _read_json(http, url), self._algorithms)
        if not keys:
            raise ValueError(f"{url} has no key for {', '.join(self._algorithms)}")
        return keys

    async def _discover(self, http: aiohttp.ClientSession) -> str:
        url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        document = await _read_json(http, url)
        if document["issuer"] != self._issuer:
            raise ValueError(f"{url} is of another issuer, {document['issuer']!r}")
        return str(document["jwks_uri"])


def read_keys(document: Any, allowed: Collection[str]) -> dict[str, IssuerKey]:
    """Returns the keys of a JWK set that sign by an allowed algorithm; what else is in it is left out.

    Those without an id have the empty one: they are of use where they are alone.

    Raises:
        ValueError, KeyError, TypeError: the document is no JWK set.
    """
    keys: dict[str, IssuerKey] = {}
    for each in document["keys"]:
        if not isinstance(each, dict) or each.get("use") not in {None, "sig"} or "d" in each:
            continue
        possible = _ALGORITHMS.get(str(each.get("crv") or each.get("kty")), ())
        algorithms = tuple(name for name in possible if name in allowed and each.get("alg") in {None, name})
        if not algorithms:
            continue
        try:
            key = jwt.PyJWK(each, algorithms[0])
        except jwt.PyJWTError as error:
            log.warning("a key of the issuer's cannot be read", extra={"kid": each.get("kid"), "error": error})
            continue
        keys[str(each.get("kid") or "")] = IssuerKey(key.key, algorithms)
    return keys


async def _read_json(http: aiohttp.ClientSession, url: str) -> Any:
    # A redirection might lead from TLS to where anybody can answer.
    async with http.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as answer:
        if answer.status != 200:
            raise ValueError(f"{url} answers {answer.status}")
        body = b""
        async for piece in answer.content.iter_any():
            body += piece
            if len(body) > _ANSWER_BYTES:
                raise ValueError(f"{url} answers with more than {_ANSWER_BYTES} bytes")
        return json.loads(body)
