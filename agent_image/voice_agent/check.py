"""`python -m voice_agent check acme.main:server`: says before there is a pod what code asks for, and what cannot work.

It imports the code as a pod would, runs its prewarm, and reads the source of its modules; nothing is called by it.
"""

import argparse
import ast
import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from voice_agent import older_turn_detector
from voice_agent.code_loader import CodeLoadError, load_code, run_prewarm
from voice_agent.job_context import build_job_process
from voice_agent.livekit_inference import Asked, StandIn, read_asked
from voice_agent.model_clients import ModelClients
from voice_agent.provider_models import ModelShelf
from voicesession.models import AgentProfileSpec, LlmModel, Provider, SttModel, TtsModel
from voicesession.pod_environment import LIVEKIT_SECRETS, OPERATOR_VARIABLES
from voicesession.server_api import DELETE_ROOM, PERMISSIONS

# Stands for the provider that a pool will have; nobody asks it anything.
_PROVIDER = Provider(
    name="the call's",
    stt=SttModel(base_url="http://127.0.0.1:9", model="its model"),
    llm=LlmModel(base_url="http://127.0.0.1:9", model="its model"),
    tts=TtsModel(base_url="http://127.0.0.1:9", model="its model"),
)
_PARTS = {"STT": "stt", "LLM": "llm", "TTS": "tts"}
# By the package that is imported: what of it does not work in a pod.
_DOUBTFUL = {
    "livekit.plugins.noise_cancellation": "cloud noise cancellation needs LiveKit Cloud",
    "livekit.plugins.turn_detector": "the turn-detector plugin is served by inference.TurnDetector, for 230 MB a pod",
}
# Plugins of avatars: a vendor's worker in the room.
AVATARS = {"anam", "bey", "bithuman", "hedra", "lemonslice", "liveavatar", "simli", "tavus"}


@dataclass
class Findings:
    """What code asks for. `wrong` keeps it from running, `doubtful` may be only a part of it."""

    models: set[Asked] = field(default_factory=set)
    variables: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    doubtful: set[str] = field(default_factory=set)

    def read(self, source: str) -> None:
        """Adds what one module's source says."""
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call):
                self._read_call(node)
            elif isinstance(node, ast.Subscript) and _dotted(node.value).endswith("environ"):
                self._read_variable(node.slice)
            elif isinstance(node, ast.Attribute):
                self._read_api(_dotted(node))
            elif isinstance(node, ast.ImportFrom) and node.module:
                self._read_import(node.module, [alias.name for alias in node.names])

    def _read_call(self, node: ast.Call) -> None:
        name = _dotted(node.func)
        if name.endswith(("environ.get", "getenv")) and node.args:
            self._read_variable(node.args[0])
        given = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        options = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
        if name.startswith("inference.") and (part := _PARTS.get(name.removeprefix("inference."))):
            self.models.add(read_asked(part, given, {str(key): value for key, value in options.items()}))  # type: ignore[arg-type]
        for part in _PARTS.values():
            if isinstance(model := options.get(part), str):
                self.models.add(read_asked(part, (model,), {}))  # type: ignore[arg-type]

    def _read_variable(self, name: ast.expr) -> None:
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            self.variables.add(name.value)

    def _read_api(self, name: str) -> None:
        _, found, call = name.partition("ctx.api.")
        if found and call.count(".") == 1 and (why := tell_api_call(call)):
            self.doubtful.add(f"ctx.api.{call} {why}")

    def _read_import(self, module: str, names: Sequence[str]) -> None:
        for imported in (module, *(f"{module}.{name}" for name in names)):
            for package, why in _DOUBTFUL.items():
                if imported == package or imported.startswith(f"{package}."):
                    self.doubtful.add(why)
            if imported.startswith("livekit.plugins.") and imported.split(".")[2] in AVATARS:
                self.doubtful.add(f"{imported.split('.')[2]}: an avatar's worker needs LiveKit's API secret")


def check(code: str) -> Findings:
    """Loads the code as a pod would, and returns what it asks for."""
    findings = Findings()
    shelf = ModelShelf([_PROVIDER], ModelClients(Path(os.devnull)))
    StandIn(shelf).install()
    older_turn_detector.install()
    before = set(sys.modules)
    try:
        shelf.export(_PROVIDER)
        run_prewarm(load_code(code), build_job_process())
    except CodeLoadError as error:
        findings.wrong.append(str(error))
    for source in read_sources(code.partition(":")[0], [sys.modules[name] for name in set(sys.modules) - before]):
        with contextlib.suppress(SyntaxError):
            findings.read(source)
    return findings


def read_sources(name: str, loaded: Sequence[ModuleType]) -> Iterator[str]:
    """Yields the sources that are the team's own: of the module, and of what it has loaded from below its folder."""
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin:
            folder = Path(spec.origin).resolve().parent
            files = {Path(file).resolve() for module in loaded if (file := getattr(module, "__file__", None))}
            own = {file for file in files if file.is_relative_to(folder) and "site-packages" not in file.parts}
            for file in sorted({Path(spec.origin).resolve(), *own}):
                if file.suffix == ".py":
                    yield file.read_text(errors="replace")


def build_report(findings: Findings) -> str:
    """Returns what is said of the findings: a line each, in the order in which it matters."""
    lines = [f"wrong     {text}" for text in findings.wrong]
    lines += [f"doubtful  {text}" for text in sorted(findings.doubtful)]
    for asked in sorted(findings.models, key=str):
        kept = f" ({asked.variant})" if asked.variant else ""
        lines.append(f"model     {asked.part} {asked.model or 'auto'}{kept}: served by the call's provider")
    for name in sorted(findings.variables):
        lines.append(f"variable  {name}: {tell_variable(name)}")
    return "\n".join(lines or ["asks for nothing beyond its models"])


def tell_variable(name: str) -> str:
    """Returns where a variable comes from in a pod."""
    if name in {"LIVEKIT_URL", "LIVEKIT_TOKEN"}:
        return "of the call's own room, when the entrypoint runs"
    if name in LIVEKIT_SECRETS:
        return "never in a pod"
    if name in OPERATOR_VARIABLES:
        return "the operator's own"
    if name in {"OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE"}:
        return "of the call's provider, unless the pool sets it"
    return "set it in the pool's `env` or `envFrom`" + ("" if name in os.environ else "; not set here")


def tell_api_call(call: str) -> str | None:
    """Returns what a call of `ctx.api`, as `room.get_participant`, lacks in a pod; None where it works."""
    service, _, name = call.partition(".")
    method = f"RoomService/{name.title().replace('_', '')}"
    if service != "room" or method not in {*PERMISSIONS, DELETE_ROOM}:
        return "is refused: agent pods hold no LiveKit key"
    wanted = PERMISSIONS.get(method)
    if wanted is None or wanted in AgentProfileSpec().permissions:
        return None
    return f"needs {wanted.value} in the profile's `permissions`"


def main(arguments: Sequence[str]) -> int:
    """Prints the report; returns 0, or 1 where the code cannot be loaded."""
    parser = argparse.ArgumentParser(prog="python -m voice_agent check", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("code", help="as the pool's `code`: `module:Name` or `module`")
    findings = check(parser.parse_args(arguments).code)
    print(build_report(findings))  # noqa: T201 - a command's answer
    return 1 if findings.wrong else 0


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
