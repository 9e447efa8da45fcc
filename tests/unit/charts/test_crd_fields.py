"""What a CRD's rules say of one value is said in JSON Schema's words too."""

from typing import Any

import pytest

from charts.crd_fields import build_field, translate


@pytest.mark.parametrize(
    ("rule", "schema"),
    [
        (r"self.matches('^[^\\s]+$')", {"pattern": r"^[^\s]+$"}),
        ("self == '' || self.matches('^[a-z]+$')", {"pattern": "^$|^[a-z]+$"}),
        ("self == '' ||\n  self.matches('^[a-z]+$')", {"pattern": "^$|^[a-z]+$"}),
        ("type(self) == int ? self >= 0 && self <= 9 : self.matches('^[0-9]%$')",
         {"minimum": 0, "maximum": 9, "pattern": "^[0-9]%$"}),
        ("self.min <= self.max", {}),
        ("!(self in ['a', 'b'])", {}),
        ("!isQuantity(self.a) || quantity(self.a).isGreaterThan(quantity('1'))", {}),
    ],
)  # fmt: skip
def test_a_rule_is_translated_where_it_is_about_one_value(rule: str, schema: dict[str, Any]) -> None:
    assert translate(rule) == schema


@pytest.mark.parametrize("rule", ["isQuantity(self)", "type(self) == int ? self > 0 : isQuantity(self)"])
def test_a_rule_about_an_amount_is_translated(rule: str) -> None:
    assert "Ki" not in translate(rule)["pattern"]
    assert "]i|" in translate(rule)["pattern"]


def test_a_field_that_is_not_there_is_no_field() -> None:
    with pytest.raises(KeyError):
        build_field("AgentPool.worm")
