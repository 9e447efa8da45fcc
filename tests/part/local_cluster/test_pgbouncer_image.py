"""The image of PgBouncer, as far as its first command goes."""

import json
import re
import resource
import subprocess
from pathlib import Path

from local_cluster.layout import REPOSITORY

DOCKERFILE = REPOSITORY / "local_cluster" / "images" / "pgbouncer" / "Dockerfile"
PROGRAM = "/usr/sbin/pgbouncer"


def test_it_may_have_as_many_connections_as_the_kernel_lets_it(tmp_path: Path) -> None:
    stand_in = tmp_path / "pgbouncer"
    stand_in.write_text('#!/bin/sh\necho "$(ulimit -Sn) $*"\n')
    stand_in.chmod(0o755)
    (entrypoint,) = re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    command = [word.replace(PROGRAM, str(stand_in)) for word in json.loads(entrypoint)]
    # As a container runtime begins it.
    begun = ["sh", "-c", 'ulimit -Sn 256 && exec "$@"', "few", *command]
    done = subprocess.run(begun, capture_output=True, text=True, timeout=10, check=True)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert done.stdout == f"{most} /etc/pgbouncer/pgbouncer.ini\n"
