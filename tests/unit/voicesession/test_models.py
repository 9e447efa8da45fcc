"""The CRDs and the pydantic models say the same: the same fields, the same defaults, bounds and choices."""

from collections.abc import Iterator
from typing import Any

import pytest

from testing.crds import load_crds, load_schema
from voicesession.models import AgentPool, AgentProfile, Model, VoiceSession
from voicesession.names import GROUP, VERSION

KINDS: list[tuple[str, type[Model]]] = [
    ("VoiceSession", VoiceSession),
    ("AgentPool", AgentPool),
    ("AgentProfile", AgentProfile),
]
# Raw Kubernetes values: typed in the CRD (or there left open), plain dicts in the models.
RAW = {"spec.pod.tolerations", "spec.pod.imagePullSecrets", "spec.pod.affinity", "spec.pod.topologySpreadConstraints"}


def walk_schema(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields every property below `schema` with its dotted path; an array's items are its own path plus `[]`."""
    for name, part in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        yield where, part
        yield from walk_schema(part, where)
        yield from walk_schema(part.get("items", {}), f"{where}[]")


def walk_model(schema: dict[str, Any], definitions: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The same for pydantic's JSON schema, with references followed and `| None` taken away."""
    for name, raw in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        part = resolve(raw, definitions)
        yield where, part
        yield from walk_model(part, definitions, where)
        yield from walk_model(resolve(part.get("items", {}), definitions), definitions, f"{where}[]")


def resolve(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Returns `schema` as one flat schema: of `anyOf` the choice that is not null."""
    choices = [choice for choice in schema.get("anyOf", []) if choice.get("type") != "null"]
    if len(choices) == 1:
        return resolve({**{k: v for k, v in schema.items() if k != "anyOf"}, **choices[0]}, definitions)
    if "$ref" in schema:
        target = definitions[schema["$ref"].removeprefix("#/$defs/")]
        return {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
    return schema


def below_raw(path: str) -> bool:
    return any(path.startswith((f"{raw}.", f"{raw}[]")) for raw in RAW)


def both_sides(kind: str, model: type[Model]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the CRD's and the model's fields by path, below spec and status."""
    ours = model.model_json_schema(by_alias=True)
    crd = {path: part for path, part in walk_schema(load_schema(kind)) if path.startswith(("spec.", "status."))}
    pydantic = dict(walk_model(ours, ours["$defs"]))
    return (
        {path: part for path, part in crd.items() if not below_raw(path)},
        {path: part for path, part in pydantic.items() if path.startswith(("spec.", "status."))},
    )


@pytest.mark.parametrize(("kind", "model"), KINDS)
def test_same_fields(kind: str, model: type[Model]) -> None:
    crd, pydantic = both_sides(kind, model)
    assert sorted(crd) == sorted(pydantic)


@pytest.mark.parametrize(("kind", "model"), KINDS)
def test_same_defaults_minimums_and_choices(kind: str, model: type[Model]) -> None:
    crd, pydantic = both_sides(kind, model)
    for path, part in crd.items():
        theirs = pydantic[path]
        if part.get("type") not in {"object", "array"}:
            # An absent default and one of None or "" mean the same to a reader.
            assert part.get("default", None) == theirs.get("default"), path
        assert part.get("minimum") == theirs.get("minimum") or "minimum" not in theirs, path
        assert part.get("enum") == theirs.get("enum"), path


@pytest.mark.parametrize(("kind", "model"), KINDS)
def test_required_fields_are_those_without_a_default(kind: str, model: type[Model]) -> None:
    crd, pydantic = both_sides(kind, model)
    for path, part in crd.items():
        if "items" in part and not below_raw(f"{path}[]"):
            theirs = resolve(pydantic[path].get("items", {}), model.model_json_schema()["$defs"])
            assert set(part["items"].get("required", [])) == set(theirs.get("required", [])), path


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS])
def test_every_field_is_described(kind: str) -> None:
    undescribed = [path for path, part in walk_schema(load_schema(kind)) if not part.get("description")]
    assert undescribed == ["metadata"]  # the API server permits none there


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS])
def test_names(kind: str) -> None:
    spec = load_crds()[kind]["spec"]
    assert spec["group"] == GROUP
    assert [version["name"] for version in spec["versions"]] == [VERSION]
    assert spec["scope"] == "Namespaced"
    assert spec["names"]["categories"] == ["voice"]
