"""What is kept in ConfigMaps until the database has it, against a real API server; and the command that tells of it."""

import base64
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conversations.__main__ import describe
from conversations.undelivered import Undelivered, UndeliveredPieces, build_config_map
from kube.client import KubernetesApi
from testing.code_path import PYTHONPATH
from testing.operator_cluster import create_namespace
from voicesession.names import UNDELIVERED_LABEL
from voicesession.spool import LARGEST_PIECE, SealedPiece, Spool

SESSION = "6f1c8d0e-2f9a-4d53-9d0b-0d4c3c0c5b11"


def spool(*sizes: int) -> Spool:
    pieces = [SealedPiece(rows=rows, data=os.urandom(size)) for rows, size in enumerate(sizes, 1)]
    return Spool(session_id=SESSION, attempt=3, pieces=pieces)


@pytest.fixture
async def kubernetes(api_server: Path) -> AsyncIterator[KubernetesApi]:
    """A client with all rights, for a namespace of its own."""
    namespace = f"test-{secrets.token_hex(4)}"
    api = await KubernetesApi.connect(namespace, api_server)
    await create_namespace(api, namespace)
    yield api
    await api.close()


async def test_pieces_are_kept_listed_read_and_removed(kubernetes: KubernetesApi) -> None:
    pieces, made = UndeliveredPieces(kubernetes), spool(100, LARGEST_PIECE)
    await pieces.keep(made)
    await pieces.keep(made)  # as after a lost answer
    kept = await pieces.list_all()
    assert [(each.session_id, each.attempt) for each in kept] == [(SESSION, 3)] * 2
    assert {(each.rows, await pieces.read(each.name)) for each in kept} == {
        (piece.rows, piece.data) for piece in made.pieces
    }
    for each in kept:
        await pieces.remove(each.name)
        await pieces.remove(each.name)
        assert await pieces.read(each.name) is None
    assert await pieces.list_all() == []


async def test_two_pods_of_one_attempt_overwrite_nothing(kubernetes: KubernetesApi) -> None:
    pieces = UndeliveredPieces(kubernetes)
    for made in (spool(100), spool(100)):
        await pieces.keep(made)
    assert len(await pieces.list_all()) == 2


async def test_what_somebody_else_has_made_is_passed_over(kubernetes: KubernetesApi) -> None:
    pieces = UndeliveredPieces(kubernetes)
    labels = {UNDELIVERED_LABEL: "true"}
    await kubernetes.create_config_map({"metadata": {"name": "odd", "labels": labels}, "data": {"piece": "words"}})
    await kubernetes.create_config_map({"metadata": {"name": "settings"}, "data": {"a": "b"}})
    assert await pieces.list_all() == []
    assert await pieces.read("odd") == b""


def test_a_config_map_names_whose_it_is_and_shows_no_words() -> None:
    made = spool(10)
    config_map = build_config_map(made, made.pieces[0])
    name = config_map["metadata"].pop("name")
    assert name.startswith(f"undelivered-{SESSION}-3-")
    assert config_map == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "labels": {"voiceagents.dev/undelivered": "true", "voiceagents.dev/session": SESSION},
            "annotations": {"voiceagents.dev/attempt": "3", "voiceagents.dev/rows": "1"},
        },
        "immutable": True,
        "binaryData": {"piece": base64.b64encode(made.pieces[0].data).decode()},
    }


# The command


def undelivered(namespace: str, kubeconfig: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "conversations", "undelivered"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": PYTHONPATH,
            "NAMESPACE": namespace,
            "KUBECONFIG": str(kubeconfig),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_the_command_tells_what_is_undelivered(kubernetes: KubernetesApi, api_server: Path) -> None:
    namespace = kubernetes._namespace
    nothing = undelivered(namespace, api_server)
    assert (nothing.returncode, nothing.stdout) == (0, "Nothing is undelivered.\n"), nothing.stderr
    await UndeliveredPieces(kubernetes).keep(spool(100, 100))
    something = undelivered(namespace, api_server)
    assert something.returncode == 1, something.stderr
    head, *lines, total = something.stdout.splitlines()
    assert head.split() == ["SESSION", "ATTEMPT", "ROWS", "AGE"]
    assert sorted(line.split()[:3] for line in lines) == [[SESSION, "3", "1"], [SESSION, "3", "2"]]
    assert total == "3 rows wait for the database."


def test_the_command_tells_that_it_cannot_tell(api_server: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text(api_server.read_text().replace("server: https://127.0.0.1", "server: https://127.0.0.2"))
    unknown = undelivered("default", nowhere)
    assert (unknown.returncode, unknown.stdout, "Traceback" in unknown.stderr) == (2, "", False)


def test_the_age_of_a_piece_is_told() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    (_, line, total) = describe([Undelivered("a", SESSION, 1, 14, now - timedelta(minutes=5))], now)
    assert line.split() == [SESSION, "1", "14", "300", "s"]
    assert total == "14 rows wait for the database."
