"""Kubernetes' own controllers beside an API server of tests: else nothing is collected and no budget is counted."""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from local_cluster.binaries import KUBERNETES, ensure


@contextmanager
def running_controllers(kubeconfig: Path, names: Sequence[str]) -> Iterator[None]:
    """Runs the controllers of these names, and no others, until the block ends."""
    ensure([KUBERNETES])
    with tempfile.TemporaryDirectory(prefix="vac-controllers-") as folder, (Path(folder) / "log").open("wb") as log:
        command = [
            str(KUBERNETES.path("kube-controller-manager")),
            f"--kubeconfig={kubeconfig}",
            f"--controllers={','.join(names)}",
            "--leader-elect=false",
            "--secure-port=0",
        ]
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *command], stdout=log, stderr=log)
        try:
            yield
        finally:
            process.kill()
            process.wait()
