"""Steps that wait for one another: what may begin when, what a failure ends, and the plan of a first run."""

import threading

import pytest

from local_cluster import bring_up, commands
from local_cluster.binaries import COREDNS, HELM, KUBERNETES, PAUSE
from local_cluster.errors import ClusterError, StoppedError
from local_cluster.images import PROJECT_IMAGES
from local_cluster.plan import Step, check, ready, run_all


def _step(name: str, *after: str) -> Step:
    return Step(name, lambda: None, after)


STEPS = [_step("a"), _step("b", "a"), _step("c", "a"), _step("d", "b", "c")]


@pytest.mark.parametrize(
    ("begun", "done", "next_ones"),
    [
        ("", "", ["a"]),
        ("a", "", []),
        ("a", "a", ["b", "c"]),
        ("abc", "ab", []),
        ("abc", "abc", ["d"]),
        ("abcd", "abcd", []),
    ],
)
def test_a_step_begins_when_all_before_it_are_done(begun: str, done: str, next_ones: list[str]) -> None:
    assert [step.name for step in ready(STEPS, begun, done)] == next_ones


@pytest.mark.parametrize(
    "steps",
    [[_step("a"), _step("a")], [_step("a", "b")], [_step("a", "b"), _step("b", "a")]],
    ids=["twice", "unknown", "circle"],
)
def test_a_plan_that_cannot_end_is_refused(steps: list[Step]) -> None:
    with pytest.raises(ValueError, match="a"):
        check(steps)


def test_steps_that_do_not_wait_for_each_other_run_at_once() -> None:
    """Neither would get past the barrier alone."""
    both, order = threading.Barrier(2, timeout=30), list[str]()

    def meet() -> None:
        both.wait()

    run_all([Step("x", meet), Step("y", meet), Step("last", lambda: order.append("last"), ("x", "y"))])
    assert order == ["last"]


def test_a_failure_names_its_step_stops_the_others_and_begins_nothing_more() -> None:
    waiting, stopped, begun = threading.Event(), threading.Event(), list[str]()

    def fail() -> None:
        assert waiting.wait(30)
        raise ClusterError("no room on the disk")

    def go_on_until_stopped() -> None:
        waiting.set()
        try:
            while not stopped.wait(0.01):
                commands.check_stopped()
        except StoppedError:
            stopped.set()
            raise

    steps = [Step("image x", fail), Step("y", go_on_until_stopped), Step("z", lambda: begun.append("z"), ("image x",))]
    with pytest.raises(ClusterError, match=r"^image x: no room on the disk$"):
        run_all(steps)
    assert stopped.is_set()
    assert not begun
    commands.check_stopped()  # whoever comes after may start programs again


def test_an_interruption_ends_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes while the main thread waits."""
    stopped = threading.Event()

    def go_on_until_stopped() -> None:
        try:
            while True:
                commands.check_stopped()
        finally:
            stopped.set()

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("local_cluster.plan.wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_all([Step("x", go_on_until_stopped)])
    assert stopped.is_set()


# Only its methods are named.
WORK = bring_up.Work.__new__(bring_up.Work)
PROGRAMS = (KUBERNETES, PAUSE, COREDNS, HELM)


def _order(steps: list[Step], after: str, name: str) -> bool:
    """Tells whether `name` waits, in one or more steps, for `after`."""
    known = {step.name: step for step in steps}
    return any(before == after or _order(steps, after, before) for before in known[name].after)


def test_the_first_run_compiles_and_builds_images_at_once() -> None:
    steps = bring_up.build_plan(WORK, PROGRAMS, PROJECT_IMAGES)
    check(steps)
    assert {step.name for step in ready(steps, (), ())} == {"kube", "the page", "the base image"}
    for image in PROJECT_IMAGES:
        built = f"image {image.name}"
        assert _order(steps, "the base image", built)
        assert _order(steps, "the cluster", f"{built} in the cluster")
        assert _order(steps, built, f"{built} in the cluster")
        assert _order(steps, "kube", built) == (image.program is not None)
    assert _order(steps, "the page", "image operator")
    assert _order(steps, "image agent", "image example-agents")
    assert _order(steps, "helm", "the cluster")
    assert not _order(steps, "livekit-server", "the cluster")


def test_one_image_needs_no_page_and_no_server() -> None:
    chosen = [image for image in PROJECT_IMAGES if image.name == "agent"]
    steps = bring_up.build_plan(WORK, PROGRAMS, chosen)
    assert {step.name for step in steps} == {
        "kube", "pause", "coredns", "helm", "the base image", "the cluster", "image agent", "image agent in the cluster"
    }  # fmt: skip
