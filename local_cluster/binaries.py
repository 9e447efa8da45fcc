"""Builds the Go programs that a cluster is made of, once, into a cache keyed by their versions."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local_cluster.commands import run
from local_cluster.errors import ClusterError, StoppedError
from local_cluster.layout import PACKAGE, cache_folder
from local_cluster.progress import step

KUBERNETES_VERSION = "1.34.4"
LIVEKIT_VERSION = "1.13.5"
HELM_VERSION = "3.19.5"
KIND_VERSION = "0.33.0"
KWOK_VERSION = "0.8.0"

BUILD_SECONDS = 3600.0

KUBERNETES_COMMANDS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
)
MODULE = PACKAGE / "go"
"""Our Go module. All that it builds shares its dependencies, in the same versions: they are compiled once."""
_VERSION_PACKAGE = "k8s.io/component-base/version"
_MAJOR, _MINOR, _ = KUBERNETES_VERSION.split(".")


@dataclass(frozen=True)
class Program:
    """One Go program: a package that our module builds, or one of another module, as that module has its versions."""

    name: str
    version: str
    package: str
    of_module: bool = False
    """Whether our module builds it; `./NAME` then is a folder of it."""
    linker_flags: str = "-s -w"
    links: tuple[str, ...] = ()
    built_in: str = "a minute"
    architecture: str = ""
    """GOARCH of what is built; the machine's own where empty."""

    def key(self) -> str:
        """Changes whenever what would be built changes."""
        digest = hashlib.sha256(f"{self.package} {self.version} {self.linker_flags} {_COMPILER_FLAGS}".encode())
        digest.update(self.architecture.encode())
        for file in self.sources():
            digest.update(file.read_bytes())
        return digest.hexdigest()[:12]

    def sources(self) -> list[Path]:
        """What of our module it is built from."""
        if not self.of_module:
            return []
        own = sorted((MODULE / self.package).glob("*.go")) if self.package.startswith("./") else []
        return [MODULE / "go.mod", MODULE / "go.sum", *own]

    def folder(self) -> Path:
        """Where the built program is kept."""
        return cache_folder() / "programs" / f"{self.name}-{self.version}-{self.key()}"

    def path(self, link: str | None = None) -> Path:
        """The program itself, or one of the names under which it does different things."""
        return self.folder() / (link or self.name)


# No debug information: it costs a twelfth of the time, and the linker would throw it away.
_COMPILER_FLAGS = "all=-dwarf=false"
KUBERNETES = Program(
    name="kube",
    version=KUBERNETES_VERSION,
    package="./kubernetes",
    of_module=True,
    # Without these, clients are told v0.0.0.
    linker_flags=(
        f"-s -w -X {_VERSION_PACKAGE}.gitVersion=v{KUBERNETES_VERSION}"
        f" -X {_VERSION_PACKAGE}.gitMajor={_MAJOR} -X {_VERSION_PACKAGE}.gitMinor={_MINOR}"
    ),
    links=KUBERNETES_COMMANDS,
    built_in="about 6 min on 2 cores",
)
COREDNS = Program(name="coredns", version="1", package="./coredns", of_module=True, built_in="seconds")
PAUSE = Program(name="pause", version="1", package="./pause", of_module=True, built_in="seconds")
# The one that was made for this Kubernetes: it shares nearly all of its packages.
HELM = Program(
    name="helm", version=HELM_VERSION, package="helm.sh/helm/v3/cmd/helm", of_module=True, built_in="seconds"
)
KIND = Program(name="kind", version=KIND_VERSION, package="sigs.k8s.io/kind", built_in="seconds")
# Simulates nodes and pods, for benchmarks only.
KWOK = Program(
    name="kwok", version=KWOK_VERSION, package="sigs.k8s.io/kwok/cmd/kwok", built_in="about 2 min on 2 cores"
)
LIVEKIT = Program(
    name="livekit-server",
    version=LIVEKIT_VERSION,
    package="github.com/livekit/livekit-server/cmd/server",
    built_in="about 2 min on 2 cores",
)


def ensure(programs: Sequence[Program]) -> None:
    """Builds those of `programs` that the cache lacks, one after the other (each uses every core by itself).

    Raises ClusterError when there is no Go that is new enough, or when a build fails.
    """
    for program in programs:
        if not program.path().exists():
            go = find_go()
            with step(f"compiling {program.name} {program.version} (once; {program.built_in})"):
                _build(go, program)


def find_go() -> str:
    """The `go` to build with: the one on PATH, or the one that `make setup` put into the cache.

    Raises ClusterError when neither is there and as new as our go.mod files ask.
    """
    wanted = _wanted_go_version()
    for candidate in (shutil.which("go"), str(cache_folder() / "tools" / "bin" / "go")):
        if candidate and Path(candidate).exists() and _go_version(candidate) >= wanted:
            return candidate
    text = ".".join(map(str, wanted))
    raise ClusterError(
        f"Go {text} or newer is needed to build Kubernetes. Run `make setup`, or install it from go.dev."
    )


def _wanted_go_version() -> tuple[int, ...]:
    text = (MODULE / "go.mod").read_text()
    return _numbers(re.findall(r"^go ([\d.]+)$", text, re.MULTILINE)[0])


def _go_version(go: str) -> tuple[int, ...]:
    printed = subprocess.run([go, "version"], capture_output=True, text=True, check=False, timeout=30).stdout
    found = re.search(r"go version go([\d.]+)", printed)
    return _numbers(found[1]) if found else (0,)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part)


def _build(go: str, program: Program) -> None:
    programs = cache_folder() / "programs"
    programs.mkdir(parents=True, exist_ok=True)
    # Built beside its place and moved there whole: a build that is cut short never looks finished.
    with tempfile.TemporaryDirectory(dir=programs, prefix=f".{program.name}-") as scratch_name:
        scratch = Path(scratch_name)
        finished = scratch / "finished"
        finished.mkdir()
        _compile(go, program, finished / program.name, scratch)
        for link in program.links:
            (finished / link).symlink_to(program.name)
        (finished / "built-from.json").write_text(
            json.dumps({"name": program.name, "version": program.version, "package": program.package}) + "\n"
        )
        shutil.rmtree(program.folder(), ignore_errors=True)
        finished.rename(program.folder())


def _compile(go: str, program: Program, output: Path, scratch: Path) -> None:
    # What git says of a checkout is not asked for: for root, it refuses to answer about the files of another user.
    flags = ["-trimpath", "-buildvcs=false", "-gcflags", _COMPILER_FLAGS, "-ldflags", program.linker_flags]
    # Never with a C compiler, even where there is one: what one program compiled would be of no use to the next.
    environment = {**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    if program.architecture:
        environment["GOARCH"] = program.architecture
    if program.of_module:
        command, where = [go, "build", *flags, "-o", str(output), program.package], MODULE
    else:
        # Go installs what is for another machine below GOPATH alone.
        modules = run(go, "env", "GOMODCACHE").strip()
        environment |= {"GOMODCACHE": modules, "GOPATH": str(scratch), "GOBIN": ""}
        command, where = [go, "install", *flags, f"{program.package}@v{program.version}"], scratch
    try:
        run(*command, cwd=where, env=environment, timeout=BUILD_SECONDS)
    except StoppedError:
        raise
    except ClusterError as error:
        raise ClusterError(
            f"Building {program.name} failed. If its modules could not be fetched, check `go env GOPROXY`; "
            f"what is already built is kept, so just run the command again.\n{error}"
        ) from error
    if not program.of_module:
        next(path for path in (scratch / "bin").rglob("*") if path.is_file()).rename(output)
