"""The glossary binds words to names: every name in it exists, and no word stands twice."""

import re
from functools import cache

import yaml

from docs.reference.crds import CRDS, KINDS, walk_fields
from local_cluster.layout import REPOSITORY
from testing.code_names import names_of_the_code

GLOSSARY = (REPOSITORY / "docs" / "glossary.md").read_text()
NAMES = set(re.findall(r"`([^`]+)`", GLOSSARY)) - {"code style"}


def test_every_name_exists() -> None:
    assert NAMES - names_of_the_code() - fields_of_the_crds() == set()


def test_a_word_stands_once() -> None:
    words = [word for word in re.findall(r"^\| ([^|]+) \|", GLOSSARY, re.MULTILINE) if word != "word"]
    assert len(words) == len(set(words))


@cache
def fields_of_the_crds() -> frozenset[str]:
    """Returns the path of every field, as `spec.room`."""
    found = set()
    for kind in KINDS:
        crd = yaml.safe_load((CRDS / f"{kind}.yaml").read_text())
        properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        found |= {f"{part}.{path}" for part in ("spec", "status") for path, _, _ in walk_fields(properties[part])}
    return frozenset(found)
