"""What is sealed for a pod is for it alone."""

import pytest

from voicesession.pod_seal import PodSealError, new_pod_key, seal, unseal
from voicesession.pod_tokens import Purpose

KEY, OTHER = new_pod_key(), new_pod_key()
BODY = b'{"roomToken": "secret"}'


def test_a_pod_reads_what_was_sealed_for_it() -> None:
    sealed = seal(KEY, "uid", Purpose.ASSIGNMENT, BODY)
    assert b"secret" not in sealed
    assert unseal(KEY, "uid", Purpose.ASSIGNMENT, sealed) == BODY
    assert seal(KEY, "uid", Purpose.ASSIGNMENT, BODY) != sealed


@pytest.mark.parametrize(
    ("key", "uid", "purpose"),
    [(OTHER, "uid", Purpose.ASSIGNMENT), (KEY, "other", Purpose.ASSIGNMENT), (KEY, "uid", Purpose.END)],
    ids=["key", "pod", "purpose"],
)
def test_nobody_else_does(key: str, uid: str, purpose: Purpose) -> None:
    with pytest.raises(PodSealError):
        unseal(key, uid, purpose, seal(KEY, "uid", Purpose.ASSIGNMENT, BODY))


@pytest.mark.parametrize("sealed", [b"", b"short", BODY, bytes(100)])
def test_what_is_not_sealed_is_refused(sealed: bytes) -> None:
    with pytest.raises(PodSealError):
        unseal(KEY, "uid", Purpose.ASSIGNMENT, sealed)


@pytest.mark.parametrize("key", ["", "no key", "c2hvcnQ="])
def test_what_is_no_key_is_told_without_it(key: str) -> None:
    with pytest.raises(PodSealError) as refused:
        seal(key, "uid", Purpose.ASSIGNMENT, BODY)
    assert str(refused.value) == "the pod's key is none"
