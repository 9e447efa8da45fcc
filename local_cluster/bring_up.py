"""From nothing to a cluster that has our images: what can go on beside what, and how each is done."""

from collections.abc import Callable, Sequence
from functools import partial

from local_cluster import handout, images, registry
from local_cluster.base_image import base_reference, ensure_base
from local_cluster.binaries import KUBERNETES, Program, ensure
from local_cluster.builders import Buildah, Docker
from local_cluster.commands import run
from local_cluster.images import Image
from local_cluster.layout import REPOSITORY
from local_cluster.plan import Step, run_all
from local_cluster.progress import say, step
from local_cluster.provider import Provider

PAGE_SECONDS = 900.0
PAGE, BASE, CLUSTER = "the page", "the base image", "the cluster"


def bring_up(provider: Provider, nodes: int, builder: Docker | Buildah, chosen: Sequence[Image]) -> list[str]:
    """Brings up the cluster with the chosen images in its nodes, and returns their references, in order.

    What is there already stays as it is. Raises ClusterError, which names what failed.
    """
    provider.check()
    if not KUBERNETES.path().exists():
        say(
            "The first time compiles Kubernetes and builds the images: about 8 minutes on 2 cores. "
            "Ctrl-C stops; the same command goes on from there."
        )
    work = Work(provider, nodes, builder)
    run_all(build_plan(work, provider.programs, chosen))
    return [images.reference(image, work.base) for image in chosen]


def build_plan(work: "Work", programs: Sequence[Program], chosen: Sequence[Image]) -> list[Step]:
    """The steps: programs in one line, images in another (each can use every core), the rest as soon as may be. Pure.

    `programs` are those that the cluster needs; the images' own come after them.
    """
    lines = Lines()
    for program in (*programs, *(image.program for image in chosen if image.program is not None)):
        lines.add("programs", program.name, partial(work.build_program, program))
    if any(image.optional_folders for image in chosen):
        lines.add(PAGE, PAGE, work.build_page)
    lines.add(BASE, BASE, work.make_base)
    lines.add(CLUSTER, CLUSTER, work.bring_up_cluster, after=[program.name for program in programs])
    # Those that wait for a program do not keep the others waiting.
    for image in sorted(chosen, key=lambda image: image.program is not None):
        built, needs = f"image {image.name}", [BASE]
        needs += [image.program.name] if image.program is not None else []
        needs += [PAGE] if image.optional_folders else []
        lines.add("images", built, partial(work.build_image, image), after=needs)
        lines.add(CLUSTER, f"{built} in the cluster", partial(work.give_image, image), after=[built])
    return lines.steps


class Work:
    """What the steps do; each looks first whether it is done already."""

    def __init__(self, provider: Provider, nodes: int, builder: Docker | Buildah) -> None:
        """Looks whether a registry runs that can be asked what it has; `nodes` is how many there are to be."""
        self._provider = provider
        self._nodes = nodes
        self._builder = builder
        self._registry_runs = registry.answers(provider.registry)
        self.base = base_reference(builder)

    def build_program(self, program: Program) -> None:
        """Compiles it."""
        ensure([program])

    def build_page(self) -> None:
        """What `make web` does."""
        with step("the page"):
            run("make", "--no-print-directory", "web", cwd=REPOSITORY, timeout=PAGE_SECONDS)

    def make_base(self) -> None:
        """Makes what the images start from."""
        ensure_base(self._builder)

    def bring_up_cluster(self) -> None:
        """Starts it, and gives this checkout its kubeconfig and tools."""
        handout.write_cluster(self._provider.up(self._nodes))

    def build_image(self, image: Image) -> None:
        """Builds it, unless a registry that runs has it."""
        if not (self._registry_runs and images.is_pushed(image, self._provider.registry, self.base)):
            images.ensure_built(image, self._builder, self.base)

    def give_image(self, image: Image) -> None:
        """Gives it to the registry and to every node."""
        with step(f"image {image.name}: to the nodes"):
            images.ensure_pushed(image, self._builder, self._provider.registry, self.base)
            self._provider.preload([images.reference(image, self.base)])


class Lines:
    """Gathers steps; each waits for the one before it in its line, and for what else it names."""

    def __init__(self) -> None:
        """Begins without any."""
        self.steps: list[Step] = []
        self._last: dict[str, str] = {}

    def add(self, line: str, name: str, act: Callable[[], None], after: Sequence[str] = ()) -> None:
        """Adds a step at the end of a line."""
        before = [self._last[line]] if line in self._last else []
        self.steps.append(Step(name, act, (*before, *after)))
        self._last[line] = name
