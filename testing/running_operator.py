"""Operators that run: in a thread of this process, or as a process of its own."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from kube.client import KubernetesApi
from voice_operator.__main__ import run_operator
from voice_operator.app import Operator
from voice_operator.settings import Keys, OperatorSettings


class RunningOperator:
    """An operator in a thread with an event loop of its own, as it has in its process."""

    def __init__(
        self,
        settings: OperatorSettings,
        kubeconfig: Path,
        make_api: Callable[[KubernetesApi], KubernetesApi] | None,
    ) -> None:
        self.operator: Operator | None = None
        self._settings = settings
        self._kubeconfig = kubeconfig
        self._make_api = make_api
        self._stop: Callable[[], object] = lambda: None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        """Starts it."""
        self._thread.start()
        assert self._ready.wait(20), "the operator does not start"

    async def stop(self) -> None:
        """Stops it in good order; once more does no harm."""
        if self._thread.is_alive():
            self._stop()
        await asyncio.to_thread(self._thread.join, 20)
        assert not self._thread.is_alive(), "the operator does not stop"

    async def _run(self) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        settings, wrap = self._settings, self._make_api or (lambda api: api)
        self.operator = await Operator.open(settings, Keys(settings), self._kubeconfig, wrap)
        self._ready.set()
        await run_operator(self.operator, settings, stop, _raise)


class OperatorEndedError(Exception):
    """The operator cannot go on; the message says why."""


def _raise(why: str) -> NoReturn:
    raise OperatorEndedError(why)


def start_operator_process(
    settings: OperatorSettings, kubeconfig: Path, log: Path | None = None
) -> subprocess.Popen[bytes]:
    """Starts an operator as a process of its own, which may be killed. `log`: where it writes, if not to ours."""
    environment = {**os.environ, **build_operator_environment(settings, kubeconfig), "LOG_LEVEL": "DEBUG"}
    command = [sys.executable, "-m", "voice_operator"]
    if log is None:
        return subprocess.Popen(command, env=environment)
    with log.open("ab") as file:
        return subprocess.Popen(command, env=environment, stderr=file)


def build_operator_environment(settings: OperatorSettings, kubeconfig: Path) -> dict[str, str]:
    """Returns the environment from which an operator's process reads these settings."""
    environment = {
        name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in settings.model_dump(exclude_none=True).items()
    }
    return {**environment, "KUBECONFIG": str(kubeconfig)}


def write_signing_key(path: Path) -> None:
    """Writes a new signing key of an operator."""
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
