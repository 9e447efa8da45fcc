"""Which refusals are about the object: in the API server's own words, as it said them."""

import pytest

from kube.client import KubernetesError
from kube.refusals import is_about_the_object

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
