"""What a release keeps secret, to be looked for where it must not be told."""

import base64
from collections.abc import Iterator

from testing.release import Release

# What cannot be a part of something else by chance.
TELLING_LENGTH = 12


def planted(release: Release) -> Iterator[tuple[str, str]]:
    """Yields every secret of a release's namespace, line by line, and its name."""
    for secret in release.get("secrets")["items"]:
        if secret["type"].startswith("helm.sh/"):
            continue
        for key, value in secret.get("data", {}).items():
            for line in base64.b64decode(value).decode().splitlines():
                if len(line) >= TELLING_LENGTH and not line.startswith("-----") and key != "ca.crt":
                    yield line, f"{secret['metadata']['name']}/{key}"
