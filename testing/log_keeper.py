"""Keeps what pods log, also of those that are gone: follows every pod of some namespaces from its start."""

import subprocess
import threading
from pathlib import Path

from testing.cluster import kubectl_command, popen_kubectl

_COLUMNS = "custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name,PHASE:.status.phase"


class LogKeeper:
    """Writes a file for each pod of the namespaces whose names begin with `prefix`."""

    def __init__(self, folder: Path, prefix: str) -> None:
        """Begins at once. `folder` is empty."""
        self._folder = folder
        self._prefix = prefix
        self._following: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        self._watch = popen_kubectl(
            "get", "pods", "--all-namespaces", "--watch", "--no-headers", f"--output={_COLUMNS}"
        )
        self._thread = threading.Thread(target=self._see_pods, daemon=True)
        self._thread.start()

    def texts(self) -> dict[str, str]:
        """Returns what was logged so far, by pod."""
        return {path.stem: path.read_text(errors="replace") for path in sorted(self._folder.glob("*.log"))}

    def end(self) -> None:
        """Follows nobody any more."""
        self._watch.terminate()
        self._watch.wait(timeout=10)
        self._thread.join(timeout=10)
        for process in self._following.values():
            process.terminate()
            process.wait(timeout=10)

    def _see_pods(self) -> None:
        assert self._watch.stdout is not None
        for line in self._watch.stdout:
            namespace, name, phase = line.split()
            if namespace.startswith(self._prefix) and phase != "Pending":
                self._follow(namespace, name)

    def _follow(self, namespace: str, name: str) -> None:
        """Follows a pod that is not followed, or whose containers have ended since: they may run again."""
        known = self._following.get((namespace, name))
        if known is not None and known.poll() is None:
            return
        command = [*kubectl_command(), "--namespace", namespace, "logs", "--follow", "--all-containers", name]
        with (self._folder / f"{namespace}.{name}.log").open("ab") as file:
            self._following[namespace, name] = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
