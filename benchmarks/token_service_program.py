"""The token service as a benchmark runs it: a process of its own, at ports that LiveKit can be told before."""

import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from benchmarks.processes import running, until_ready
from local_cluster.ports import LOOPBACK, free_port
from testing.livekit import KEY, SECRET, LiveKitServer


@dataclass(frozen=True)
class TokenServiceProgram:
    """A token service that asks nobody for a key."""

    _port: int = field(default_factory=free_port)
    _health_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        """Where customers ask."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def webhook_url(self) -> str:
        """Where LiveKit tells."""
        return f"{self.url}/livekit/webhook"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus asks."""
        return f"http://{LOOPBACK}:{self._health_port}/metrics"

    def build_environment(
        self, namespace: str, kubeconfig: Path, livekit: LiveKitServer, installation_key: Path
    ) -> dict[str, str]:
        """Returns its environment."""
        return {
            "NAMESPACE": namespace,
            "KUBECONFIG": str(kubeconfig),
            "HOST": LOOPBACK,
            "PORT": str(self._port),
            "HEALTH_PORT": str(self._health_port),
            "LIVEKIT_URL": livekit.url,
            "LIVEKIT_PUBLIC_URL": livekit.url,
            "LIVEKIT_API_KEY": KEY,
            "LIVEKIT_API_SECRET": SECRET,
            "INSTALLATION_KEY_FILE": str(installation_key),
            "AUTH_MODE": "none",
        }

    @contextlib.asynccontextmanager
    async def running(
        self, log: Path, environment: Mapping[str, str], http: aiohttp.ClientSession
    ) -> AsyncIterator[None]:
        """Has it serve meanwhile."""
        with running([sys.executable, "-m", "token_service"], log, environment) as process:
            await until_ready(http, f"http://{LOOPBACK}:{self._health_port}/readyz", process, log)
            yield
