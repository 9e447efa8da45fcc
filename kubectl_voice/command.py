"""What every command shares: which cluster, how errors are told, how an event loop is run."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, NoReturn, TypeVar

import typer

from conversations.pool import ConversationsUnavailableError
from kube.client import ForbiddenError, KubeconfigError, KubernetesApi, KubernetesError, KubernetesUnavailableError
from kubectl_voice.evidence import CallNotFoundError
from kubectl_voice.output import Format
from kubectl_voice.transcripts import NoTranscriptsError

Result = TypeVar("Result")

Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="The release's namespace; by default the context's.")
]
Context = Annotated[str | None, typer.Option("--context", help="The kubeconfig's context; by default the current one.")]
Output = Annotated[Format, typer.Option("--output", "-o", help="For people, or for programs.")]
Call = Annotated[
    str, typer.Argument(metavar="NAME|ROOM|SESSION", help="The VoiceSession's name, its room, or its uid.")
]


class CommandError(Exception):
    """What was asked for cannot be; the message says why."""


_TOLD = (
    CallNotFoundError,
    CommandError,
    ConversationsUnavailableError,
    KubeconfigError,
    KubernetesError,
    NoTranscriptsError,
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where commands look. `context`: the kubeconfig's, as kubectl is told it; None: the current one."""

    api: KubernetesApi
    context: str | None


def run(namespace: str | None, context: str | None, act: Callable[[Cluster], Awaitable[Result]]) -> Result:
    """Returns what `act` does with the cluster; what cannot be is told in a sentence, with exit code 1."""
    try:
        return asyncio.run(_with_cluster(namespace, context, act))
    except KubernetesUnavailableError as error:
        fail(f"the API server does not answer as it should: {error}. `kubectl cluster-info` asks it, too")
    except ForbiddenError as error:
        fail(f"{error}. Kubernetes' own role `view` is enough to look, `edit` to move and end calls")
    except _TOLD as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def fail(sentence: str) -> NoReturn:
    """Ends the process with a sentence."""
    typer.echo(f"error: {sentence}", err=True)
    sys.exit(1)


async def _with_cluster(
    namespace: str | None, context: str | None, act: Callable[[Cluster], Awaitable[Result]]
) -> Result:
    api = await KubernetesApi.connect_as_user(namespace, context)
    try:
        return await act(Cluster(api, context))
    finally:
        await api.close()
