"""The operator's cache: what is asked of it beside its stores."""

import pytest

from voice_operator.cache import Cache
from voice_operator.keys import Key, Kind

RAW = {
    "metadata": {"name": "call", "uid": "uid-1", "resourceVersion": "1"},
    "spec": {"profile": "pizza", "room": "room-1", "tenant": "acme"},
}


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        (
            Key(Kind.CALL, "uid-1"),
            {"session": "uid-1", "voicesession": "call", "room": "room-1", "tenant": "acme", "profile": "pizza"},
        ),
        (Key(Kind.CLOSING, "uid-2"), {"session": "uid-2"}),
        (Key(Kind.POOL, "default"), {"pool": "default"}),
        (Key(Kind.PREPARATION, "default"), {"pool": "default"}),
        (Key(Kind.PROFILE, "pizza"), {"profile": "pizza"}),
    ],
)
def test_log_lines_name_what_is_reconciled(key: Key, fields: dict[str, str]) -> None:
    cache = Cache()
    cache.sessions.put(RAW)
    assert cache.log_fields(key) == fields
