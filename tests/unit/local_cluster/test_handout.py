"""What a checkout is told of the images that were built."""

from local_cluster.handout import split_reference


def test_a_reference_as_the_chart_takes_it() -> None:
    assert split_reference("localhost:5000/voice-agent-operator/agent:0123abcd") == {
        "registry": "localhost:5000",
        "repository": "voice-agent-operator/agent",
        "tag": "0123abcd",
    }
