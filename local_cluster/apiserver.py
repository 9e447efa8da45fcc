"""A Kubernetes API server and nothing else, on loopback, for tests that need real CRDs, RBAC and watches.

    with running_apiserver() as kubeconfig:
        ...  # a Path; full rights; gone with everything in it when the block ends

Needs no root and no cluster, and any number may run beside each other.
"""

import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from local_cluster.binaries import KUBERNETES, ensure
from local_cluster.commands import last_lines
from local_cluster.errors import ClusterError
from local_cluster.pki import Authority, Identity, write_kubeconfig
from local_cluster.ports import LOOPBACK, free_port

READY_SECONDS = 60.0


@contextmanager
def running_apiserver(extra_arguments: Sequence[str] = ()) -> Iterator[Path]:
    """Starts etcd and kube-apiserver (about 4 s), yields the path of an administrator's kubeconfig, ends both.

    `extra_arguments` are further kube-apiserver flags. Raises ClusterError with the log's end when it does not start.
    """
    ensure([KUBERNETES])
    with ExitStack() as stack:
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - etcd waits for every fsync
        folder = Path(tempfile.mkdtemp(prefix="vac-apiserver-", dir=memory))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        authority = Authority(folder / "pki")
        server = authority.issue("apiserver", "kube-apiserver", hosts=[LOOPBACK, "localhost", "10.96.0.1"])
        admin = authority.issue("admin", "local-admin", organization="system:masters")
        etcd_client, etcd_peer, port = (free_port() for _ in range(3))
        etcd_url = f"https://{LOOPBACK}:{etcd_client}"
        _start(stack, folder, build_etcd_command(folder / "etcd", authority, server, etcd_client, etcd_peer))
        apiserver = _start(
            stack,
            folder,
            [
                *build_apiserver_command(authority, server, etcd_url=etcd_url, address=LOOPBACK, port=port),
                *extra_arguments,
            ],
        )
        kubeconfig = write_kubeconfig(
            folder / "kubeconfig",
            server=f"https://{LOOPBACK}:{port}",
            authority=authority.certificate,
            identity=admin,
        )
        _wait_until_ready(f"https://{LOOPBACK}:{port}/readyz", authority, admin, apiserver, folder)
        yield kubeconfig


def build_etcd_command(
    data: Path, authority: Authority, identity: Identity, client_port: int, peer_port: int
) -> list[str]:
    """The command line of an etcd on loopback that only holders of our certificates may talk to."""
    client = f"https://{LOOPBACK}:{client_port}"
    peer = f"http://{LOOPBACK}:{peer_port}"
    return [
        "etcd",
        f"--data-dir={data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        f"--cert-file={identity.certificate}",
        f"--key-file={identity.key}",
        "--client-cert-auth",
        f"--trusted-ca-file={authority.certificate}",
        "--quota-backend-bytes=4294967296",
        "--log-level=warn",
    ]


def build_apiserver_command(
    authority: Authority, identity: Identity, *, etcd_url: str, address: str, port: int
) -> list[str]:
    """The command line of a kube-apiserver with Node and RBAC authorization."""
    service_account = authority.service_account_keys()
    return [
        str(KUBERNETES.path("kube-apiserver")),
        f"--etcd-servers={etcd_url}",
        f"--etcd-cafile={authority.certificate}",
        f"--etcd-certfile={identity.certificate}",
        f"--etcd-keyfile={identity.key}",
        f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--secure-port={port}",
        f"--tls-cert-file={identity.certificate}",
        f"--tls-private-key-file={identity.key}",
        f"--client-ca-file={authority.certificate}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={service_account.certificate}",
        f"--service-account-signing-key-file={service_account.key}",
        # Debian's etcd 3.4 cannot report a watch's progress on request, which streaming lists wait for.
        "--feature-gates=WatchList=false",
        "--profiling=false",
    ]


def _start(stack: ExitStack, folder: Path, command: list[str]) -> subprocess.Popen[bytes]:
    name = Path(command[0]).name
    if shutil.which(command[0]) is None:
        raise ClusterError(f"`{name}` is not installed. Run `make setup`.")
    with (folder / f"{name}.log").open("wb") as log:
        # An own group, so that a Ctrl-C at the terminal lets the tests end first; and never without us.
        leashed = ["setpriv", "--pdeathsig", "KILL", "--", *command]
        process = subprocess.Popen(leashed, stdout=log, stderr=log, cwd=folder, process_group=0)
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    # Nothing in there is worth a graceful end, and the API server takes a while over it.
    process.send_signal(signal.SIGKILL)
    process.wait()


def _wait_until_ready(
    url: str, authority: Authority, admin: Identity, process: subprocess.Popen[bytes], folder: Path
) -> None:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(admin.certificate, admin.key)
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, context=context, timeout=5):  # noqa: S310 - always https
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    logs = "\n".join(last_lines(log.read_text(errors="replace"), 5) for log in sorted(folder.glob("*.log")))
    raise ClusterError(f"The API server did not become ready within {READY_SECONDS:.0f} s:\n{logs}")
