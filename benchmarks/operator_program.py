"""The operator as a benchmark runs it: a process of its own that can be ended, and begun anew."""

import contextlib
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import aiohttp
import yaml

from benchmarks.processes import END_SECONDS, running, until_ready
from local_cluster.ports import LOOPBACK, free_port
from testing.chart import NAMESPACE, RELEASE
from testing.livekit import KEY, SECRET, LiveKitServer

OPERATOR = "benchmarks.operator_of_stubs"


class OperatorProgram:
    """An operator that can be ended, and begun anew; a context manager, which ends it.

    `pod`: the pod that it takes itself for. `user`: whom the API server takes it for.
    """

    def __init__(self, log: Path, environment: Mapping[str, str], user: str) -> None:
        self.pod = environment["POD_NAME"]
        self.user = user
        self.url = f"http://{LOOPBACK}:{environment['HTTP_PORT']}"
        self.log = log
        self._environment = environment
        self._stack = contextlib.ExitStack()

    @property
    def metrics_url(self) -> str:
        """Where Prometheus asks."""
        return f"{self.url}/metrics"

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGCONT)
        self._stack.close()

    def kill(self) -> None:
        """Kills it as a lost node does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Asks it to end, as an upgrade does; it ends soon."""
        self.process.terminate()

    def begin_anew(self, pod: str | None = None, environment: Mapping[str, str] | None = None) -> None:
        """Begins it when it has ended: as another container of its pod, or in another pod.

        `environment`: what is another one from now on.
        """
        self._environment = {**self._environment, **(environment or {})}
        self.process.wait(END_SECONDS)
        self._stack.close()
        self.pod = pod or self.pod
        self._begin()

    async def until_ready(self, http: aiohttp.ClientSession) -> None:
        """Waits until it could lead."""
        await until_ready(http, f"{self.url}/readyz", self.process, self.log)

    def _begin(self) -> None:
        command = [sys.executable, "-m", OPERATOR]
        self.process = self._stack.enter_context(
            running(command, self.log, {**self._environment, "POD_NAME": self.pod})
        )


def build_operator_environment(
    folder: Path, kubeconfig: Path, name: str, token: str, livekit: LiveKitServer
) -> dict[str, str]:
    """Returns the environment of the operator of this name; writes its kubeconfig, in which it signs in by `token`."""
    content = yaml.safe_load(kubeconfig.read_text())
    content["users"][0]["user"] = {"token": token}
    own_kubeconfig = folder / f"{name}.kubeconfig"
    own_kubeconfig.write_text(yaml.safe_dump(content))
    return {
        "NAMESPACE": NAMESPACE,
        "POD_NAME": name,
        "RELEASE_NAME": RELEASE,
        "KUBECONFIG": str(own_kubeconfig),
        "LIVEKIT_URL": livekit.url,
        "LIVEKIT_API_KEY": KEY,
        "LIVEKIT_API_SECRET": SECRET,
        "SIGNING_KEY_FILE": str(folder / "signing.pem"),
        "CONVERSATION_KEY_FILE": str(folder / "conversation.key"),
        "INSTALLATION_KEY_FILE": str(folder / "installation.key"),
        "HTTP_PORT": str(free_port()),
        "CALLS_PORT": "0",
    }
