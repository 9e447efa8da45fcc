"""The commands about where calls are: pool, drain."""

import asyncio
import time
from typing import Annotated

import typer

from kube.client import KubernetesApi
from kubectl_voice.command import CommandError, Context, Namespace, Output, run
from kubectl_voice.evidence import list_sessions, name_move
from kubectl_voice.installation import say_where_releases_are
from kubectl_voice.output import Format, print_rows
from kubectl_voice.tables import pool_rows
from voicesession.admission import is_finished
from voicesession.models import AgentPool, VoiceSession
from voicesession.names import AGENT_POOLS

_LOOK_SECONDS = 0.5


def pool(namespace: Namespace = None, context: Context = None, output: Output = Format.TABLE) -> None:
    """Show the pools: how many pods wait, start and talk, and why one is short."""
    pools, empty = run(namespace, context, lambda cluster: _read_pools(cluster.api))
    print_rows(pool_rows(pools), output, empty)


async def _read_pools(api: KubernetesApi) -> tuple[list[AgentPool], str]:
    """Returns the pools, and what to say where there is none."""
    pools = [AgentPool.model_validate(raw) for raw in (await api.list_objects(AGENT_POOLS))[0]]
    none = f"There is no AgentPool in namespace {api.namespace!r}."
    return pools, none if pools else await say_where_releases_are(api) or none


def drain(
    node: Annotated[str, typer.Argument(help="The node that its calls are to leave.")],
    namespace: Namespace = None,
    context: Context = None,
    timeout: Annotated[int, typer.Option(help="How long to wait, in seconds.")] = 300,
) -> None:
    """Move this namespace's calls off a node, each in a pause of its conversation. `kubectl cordon` it first."""
    run(namespace, context, lambda cluster: _drain(cluster.api, node, timeout))


async def _drain(api: KubernetesApi, node: str, timeout: int) -> None:
    calls = await _calls_on(api, node)
    if not calls:
        typer.echo(f"No call of namespace {api.namespace!r} is on node {node!r}.")
        return
    wanted = name_move()
    for session in calls:
        await api.move_session(session.metadata.name, wanted)
    deadline, left = time.monotonic() + timeout, len(calls)
    typer.echo(f"{left} calls are on node {node!r}; each moves in its next pause ...")
    while left and time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_SECONDS)
        now = len(await _calls_on(api, node))
        if now != left:
            typer.echo(f"{now} left")
        left = now
    if left:
        raise CommandError(f"{left} calls are still on node {node!r} after {timeout} s")


async def _calls_on(api: KubernetesApi, node: str) -> list[VoiceSession]:
    return [
        session for session in await list_sessions(api) if session.status.node_name == node and not is_finished(session)
    ]
