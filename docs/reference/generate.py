"""Writes docs/reference/crds.md from the CRDs: `python docs/reference/generate.py`. A test holds the two equal."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "docs" / "reference" / "crds.md"
KINDS = ("voicesessions", "agentpools", "agentprofiles")


def build_reference() -> str:
    """Returns the page."""
    parts = [
        "# The custom resources, field by field\n",
        "Made from `crds/` by `python docs/reference/generate.py`; change the CRDs, not this page. "
        "`kubectl explain vs.spec --recursive` shows the same. A **bold** field is required.\n",
    ]
    parts += [build_section(yaml.safe_load((ROOT / "crds" / f"{name}.yaml").read_text())) for name in KINDS]
    return "\n".join(parts)


def build_section(crd: Any) -> str:
    """Returns one kind's tables and rules."""
    names = crd["spec"]["names"]
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    lines = [f"## {names['kind']} (`{names['shortNames'][0]}`)\n", f"{schema['description']}\n"]
    for part in ("spec", "status"):
        lines += [f"| {part} | type | default | meaning |", "|---|---|---|---|"]
        lines += [build_row(*field) for field in walk_fields(schema["properties"][part])]
        lines.append("")
    rules = list(dict.fromkeys(walk_rules(schema)))
    lines += ["What the API server says to a wrong one:\n", *(f"- {rule}" for rule in rules), ""]
    return "\n".join(lines)


def walk_fields(schema: Any, path: str = "") -> Iterator[tuple[str, bool, Any]]:
    """Yields path, whether required, and schema of every field below `schema`; `[]` stands for a list's items."""
    for name, field in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        yield where, name in schema.get("required", []), field
        yield from walk_fields(field, where)
        yield from walk_fields(field.get("items", {}), f"{where}[]")


def walk_rules(schema: Any) -> Iterator[str]:
    """Yields the message of every rule in `schema`."""
    for rule in schema.get("x-kubernetes-validations", []):
        yield rule["message"]
    for field in schema.get("properties", {}).values():
        yield from walk_rules(field)
    yield from walk_rules(schema["items"]) if "items" in schema else ()


def build_row(path: str, required: bool, field: Any) -> str:
    """Returns one field's line of a table."""
    name = f"**`{path}`**" if required else f"`{path}`"
    default = field.get("default")
    # A default of several fields is told by those fields.
    shown = "" if default is None or isinstance(default, dict) else f"`{json.dumps(default)}`"
    return f"| {name} | {describe_type(field)} | {shown} | {field['description']} |"


def describe_type(field: Any) -> str:
    """Returns the type with its bounds."""
    if "enum" in field:
        return ", ".join(f"`{choice}`" for choice in field["enum"])
    kind = "integer or percentage" if field.get("x-kubernetes-int-or-string") else field["type"]
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}"
    if low is not None:
        return f"{kind}, from {low}"
    return str(kind)


if __name__ == "__main__":
    TARGET.write_text(build_reference())
