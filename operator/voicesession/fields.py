"""Walks the fields of our resources: as a CRD's schema has them, and as the models do. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from voicesession.models import AgentPool, AgentProfile, Model, VoiceSession

Schema = Mapping[str, Any]

# By kind.
MODELS: dict[str, type[Model]] = {"VoiceSession": VoiceSession, "AgentPool": AgentPool, "AgentProfile": AgentProfile}


def walk_schema(schema: Schema, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every property below `schema` with its dotted path; an array's items are its own path plus `[]`."""
    for name, part in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        yield where, part
        yield from walk_schema(part, where)
        yield from walk_schema(part.get("items", {}), f"{where}[]")


def walk_model(model: type[Model]) -> Iterator[tuple[str, Any]]:
    """Yields the same of a model's JSON schema, with references followed and `| None` taken away."""
    schema = model.model_json_schema(by_alias=True)
    yield from _walk(schema, schema["$defs"], "")


def resolve(schema: Schema, definitions: Schema) -> Schema:
    """Returns `schema` as one flat schema: of `anyOf` the choice that is not null."""
    choices = [choice for choice in schema.get("anyOf", []) if choice.get("type") != "null"]
    if len(choices) == 1:
        return resolve({**{key: value for key, value in schema.items() if key != "anyOf"}, **choices[0]}, definitions)
    if "$ref" in schema:
        target = definitions[schema["$ref"].removeprefix("#/$defs/")]
        return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def find_missing(kind: str, served: Schema) -> list[str]:
    """Returns the fields of spec and status that the release knows and this schema does not have.

    Of a field that is missing with all that is in it: that field alone.
    """
    has = {path for path, _ in walk_schema(served)}
    lacks = [path for path, _ in walk_model(MODELS[kind]) if path.startswith(("spec", "status")) and path not in has]
    inside = tuple(f"{path}{end}" for path in lacks for end in (".", "[]"))
    return [path for path in lacks if not path.startswith(inside)]


def _walk(schema: Schema, definitions: Schema, path: str) -> Iterator[tuple[str, Any]]:
    for name, raw in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        part = resolve(raw, definitions)
        yield where, part
        yield from _walk(part, definitions, where)
        yield from _walk(resolve(part.get("items", {}), definitions), definitions, f"{where}[]")
