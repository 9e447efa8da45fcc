"""The CRDs and the pydantic models say the same: the same fields, the same defaults, bounds and choices."""

from typing import Any

import pytest

from testing.crds import load_crds, load_schema
from voicesession.fields import MODELS, find_missing, resolve, walk_model, walk_schema
from voicesession.models import Model
from voicesession.names import GROUP, VERSION

KINDS: list[tuple[str, type[Model]]] = list(MODELS.items())
# Raw Kubernetes values: typed in the CRD (or there left open), plain dicts in the models.
RAW = {"spec.pod.tolerations", "spec.pod.imagePullSecrets", "spec.pod.affinity", "spec.pod.topologySpreadConstraints"}


def below_raw(path: str) -> bool:
    return any(path.startswith((f"{raw}.", f"{raw}[]")) for raw in RAW)


def both_sides(kind: str, model: type[Model]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the CRD's and the model's fields by path, below spec and status."""
    crd = {path: part for path, part in walk_schema(load_schema(kind)) if path.startswith(("spec.", "status."))}
    pydantic = dict(walk_model(model))
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


def test_what_a_crd_lacks_is_named_by_its_outermost_field() -> None:
    schema = load_schema("AgentPool")
    assert find_missing("AgentPool", schema) == []
    del schema["properties"]["spec"]["properties"]["disruption"]
    del schema["properties"]["spec"]["properties"]["providers"]["items"]["properties"]["llm"]["properties"]["timeouts"]
    schema["properties"]["spec"]["properties"]["newer"] = {"type": "string"}
    assert find_missing("AgentPool", schema) == ["spec.providers[].llm.timeouts", "spec.disruption"]
