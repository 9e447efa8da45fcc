"""Loads the agent's code before the pod is ready: a profile alone, an `Agent` class, or an entrypoint as it is."""

import importlib
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import ModuleType

from livekit.agents import Agent, AgentServer, JobContext, JobProcess

log = logging.getLogger(__name__)

Entrypoint = Callable[[JobContext], Awaitable[None]]


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
    """Rung 2: an entrypoint as LiveKit's worker would run it, with its prewarm and its end hook."""

    entrypoint: Entrypoint
    prewarm: Callable[[JobProcess], object] | None = None
    on_session_end: Entrypoint | None = None


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
        return _from_server(_only_server(module), module)
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
        return _from_server(found, module)
    if inspect.iscoroutinefunction(found):
        server = next((server for server in _servers(module) if server._entrypoint_fnc is found), None)  # noqa: SLF001
        return _from_server(server, module) if server else EntrypointCode(found, prewarm=_prewarm_by_name(module))
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


def _servers(module: ModuleType) -> list[AgentServer]:
    return [value for value in vars(module).values() if isinstance(value, AgentServer)]


def _only_server(module: ModuleType) -> AgentServer:
    servers = list({id(server): server for server in _servers(module)}.values())
    if len(servers) != 1:
        raise CodeLoadError(
            f"module {module.__name__!r} has {len(servers)} AgentServers; name what to run as `{module.__name__}:Name`"
        )
    return servers[0]


def _from_server(server: AgentServer, module: ModuleType) -> EntrypointCode:
    # What the decorator stores is read where LiveKit's worker reads it: there is no public name for it.
    entrypoint = server._entrypoint_fnc  # noqa: SLF001
    if entrypoint is None:
        raise CodeLoadError(
            f"the AgentServer of {module.__name__!r} has no entrypoint; decorate one with @server.rtc_session()"
        )
    return EntrypointCode(entrypoint, prewarm=server.setup_fnc, on_session_end=server._session_end_fnc)  # noqa: SLF001


def _prewarm_by_name(module: ModuleType) -> Callable[[JobProcess], object] | None:
    """Returns `prewarm`, as examples from before AgentServer call what they pass to WorkerOptions in `__main__`."""
    prewarm = getattr(module, "prewarm", None)
    return prewarm if inspect.isfunction(prewarm) and len(inspect.signature(prewarm).parameters) == 1 else None
