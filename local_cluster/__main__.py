"""The command line: `python -m local_cluster up|down|status|node-down|node-up|images|values|env`."""

import argparse
import signal
import sys
from collections.abc import Sequence

from local_cluster import handout
from local_cluster.bring_up import bring_up
from local_cluster.builders import choose_builder
from local_cluster.errors import ClusterError
from local_cluster.images import PROJECT_IMAGES, Image
from local_cluster.progress import say
from local_cluster.provider import choose_provider, wanted_nodes


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code; what goes wrong is said in a sentence."""
    parser = _build_parser()
    given = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # as Ctrl-C: nothing that was started is left behind
    try:
        _run(given)
    except ClusterError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on, or `make cluster-down` to tidy up.", file=sys.stderr)
        return 130
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local_cluster",
        description="A local Kubernetes. CLUSTER=auto|kind|netns|current and NODES=1|2|3 choose which; AUDIT=1 logs "
        "every API request (netns).",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="bring the cluster up; no-op when it is")
    commands.add_parser("down", help="take it away without a trace")
    commands.add_parser("status", help="say what runs")
    commands.add_parser("env", help="print the lines that make your shell use it")
    for name, text in (("node-down", "stop a node without warning"), ("node-up", "start it again")):
        commands.add_parser(name, help=text).add_argument("number", type=int, metavar="N", help="which, from 1")
    images = commands.add_parser("images", help="bring the cluster up with our images; writes .cluster/images.*")
    images.add_argument("names", nargs="*", metavar="NAME", help=", ".join(image.name for image in PROJECT_IMAGES))
    return parser


def _run(given: argparse.Namespace) -> None:
    provider = choose_provider()
    match given.command:
        case "up":
            handout.write_cluster(provider.up(wanted_nodes()))
            say("Use it with:")
            for line in handout.describe():
                say(f"  {line}")
        case "down":
            provider.down()
            handout.remove_cluster()
        case "status":
            for line in provider.status():
                say(line)
        case "env":
            for line in handout.describe():
                say(line)
        case "node-down":
            provider.node_down(given.number)
        case "node-up":
            provider.node_up(given.number)
        case "images":
            _make_images(given.names)


def _make_images(names: Sequence[str]) -> None:
    images = _chosen_images(names)
    references = bring_up(choose_provider(), wanted_nodes(), choose_builder(), images)
    named = list(zip(images, references, strict=True))
    handout.write_images(
        everything={image.name: reference for image, reference in named},
        values={image.chart_key: reference for image, reference in named if image.chart_key},
    )
    for reference in references:
        say(reference)
    say(f"Helm values that name them: {handout.IMAGES_YAML}")


def _chosen_images(names: Sequence[str]) -> list[Image]:
    known = {image.name: image for image in PROJECT_IMAGES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ClusterError(f"There is no image {unknown[0]}. There are: {', '.join(known)}.")
    wanted = set(names or known)
    if any(known[name].on_agent for name in wanted):
        wanted.add("agent")
    return [image for image in PROJECT_IMAGES if image.name in wanted]


if __name__ == "__main__":
    sys.exit(main())
