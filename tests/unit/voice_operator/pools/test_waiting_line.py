"""Order of arrival, fair among profiles, and among the tenants of each."""

from voice_operator.pools.waiting_line import BEFORE_ALL, Waiter, WaitingLine


def call(uid: str, arrival: int, profile: str = "default", tenant: str = "") -> Waiter:
    return Waiter(uid, profile, arrival, tenant)


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


def test_a_tenants_flood_delays_another_tenants_call_of_the_same_profile_by_one() -> None:
    line = WaitingLine()
    for number in range(5):
        line.join(call(f"flood-{number}", number, tenant="flooding"))
    line.join(call("acme", 5, tenant="acme"))
    line.join(call("nobody's", 6))
    assert [waiter.uid for waiter in line.first(3)] == ["flood-0", "acme", "nobody's"]
    assert serve_all(line)[:4] == ["flood-0", "acme", "nobody's", "flood-1"]


def test_many_tenants_of_a_profile_have_together_what_one_of_another_has() -> None:
    line = WaitingLine()
    for number in range(4):
        line.join(call(f"shared-{number}", number, "shared", f"tenant-{number}"))
    for number in range(2):
        line.join(call(f"own-{number}", 4 + number, "own", "acme"))
    assert serve_all(line) == ["shared-0", "own-0", "shared-1", "own-1", "shared-2", "shared-3"]


def test_whom_the_flood_let_pass_takes_its_place_among_the_profiles_too() -> None:
    line = WaitingLine()
    for number in range(3):
        line.join(call(f"flood-{number}", number, "shared", "flooding"))
    for number in range(3):
        line.join(call(f"own-{number}", 3 + number, "own"))
    line.join(call("late", 6, "shared", "acme"))
    # Its profile has four places among the other's three; "late" has the second of them, not the fourth.
    assert serve_all(line) == ["flood-0", "own-0", "own-1", "late", "flood-1", "own-2", "flood-2"]


def test_who_gives_up_takes_its_profiles_last_place_along() -> None:
    line = WaitingLine()
    for number in range(3):
        line.join(call(f"shared-{number}", number, "shared", "flooding"))
        line.join(call(f"own-{number}", 10 + number, "own"))
    line.leave("shared-0")
    line.leave("shared-1")
    line.join(call("acme", 20, "shared", "acme"))
    # Who gave up delays nobody who stays: the places are 0 and 1, not 2 and 3.
    assert serve_all(line) == ["own-0", "acme", "shared-2", "own-1", "own-2"]


def test_a_call_that_had_its_agent_is_before_all() -> None:
    line = WaitingLine()
    for number in range(3):
        line.join(call(f"call-{number}", number, tenant="acme"))
    line.join(Waiter("lost", "another", 9, "acme", BEFORE_ALL))
    line.join(Waiter("lost-too", "default", 10, "beta", BEFORE_ALL))
    assert serve_all(line) == ["lost", "lost-too", "call-0", "call-1", "call-2"]


def test_who_is_not_in_the_line_can_leave_it() -> None:
    line = WaitingLine()
    line.leave("nobody")
    line.serve("nobody")
    assert line.first(3) == []


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
    assert len(line._places._next) == 1  # that of the last, which has had its turn
    assert not line._lines
