"""Kubernetes' own types, of which values say "as in a Pod's spec", as JSON Schema: from its client's models."""

from typing import Any

from kubernetes.client import models

from charts.json_schema import Schema, close


def build_type(name: str) -> Schema:
    """Returns a type, for example V1Affinity, with the types in it; without its descriptions, which are long."""
    schema = getattr(models, name).model_json_schema(mode="serialization", by_alias=True)
    return _build(schema, schema.get("$defs", {}))


def _build(node: Schema, types: dict[str, Schema]) -> Schema:
    if "$ref" in node:
        return _build(types[node["$ref"].removeprefix("#/$defs/")], types)
    if "anyOf" in node:
        return _build_choice([choice for choice in node["anyOf"] if choice != {"type": "null"}], types)
    done: dict[str, Any] = {key: node[key] for key in ("type", "required") if key in node}
    if "items" in node:
        done["items"] = _build(node["items"], types)
    if isinstance(node.get("additionalProperties"), dict):
        done["additionalProperties"] = _build(node["additionalProperties"], types)
    if "properties" in node:
        return close({**done, "properties": {name: _build(field, types) for name, field in node["properties"].items()}})
    return done


def _build_choice(choices: list[Schema], types: dict[str, Schema]) -> Schema:
    if len(choices) == 1:
        return _build(choices[0], types)
    # One list of types, since of an `anyOf` helm says only that it failed.
    return {"type": [choice["type"] for choice in choices]}
