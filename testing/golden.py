"""Golden files: what we build from an input, compared whole with what was written down in tests/data."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from local_cluster.layout import REPOSITORY

DATA = REPOSITORY / "tests" / "data"
UPDATE_VARIABLE = "UPDATE_GOLDEN"


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are, and the same object twice as two."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def find_cases(*kinds: str) -> list[str]:
    """Returns the cases of these kinds, as "kind/case": the folders of tests/data that have an input."""
    return [str(file.parent.relative_to(DATA)) for kind in kinds for file in sorted(DATA.glob(f"{kind}/*/input.yaml"))]


def check_golden(case: str, build: Callable[[Any], object], folder: Path = DATA) -> None:
    """Compares what `build` makes of a case's input.yaml with the output.yaml beside it.

    With UPDATE_GOLDEN=1 (`make golden`) output.yaml is written anew instead, but never in CI.

    Raises:
        AssertionError: they differ, or CI was asked to write.
    """
    made = dump(build(yaml.safe_load((folder / case / "input.yaml").read_text())))
    file = folder / case / "output.yaml"
    if os.environ.get(UPDATE_VARIABLE):
        assert not os.environ.get("CI"), f"{UPDATE_VARIABLE} is for people, who read what has changed: not for CI"
        file.write_text(made)
    assert file.exists(), f"{file} is missing: `make golden` writes it"
    assert yaml.safe_load(made) == yaml.safe_load(file.read_text()), f"{file}: `make golden` writes it anew"


def dump(made: object) -> str:
    """Returns it as YAML, in the order in which it was built."""
    return yaml.dump(made, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
