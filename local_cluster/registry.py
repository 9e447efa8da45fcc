"""Asks an image registry what it has."""

import http.client
import time

from local_cluster.errors import ClusterError

READY_SECONDS = 20.0
_MANIFEST_TYPES = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


def wait_until_ready(address: str) -> None:
    """Returns when the registry at `address` (host:port) answers; raises ClusterError when it does not."""
    deadline = time.monotonic() + READY_SECONDS
    while _status(address, "/v2/") != 200:
        if time.monotonic() > deadline:
            raise ClusterError(f"The image registry at {address} does not answer. Is the cluster up? `make cluster`")
        time.sleep(0.05)


def answers(address: str) -> bool:
    """Whether there is a registry at `address` (host:port) now."""
    return _status(address, "/v2/", timeout=1) == 200


def has(address: str, repository: str, tag: str) -> bool:
    """Whether the registry holds that image."""
    return _status(address, f"/v2/{repository}/manifests/{tag}") == 200


def _status(address: str, path: str, timeout: float = 10) -> int:
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request("HEAD", path, headers={"Accept": _MANIFEST_TYPES})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()
