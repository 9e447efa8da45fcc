"""Parts of loopback: nobody gets what somebody else has."""

from testing.loopback import loopback_of_process, own_loopback


def test_nobody_has_what_another_has() -> None:
    with own_loopback() as one, own_loopback() as another:
        assert len({one, another, loopback_of_process()}) == 3


def test_a_process_keeps_its_own() -> None:
    assert loopback_of_process() == loopback_of_process()
