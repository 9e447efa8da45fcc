"""Which refusals are about the object: in the API server's own words, as it said them."""

import pytest

from kube.client import ForbiddenError, KubernetesError, ServerError
from kube.refusals import is_about_the_object, is_quota

FORBIDDEN = 'voicesessions.voiceagents.dev "vs-1" is forbidden: '


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (400, "VoiceSession in version v1alpha1 cannot be handled", True),
        (422, 'VoiceSession.voiceagents.dev "vs-1" is invalid: spec.room: Invalid value', True),
        (403, FORBIDDEN + "exceeded quota: calls, requested: count/voicesessions=1, used: 5, limited: 5", True),
        (403, FORBIDDEN + "ValidatingAdmissionPolicy 'hours' with binding 'all' denied request: closed", True),
        (403, 'admission webhook "hours.example.com" denied the request: closed', True),
        (418, 'admission webhook "hours.example.com" denied the request without explanation', True),
        (401, "Unauthorized", False),
        (403, 'voicesessions.voiceagents.dev is forbidden: User "door" cannot create resource "voicesessions"', False),
        (403, FORBIDDEN + "unable to create new content in namespace voice because it is being terminated", False),
        (404, "the server could not find the requested resource", False),
        (409, "the object has been modified", False),
    ],
)
def test_only_what_would_be_refused_again_is_about_the_object(status: int, message: str, expected: bool) -> None:
    assert is_about_the_object(KubernetesError(status, message)) is expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("exceeded quota: calls, requested: pods=1, used: pods=5, limited: pods=5", True),
        ("failed quota: calls: must specify limits.cpu", True),
        ('admission webhook "quota.example.com" denied the request: the team\'s quota is spent', False),
    ],
)
def test_a_quota_is_kubernetes_own(message: str, expected: bool) -> None:
    assert (
        is_quota(ForbiddenError(403, f"POST /api/v1/namespaces/voice/pods: pods is forbidden: {message}")) is expected
    )


def test_people_are_told_the_words_without_the_request() -> None:
    words = 'Internal error occurred: failed calling webhook "scan.example.com": EOF'
    for error in (
        ServerError(500, f"POST /api/v1/pods: {words}"),
        KubernetesError(400, f"PATCH /api/v1/pods/a: {words}"),
    ):
        assert error.words == words
    assert KubernetesError(400, words).words == words
