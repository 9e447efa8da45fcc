"""Seals what the operator tells a pod, by a key that only this pod was made with: AES-GCM. Pure but for chance.

An address may be another's by the time a call is sent there, and whoever has it then could read the call's tokens.
"""

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from voicesession.pod_tokens import Purpose

# The content type of a sealed body.
SEALED = "application/vnd.voiceagents.sealed"

_KEY_BYTES = 32
_NONCE_BYTES = 12


class PodSealError(Exception):
    """A body that was not sealed for this pod and purpose, or a key that is none; the message names no secret."""


def new_pod_key() -> str:
    """Returns a key for one pod, as Base64."""
    return base64.b64encode(os.urandom(_KEY_BYTES)).decode()


def seal(key: str, pod_uid: str, purpose: Purpose, body: bytes) -> bytes:
    """Returns the body for this pod alone.

    Raises:
        PodSealError: the key is none.
    """
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + _cipher(key).encrypt(nonce, body, _context(pod_uid, purpose))


def unseal(key: str, pod_uid: str, purpose: Purpose, sealed: bytes) -> bytes:
    """Returns what was sealed.

    Raises:
        PodSealError: it was sealed by another key, for another pod or purpose, or not at all.
    """
    nonce, data = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        return _cipher(key).decrypt(nonce, data, _context(pod_uid, purpose))
    except (InvalidTag, ValueError) as error:
        raise PodSealError("the body is not sealed for this pod") from error


def _cipher(key: str) -> AESGCM:
    try:
        return AESGCM(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError) as error:
        raise PodSealError("the pod's key is none") from error


def _context(pod_uid: str, purpose: Purpose) -> bytes:
    return f"{pod_uid} {purpose}".encode()
