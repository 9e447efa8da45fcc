"""JWTs by which the operator speaks to an agent pod: one purpose, one pod, one body, 30 seconds.

Clocks may be a minute apart, as `clock.MAX_ERROR` says.
"""

import hashlib
from datetime import timedelta
from enum import StrEnum

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from voicesession import clock

ISSUER = "voice-operator"
LIFETIME = timedelta(seconds=30)
_CLOCK_WORDS = "this node's clock and that of the operator's node are over a minute apart"


class Purpose(StrEnum):
    """The routes of an agent pod; a token for one opens no other."""

    ASSIGNMENT = "assignment"
    EVENTS = "events"
    END = "end"
    HAND_OVER = "hand-over"
    TAKE_OVER = "take-over"
    PREPARE = "prepare"
    SPOOL = "spool"
    SPOOL_KEPT = "spool-kept"
    API_ANSWER = "api-answer"


class PodTokenError(Exception):
    """A request to a pod whose token does not permit it; the message says why and names no secret."""


def load_private_key(pem: str) -> Ed25519PrivateKey:
    """Returns the operator's signing key.

    Raises:
        ValueError: the PEM holds no Ed25519 private key.
    """
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("the operator's signing key must be an Ed25519 private key in PEM (PKCS#8)")
    return key


def public_key_pem(key: Ed25519PrivateKey) -> str:
    """Returns the PEM of the public half, which pods are given."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign_pod_request(key: Ed25519PrivateKey, pod_uid: str, purpose: Purpose, body: bytes = b"") -> str:
    """Returns a bearer token for one request to the pod with this uid."""
    now = clock.now()
    claims = {
        "iss": ISSUER,
        "aud": pod_uid,
        "purpose": purpose.value,
        "iat": now,
        "exp": now + LIFETIME,
        "body": hashlib.sha256(body).hexdigest(),
    }
    return jwt.encode(claims, key, algorithm="EdDSA")


def verify_pod_request(public_key: str, token: str, pod_uid: str, purpose: Purpose, body: bytes = b"") -> None:
    """Checks signature, audience, purpose, age and body of a request.

    Raises:
        PodTokenError: with the reason.
    """
    check_body(read_pod_token(public_key, token, pod_uid, purpose), body)


def read_pod_token(public_key: str, token: str, pod_uid: str, purpose: Purpose) -> str:
    """Checks all of a request but its body; returns the digest that the body must have, for `check_body`.

    Raises:
        PodTokenError: with the reason.
    """
    try:
        claims = jwt.decode(
            token,
            public_key,
            algorithms=["EdDSA"],
            audience=pod_uid,
            issuer=ISSUER,
            leeway=clock.MAX_ERROR,
            options={"require": ["exp", "iat", "aud", "iss", "purpose", "body"]},
        )
    except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError) as error:
        raise PodTokenError(f"token refused: {error}; or {_CLOCK_WORDS}") from error
    except jwt.PyJWTError as error:
        raise PodTokenError(f"token refused: {error}") from error
    if claims["purpose"] != purpose.value:
        raise PodTokenError(f"token is for {claims['purpose']!r}, not for {purpose.value!r}")
    return str(claims["body"])


def check_body(digest: str, body: bytes) -> None:
    """Checks that this is the body that a token was for.

    Raises:
        PodTokenError: it is another.
    """
    if digest != hashlib.sha256(body).hexdigest():
        raise PodTokenError("token is for another body")
