"""Reads what a public program needs beside a call: vendors, services, features; by its source alone."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from voice_agent.check import AVATARS, Findings

ENTRYPOINT = re.compile(r"def entrypoint|rtc_session|WorkerOptions\(")
_ITEM = re.compile(r"""environ\[\s*['"](\w+)['"]""")
_GOT = re.compile(r"""(?:environ\.get|getenv)\(\s*['"](\w+)['"]\s*(,|\))""")
_SECRET = ("HOST", "KEY", "TOKEN", "SECRET")
# Of whom the openai plugin asks, as `with_x_ai(`.
_LIKE_OPENAI = re.compile(r"\bLLM\.with_(\w+)\(")
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
# Where a plugin's key is not called after it.
_OTHER_KEYS = {"elevenlabs": "ELEVEN_API_KEY", "aws": "AWS_ACCESS_KEY_ID", "playai": "PLAYAI_USER_ID"}
_NO_VENDORS = {"openai", "silero", "turn_detector", "noise_cancellation", "ai_coustics", "krisp", "browser"}

INFERENCE, VENDORS, SETTINGS = "LiveKit Inference", "vendor keys", "settings of its own"
TURN_DETECTOR, NOISE = "turn-detector plugin", "noise cancellation"
AVATAR, TELEPHONY, VIDEO = "avatar", "telephony", "video"
API, SEVERAL, END_HOOK = "LiveKit's API", "several participants", "end hook"
REALTIME, MCP, NO_SESSION, RPC = "realtime model", "tool server", "no agent session", "RPC with the page"

# By words in the source; a name of an import, a call, an attribute.
_WORDS = {
    NOISE: r"\b(noise_cancellation|ai_coustics|krisp)\.",
    AVATAR: r"\bAvatarSession\(",
    TELEPHONY: r"\bapi\.sip\b|\b(GetDtmfTask|WarmTransferTask|AMD)\(|\b\w+_dtmf|PARTICIPANT_KIND_SIP|sip_trunk",
    VIDEO: r"\bVideoStream\b|video_enabled=True|video_input=True|\bImageContent\(",
    SEVERAL: r"[\"']participant_connected[\"']|\bset_participant\(",
    END_HOOK: r"\bon_session_end=|\badd_shutdown_callback\(",
    REALTIME: r"\brealtime\.\w*RealtimeModel\(|\bRealtimeModel\(",
    MCP: r"\bMCPServer\w+\(|\bmcp_servers=",
    RPC: r"\bperform_rpc\(|\bregister_rpc_method\b",
}


def find_programs(folder: Path) -> Iterator[Path]:
    """Yields every file below that has an entrypoint."""
    for file in sorted(folder.rglob("*.py")):
        if ENTRYPOINT.search(file.read_text(errors="replace")):
            yield file


def read_sources(program: Path) -> list[str]:
    """Returns the sources, but for comments, of the program and of the modules beside it that it and they import."""
    folder, seen, waiting = program.parent, set[Path](), [program]
    while waiting:
        file = waiting.pop()
        seen.add(file)
        for module in _imported(file.read_text(errors="replace")):
            path = folder.joinpath(*module.split("."))
            found = [path.with_suffix(".py"), path / "__init__.py", *path.glob("*.py")]
            waiting += [each for each in found if each.is_file() and each not in seen]
    return [_COMMENT.sub("", file.read_text(errors="replace")) for file in sorted(seen)]


def read_plugins(sources: list[str]) -> set[str]:
    """Returns the names of LiveKit's plugins that are imported."""
    imported = {module for source in sources for module in _imported(source)}
    return {module.split(".")[2] for module in imported if module.startswith("livekit.plugins.")}


def read_needs(program: Path) -> list[str]:
    """Returns what a program needs, in alphabetical order."""
    sources = read_sources(program)
    text, findings = "\n".join(sources), Findings()
    for source in sources:
        try:
            findings.read(source)
        except SyntaxError:
            continue
    plugins = read_plugins(sources)
    needs = {need for need, words in _WORDS.items() if re.search(words, text)}
    if findings.models:
        needs.add(INFERENCE)
    if plugins & AVATARS:
        needs.add(AVATAR)
    if plugins - AVATARS - _NO_VENDORS:
        needs.add(VENDORS)
    if "turn_detector" in plugins:
        needs.add(TURN_DETECTOR)
    if re.search(r"\bctx\.api\.(?!room\.delete_room)\w+\.", text):
        needs.add(API)
    if "AgentSession" not in text:
        needs.add(NO_SESSION)
    if own_variables(text, plugins):
        needs.add(SETTINGS)
    return sorted(needs)


def has_chat_model(program: Path) -> bool:
    """Tells whether it gives an agent or a session a chat model."""
    return any(re.search(r"\bllm=", source) for source in read_sources(program))


def own_variables(text: str, plugins: set[str]) -> set[str]:
    """Returns the variables that it cannot do without, but for keys of plugins, LiveKit's and OpenAI's.

    What it reads as an item, unless it also asks whether it is there, and secrets for which it has no default.
    """
    got = dict(_GOT.findall(text))
    secrets = {name for name, end in got.items() if end == ")" and name.endswith(_SECRET)}
    names = (set(_ITEM.findall(text)) - got.keys() | secrets) - {key_of(plugin) for plugin in plugins}
    return {name for name in names if not name.startswith(("LIVEKIT_", "OPENAI_"))}


def key_of(plugin: str) -> str:
    """Returns the variable in which a plugin looks for its key."""
    return _OTHER_KEYS.get(plugin, f"{plugin.upper()}_API_KEY")


def build_environment(program: Path) -> dict[str, str]:
    """Returns a stand-in for every variable that the program must find, LiveKit's own and the provider's left out."""
    sources = read_sources(program)
    plugins = read_plugins(sources)
    text = "\n".join(sources)
    vendors = {vendor.replace("_", "") for vendor in _LIKE_OPENAI.findall(text)}
    names = own_variables(text, plugins) | {key_of(vendor) for vendor in plugins | vendors}
    return {name: "dummy" for name in sorted(names) if not name.startswith(("LIVEKIT_", "OPENAI_"))}


def _imported(source: str) -> set[str]:
    """Returns the dotted names that a module imports, with those that may be modules of a package."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return set()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found |= {module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)} - {""}
    return found
