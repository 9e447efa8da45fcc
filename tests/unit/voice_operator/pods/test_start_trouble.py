"""What is read in the Events about a pod that has no container: texts as kubelet 1.34 writes them."""

from typing import Any

import pytest

from testing.operator_objects import ago
from voice_operator.pods.agent_pod import Trouble
from voice_operator.pods.start_trouble import name_object, read_start_trouble
from voicesession.conditions import Reason

NO_SECRET = 'MountVolume.SetUp failed for volume "key-openai" : secret "opnai" not found'
NO_KEY = 'MountVolume.SetUp failed for volume "key-openai" : references non-existent secret key: token'
SUMMARY = (
    "Unable to attach or mount volumes: unmounted volumes=[key-openai], unattached volumes=[], failed to process "
    "volumes=[]: context deadline exceeded"
)
NO_ADDRESS = (
    'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "0c1d": '
    'plugin type="bridge" failed (add): failed to allocate for range 0: no IP addresses available in range set: '
    "10.244.1.1-10.244.1.254"
)


def told(reason: str, message: str = "", seconds: float = 0) -> dict[str, Any]:
    return {"reason": reason, "message": message, "lastTimestamp": ago(seconds).isoformat(), "eventTime": None}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], None),
        ([told("Scheduled"), told("Pulling")], None),
        ([told("Scheduled", seconds=9), told("FailedMount", NO_SECRET)], (Reason.POD_CONFIG_INVALID, NO_SECRET)),
        ([told("FailedCreatePodSandBox", NO_ADDRESS)], (Reason.POD_SANDBOX_FAILED, NO_ADDRESS)),
        ([told("FailedMount", NO_SECRET, 9), told("FailedMount", SUMMARY)], (Reason.POD_CONFIG_INVALID, NO_SECRET)),
        ([told("FailedMount", SUMMARY)], (Reason.POD_CONFIG_INVALID, SUMMARY)),
        (
            [told("FailedMount", NO_SECRET, 9), told("FailedCreatePodSandBox", NO_ADDRESS)],
            (Reason.POD_SANDBOX_FAILED, NO_ADDRESS),
        ),
        ([told("FailedCreatePodSandBox")], (Reason.POD_SANDBOX_FAILED, "FailedCreatePodSandBox")),
        ([{"reason": "FailedMount", "message": NO_KEY}], (Reason.POD_CONFIG_INVALID, NO_KEY)),
    ],
)
def test_the_newest_failure_is_told_in_the_kubelets_words(
    events: list[dict[str, Any]], expected: tuple[Reason, str] | None
) -> None:
    assert read_start_trouble(events) == (Trouble(*expected) if expected else None)


@pytest.mark.parametrize("seconds", [0, 5])
def test_a_failure_that_is_over_is_no_trouble_while_an_image_is_pulled(seconds: float) -> None:
    events = [told("FailedMount", "failed to sync secret cache", 5), told("Pulling", seconds=seconds)]
    assert read_start_trouble(events) is None


def test_of_events_in_series_the_last_time_counts() -> None:
    series = {**told("FailedMount", NO_SECRET, 60), "series": {"lastObservedTime": ago(0).isoformat()}}
    assert read_start_trouble([series, told("Pulled", seconds=30)]) == Trouble(Reason.POD_CONFIG_INVALID, NO_SECRET)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (NO_KEY, f"{NO_KEY} (Secret 'openai')"),
        (NO_SECRET.replace("opnai", "openai"), NO_SECRET.replace("opnai", "openai")),
        (
            'MountVolume.SetUp failed for volume "menu" : references non-existent config key: en',
            "MountVolume.SetUp failed for volume \"menu\" : references non-existent config key: en (ConfigMap 'menu')",
        ),
        ('MountVolume.SetUp failed for volume "tmp" : no space left', None),
        ('MountVolume.SetUp failed for volume "kube-api-access-x7k2p" : failed to sync configmap cache', None),
        (NO_ADDRESS, None),
    ],
)
def test_what_a_volume_is_made_of_is_named(message: str, expected: str | None) -> None:
    volumes = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "key-openai", "secret": {"secretName": "openai"}},
        {"name": "menu", "configMap": {"name": "menu"}},
    ]
    trouble = name_object(Trouble(Reason.POD_CONFIG_INVALID, message), {"spec": {"volumes": volumes}})
    assert trouble.message == (expected or message)
