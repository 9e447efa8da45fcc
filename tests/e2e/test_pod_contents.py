"""What an agent pod holds and costs: memory from its cgroup, no token of Kubernetes, no secret of LiveKit."""

import asyncio
from collections.abc import Callable

from demo.conversation import converse
from testing.front_door import ask_for_connection
from testing.pod_memory import read_pod_memory
from testing.progress import Step
from testing.release import Release
from testing.release_calls import wait_for_pod

MEGABYTE = 1_000_000


def idle_pods(release: Release) -> list[str]:
    """Returns the names of the default pool's pods that wait."""
    pods = release.get("pods", "-l", "voiceagents.dev/state=warm,voiceagents.dev/pool=default")["items"]
    return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def test_an_idle_pod_is_small(release: Release) -> None:
    release.wait_until_ready(Step("warm pods"))
    anonymous = [read_pod_memory(release, pod).anonymous / MEGABYTE for pod in idle_pods(release)]
    print("idle agent pods, anonymous memory in MB:", [round(value) for value in anonymous])
    assert anonymous
    assert max(anonymous) <= 120


async def test_a_talking_pod_is_small(release: Release, front_door: str, speak: Callable[[str], bytes]) -> None:
    connection = ask_for_connection(front_door)
    sentences = ("Hello, my name is Anna.", "Please count to five.")
    speech = {sentence: speak(sentence) for sentence in sentences}
    talking = asyncio.create_task(converse(connection, speech, Step("conversation")))
    pod = await asyncio.to_thread(wait_for_pod, release, connection.room)
    readings = []
    while not talking.done():
        readings.append((await asyncio.to_thread(read_pod_memory, release, pod)).anonymous / MEGABYTE)
        await asyncio.wait({talking}, timeout=2)
    await talking
    print(f"talking agent pod, anonymous memory at most {max(readings):.0f} MB of {len(readings)} readings")
    assert max(readings) <= 170


def test_a_pod_holds_neither_a_kubernetes_token_nor_livekits_secret(release: Release) -> None:
    release.wait_until_ready(Step("warm pods"))
    pod = idle_pods(release)[0]
    environment = release.kubectl("exec", pod, "--", "cat", "/proc/1/environ")
    _, secret = release.livekit_credentials()
    assert "OPERATOR_PUBLIC_KEY" in environment
    assert secret not in environment
    assert "LIVEKIT_API_SECRET" not in environment
    found = release.kubectl(
        "exec", pod, "--", "sh", "-c", "find /var/run/secrets /run/secrets -type f 2>/dev/null; true"
    )
    assert found.strip() == ""


def test_tools_keep_the_docstrings_that_models_are_told(release: Release) -> None:
    """Other libraries are compiled without theirs; see the image's Dockerfile."""
    release.wait_until_ready(Step("warm pods"))
    program = (
        "import numpy, livekit.agents.beta as b; print([bool(x.__doc__) for x in (numpy.mean, b.EndCallTool.__init__)])"
    )
    shown = release.kubectl("exec", idle_pods(release)[0], "--", "python", "-c", program)
    assert shown.strip() == "[False, True]"
