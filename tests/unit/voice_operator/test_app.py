"""The operator as it is opened: what it counts of its own requests."""

from pathlib import Path

from aiohttp import web
from prometheus_client import REGISTRY
from pydantic import SecretStr

from testing.answering_api_server import answering_api_server
from testing.running_operator import write_signing_key
from testing.tickets import write_installation_key
from voice_operator.app import Operator
from voice_operator.settings import Keys, OperatorSettings


async def answer_with_nothing(_request: web.Request) -> web.Response:
    return web.json_response({"items": [], "metadata": {"resourceVersion": "1"}})


def count_lists() -> float:
    labels = {"method": "GET", "status": "200"}
    return REGISTRY.get_sample_value("voice_operator_api_requests_total", labels) or 0.0


async def test_its_requests_to_the_api_server_are_counted(tmp_path: Path) -> None:
    write_signing_key(tmp_path / "signing.pem")
    (tmp_path / "conversation.key").write_text("0" * 64)
    settings = OperatorSettings(
        livekit_url="http://livekit",
        livekit_api_key="key",
        livekit_api_secret=SecretStr("secret"),
        signing_key_file=tmp_path / "signing.pem",
        conversation_key_file=tmp_path / "conversation.key",
        installation_key_file=write_installation_key(tmp_path),
    )
    before = count_lists()
    async with answering_api_server(answer_with_nothing, tmp_path) as kubeconfig:
        operator = await Operator.open(settings, Keys(settings), kubeconfig)
        for plural in operator.cache.stores:
            assert not operator.synced
            await operator.list_all(plural)
        await operator._kubernetes.close()
    assert count_lists() == before + 4  # VoiceSessions, pools, profiles, pods
    assert operator.synced
