"""The schema of the chart's values is what its sources say, and closed to the last field."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from charts.json_schema import Schema
from charts.values_file import ValuesFile
from charts.values_schema import TARGET, build_schema

# Whose keys are the user's: labels, annotations, a parent chart's values.
_OPEN = {"global"}


@pytest.fixture(scope="module")
def schema() -> Schema:
    return build_schema()


def test_the_file_is_up_to_date(schema: Schema) -> None:
    assert json.loads(TARGET.read_text()) == schema, "run `make reference`"


def test_every_value_is_known_and_every_map_closed(schema: Schema) -> None:
    for path in ValuesFile.load().defaults:
        assert find(schema, path), path


def test_every_object_says_what_it_takes(schema: Schema) -> None:
    for path, node in walk(schema):
        if node.get("type") == "object" and path.rpartition(".")[2] not in _OPEN:
            assert "additionalProperties" in node, path


def test_a_pool_s_values_are_the_crd_s(schema: Schema) -> None:
    warm = find(schema, "defaultPool.warm")
    assert warm["properties"]["min"]["maximum"] == 10000
    assert warm["properties"]["buffer"]["type"] == ["integer", "string"]
    assert warm["additionalProperties"] is False
    assert "required" not in warm


def test_what_a_crd_leaves_to_kubernetes_is_kubernetes_own(schema: Schema) -> None:
    affinity = find(schema, "defaultPool.pod.affinity")
    assert set(affinity["properties"]) == {"nodeAffinity", "podAffinity", "podAntiAffinity"}
    assert affinity["additionalProperties"] is False


def test_a_null_in_place_of_a_default_is_refused_and_in_place_of_none_taken(schema: Schema) -> None:
    assert "postgres" in schema["required"]
    assert "tenantMaxSessions" not in find(schema, "admission")["required"]
    assert "enabled" not in schema["required"]


def test_a_value_is_described_by_its_comment(schema: Schema) -> None:
    assert find(schema, "lostNodeSeconds")["description"].startswith("After so long, in seconds,")


def find(schema: Schema, path: str) -> Any:
    """Returns the schema of a value."""
    node = schema
    for name in path.split("."):
        node = resolve(schema, node)["properties"][name]
    return resolve(schema, node)


def resolve(schema: Schema, node: Schema) -> Any:
    """Returns what a reference means."""
    return schema["definitions"][node["$ref"].removeprefix("#/definitions/")] if "$ref" in node else node


def walk(node: Any, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yields every schema in a schema, with its path."""
    if isinstance(node, list):
        for item in node:
            yield from walk(item, path)
    if isinstance(node, dict):
        yield path, node
        for name, value in node.items():
            yield from walk(value, f"{path}.{name}")
