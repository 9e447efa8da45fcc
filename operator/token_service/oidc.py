"""Who asks, by a token that an OpenID Connect issuer has signed for this service."""

import logging
from dataclasses import dataclass
from typing import Any

import jwt

from token_service.callers import Caller, is_tenant, unauthorized
from token_service.issuer_keys import IssuerKeys, KeysUnavailableError
from token_service.problems import unavailable

log = logging.getLogger(__name__)

# What is longer is no token of anybody's.
_TOKEN_CHARACTERS = 8192
_WRONG: dict[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "This token has expired. Ask the issuer for another.",
    jwt.ImmatureSignatureError: "This token is not valid yet.",
    jwt.InvalidAudienceError: "This token is for another audience.",
    jwt.InvalidIssuerError: "This token is of another issuer.",
    jwt.InvalidAlgorithmError: "This token is signed by an algorithm that is not taken here.",
}


@dataclass(frozen=True)
class OidcTerms:
    """Whose tokens are taken, and which claim of them names the tenant. `clock_skew` in seconds."""

    issuer: str
    audience: str
    tenant_claim: str
    clock_skew: int


class OidcTokens:
    """Lets in who shows an issuer's token for this service."""

    def __init__(self, terms: OidcTerms, keys: IssuerKeys) -> None:
        self._terms = terms
        self._keys = keys

    async def follow(self) -> None:
        """Keeps the issuer's keys fresh until cancelled."""
        await self._keys.follow()

    async def authenticate(self, bearer: str | None) -> Caller:
        """Returns the caller whom the token names.

        Raises:
            HttpProblem: 401, it is no token of the issuer's for us; 503, nobody can tell, for its key is not known.
        """
        if bearer is None:
            raise unauthorized("Send your issuer's token as `Authorization: Bearer TOKEN`.")
        try:
            claims = await self._read(bearer)
        except jwt.PyJWTError as error:
            log.info("token refused", extra={"reason": type(error).__name__})
            detail = _WRONG.get(type(error), "This is no token that is taken here.")
            raise unauthorized(detail, "invalid_token") from None
        except KeysUnavailableError:
            raise unavailable("The issuer of this token") from None
        tenant = claims.get(self._terms.tenant_claim)
        if not isinstance(tenant, str) or not is_tenant(tenant):
            detail = (
                f"Claim {self._terms.tenant_claim!r} of this token is no tenant's name: 1 to 63 letters, digits, `-`, "
                "`_` and `.`, beginning and ending with a letter or digit."
            )
            raise unauthorized(detail, "invalid_token")
        return Caller(tenant, expires_at=int(claims["exp"]) + self._terms.clock_skew)

    def still_knows(self, caller: Caller) -> bool:
        """Tells whether it was let in by a token: nobody can take that back before it expires."""
        return caller.key_hash is None

    async def _read(self, token: str) -> dict[str, Any]:
        if len(token) > _TOKEN_CHARACTERS:
            raise jwt.InvalidTokenError
        key = await self._keys.find(jwt.get_unverified_header(token).get("kid"))
        if key is None:
            raise jwt.InvalidTokenError
        claims: dict[str, Any] = jwt.decode(
            token,
            key.public,
            # Those of this very key, so that none is read as another kind's, nor by "none".
            list(key.algorithms),
            audience=self._terms.audience,
            issuer=self._terms.issuer,
            leeway=self._terms.clock_skew,
            options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
        )
        return claims
