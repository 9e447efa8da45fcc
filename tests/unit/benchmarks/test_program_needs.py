"""What a public program needs, by its source."""

from pathlib import Path

import pytest

from benchmarks.program_needs import (
    API,
    AVATAR,
    END_HOOK,
    INFERENCE,
    NO_SESSION,
    SETTINGS,
    TELEPHONY,
    TURN_DETECTOR,
    VENDORS,
    build_environment,
    find_programs,
    has_chat_model,
    read_needs,
)

PROGRAM = """
import os
from livekit.plugins import deepgram, elevenlabs
from livekit.plugins.turn_detector.multilingual import MultilingualModel
import tools
CRM = os.getenv("CRM_TOKEN"), os.environ["LIVEKIT_URL"], os.environ.get('OPENAI_API_KEY'), os.getenv("LOG")
HOST = os.getenv("OTEL_HOST")
CALENDAR = os.getenv("CAL_KEY", None)
TODAY = os.environ["TODAY"] if os.environ.get("TODAY") else None
@server.rtc_session()
async def entrypoint(ctx): AgentSession(llm=openai.LLM.with_x_ai())
"""


def write(folder: Path, text: str, name: str = "agent.py") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_what_has_an_entrypoint_is_a_program(tmp_path: Path) -> None:
    write(tmp_path, PROGRAM, "deep/agent.py")
    write(tmp_path, "cli.run_app(WorkerOptions(entrypoint_fnc=begin))", "old.py")
    write(tmp_path, "x = 1", "helper.py")
    assert [file.name for file in find_programs(tmp_path)] == ["agent.py", "old.py"]


def test_a_program_gets_a_dummy_for_what_it_cannot_do_without(tmp_path: Path) -> None:
    write(tmp_path, "import os\nSHOP = os.environ['SHOP']", "tools.py")
    write(tmp_path, "import os\nOTHER = os.environ['OTHER']", "another_program.py")
    environment = build_environment(write(tmp_path, PROGRAM))
    assert set(environment.values()) == {"dummy"}
    assert {"CRM_TOKEN", "DEEPGRAM_API_KEY", "ELEVEN_API_KEY", "OTEL_HOST", "SHOP", "XAI_API_KEY"} <= environment.keys()
    assert not {"LIVEKIT_URL", "OPENAI_API_KEY", "LOG", "CAL_KEY", "OTHER", "TODAY"} & environment.keys()


@pytest.mark.parametrize(
    ("source", "needs"),
    [
        (PROGRAM, [SETTINGS, TURN_DETECTOR, VENDORS]),
        ("AgentSession(stt='deepgram/nova-3')", [INFERENCE]),
        ("AgentSession(llm=inference.LLM('a/b'))", [INFERENCE]),
        ("AgentSession(llm=openai.LLM())", []),
        ("async def entrypoint(ctx): await ctx.connect()", [NO_SESSION]),
        ("from livekit.plugins import tavus\nAgentSession()", [AVATAR]),
        ("AgentSession()\nctx.add_shutdown_callback(done)", [END_HOOK]),
        ("AgentSession()\nawait ctx.api.room.delete_room(x)", []),
        ("AgentSession()\nawait ctx.api.sip.create_sip_participant(x)", [API, TELEPHONY]),
        ("AgentSession()\n    # api.sip, krisp.Filter()", []),
        ("AgentSession(  # not Python", []),
    ],
)
def test_needs(tmp_path: Path, source: str, needs: list[str]) -> None:
    assert read_needs(write(tmp_path, source)) == sorted(needs)


def test_what_a_module_beside_it_needs_it_needs_too(tmp_path: Path) -> None:
    write(tmp_path, "from livekit.plugins import rime", "voices/__init__.py")
    write(tmp_path, "from livekit.plugins import hedra", "another_program.py")
    assert read_needs(write(tmp_path, "from voices import speak\nAgentSession()")) == [VENDORS]


def test_who_transcribes_has_no_chat_model(tmp_path: Path) -> None:
    assert has_chat_model(write(tmp_path, "AgentSession(stt='a/b', llm='c/d')"))
    assert not has_chat_model(write(tmp_path, "AgentSession(stt='a/b')\n# llm='c/d'"))
