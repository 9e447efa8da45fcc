"""The three rungs of `code`: what is found in a module, and what is said when it cannot be used."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from livekit.agents import cli

from voice_agent.code_loader import AgentCode, CodeLoadError, EntrypointCode, ProfileCode, load_code, run_prewarm
from voice_agent.job_context import build_job_process

SERVER = """
from livekit.agents import Agent, AgentServer, JobContext
server = AgentServer(session_end_timeout=90)
def prewarm(process): process.userdata["menu"] = ["pizza"]
server.setup_fnc = prewarm
async def over(ctx): pass
@server.rtc_session(on_session_end=over)
async def entrypoint(ctx: JobContext): pass
"""

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Write]:
    """Makes an importable module of the given text; returns its name."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"loaded_by_{abs(hash(request.node.name))}"

    def make(text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return name

    yield make
    sys.modules.pop(name, None)


def test_no_code_is_the_profile() -> None:
    assert load_code("") == ProfileCode()


def test_an_agent_class(write: Write) -> None:
    name = write(
        "from livekit.agents import Agent\nclass A(Agent):\n  def __init__(self): super().__init__(instructions='x')"
    )
    code = load_code(f"{name}:A")
    assert isinstance(code, AgentCode)
    assert not code.takes_instructions
    assert code.agent_class.__name__ == "A"


def test_an_agent_class_that_wants_instructions(write: Write) -> None:
    code = load_code(write("from livekit.agents import Agent\nclass A(Agent): pass") + ":A")
    assert isinstance(code, AgentCode)
    assert code.takes_instructions


def test_an_agent_class_that_wants_more(write: Write) -> None:
    name = write("from livekit.agents import Agent\nclass A(Agent):\n  def __init__(self, menu, instructions): pass")
    with pytest.raises(CodeLoadError, match="A needs menu, instructions"):
        load_code(f"{name}:A")


@pytest.mark.parametrize("suffix", ["", ":server", ":entrypoint"])
def test_a_server_by_module_by_name_and_by_entrypoint(write: Write, suffix: str) -> None:
    name = write(SERVER)
    code = load_code(name + suffix)
    assert isinstance(code, EntrypointCode)
    module = sys.modules[name]
    assert code.entrypoint is module.entrypoint
    assert code.on_session_end is module.over
    assert code.session_end_seconds == 90
    process = build_job_process()
    run_prewarm(code, process)
    assert process.userdata == {"menu": ["pizza"]}


def test_a_file_whose_name_python_would_not_take_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "01-basics"
    folder.mkdir()
    (folder / "listen-and-answer.py").write_text(SERVER)
    importlib.invalidate_caches()
    try:
        assert isinstance(load_code("01-basics.listen-and-answer:server"), EntrypointCode)
    finally:
        for name in ("01-basics", "01-basics.listen-and-answer"):
            sys.modules.pop(name, None)


def test_an_entrypoint_from_before_agent_servers(write: Write) -> None:
    name = write("def prewarm(proc): proc.userdata['x'] = 1\nasync def entrypoint(ctx): pass")
    code = load_code(f"{name}:entrypoint")
    assert isinstance(code, EntrypointCode)
    process = build_job_process()
    run_prewarm(code, process)
    assert process.userdata == {"x": 1}


@pytest.mark.parametrize("options", ["entrypoint_fnc=answer, prewarm_fnc=warm", "answer, prewarm_fnc=warm"])
@pytest.mark.parametrize("suffix", ["", ":answer"])
def test_a_program_that_is_run_by_worker_options(write: Write, options: str, suffix: str) -> None:
    name = write(
        "from livekit import agents\ndef warm(proc): proc.userdata['x'] = 1\nasync def answer(ctx): pass\n"
        f"if __name__ == '__main__':\n    agents.cli.run_app(agents.WorkerOptions({options}))"
    )
    code = load_code(name + suffix)
    assert isinstance(code, EntrypointCode)
    assert code.entrypoint is sys.modules[name].answer
    process = build_job_process()
    run_prewarm(code, process)
    assert process.userdata == {"x": 1}


@pytest.mark.parametrize(
    ("imported", "run"),
    [
        ("from livekit.agents import cli", "cli.run_app(server)"),
        ("from livekit.agents.cli import run_app", "run_app(server)"),
    ],
)
def test_a_program_whose_function_makes_its_server(write: Write, imported: str, run: str) -> None:
    name = write(
        f"from livekit.agents import AgentServer\n{imported}\n"
        "def main():\n"
        "    server = AgentServer()\n"
        "    @server.rtc_session()\n"
        "    async def answer(ctx): pass\n"
        f"    {run}\n"
        "def other(x): raise AssertionError(run_app)\n"
    )
    before = cli.run_app
    code = load_code(name)
    assert isinstance(code, EntrypointCode)
    assert code.entrypoint.__name__ == "answer"
    assert cli.run_app is before


def test_options_that_mean_nothing_in_a_pod_are_said(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    load_code(name := write(SERVER))
    del sys.modules[name]
    assert "mean nothing" not in caplog.text
    text = SERVER.replace("AgentServer(", "AgentServer(num_idle_processes=3, load_threshold=0.5, ")
    load_code(write(text.replace("on_session_end=over", "agent_name='a', on_request=over")))
    (said,) = [vars(record)["options"] for record in caplog.records]
    assert said == ["agent_name", "request_fnc", "load_threshold", "num_idle_processes"]


def test_options_of_a_program_from_before_are_said_too(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    load_code(write("async def begin(ctx): pass\ndef run(): WorkerOptions(entrypoint_fnc=begin, agent_name='a')"))
    (said,) = [vars(record)["options"] for record in caplog.records]
    assert said == ["agent_name"]


@pytest.mark.parametrize(
    ("text", "suffix", "said"),
    [
        ("import no_such_module_anywhere", "", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("def f(:", ":f", "SyntaxError"),
        ("raise SystemExit(3)", ":f", "SystemExit: 3"),
        ("x = 1", ":y", "has no 'y'"),
        ("x = 1", ":x", "is a int; it must be an Agent class, an AgentServer, or an entrypoint"),
        ("def entrypoint(ctx): pass", ":entrypoint", "is a function; it must be"),
        ("x = 1", "", "has 0 AgentServers"),
        ("WorkerOptions = dict\nWorkerOptions(entrypoint_fnc=lambda ctx: None)", "", "has 0 AgentServers"),
        ("from livekit.agents import AgentServer\nserver = AgentServer()", "", "has no entrypoint"),
        (
            "from livekit.agents import cli\ndef main():\n    raise ValueError('no key')\n    cli.run_app(0)",
            "",
            "ValueError: no key",
        ),
    ],
)
def test_what_cannot_be_used_says_why_in_one_line(write: Write, text: str, suffix: str, said: str) -> None:
    with pytest.raises(CodeLoadError) as raised:
        load_code(write(text) + suffix)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_failing_prewarm(write: Write) -> None:
    name = write("def prewarm(proc): raise OSError('no menu')\nasync def entrypoint(ctx): pass")
    with pytest.raises(CodeLoadError, match="prewarm function failed: OSError: no menu"):
        run_prewarm(load_code(f"{name}:entrypoint"), build_job_process())
