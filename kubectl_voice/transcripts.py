"""Opens the conversations of a release to whoever may read its Secret and forward a port to its PgBouncer."""

import base64
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from conversations.reader import TranscriptReader
from kube.client import KubernetesApi, KubernetesError, NotFoundError
from kubectl_voice.forwarding import ForwardingError, forwarded

_TOKEN_SERVICE = "app.kubernetes.io/name=voice-agent,app.kubernetes.io/component=token-service"  # noqa: S105 - a selector
_VARIABLE = "DATABASE_URL"


class NoTranscriptsError(Exception):
    """The conversations cannot be read; the message says why and what to do."""


@contextlib.asynccontextmanager
async def open_transcripts(api: KubernetesApi, context: str | None) -> AsyncIterator[TranscriptReader]:
    """Yields a reader of the release's conversations, by the role `voice_reader` and a forwarded port.

    Raises:
        NoTranscriptsError: the Secret may not be read, or PgBouncer cannot be reached.
    """
    url = urlsplit(await _read_url(api))
    service = (url.hostname or "").split(".")[0]
    try:
        async with forwarded(f"service/{service}", url.port or 5432, api.namespace, context) as port:
            credentials = url.netloc.rpartition("@")[0]
            local = urlunsplit(url._replace(netloc=f"{credentials}@127.0.0.1:{port}"))
            async with TranscriptReader(local, 1, 2) as reader:
                yield reader
    except ForwardingError as error:
        raise NoTranscriptsError(f"the conversations cannot be reached: {error}") from error


async def _read_url(api: KubernetesApi) -> str:
    try:
        deployments = await api.list_kind("apps/v1", "deployments", _TOKEN_SERVICE)
        if not deployments:
            raise NoTranscriptsError(f"there is no token service in namespace {api.namespace!r}")
        reference = find_url_reference(deployments[0])
        secret = await api.get_secret(reference["name"])
        return base64.b64decode(secret["data"][reference["key"]]).decode()
    except NotFoundError as error:
        raise NoTranscriptsError(f"the Secret with the database's URL is missing: {error.message}") from error
    except KubernetesError as error:
        raise NoTranscriptsError(
            f"words are for who may read the Secret with the database's URL: {error.message}"
        ) from error
    except KeyError as error:
        raise NoTranscriptsError(f"the Secret with the database's URL has no key {error}") from error


def find_url_reference(deployment: Mapping[str, Any]) -> Mapping[str, str]:
    """Returns name and key of the Secret that the token service reads its database's URL from.

    Raises:
        NoTranscriptsError: it names none.
    """
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        for variable in container.get("env") or ():
            reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
            if variable["name"] == _VARIABLE and reference:
                found: Mapping[str, str] = reference
                return found
    raise NoTranscriptsError("the token service has no database's URL from a Secret")
