"""Writes the schema of the chart's values: `python -m charts.values_schema`. A test holds it to its sources."""

import json
from pathlib import Path
from typing import Any

import yaml

from charts import crd_fields, kubernetes_types
from charts.json_schema import Schema, close
from charts.values_file import CHART, ValuesFile, join

SOURCE = Path(__file__).parent / "values.schema.yaml"
TARGET = CHART / "values.schema.json"


def write() -> None:
    """Writes TARGET anew."""
    TARGET.write_text(json.dumps(build_schema(), indent=1, ensure_ascii=False) + "\n")


def build_schema() -> Schema:
    """Returns what SOURCE says, with all that it only names filled in."""
    return {
        "$schema": "https://json-schema.org/draft-07/schema#",
        "title": "Values of the voice-agent chart",
        "$comment": "Made by `make reference` from charts/values.schema.yaml; change that, not this file.",
        **_complete(load_source(), ValuesFile.load(), ""),
    }


def load_source() -> Schema:
    """Returns what SOURCE says, as it stands there."""
    source: Schema = yaml.safe_load(SOURCE.read_text())
    return source


def _complete(node: Schema, values: ValuesFile, path: str) -> Schema:
    """Returns a part of SOURCE as plain JSON Schema; `path` is that of its value, dotted."""
    if "crd" in node:
        done = crd_fields.build_field(node["crd"])
    elif "kubernetes" in node:
        done = kubernetes_types.build_type(node["kubernetes"])
    else:
        done = {key: _complete_keyword(key, value, values, path) for key, value in node.items()}
    if "properties" in node:
        # So a null in place of a default is told by its name, and never meets a template.
        done = close(done, required=_list_required(node["properties"], values, path))
    comment = values.comments.get(path)
    # Nobody reads what stands beside a reference.
    return {"description": comment, **done} if comment and "$ref" not in done else done


def _list_required(fields: Schema, values: ValuesFile, path: str) -> list[str]:
    """Returns which fields a default stands for, and of which a null is nothing that they may be."""
    return [
        name
        for name, field in fields.items()
        if values.has_default(join(path, name)) and "null" not in field.get("type", "")
    ]


def _complete_keyword(keyword: str, value: Any, values: ValuesFile, path: str) -> Any:
    match keyword, value:
        case "properties", dict():
            return {name: _complete(field, values, join(path, name)) for name, field in value.items()}
        case "definitions" | "patternProperties", dict():
            return {name: _complete(field, values, f"{path}#{keyword}.{name}") for name, field in value.items()}
        case _, dict():
            return _complete(value, values, f"{path}#{keyword}")
        case _:
            return value


if __name__ == "__main__":
    write()
