"""JSON Schema's objects: what the parts of the chart's schema have in common."""

from typing import Any

Schema = dict[str, Any]


def close(schema: Schema, required: list[str] | None = None) -> Schema:
    """Returns the schema of an object that takes no properties but its own; its own `required` wins."""
    needed = {"required": required} if required else {}
    return {"type": "object", "additionalProperties": False, **needed, **schema}
