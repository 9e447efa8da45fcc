"""Clients of the servers that a provider's models are on: each with its own key, headers and time-outs.

A key, or a header, is for one host. No redirect takes it to another.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import httpx2
from openai import AsyncClient

from voice_agent.answers.client import PATIENCE, ModelClient, Patience
from voicesession.models import ModelServer, Provider, RealtimeModel, Timeouts
from voicesession.provider_keys import KEY_FILE, OPENAI_URL, Part, header_folder, key_folder, part_folder

# Local servers want no key, and the client library wants some. It is not sent.
NO_KEY = "none"
# Of what is no question to a model: a list of models.
READ_SECONDS = 10.0
# For a connection of the pool's to be free, and for a request to be taken.
_OTHER_SECONDS = 5.0
# Among a request's extensions: the URL that it was made for.
_ASKED = "voice_agent.asked"


class ModelClients:
    """The clients that the models of this pod's pool are asked by; all share one pool of connections."""

    def __init__(
        self,
        keys_folder: Path,
        on_secret: Callable[[str], None] = lambda _: None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """`on_secret` is told every key that is read, so that logs can hide it. `transport`: another one, in tests."""
        self._keys_folder = keys_folder
        self._on_secret = on_secret
        self._transport = transport
        self._http: ModelClient | None = None

    @property
    def is_hearing(self) -> bool:
        """Whether a transcription is on its way."""
        return self._http is not None and self._http.is_hearing

    def build(self, provider: Provider, part: Part, server: ModelServer) -> AsyncClient:
        """Returns a client of this part's server; keys are read anew, as Secrets change while a pod waits."""
        return ServerClient(
            base_url=read_url(server),
            api_key=self.read_key(provider, server, part),
            headers={
                header.name: header.value or self.read_secret(header_folder(part_folder(provider, part), header))
                for header in server.headers or []
            },
            timeouts=server.timeouts or Timeouts(),
            http=self._http_client(),
        )

    def read_key(self, provider: Provider, server: ModelServer | RealtimeModel, part: Part | None = None) -> str:
        """Returns the key that a server is asked with, as it is now, or NO_KEY; `part` as in `key_folder`."""
        folder = key_folder(provider, server, part)
        return (self.read_secret(folder) if folder else "") or NO_KEY

    def read_secret(self, folder: str) -> str:
        """Returns what the Secret of this folder has now, or nothing."""
        try:
            secret = (self._keys_folder / folder / KEY_FILE).read_text().strip()
        except OSError:
            return ""
        if secret:
            self._on_secret(secret)
        return secret

    def _http_client(self) -> ModelClient:
        # One for all: each has an SSL context of its own, 40 ms and 1 MB.
        if self._http is None:
            self._http = ModelClient(
                follow_redirects=True,
                limits=httpx2.Limits(max_connections=50, max_keepalive_connections=50, keepalive_expiry=120),
                event_hooks={"request": [_stay_at_host]},
                transport=self._transport,
            )
        return self._http


class ServerClient(AsyncClient):
    """OpenAI's client, of one server: it waits as long as that server's part says, whatever the caller would."""

    def __init__(
        self, *, base_url: str, api_key: str, headers: Mapping[str, str], timeouts: Timeouts, http: httpx2.AsyncClient
    ) -> None:
        super().__init__(api_key=api_key, base_url=base_url, default_headers=headers, max_retries=0, http_client=http)
        self._own_headers = httpx2.Headers(headers)
        self._waits = httpx2.Timeout(
            _OTHER_SECONDS, connect=timeouts.connect_seconds, read=timeouts.read_seconds or READ_SECONDS
        )

        self._patience = build_patience(timeouts)

    async def _prepare_request(self, request: httpx2.Request) -> None:
        # The client library's own place for such changes; models pass time-outs of their plugin's with each request.
        await super()._prepare_request(request)
        own = {"timeout": self._waits.as_dict(), PATIENCE: self._patience, _ASKED: request.url}
        request.extensions = {**request.extensions, **own}
        if self.api_key == NO_KEY and "Authorization" not in self._own_headers:
            request.headers.pop("Authorization", None)


def build_patience(timeouts: Timeouts) -> Patience:
    """Returns how long an answer of a model's may take: where the part does not say, by the kind of model."""
    read = timeouts.read_seconds
    return Patience(timeouts.connect_seconds, read, read or Patience.stall)


def read_url(server: ModelServer | RealtimeModel) -> str:
    """Returns where a model's API is."""
    return server.base_url or OPENAI_URL


async def _stay_at_host(request: httpx2.Request) -> None:
    """Refuses a request that a redirect has taken to another host than it was made for, or out of TLS."""
    asked = request.extensions.get(_ASKED)
    if asked is None or (request.url.host == asked.host and request.url.scheme in {asked.scheme, "https"}):
        return
    raise httpx2.RemoteProtocolError("the model's server redirects to another host", request=request)
