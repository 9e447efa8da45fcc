"""Runs steps that wait for one another, and beside each other where they do not."""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from local_cluster import commands
from local_cluster.errors import ClusterError


@dataclass(frozen=True)
class Step:
    """One step: what it is called, what it does, and the names of those that must be done before it."""

    name: str
    run: Callable[[], None]
    after: tuple[str, ...] = ()


def ready(steps: Sequence[Step], begun: Collection[str], done: Collection[str]) -> list[Step]:
    """Those steps, in order, that can begin now. Pure."""
    return [step for step in steps if step.name not in begun and all(name in done for name in step.after)]


def check(steps: Sequence[Step]) -> None:
    """Raises ValueError for a plan that could not end: a name that is there twice or not at all, or a circle."""
    names = [step.name for step in steps]
    if len(set(names)) < len(names):
        raise ValueError(f"a step's name is there twice in {names}")
    done: set[str] = set()
    while found := ready(steps, done, done):
        done.update(step.name for step in found)
    if stuck := [step.name for step in steps if step.name not in done]:
        raise ValueError(f"these steps wait for each other, or for one that is not there: {', '.join(stuck)}")


def run_all(steps: Sequence[Step]) -> None:
    """Runs every step in a thread of its own as soon as it can begin; returns when all are done.

    Raises ClusterError, which names the step, when one fails: what the others run is ended first, as for Ctrl-C.
    """
    check(steps)
    begun: dict[Future[None], Step] = {}
    done: set[str] = set()
    with commands.stoppable(), ThreadPoolExecutor(max_workers=max(len(steps), 1)) as threads:
        try:
            while len(done) < len(steps):
                names = {step.name for step in begun.values()}
                begun |= {threads.submit(step.run): step for step in ready(steps, names, done)}
                running = [future for future, step in begun.items() if step.name not in done]
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    done.add(_finish(future, begun[future]))
        except BaseException:
            commands.stop_all()
            raise


def _finish(future: Future[None], step: Step) -> str:
    try:
        future.result()
    except ClusterError as error:
        raise ClusterError(f"{step.name}: {error}") from error
    return step.name
