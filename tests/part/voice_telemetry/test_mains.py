"""Every part as the process that it is: its log is JSON from the first line on, and a wrong environment is one line."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from testing.code_path import PYTHONPATH
from voicesession.assignment import PROTOCOL
from voicesession.pod_tokens import public_key_pem

SECRET = "a-secret-4711"
KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: nowhere
contexts: [{name: nowhere, context: {cluster: nowhere, user: nobody}}]
clusters: [{name: nowhere, cluster: {server: "https://127.0.0.1:9"}}]
users: [{name: nobody, user: {}}]
"""


@dataclass(frozen=True)
class Part:
    """How a part is started: so that it soon has something to log, and needs nothing outside. `{folder}` is filled."""

    command: str
    environment: Mapping[str, str]
    required: str = "LIVEKIT_API_SECRET"
    level: str = "LOG_LEVEL"

    @property
    def name(self) -> str:
        return self.command.split()[0].split(".")[0]


LIVEKIT = {"LIVEKIT_URL": "ws://127.0.0.1:9", "LIVEKIT_API_KEY": "key", "LIVEKIT_API_SECRET": SECRET}
PARTS = [
    Part(
        "token_service",
        {
            **LIVEKIT,
            "LIVEKIT_PUBLIC_URL": "ws://127.0.0.1:9",
            "INSTALLATION_KEY_FILE": "{folder}/installation-key",
            "AUTH_MODE": "none",
            "KUBECONFIG": "{folder}/kubeconfig",
            "PORT": "0",
            "HEALTH_PORT": "0",
        },
    ),
    Part(
        "voice_operator",
        {
            **LIVEKIT,
            "SIGNING_KEY_FILE": "{folder}/signing-key",
            "CONVERSATION_KEY_FILE": "{folder}/conversation-key",
            "INSTALLATION_KEY_FILE": "{folder}/installation-key",
            "KUBECONFIG": "{folder}/kubeconfig",
            "HTTP_PORT": "0",
            "CALLS_PORT": "0",
        },
    ),
    Part(
        "conversations migrate",
        {
            "DATABASE_URL": f"postgresql://owner:{SECRET}@127.0.0.1:9/voice",
            "CONVERSATION_KEY_FILE": "{folder}/conversation-key",
            "AGENT_DATABASE_PASSWORD": SECRET,
            "READER_DATABASE_PASSWORD": SECRET,
            "CLOSER_DATABASE_PASSWORD": SECRET,
            "DATABASE_WAIT_SECONDS": "0",
        },
        required="CLOSER_DATABASE_PASSWORD",
    ),
    Part(
        "conversations.pgbouncer",
        {"STATS_DATABASE_PASSWORD": SECRET, "METRICS_PORT": "0"},
        required="STATS_DATABASE_PASSWORD",
    ),
    Part(
        "voice_agent",
        {
            "POD_UID": "uid-1",
            "POD_NAME": "pod-1",
            "OPERATOR_PUBLIC_KEY": public_key_pem(Ed25519PrivateKey.generate()),
            "OPERATOR_PROTOCOL": str(PROTOCOL),
            "AGENT_PROVIDERS": "[]",
            "AGENT_CODE": "there_is_no_such_module",
            "TERMINATION_LOG": "{folder}/termination",
        },
        required="POD_UID",
        level="AGENT_LOG_LEVEL",
    ),
    Part(
        "local_models",
        {
            "LOCAL_MODELS_SERVICES": "chat",
            "LOCAL_MODELS_LISTEN_PORT": "0",
            "LOCAL_MODELS_LISTEN_HOST": "127.0.0.1",
            "LOCAL_MODELS_API_KEY": SECRET,
        },
        required="",
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that the parts read."""
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "signing-key").write_bytes(key)
    for name in ("conversation-key", "installation-key"):
        (tmp_path / name).write_text("k" * 32)
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    return tmp_path


@asynccontextmanager
async def started(part: Part, folder: Path, **changes: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Starts a part; without the variables whose change is empty."""
    paths = {**{name: os.environ[name] for name in ("PATH", "HOME")}, "PYTHONPATH": PYTHONPATH}
    filled = {name: value.format(folder=folder) for name, value in part.environment.items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *part.command.split()),
        env={name: value for name, value in {**paths, **filled, **changes}.items() if value},
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def read_line(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    async with asyncio.timeout(60):
        return (await process.stderr.readline()).decode()


async def read_end(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    return process.returncode, errors.decode()


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
async def test_each_part_logs_json_at_a_level_in_small_letters(part: Part, folder: Path) -> None:
    async with started(part, folder, **{part.level: "info"}) as process:
        first = await read_line(process)
    line = json.loads(first)
    assert list(line)[:4] == ["time", "level", "logger", "message"]
    assert line["logger"].split(".")[0] in {part.name, "kube"}
    assert SECRET not in first


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
async def test_a_level_that_there_is_not_is_one_line(part: Part, folder: Path) -> None:
    async with started(part, folder, **{part.level: "loud"}) as process:
        code, told = await read_end(process)
    assert code == 2
    choices = "Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"
    assert told == f"{part.name} cannot start: {part.level}: {choices}\n"


@pytest.mark.parametrize("part", [part for part in PARTS if part.required], ids=lambda part: part.name)
async def test_a_variable_that_is_missing_is_one_line(part: Part, folder: Path) -> None:
    async with started(part, folder, **{part.required: ""}) as process:
        code, told = await read_end(process)
    assert code == 2
    assert told == f"{part.name} cannot start: {part.required}: Field required\n"


async def test_what_the_operator_needs_in_files_is_one_line_too(folder: Path) -> None:
    operator = next(part for part in PARTS if part.name == "voice_operator")
    (folder / "signing-key").write_text("no key")
    async with started(operator, folder) as process:
        code, told = await read_end(process)
    assert (code, len(told.splitlines())) == (2, 1)
    assert "SIGNING_KEY_FILE" in told


UNCAUGHT = """
import asyncio, threading, warnings
from voice_telemetry.logs import configure_logs
configure_logs("INFO", ())
def fail(): raise ValueError("my card is 4711")
thread = threading.Thread(target=fail); thread.start(); thread.join()
warnings.warn("my card is wrong: 4711")
async def leave_a_failing_task():
    task = asyncio.create_task(asyncio.to_thread(fail))
    await asyncio.wait([task])
asyncio.run(leave_a_failing_task())
fail()
"""


async def test_what_nobody_catches_is_json_without_its_words() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", UNCAUGHT), env={"PYTHONPATH": PYTHONPATH}, stderr=asyncio.subprocess.PIPE
    )
    code, told = await read_end(process)
    lines = [json.loads(line) for line in told.splitlines()]
    assert code == 1
    assert [(line["message"], line.get("error")) for line in lines] == [
        ("an error was caught by nobody", "ValueError"),
        ("a warning of Python's", None),
        ("Task exception was never retrieved", "ValueError"),
        ("an error was caught by nobody", "ValueError"),
    ]
    assert "my card" not in told
