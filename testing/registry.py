"""A registry of images and charts on loopback, empty."""

import http.client
import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from local_cluster.ports import LOOPBACK, free_port
from local_cluster.registry import wait_until_ready

_ANY = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"


@contextmanager
def running_registry() -> Iterator[str]:
    """Yields the HOST:PORT of a registry; what it holds is gone with it."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"{LOOPBACK}:{free_port()}"
        config = Path(folder) / "registry.yaml"
        storage = {"filesystem": {"rootdirectory": f"{folder}/storage"}}
        log = {"level": "warn", "accesslog": {"disabled": True}}
        config.write_text(yaml.safe_dump({"version": 0.1, "log": log, "storage": storage, "http": {"addr": address}}))
        leashed = ["setpriv", "--pdeathsig", "KILL", "--", "docker-registry", "serve", str(config)]
        process = subprocess.Popen(leashed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until_ready(address)
            yield address
        finally:
            process.kill()
            process.wait()


def read_manifest(address: str, repository: str, name: str) -> Any:
    """Returns a manifest, of a tag or a digest, as the registry has it."""
    return json.loads(_get(address, f"/v2/{repository}/manifests/{name}"))


def read_blob(address: str, repository: str, digest: str) -> Any:
    """Returns a blob in JSON."""
    return json.loads(_get(address, f"/v2/{repository}/blobs/{digest}"))


def _get(address: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path, headers={"Accept": _ANY})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (path, answer.status, body)
        return body
    finally:
        connection.close()
