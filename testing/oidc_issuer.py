"""An OpenID Connect issuer of its own: discovery, keys and tokens, over HTTP in the test's process."""

import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from testing.web_server import serving

AUDIENCE = "voice-front-door"


class OidcIssuer:
    """Signs tokens by its keys, and shows the public ones. `requests`: how many came, by path."""

    def __init__(self) -> None:
        """Has a key of each kind: `rsa`, `ec`, `ed`."""
        self.url = ""
        self.private: dict[str, Any] = {
            "rsa": rsa.generate_private_key(65537, 2048),
            "ec": ec.generate_private_key(ec.SECP256R1()),
            "ed": ed25519.Ed25519PrivateKey.generate(),
        }
        self.shown: list[dict[str, Any]] = [public_jwk(kid, key) for kid, key in self.private.items()]
        self.requests: Counter[str] = Counter()
        self.status = 200

    def build_app(self) -> web.Application:
        """Returns the application that shows the keys."""
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discover)
        app.router.add_get("/keys", self._show_keys)
        return app

    def sign(self, kid: str = "rsa", algorithm: str | None = None, **changes: Any) -> str:
        """Returns a token of tenant `acme` for the front door, by one of the keys; None takes a claim away."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "acme", "iat": now, "exp": now + 300, **changes}
        claims = {name: value for name, value in claims.items() if value is not None}
        by = algorithm or {"rsa": "RS256", "ec": "ES256", "ed": "EdDSA"}[kid]
        return jwt.encode(claims, self.private[kid], by, headers={"kid": kid})

    async def _discover(self, request: web.Request) -> web.Response:
        self.requests[request.path] += 1
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}, status=self.status)

    async def _show_keys(self, request: web.Request) -> web.Response:
        self.requests[request.path] += 1
        return web.json_response({"keys": self.shown}, status=self.status)


def public_jwk(kid: str, key: PrivateKeyTypes) -> dict[str, Any]:
    """Returns a key's public half, as issuers show it."""
    match key:
        case rsa.RSAPrivateKey():
            text = RSAAlgorithm.to_jwk(key.public_key())
        case ec.EllipticCurvePrivateKey():
            text = ECAlgorithm.to_jwk(key.public_key())
        case ed25519.Ed25519PrivateKey():
            text = OKPAlgorithm.to_jwk(key.public_key())
        case _:
            raise TypeError(key)
    return {**json.loads(text), "kid": kid, "use": "sig"}


@contextlib.asynccontextmanager
async def running_issuer() -> AsyncIterator[OidcIssuer]:
    """Serves an issuer on loopback until the block ends."""
    issuer = OidcIssuer()
    async with serving(issuer.build_app()) as port:
        issuer.url = f"http://127.0.0.1:{port}"
        yield issuer
