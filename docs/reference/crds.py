"""Builds the page of the custom resources from the CRDs."""

import json
from collections.abc import Iterator
from pathlib import Path

import yaml

from docs.reference.schemas import Schema, build_row

CRDS = Path(__file__).parents[2] / "crds"
KINDS = ("voicesessions", "agentpools", "agentprofiles")


def build_page() -> str:
    """Returns the page."""
    parts = [
        "# The custom resources, field by field\n",
        "Made from `crds/` by `make reference`; change the CRDs, not this page. "
        "`kubectl explain vs.spec --recursive` shows the same. A **bold** field is required.\n",
    ]
    parts += [build_section(yaml.safe_load((CRDS / f"{name}.yaml").read_text())) for name in KINDS]
    return "\n".join(parts)


def build_section(crd: Schema) -> str:
    """Returns one kind's tables and rules."""
    names = crd["spec"]["names"]
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    lines = [f"## {names['kind']} (`{names['shortNames'][0]}`)\n", f"{schema['description']}\n"]
    for part in ("spec", "status"):
        lines += [f"| {part} | type | default | meaning |", "|---|---|---|---|"]
        lines += [
            build_row(path, required, field, _show_default(field))
            for path, required, field in walk_fields(schema["properties"][part])
        ]
        lines.append("")
    rules = list(dict.fromkeys(walk_rules(schema)))
    lines += ["What the API server says to a wrong one:\n", *(f"- {rule}" for rule in rules), ""]
    return "\n".join(lines)


def walk_fields(schema: Schema, path: str = "") -> Iterator[tuple[str, bool, Schema]]:
    """Yields path, whether required, and schema of every field below `schema`; `[]` stands for a list's items."""
    for name, field in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        yield where, name in schema.get("required", []), field
        yield from walk_fields(field, where)
        yield from walk_fields(field.get("items", {}), f"{where}[]")


def walk_rules(schema: Schema) -> Iterator[str]:
    """Yields the message of every rule in `schema`."""
    for rule in schema.get("x-kubernetes-validations", []):
        yield rule["message"]
    for field in schema.get("properties", {}).values():
        yield from walk_rules(field)
    yield from walk_rules(schema["items"]) if "items" in schema else ()


def _show_default(field: Schema) -> str:
    default = field.get("default")
    # A default of several fields is told by those fields.
    return "" if default is None or isinstance(default, dict) else json.dumps(default)
