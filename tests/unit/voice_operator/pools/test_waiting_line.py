"""Order of arrival, fair among profiles."""

from voice_operator.pools.waiting_line import Waiter, WaitingLine


def call(uid: str, arrival: int, profile: str = "default") -> Waiter:
    return Waiter(uid, profile, arrival)


def serve_all(line: WaitingLine) -> list[str]:
    served = []
    while len(line):
        (first,) = line.first(1)
        line.serve(first.uid)
        served.append(first.uid)
    return served


def test_one_profiles_calls_are_served_in_order_of_arrival() -> None:
    line = WaitingLine()
    for number in range(3):
        line.join(call(f"call-{number}", number))
    assert serve_all(line) == ["call-0", "call-1", "call-2"]


def test_a_flood_for_one_profile_delays_another_by_one_call() -> None:
    line = WaitingLine()
    for number in range(5):
        line.join(call(f"flood-{number}", number, "flooded"))
    line.join(call("quiet", 5, "quiet"))
    assert serve_all(line)[:3] == ["flood-0", "quiet", "flood-1"]


def test_a_quiet_profile_has_saved_up_nothing() -> None:
    line = WaitingLine()
    for number in range(6):
        line.join(call(f"flood-{number}", number, "flooded"))
    for _ in range(3):
        line.serve(line.first(1)[0].uid)
    for number in range(3):
        line.join(call(f"late-{number}", 10 + number, "late"))
    assert serve_all(line) == ["late-0", "flood-3", "late-1", "flood-4", "late-2", "flood-5"]


def test_a_call_that_lost_its_pod_keeps_its_turn() -> None:
    line = WaitingLine()
    unlucky = line.join(call("unlucky", 0))
    line.join(call("other", 1))
    line.serve(unlucky.uid)
    line.join(unlucky)
    assert serve_all(line) == ["unlucky", "other"]


def test_profiles_that_come_and_go_are_not_remembered_for_ever() -> None:
    line = WaitingLine()
    for number in range(100):
        line.join(call(f"call-{number}", number, f"profile-{number}"))
        line.join(call(f"again-{number}", number, f"profile-{number}"))
        serve_all(line)
    assert len(line._next_turns) == 1  # that of the last, which has had its turn
