"""Trying a folder of programs: which files are programs, what they are given, and how the results are told."""

from pathlib import Path

from benchmarks.programs import ANSWERS, NO_PACKAGE, Tried, build_environment, build_table, find_programs

PROGRAM = """
import os
from livekit.plugins import deepgram, elevenlabs
from livekit.plugins.turn_detector.multilingual import MultilingualModel
CRM = os.getenv("CRM_TOKEN"), os.environ["LIVEKIT_URL"], os.environ.get('OPENAI_API_KEY')
@server.rtc_session()
async def entrypoint(ctx): ...
"""


def test_what_has_an_entrypoint_is_a_program(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "agent.py").write_text(PROGRAM)
    (tmp_path / "old.py").write_text("cli.run_app(WorkerOptions(entrypoint_fnc=begin))")
    (tmp_path / "helper.py").write_text("x = 1")
    assert [file.name for file in find_programs(tmp_path)] == ["agent.py", "old.py"]


def test_a_program_gets_a_dummy_for_each_of_its_variables_but_livekit_s_and_the_provider_s(tmp_path: Path) -> None:
    program = tmp_path / "agent.py"
    program.write_text(PROGRAM)
    assert set(build_environment(program).values()) == {"dummy"}
    assert {"CRM_TOKEN", "DEEPGRAM_API_KEY", "ELEVEN_API_KEY"} <= build_environment(program).keys()
    assert not {"LIVEKIT_URL", "OPENAI_API_KEY"} & build_environment(program).keys()


def test_the_table_counts_and_names() -> None:
    tried = [Tried("b.py", NO_PACKAGE, "a | b"), Tried("c.py", ANSWERS), Tried("a.py", ANSWERS)]
    assert build_table(tried).splitlines() == [
        "| result | programs |",
        "|---|---|",
        "| answers | 2 |",
        "| wants a package | 1 |",
        "",
        "| program | result | what stopped it |",
        "|---|---|---|",
        "| a.py | answers |  |",
        "| c.py | answers |  |",
        "| b.py | wants a package | a / b |",
    ]
