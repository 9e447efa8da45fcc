"""The release that a benchmark runs against: brought up where it is not there, else taken as it is."""

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from local_cluster.layout import REPOSITORY
from testing.customer import CustomerError
from testing.forwarding import ForwardingError
from testing.front_door import FrontDoorError
from testing.progress import Step, step
from testing.release import Release, ReleaseError, kubeconfig_path, run_tool
from testing.speech import SpeechError
from voicesession.names import POOL_LABEL, STATE_LABEL, WARM

READY_SECONDS = 300.0
REFILL_SECONDS = 120.0


def run_against(name: str, measure: Callable[[Release], int]) -> int:
    """Brings the release `name` up and returns what `measure` returns; 1 where that failed, 130 after Ctrl-C."""
    # LiveKit's client calls the end of each connection an error, between the lines that tell how far we are.
    logging.getLogger("livekit").setLevel(logging.CRITICAL)
    try:
        return measure(bring_up(name))
    except (ReleaseError, ForwardingError, FrontDoorError, SpeechError, CustomerError) as error:
        print(f"\nThe benchmark failed: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"\nThe benchmark failed: `{' '.join(error.cmd)}` ended with {error.returncode}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The release stays; `make demo-down` removes it.")
        return 130


def bring_up(name: str) -> Release:
    """Returns the release `name` in the namespace of that name, with all its pods ready.

    Raises:
        testing.release.ReleaseError: it is not ready in time.
        subprocess.CalledProcessError: the cluster or the images failed; they have said why.
    """
    release = Release(name, name)
    if is_installed(release):
        print(f"Release {name} is there and is measured as it is; `make demo` brings it up to date.", flush=True)
        release.wait_until_ready(Step("release"), READY_SECONDS)
        return release
    print(f"There is no release {name} yet. Ctrl-C stops. The first time builds Kubernetes: about 8 minutes.")
    with step(1, 2, "a Kubernetes cluster and the images"):
        subprocess.run(["make", "--no-print-directory", "images"], cwd=REPOSITORY, check=True)
    with step(2, 2, "the chart: operator, token service, Postgres, LiveKit, local models") as running:
        release.install()
        release.wait_until_ready(running, READY_SECONDS)
    return release


def is_installed(release: Release) -> bool:
    """Tells whether a cluster answers and has the release; why it does not is for `make images` to say."""
    if not kubeconfig_path().exists():
        return False
    try:
        run_tool("helm", "status", release.name, "--namespace", release.namespace, timeout=30)
    except (ReleaseError, FileNotFoundError):
        return False
    return True


async def until_refilled(release: Release) -> None:
    """Waits until every agent pod waits, as many as the pools keep: none in a call, none starting, none ending.

    Raises:
        testing.release.ReleaseError: not within two minutes.
    """
    pools = await asyncio.to_thread(release.get, "agentpools")
    wanted = sum(pool["spec"]["warm"]["min"] for pool in pools["items"])
    deadline = time.monotonic() + REFILL_SECONDS
    while True:
        pods = (await asyncio.to_thread(release.get, "pods", "-l", POOL_LABEL))["items"]
        waiting = sum(map(is_waiting, pods))
        if waiting == len(pods) >= wanted:
            return
        if time.monotonic() > deadline:
            raise ReleaseError(f"of {len(pods)} agent pods {waiting} wait, after {REFILL_SECONDS:.0f} s; not {wanted}")
        await asyncio.sleep(1)


def is_waiting(pod: dict[str, Any]) -> bool:
    """Tells whether an agent pod is ready for a call."""
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
    warm = pod["metadata"]["labels"].get(STATE_LABEL) == WARM and "deletionTimestamp" not in pod["metadata"]
    return warm and conditions.get("Ready") == "True"
