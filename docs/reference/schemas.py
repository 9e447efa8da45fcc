"""Builds the rows of the reference tables from JSON schemas: the CRDs' and those of the settings classes."""

from typing import Any

Schema = dict[str, Any]

# Of formats that have a plainer word than their type.
_WORDS = {"path": "path", "password": "secret"}


def build_row(name: str, required: bool, field: Schema, default: str) -> str:
    """Returns one field's line of a table: name (bold where required), type with bounds, default, description.

    `default`: as it is to be read, empty for none.
    """
    shown_name = f"**`{name}`**" if required else f"`{name}`"
    shown_default = f"`{default}`" if default else ""
    return f"| {shown_name} | {describe_type(field)} | {shown_default} | {field['description']} |"


def describe_type(field: Schema) -> str:
    """Returns the type with its bounds. Of a field that may be null: the type that it has when it is not."""
    if "anyOf" in field:
        return describe_type(next(choice for choice in field["anyOf"] if choice.get("type") != "null"))
    if "enum" in field:
        return ", ".join(f"`{choice}`" for choice in field["enum"])
    if "contentMediaType" in field:
        return "JSON"
    if field.get("x-kubernetes-int-or-string"):
        return "integer or percentage"
    return _WORDS.get(str(field.get("format")), str(field["type"])) + _describe_bounds(field)


def _describe_bounds(field: Schema) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f", {low} to {high}"
    if low is not None:
        return f", from {low}"
    return f", above {field['exclusiveMinimum']}" if "exclusiveMinimum" in field else ""
