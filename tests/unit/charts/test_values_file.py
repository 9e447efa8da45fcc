"""A value's comment stands above it, or behind it on its line."""

from charts.values_file import ValuesFile

TEXT = """# About the file.

one: 1 # behind
# above
# in two lines
two: {a: 1} # and behind
three:
  # of four
  four: "# none"
  five: [] # of five
  six: null
"""


def test_comments() -> None:
    assert ValuesFile.parse(TEXT).comments == {
        "one": "behind",
        "two": "above in two lines and behind",
        "three.four": "of four",
        "three.five": "of five",
    }


def test_what_has_no_comment_of_its_own_is_explained_by_its_map_s() -> None:
    values = ValuesFile.parse(TEXT)
    assert values.explain("two.a") == "above in two lines and behind"
    assert values.explain("three.six") == ""


def test_defaults() -> None:
    values = ValuesFile.parse(TEXT)
    assert values.defaults["three.four"] == "# none"
    assert values.defaults["two"] == {"a": 1}
    assert values.has_default("two.a")
    assert not values.has_default("three.six")
    assert not values.has_default("seven")
