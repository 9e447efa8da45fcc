"""Builds the page of the chart's values from values.yaml and the source of its schema."""

import json
from collections.abc import Iterator
from typing import Any

from charts.values_file import ValuesFile, join
from charts.values_schema import load_source
from docs.reference.schemas import Schema, build_row, describe_type

# What a value of a definition is, in words; of any other, what its JSON Schema says.
_WORDS = {
    "cpu": "CPU",
    "key": "key",
    "name": "name of an object",
    "nodePort": "port of a node",
    "nodeSelector": "labels of a node",
    "optionalName": "name of an object, or nothing",
    "resources": "`requests` and `limits`",
    "service": "map",
    "storage": "amount of storage, or nothing",
}
_HEAD = "| value | type | default | meaning |\n|---|---|---|---|"


def build_page() -> str:
    """Returns the page."""
    source, values = load_source(), ValuesFile.load()
    return "\n".join(
        [
            "# The chart's values\n",
            "Made from `values.yaml` and its schema by `make reference`; change those, not this page. What is "
            "misspelt, of another kind, or at odds with another value is refused by helm in a sentence that names the "
            "value.\n",
            _HEAD,
            *(_build_row(source, values, path, node) for path, node in walk_values(source)),
            "",
        ]
    )


def walk_values(source: Schema, node: Schema | None = None, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yields path and schema of every value; of a map, those in it, unless it is a field of a custom resource.

    What every part says of its pods stands once, in `pods`.
    """
    for name, field in (source if node is None else node)["properties"].items():
        known = _resolve(source, field)
        where = join(path, name)
        if name in source["definitions"]["pods"]["properties"] and path != "pods":
            continue
        if "properties" in known and _definition(field) != "resources":
            yield from walk_values(source, known, where)
        else:
            yield where, field


def _build_row(source: Schema, values: ValuesFile, path: str, field: Schema) -> str:
    default = values.defaults.get(path)
    shown = "" if default in (None, "") else json.dumps(default, ensure_ascii=False)
    meaning = {"type": _describe(source, field), "description": values.explain(path)}
    return build_row(path, False, meaning, shown)


def _describe(source: Schema, field: Schema) -> str:
    if "crd" in field:
        kind, *names = field["crd"].split(".")
        return f"as {kind}'s [`{'.'.join(['spec', *names])}`](crds.md)"
    if name := _definition(field):
        return _WORDS.get(name) or _describe(source, _resolve(source, field))
    if field.get("type") == "array":
        return f"list, each {_describe(source, field['items'])}"
    if "kubernetes" in field:
        return f"as Kubernetes' {field['kubernetes'].removeprefix('V1')}"
    if isinstance(field.get("type"), list):
        return describe_type({**field, "type": field["type"][0]})
    return "map" if "properties" in field else describe_type(field)


def _definition(field: Any) -> str:
    return str(field.get("$ref", "")).removeprefix("#/definitions/")


def _resolve(source: Schema, field: Schema) -> Schema:
    known: Schema = source["definitions"][_definition(field)] if "$ref" in field else field
    return known
