"""Finds what a Prometheus is to scrape in the local cluster, by the annotations of pods, and lists it in a file.

Prometheus finds pods by itself, but Debian's is built without its part for Kubernetes.
"""

import json
import os
import threading
from pathlib import Path
from typing import Any

from testing.cluster import popen_kubectl

# Another's cluster, or kind's, has pods whose addresses lead nowhere from here.
PODS_ARE_REACHED = os.environ.get("CLUSTER") not in {"current", "kind"}
# An e2e run is over sooner; the API server ends a watch after half an hour by itself.
_WATCH = "/api/v1/pods?watch=1&timeoutSeconds=14400"
_SCRAPE, _PORT = "prometheus.io/scrape", "prometheus.io/port"


class ScrapeTargets:
    """Keeps a list of the cluster's pods that want to be scraped, in the format of Prometheus' file_sd_configs."""

    def __init__(self, file: Path) -> None:
        """Begins at once."""
        self._file = file
        self._targets: dict[str, dict[str, Any]] = {}
        self._write()
        self._watch = popen_kubectl("get", "--raw", _WATCH)
        self._thread = threading.Thread(target=self._see_pods, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Lists no more; the file stays."""
        self._watch.terminate()
        self._watch.wait(timeout=10)
        self._thread.join(timeout=10)

    def _see_pods(self) -> None:
        assert self._watch.stdout is not None
        for line in self._watch.stdout:
            event = json.loads(line)
            pod = event["object"]
            target = find_target(pod) if event["type"] != "DELETED" else None
            uid = pod["metadata"]["uid"]
            if target == self._targets.get(uid):
                continue
            self._targets.pop(uid, None)
            if target:
                self._targets[uid] = target
            self._write()

    def _write(self) -> None:
        """Puts another file in the place of the one before: Prometheus may be reading it."""
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps([*self._targets.values()]))
        new.rename(self._file)


def find_target(pod: dict[str, Any]) -> dict[str, Any] | None:
    """Returns where a pod is scraped, and the labels that the Prometheus Operator adds; None: not, or not yet."""
    metadata, status = pod["metadata"], pod.get("status", {})
    annotations = metadata.get("annotations", {})
    if annotations.get(_SCRAPE) != "true" or status.get("phase") != "Running":
        return None
    labels = {
        "namespace": metadata["namespace"],
        "pod": metadata["name"],
        "job": metadata["labels"]["app.kubernetes.io/component"],
    }
    return {"targets": [f"{status['podIP']}:{annotations[_PORT]}"], "labels": labels}
