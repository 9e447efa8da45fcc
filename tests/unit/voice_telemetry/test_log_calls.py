"""Every line of ours can be searched and counted: its message never changes, and one name logs in every module."""

import ast
from collections.abc import Iterator
from pathlib import Path

from local_cluster.layout import REPOSITORY

LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
FOLDERS = ("operator", "agent_image", "local_models")


def find_calls(file: Path) -> Iterator[ast.Call]:
    """Yields the calls by which a module logs."""
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "logger" | "logging" | "_log"), attr=attr)):
                if attr in LEVELS:
                    yield node


def is_constant(call: ast.Call) -> bool:
    # `log.log` has its level before it.
    arguments = call.args[1:] if isinstance(call.func, ast.Attribute) and call.func.attr == "log" else call.args
    match arguments:
        case [ast.Constant(value=str(message))]:
            return "%" not in message
    return False


def test_messages_are_constant_and_values_stand_beside_them() -> None:
    files = [file for folder in FOLDERS for file in (REPOSITORY / folder).rglob("*.py")]
    calls = [(file, call) for file in files for call in find_calls(file)]
    assert len(calls) > 40
    wrong = [f"{file.relative_to(REPOSITORY)}:{call.lineno}" for file, call in calls if not is_constant(call)]
    assert not wrong, 'write log.info("what happened", extra={"field": value})'


def test_every_module_s_logger_is_named_log_and_bears_the_module_s_name() -> None:
    found = {
        (file.stem == "__main__", ast.unparse(node.targets[0]), ast.unparse(node.value))
        for folder in FOLDERS
        for file in (REPOSITORY / folder).rglob("*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("logging.getLogger")
    }
    assert {name for _, name, _ in found} == {"log"}
    assert {made for is_main, _, made in found if not is_main} == {"logging.getLogger(__name__)"}
    # What is run as a program has another name than its own.
    assert "logging.getLogger(__name__)" not in {made for is_main, _, made in found if is_main}
