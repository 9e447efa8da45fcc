"""What a module tells LiveKit's worker: read from its AgentServer, or from the WorkerOptions that it would run by."""

import ast
import inspect
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from livekit.agents import AgentServer, JobContext, JobProcess, cli

Entrypoint = Callable[[JobContext], Awaitable[None]]

# What LiveKit's worker gives the end hook, where the code does not say.
SESSION_END_SECONDS = 300.0

# Of a server or its `rtc_session`: about a process that takes jobs from LiveKit, many at a time. A pod has one call.
_ABOUT_WORKERS = (
    "agent_name",
    "request_fnc",
    "server_type",
    "permissions",
    "job_executor_type",
    "load_fnc",
    "load_threshold",
    "job_memory_warn_mb",
    "job_memory_limit_mb",
    "num_idle_processes",
    "drain_timeout",
    "shutdown_process_timeout",
    "initialize_process_timeout",
    "max_retry",
    "host",
    "port",
    "prometheus_port",
    "preload_modules",
    "simulation_end_fnc",
)
_OPTIONS_CLASSES = {"WorkerOptions", "ServerOptions"}
_USED_OPTIONS = {"entrypoint_fnc", "prewarm_fnc"}
_run_app = cli.run_app


@dataclass(frozen=True)
class Worker:
    """What a worker would run for a job. `unused`: options by name that mean nothing in a pod."""

    entrypoint: Entrypoint | None
    prewarm: Callable[[JobProcess], object] | None = None
    on_session_end: Entrypoint | None = None
    session_end_seconds: float = SESSION_END_SECONDS
    unused: tuple[str, ...] = ()


def read_server(server: AgentServer) -> Worker:
    """Returns what the server was told, where LiveKit's worker reads it: there is no public name for it."""
    told, untold = vars(server), vars(AgentServer())
    return Worker(
        told["_entrypoint_fnc"],
        prewarm=server.setup_fnc,
        on_session_end=told["_session_end_fnc"],
        session_end_seconds=told["_session_end_timeout"],
        unused=tuple(name for name in _ABOUT_WORKERS if told[f"_{name}"] != untold[f"_{name}"]),
    )


def read_worker_options(module: ModuleType) -> Worker | None:
    """Returns what the module would be run by as a program: the one `WorkerOptions(…)` in its source, if there is one.

    It stands behind `if __name__ == "__main__"`, so it is read, not run.
    """
    found = list(_options_in(module))
    if len(found) != 1:
        return None
    options = {keyword.arg: keyword.value for keyword in found[0].keywords if keyword.arg}
    entrypoint = _named(module, options.get("entrypoint_fnc") or next(iter(found[0].args), None))
    if not inspect.iscoroutinefunction(entrypoint):
        return None
    prewarm = _named(module, options.get("prewarm_fnc"))
    unused = tuple(name for name in options if name not in _USED_OPTIONS)
    return Worker(entrypoint, prewarm=prewarm if callable(prewarm) else None, unused=unused)


def read_run_app(module: ModuleType) -> list[Worker]:
    """Returns what the module's functions would run by `cli.run_app(server)`, whose servers they make themselves.

    Each is called for that, and runs nothing: `run_app` only takes note. What they raise comes out.
    """
    found: list[object] = []
    # As `cli.run_app`, or imported by its name.
    holders = [holder for holder in (cli, module) if vars(holder).get("run_app") is _run_app]
    try:
        for holder in holders:
            vars(holder)["run_app"] = lambda server, *_, **__: found.append(server)
        for function in [value for value in vars(module).values() if _runs_app(value, module)]:
            function()
    finally:
        for holder in holders:
            vars(holder)["run_app"] = _run_app
    return [read_server(server) for server in found if isinstance(server, AgentServer)]


def _runs_app(value: Any, module: ModuleType) -> bool:
    if not inspect.isfunction(value) or value.__module__ != module.__name__:
        return False
    needs = [each for each in inspect.signature(value).parameters.values() if each.default is each.empty]
    return "run_app" in value.__code__.co_names and not needs and not inspect.iscoroutinefunction(value)


def _options_in(module: ModuleType) -> Iterator[ast.Call]:
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError):  # no source at hand
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in _OPTIONS_CLASSES:
                yield node


def _named(module: ModuleType, value: ast.expr | None) -> Any:
    return getattr(module, value.id, None) if isinstance(value, ast.Name) else None
