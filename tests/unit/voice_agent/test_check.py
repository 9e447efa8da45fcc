"""What is said of a team's code before there is a pod."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from voice_agent import check, livekit_inference
from voice_agent.check import Findings
from voice_agent.livekit_inference import Asked

PROGRAM = """
import os
from livekit.agents import Agent, AgentServer, AgentSession, JobContext, inference
import acme_parts

server = AgentServer()
server.setup_fnc = lambda process: process.userdata.update(key=os.environ.get("CRM_TOKEN"))

@server.rtc_session()
async def entrypoint(ctx: JobContext):
    session = AgentSession(stt="deepgram/nova-3:de", llm=inference.LLM("openai/gpt-4.1-mini"), tts=os.environ["LANG"])
    await ctx.api.room.delete_room(None)
    await ctx.api.sip.create_sip_participant(None)
"""
PARTS = """
import os
from livekit.agents import inference
def speak(): return inference.TTS(model="cartesia/sonic-3", voice="clara")
def unlock(): return os.getenv("LIVEKIT_API_SECRET"), os.getenv("LIVEKIT_URL"), os.getenv("OPENAI_API_KEY")
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(livekit_inference, "_current", None)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "as it was")
    monkeypatch.setenv("LANG", "C")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "acme_main.py").write_text(PROGRAM)
    (tmp_path / "acme_parts.py").write_text(PARTS)
    importlib.invalidate_caches()
    yield
    for name in ("acme_main", "acme_parts"):
        sys.modules.pop(name, None)


def test_what_code_asks_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["acme_main:server"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "doubtful  ctx.api.sip.create_sip_participant is refused: agent pods hold no LiveKit key",
        "model     llm openai/gpt-4.1-mini: served by the call's provider",
        "model     stt deepgram/nova-3 (de): served by the call's provider",
        "model     tts cartesia/sonic-3 (clara): served by the call's provider",
        "variable  CRM_TOKEN: set it in the pool's `env` or `envFrom`; not set here",
        "variable  LANG: set it in the pool's `env` or `envFrom`",
        "variable  LIVEKIT_API_SECRET: never in a pod",
        "variable  LIVEKIT_URL: of the call's own room, when the entrypoint runs",
        "variable  OPENAI_API_KEY: of the call's provider, unless the pool sets it",
    ]


def test_code_that_cannot_be_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "acme_main.py").write_text("import no_such_package\nimport os\nos.getenv('KEY')")
    assert check.main(["acme_main"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "wrong     ModuleNotFoundError: No module named 'no_such_package'"
    assert said[1].startswith("variable  KEY: ")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from livekit.plugins import noise_cancellation, silero", "cloud noise cancellation"),
        ("from livekit.plugins.turn_detector.multilingual import MultilingualModel", "230 MB a pod"),
        ("from livekit.plugins import openai, hedra", "hedra: an avatar"),
        ("self.ctx.api.room.create_room(1)", "ctx.api.room.create_room is refused: agent pods hold no LiveKit key"),
        (
            "ctx.api.room.remove_participant(1)",
            "ctx.api.room.remove_participant needs RemoveParticipants in the profile's",
        ),
    ],
)
def test_what_may_not_work(source: str, said: str) -> None:
    findings = Findings()
    findings.read(source)
    (one,) = findings.doubtful
    assert one.startswith(said) or said in one


def test_what_is_fine_is_not_said() -> None:
    findings = Findings()
    findings.read("from livekit.plugins import openai, silero\nx.get('stt', llm=None)")
    findings.read("ctx.api.room.delete_room(1)\nctx.api.room.list_participants(1)")
    assert findings == Findings()
    assert check.build_report(findings) == "asks for nothing beyond its models"
    findings.models.add(Asked("stt", ""))
    assert check.build_report(findings) == "model     stt auto: served by the call's provider"
