"""Tokens of requests to pods: whom they open the door for, and how far clocks may differ."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from voicesession import clock
from voicesession.pod_tokens import (
    LIFETIME,
    PodTokenError,
    Purpose,
    public_key_pem,
    sign_pod_request,
    verify_pod_request,
)

KEY = Ed25519PrivateKey.generate()
PUBLIC = public_key_pem(KEY)


def sign_by_a_clock_that_is_off(monkeypatch: pytest.MonkeyPatch, seconds: float) -> str:
    signed_at = clock.now() + timedelta(seconds=seconds)
    with monkeypatch.context() as patch:
        patch.setattr(clock, "now", lambda: signed_at)
        return sign_pod_request(KEY, "pod", Purpose.END)


@pytest.mark.parametrize("seconds", [-60, -30, 0, 30, 60])
def test_clocks_that_are_a_minute_apart_are_no_trouble(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    verify_pod_request(PUBLIC, sign_by_a_clock_that_is_off(monkeypatch, seconds), "pod", Purpose.END)


@pytest.mark.parametrize("seconds", [-65 - LIFETIME.total_seconds(), 65])
def test_clocks_that_are_further_apart_are_named_as_the_reason(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    with pytest.raises(PodTokenError, match="clock"):
        verify_pod_request(PUBLIC, sign_by_a_clock_that_is_off(monkeypatch, seconds), "pod", Purpose.END)
