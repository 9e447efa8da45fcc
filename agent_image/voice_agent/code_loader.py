"""Loads the agent's code before the pod is ready: a profile alone, an `Agent` class, or an entrypoint as it is."""

import importlib
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from livekit.agents import Agent, AgentServer, JobProcess

from voice_agent.worker_options import (
    SESSION_END_SECONDS,
    Entrypoint,
    Worker,
    read_run_app,
    read_server,
    read_worker_options,
)

log = logging.getLogger(__name__)


class CodeLoadError(Exception):
    """The agent's code cannot be used; the message is one line that says why."""


@dataclass(frozen=True)
class ProfileCode:
    """Rung 0: there is no code, the profile is the agent."""


@dataclass(frozen=True)
class AgentCode:
    """Rung 1: an `Agent` subclass that speaks with the profile's models. It may want the instructions."""

    agent_class: type[Agent]
    takes_instructions: bool


@dataclass(frozen=True)
class EntrypointCode:
    """Rung 2: an entrypoint as LiveKit's worker would run it, with its prewarm and its end hook.

    `session_end_seconds`: what that may take, and the shutdown callbacks after it.
    """

    entrypoint: Entrypoint
    prewarm: Callable[[JobProcess], object] | None = None
    on_session_end: Entrypoint | None = None
    session_end_seconds: float = SESSION_END_SECONDS


LoadedCode = ProfileCode | AgentCode | EntrypointCode


def load_code(code: str) -> LoadedCode:
    """Imports what the pool's `code` names: nothing, `module.path:Name`, or `module.path`.

    Raises:
        CodeLoadError: it does not import, or is nothing that can be run.
    """
    if not code:
        return ProfileCode()
    module_name, _, name = code.partition(":")
    module = _import(module_name)
    if not name:
        return _from_worker(_only_worker(module), module)
    if not hasattr(module, name):
        raise CodeLoadError(f"module {module_name!r} has no {name!r}; the pool's `code` is {code!r}")
    return decide_rung(getattr(module, name), module, code)


def decide_rung(found: object, module: ModuleType, code: str) -> LoadedCode:
    """Returns what `found` is run as.

    Raises:
        CodeLoadError: it is neither an Agent class nor an AgentServer nor an async function of one argument.
    """
    if inspect.isclass(found) and issubclass(found, Agent):
        return _from_agent_class(found)
    if isinstance(found, AgentServer):
        return _from_worker(read_server(found), module)
    if inspect.iscoroutinefunction(found):
        worker = next((worker for worker in _workers(module) if worker.entrypoint is found), None)
        return _from_worker(worker or Worker(found, prewarm=_prewarm_by_name(module)), module)
    raise CodeLoadError(
        f"{code!r} is a {type(found).__name__}; it must be an Agent class, an AgentServer, or an entrypoint "
        "(`async def entrypoint(ctx: JobContext)`)"
    )


def run_prewarm(code: LoadedCode, process: JobProcess) -> None:
    """Runs the code's prewarm (`setup_fnc`), which may fill `process.userdata`.

    Raises:
        CodeLoadError: it failed.
    """
    if not isinstance(code, EntrypointCode) or code.prewarm is None:
        return
    try:
        code.prewarm(process)
    except Exception as error:
        _tell(error)
        raise CodeLoadError(f"the prewarm function failed: {_last_line(error)}") from error


def _import(module_name: str) -> ModuleType:
    # `python -m` puts the working directory first; a container started otherwise must find the code too.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        _tell(error)
        raise CodeLoadError(_last_line(error)) from error


def _tell(error: BaseException) -> None:
    # In its own words: before a call there are none of a customer's, and who wrote the code has to find the mistake.
    text = "".join(traceback.format_exception_only(error)).strip()
    log.error("the agent's code cannot be loaded", exc_info=error, extra={"reason": text})


def _last_line(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def _from_agent_class(agent_class: type[Agent]) -> AgentCode:
    required = [
        parameter.name
        for parameter in inspect.signature(agent_class).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
    ]
    if required not in ([], ["instructions"]):
        raise CodeLoadError(
            f"{agent_class.__name__} needs {', '.join(required)} to be made; an Agent class is made without arguments, "
            "or with `instructions` alone (the profile's). Use an entrypoint for more."
        )
    return AgentCode(agent_class, takes_instructions=bool(required))


def _workers(module: ModuleType) -> list[Worker]:
    """Returns what the module's AgentServers run; where it has none, what its WorkerOptions say."""
    servers = {id(value): value for value in vars(module).values() if isinstance(value, AgentServer)}
    if servers:
        return [read_server(server) for server in servers.values()]
    worker = read_worker_options(module)
    return [worker] if worker else []


def _made_by_functions(module: ModuleType) -> list[Worker]:
    try:
        return read_run_app(module)
    except (Exception, SystemExit) as error:
        _tell(error)
        raise CodeLoadError(_last_line(error)) from error


def _only_worker(module: ModuleType) -> Worker:
    workers = _workers(module) or _made_by_functions(module)
    if len(workers) != 1:
        raise CodeLoadError(
            f"module {module.__name__!r} has {len(workers)} AgentServers, or WorkerOptions that name an entrypoint; "
            f"name what to run as `{module.__name__}:Name`"
        )
    return workers[0]


def _from_worker(worker: Worker, module: ModuleType) -> EntrypointCode:
    if worker.entrypoint is None:
        raise CodeLoadError(
            f"the AgentServer of {module.__name__!r} has no entrypoint; decorate one with @server.rtc_session()"
        )
    if worker.unused:
        log.warning("options for LiveKit's worker mean nothing in an agent pod", extra={"options": [*worker.unused]})
    return EntrypointCode(
        worker.entrypoint,
        prewarm=worker.prewarm,
        on_session_end=worker.on_session_end,
        session_end_seconds=worker.session_end_seconds,
    )


def _prewarm_by_name(module: ModuleType) -> Callable[[JobProcess], object] | None:
    """Returns `prewarm`, as most call what they pass to a worker, where the module does not say what it passes."""
    prewarm = getattr(module, "prewarm", None)
    return prewarm if inspect.isfunction(prewarm) and len(inspect.signature(prewarm).parameters) == 1 else None
