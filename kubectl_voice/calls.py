"""The commands about calls: top, why, transcript, timeline, move, end."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from conversations.pool import ConversationsUnavailableError
from conversations.reader import TranscriptItem
from kube.client import KubernetesApi, KubernetesError, KubernetesUnavailableError
from kubectl_voice.command import Call, Cluster, CommandError, Context, Namespace, Output, run
from kubectl_voice.evidence import Evidence, find_session, gather, list_sessions, name_move
from kubectl_voice.findings import judge
from kubectl_voice.installation import say_where_releases_are
from kubectl_voice.live import LiveCalls, NotToldError, open_live_calls
from kubectl_voice.output import Format, build_findings, build_table, console, print_json, print_rows
from kubectl_voice.quantities import read_bytes
from kubectl_voice.story import tell
from kubectl_voice.tables import (
    Row,
    call_rows,
    finding_rows,
    moment_rows,
    transcript_rows,
    turn_rows,
)
from kubectl_voice.transcripts import NoTranscriptsError, open_transcripts
from kubectl_voice.turns import read_turns
from voicesession import clock
from voicesession.admission import is_finished
from voicesession.live_calls import LiveCall
from voicesession.models import EndReason, VoiceSession
from voicesession.names import POOL_LABEL

_LOOK_SECONDS = 2.0
_FOLLOW_SECONDS = 1.0
_MOVE_SECONDS = 90.0


def top(
    namespace: Namespace = None,
    context: Context = None,
    output: Output = Format.TABLE,
    once: Annotated[bool, typer.Option("--once", help="Print it once, and end.")] = False,
) -> None:
    """Show the calls in progress: who waits and why, who talks, since when and how fast. Live in a terminal."""
    run(namespace, context, lambda cluster: _top(cluster, output, once=once))


async def _top(cluster: Cluster, output: Format, *, once: bool) -> None:
    out = console()
    async with open_live_calls(cluster.api, cluster.context) as live:
        seen = await _see_calls(cluster.api, live)
        if once or output is Format.JSON or not out.is_terminal:
            print_rows(seen.rows, output, seen.empty)
            if seen.untold:
                typer.echo(seen.untold, err=True)
            return
        with Live(console=out, screen=True, auto_refresh=False) as screen:
            while True:
                screen.update(Group(*_build_screen(seen, output)), refresh=True)
                await asyncio.sleep(_LOOK_SECONDS)
                try:
                    seen = await _see_calls(cluster.api, live)
                except KubernetesUnavailableError as error:
                    seen = replace(seen, untold=f"This is as it was: the API server does not answer: {error}")


@dataclass(frozen=True, slots=True)
class _Calls:
    """One look at the calls. `untold`: why their latencies are not known, or nothing."""

    rows: list[Row]
    empty: str
    untold: str


def _build_screen(seen: _Calls, output: Format) -> Iterator[RenderableType]:
    yield build_table(seen.rows, wide=output is Format.WIDE) if seen.rows else seen.empty
    if seen.untold:
        yield Text(f"\n{seen.untold}")


async def _see_calls(api: KubernetesApi, live: LiveCalls) -> _Calls:
    sessions = [session for session in await list_sessions(api) if not is_finished(session)]
    told: Mapping[str, LiveCall] = {}
    untold = ""
    if sessions:
        try:
            told = await live.read()
        except (NotToldError, KubernetesError) as error:
            untold = f"Without who speaks and how fast: {error}"
    rows = call_rows(sessions, clock.now(), await _read_memory(api), told)
    none = f"No call is in progress in namespace {api.namespace!r}."
    return _Calls(rows, none if rows else await say_where_releases_are(api) or none, untold)


async def _read_memory(api: KubernetesApi) -> Mapping[str, int]:
    """Returns the agent pods' memory by name; nothing where the cluster has no metrics API, or not for this user."""
    try:
        measured = await api.list_kind("metrics.k8s.io/v1beta1", "pods", POOL_LABEL)
    except (KubernetesError, KubernetesUnavailableError):
        return {}
    return {
        pod["metadata"]["name"]: sum(read_bytes(each["usage"]["memory"]) for each in pod["containers"])
        for pod in measured
    }


def why(
    call: Call,
    namespace: Namespace = None,
    context: Context = None,
    output: Output = Format.TABLE,
) -> None:
    """Tell a call's story, what was wrong with it, and what to do."""
    evidence = run(namespace, context, lambda cluster: _gather_all(cluster, call))
    findings, moments = judge(evidence), tell(evidence)
    if output is Format.JSON:
        print_json(
            {"verdict": finding_rows(findings), "story": moment_rows(moments), "unread": evidence.unread or None}
        )
        return
    out = console()
    session = evidence.session
    out.print(f"{session.metadata.name}  {session.status.phase or 'not seen'}  room {_room(session)}\n", markup=False)
    out.print(build_findings(findings))
    out.print()
    out.print(build_table(moment_rows(moments)))
    if evidence.unread:
        out.print(f"\nWithout the conversation: {evidence.unread}", markup=False)


def _room(session: VoiceSession) -> str:
    return session.spec.room or session.status.room or "none yet"


async def _gather_all(cluster: Cluster, call: str) -> Evidence:
    """Returns what is known of a call; without its rows where those cannot be read."""
    evidence = await gather(cluster.api, await find_session(cluster.api, call))
    try:
        items = await _read_items(cluster, evidence.session)
    except (NoTranscriptsError, ConversationsUnavailableError) as error:
        return replace(evidence, unread=str(error))
    return replace(evidence, items=tuple(items))


async def _read_items(cluster: Cluster, session: VoiceSession) -> list[TranscriptItem]:
    async with open_transcripts(cluster.api, cluster.context) as reader:
        return await reader.read_transcript(session.metadata.uid)


def transcript(
    call: Call,
    namespace: Namespace = None,
    context: Context = None,
    output: Output = Format.TABLE,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the call is over.")] = False,
) -> None:
    """Print what was said in a call. For who may read the release's database Secret."""
    run(namespace, context, lambda cluster: _print_transcript(cluster, call, output, follow=follow))


async def _print_transcript(cluster: Cluster, call: str, output: Format, *, follow: bool) -> None:
    session = await find_session(cluster.api, call)
    if not follow:
        print_rows(transcript_rows(await _read_items(cluster, session)), output, "Nothing has been said yet.")
        return
    async for item in _follow(cluster, session):
        if output is Format.JSON:
            print_json(item.to_wire())
        else:
            row = transcript_rows([item])[0]
            console().print(f"{row['TIME']}   {row['WHO']:<12}{row['WORDS']}", markup=False)


async def _follow(cluster: Cluster, session: VoiceSession) -> AsyncIterator[TranscriptItem]:
    """Yields a conversation's items as they come, until the call is over and its last one was told."""
    seen: set[str] = set()
    async with open_transcripts(cluster.api, cluster.context) as reader:
        while True:
            over = is_finished(await find_session(cluster.api, session.metadata.uid))
            for item in await reader.read_transcript(session.metadata.uid):
                if item.item_id not in seen:
                    seen.add(item.item_id)
                    yield item
            if over:
                return
            await asyncio.sleep(_FOLLOW_SECONDS)


def timeline(
    call: Call,
    namespace: Namespace = None,
    context: Context = None,
    output: Output = Format.TABLE,
) -> None:
    """Show how long each answer of a call took, and what took the time, in milliseconds. Without words."""
    items = run(namespace, context, lambda cluster: _find_items(cluster, call))
    print_rows(turn_rows(read_turns(items)), output, "No agent has answered yet.")


async def _find_items(cluster: Cluster, call: str) -> list[TranscriptItem]:
    return await _read_items(cluster, await find_session(cluster.api, call))


def move(call: Call, namespace: Namespace = None, context: Context = None) -> None:
    """Move a call to another pod, in a pause of the conversation. Its customer notices nothing."""
    run(namespace, context, lambda cluster: _move(cluster.api, call))


async def _move(api: KubernetesApi, call: str) -> None:
    session = await find_session(api, call)
    if is_finished(session):
        raise CommandError(f"{session.metadata.name} is over")
    wanted = name_move()
    await api.move_session(session.metadata.name, wanted)
    typer.echo(f"{session.metadata.name}: waits for a pause ...")
    moved = await _wait_until_moved(api, session, wanted)
    typer.echo(f"{session.metadata.name}: pod {moved.status.pod_name} on node {moved.status.node_name} has the call")


async def _wait_until_moved(api: KubernetesApi, session: VoiceSession, wanted: str) -> VoiceSession:
    try:
        async with asyncio.timeout(_MOVE_SECONDS):
            while True:
                now = await find_session(api, session.metadata.uid)
                if now.status.moved == wanted or is_finished(now):
                    return now
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise CommandError(
            f"{session.metadata.name} has not moved in {_MOVE_SECONDS:.0f} s; `kubectl voice why` says more"
        ) from None


def end(call: Call, namespace: Namespace = None, context: Context = None) -> None:
    """End a call: the agent says goodbye first."""
    run(namespace, context, lambda cluster: _end(cluster.api, call))


async def _end(api: KubernetesApi, call: str) -> None:
    session = await find_session(api, call)
    await api.end_session(session.metadata.name, EndReason.ENDED_BY_REQUEST)
    typer.echo(f"{session.metadata.name}: is being ended")
