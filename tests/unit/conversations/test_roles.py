"""What is said of roles that somebody else has made."""

from typing import Any

import pytest

from conversations.roles import LIMITS, RIGHTS, find_lacks

SOUND: dict[str, Any] = {
    "rolcanlogin": True,
    "member": False,
    "rolconnlimit": 60,
    "owner": "app",
    "owned": True,
    "rolconfig": [f"{name}={value}" for name, value in LIMITS.items()],
    **dict.fromkeys(RIGHTS, False),
}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rolcanlogin": False}, "ALTER ROLE voice_agent LOGIN"),
        ({"rolcreaterole": True}, "ALTER ROLE voice_agent NOSUPERUSER NOCREATEROLE"),
        ({"rolbypassrls": True}, "NOBYPASSRLS"),
        ({"rolconnlimit": -1}, "ALTER ROLE voice_agent CONNECTION LIMIT 60"),
        ({"owned": False}, 'GRANT voice_agent TO "app"'),
        ({"member": True}, "voice_agent has the rights of other roles"),
        ({"rolconfig": SOUND["rolconfig"][1:]}, "ALTER ROLE voice_agent SET statement_timeout = '8s'"),
    ],
)
def test_each_lack_is_said_with_what_mends_it(changed: dict[str, Any], said: str) -> None:
    (lack,) = find_lacks("voice_agent", {**SOUND, **changed})
    assert said in lack


def test_a_role_that_nobody_has_made_and_one_that_is_bare() -> None:
    assert list(find_lacks("voice_agent", None)) == ["there is no role voice_agent"]
    assert len(list(find_lacks("voice_agent", {**SOUND, "rolconfig": None}))) == len(LIMITS)
    assert list(find_lacks("voice_agent", SOUND)) == []
