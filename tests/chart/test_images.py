"""Which images the chart names: by registry, repository, tag or digest, each alone and all at once."""

from typing import Any

import pytest

from testing.chart import Raw, find, pod_templates, render

DIGEST = "sha256:" + "0123456789abcdef" * 4


def images_of(objects: list[Raw]) -> dict[str, str]:
    """Returns every image that is run, by the name of what runs it."""
    pods = {
        name.removeprefix("r-voice-agent-"): template["spec"]["containers"][0]["image"]
        for name, template in pod_templates(objects)
    }
    pools = {f"pool {item['metadata']['name']}": item["spec"]["image"] for item in objects if is_pool(item)}
    return pods | pools


def is_pool(item: Raw) -> bool:
    return bool(item["kind"] == "AgentPool")


@pytest.mark.parametrize(
    ("values", "registry", "tag"),
    [
        ({}, "localhost:5000/", "latest"),
        ({"images": {"registry": "registry.example.com/voice/", "tag": "1.2"}}, "registry.example.com/voice/", "1.2"),
        ({"images": {"registry": ""}}, "", "latest"),
        ({"global": {"imageRegistry": "mirror.example.com"}}, "mirror.example.com/", "latest"),
    ],
)
def test_one_value_names_the_registry_or_tag_of_every_image(values: dict[str, Any], registry: str, tag: str) -> None:
    images = images_of(render({"openai": {"apiKeySecret": "openai"}, **values}))
    assert len(images) == 10
    for name, image in images.items():
        assert image.startswith(f"{registry}voice-agent-operator/"), name
        assert image.endswith(f":{tag}"), name


def test_an_image_may_be_another_than_the_others() -> None:
    own = {
        "agent": {"registry": "acme.example.com", "repository": "support/agent", "tag": "7"},
        "livekit": {"repository": "livekit", "digest": DIGEST},
    }
    images = images_of(render({"images": own}))
    # The test's customer is in every image that is made from ours.
    assert images.pop("pool default") == images.pop("test") == "acme.example.com/support/agent:7"
    assert images.pop("livekit") == f"localhost:5000/livekit@{DIGEST}"
    assert {image.partition("/")[0] for image in images.values()} == {"localhost:5000"}


def test_a_release_s_digest_is_of_what_it_released_alone() -> None:
    released = {"voice-agent-operator/agent:1.2.0": DIGEST, "voice-agent-operator/operator:1.2.0": DIGEST}
    own = {"tag": "1.2.0", "digests": released, "operator": {"tag": "7"}}
    images = images_of(render({"images": own, "global": {"imageRegistry": "mirror.example.com"}}))
    assert images["pool default"] == f"mirror.example.com/voice-agent-operator/agent@{DIGEST}"
    assert images["operator"] == "mirror.example.com/voice-agent-operator/operator:7"
    own["agent"] = {"repository": "support/agent"}
    assert images_of(render({"images": own}))["pool default"] == "localhost:5000/support/agent:1.2.0"


def test_a_registry_of_all_charts_wins_over_an_image_s_own() -> None:
    own = {"agent": {"registry": "acme.example.com", "tag": "7"}}
    images = images_of(render({"images": own, "global": {"imageRegistry": "mirror.example.com"}}))
    assert images["pool default"] == "mirror.example.com/voice-agent-operator/agent:7"


def test_every_pod_pulls_by_the_secrets_of_the_chart_and_of_its_parent() -> None:
    values = {
        "imagePullSecrets": [{"name": "ours"}],
        "global": {"imagePullSecrets": [{"name": "company"}, {"name": "ours"}]},
        "openai": {"apiKeySecret": "openai"},
        "defaultPool": {"pod": {"imagePullSecrets": [{"name": "acme"}]}},
    }
    objects = render(values)
    for name, template in pod_templates(objects):
        assert template["spec"]["imagePullSecrets"] == [{"name": "ours"}, {"name": "company"}], name
    for pool in ("default", "local"):
        wanted = [{"name": "ours"}, {"name": "company"}, {"name": "acme"}]
        assert find(objects, "AgentPool", pool)["spec"]["pod"]["imagePullSecrets"] == wanted, pool
