"""The field reference is what its generator makes of the CRDs."""

import runpy

from testing.crds import ROOT


def test_reference_is_up_to_date() -> None:
    generator = runpy.run_path(str(ROOT / "docs" / "reference" / "generate.py"))
    page = (ROOT / "docs" / "reference" / "crds.md").read_text()
    assert page == generator["build_reference"](), "run `python docs/reference/generate.py`"
