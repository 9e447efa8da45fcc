"""Starts the token service: `python -m token_service`."""

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import AsyncIterator

from conversations.reader import TranscriptReader
from conversations.viewer import ConversationViewer
from kube.client import KubernetesApi
from kube.skew import tell_of_older_crds
from rooms.client import RoomClient
from rooms.tokens import RoomTokens
from token_service.app import build_app
from token_service.authenticators import build_authenticator
from token_service.cache import Cache
from token_service.callers import Authenticator
from token_service.http_servers import build_server
from token_service.metrics import count_api_request
from token_service.rate_limits import build_rate_limits
from token_service.service import Service
from token_service.settings import TokenServiceSettings
from voice_telemetry.server import build_health_app, serving
from voice_telemetry.start import refuse_to_start, start
from voice_telemetry.traces import end_traces, start_traces
from voicesession.key_files import KeyFileError, load_key
from voicesession.tickets import TicketKey

log = logging.getLogger("token_service")

# Between saying "not ready" and closing the door: Services need a moment to send callers elsewhere.
_DRAIN_SECONDS = 3.0
# Somebody waits for each request.
_KUBERNETES_SECONDS = 5.0
# To look at calls may wait; each replica takes no more from the others.
_VIEWER_CONNECTIONS = 2


@contextlib.asynccontextmanager
async def running_service(
    settings: TokenServiceSettings, authenticator: Authenticator, tickets: TicketKey
) -> AsyncIterator[tuple[Service, asyncio.Task[None]]]:
    """Opens what the service works with, follows the cluster's objects, and closes everything at the end.

    Yields the service and the task that follows the objects, which never ends by itself.
    """
    async with contextlib.AsyncExitStack() as stack:
        cluster = await KubernetesApi.connect(
            settings.namespace, settings.kubeconfig, _KUBERNETES_SECONDS, count_api_request
        )
        stack.push_async_callback(cluster.close)
        key, secret = settings.livekit_api_key, settings.livekit_api_secret.get_secret_value()
        rooms = RoomClient(settings.livekit_url, key, secret)
        stack.push_async_callback(rooms.close)
        transcripts = None
        if settings.database_url is not None:
            url = settings.database_url.get_secret_value()
            reader = TranscriptReader(url, settings.db_min_connections, settings.db_max_connections)
            transcripts = await stack.enter_async_context(reader)
        calls = None
        if settings.calls_page and settings.calls_database_url is not None:
            url = settings.calls_database_url.get_secret_value()
            calls = await stack.enter_async_context(ConversationViewer(url, 0, _VIEWER_CONNECTIONS))
        cache = Cache()
        following = asyncio.create_task(cache.follow(cluster))
        stack.push_async_callback(_cancel, following)
        stack.push_async_callback(_cancel, asyncio.create_task(tell_of_older_crds(cluster), name="crds"))
        stack.push_async_callback(_cancel, asyncio.create_task(authenticator.follow()))
        tokens = RoomTokens(key, secret)
        limits = build_rate_limits(settings)
        service = Service(settings, cluster, cache, rooms, tokens, tickets, authenticator, limits, transcripts, calls)
        stack.push_async_callback(service.later.close)
        yield service, following


async def serve(settings: TokenServiceSettings, authenticator: Authenticator, tickets: TicketKey) -> None:
    """Serves until SIGTERM or SIGINT, then ends in good order."""
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    async with running_service(settings, authenticator, tickets) as (service, following):
        public = build_server(build_app(service), settings.host, settings.port, settings.proxies)
        health = build_health_app(is_live=lambda: None, is_ready=lambda: _find_missing(service, ending))
        async with serving(health, settings.health_port, settings.host):
            serving_public = asyncio.create_task(public.serve())
            waiting = asyncio.create_task(ending.wait())
            log.info("serving", extra={"port": settings.port, "healthPort": settings.health_port})
            await asyncio.wait([serving_public, waiting, following], return_when=asyncio.FIRST_COMPLETED)
            if ending.is_set():
                log.info("ending: no new callers from now on", extra={"drainSeconds": _DRAIN_SECONDS})
                await asyncio.sleep(_DRAIN_SECONDS)
            waiting.cancel()
            public.should_exit = True
            await serving_public


def _find_missing(service: Service, ending: asyncio.Event) -> str | None:
    if ending.is_set():
        return "the service is ending"
    return None if service.cache.synced else "the cluster's objects are not known yet"


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main() -> None:
    """Reads the environment and serves."""
    settings = start("token_service", TokenServiceSettings, packages=("conversations", "kube", "rooms"))
    try:
        authenticator = build_authenticator(settings)
    except (OSError, ValueError) as error:
        refuse_to_start("token_service", f"API_KEYS_FILE cannot be used: {error}")
    try:
        tickets = TicketKey(load_key(settings.installation_key_file))
    except KeyFileError as error:
        refuse_to_start("token_service", f"INSTALLATION_KEY_FILE: {error}")
    start_traces("voice-token-service", settings.otel_exporter_otlp_endpoint)
    # What was imported stays: looking through it for garbage would hold up every request for a quarter of a second.
    gc.freeze()
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        runner.run(serve(settings, authenticator, tickets))
    end_traces()


def _new_event_loop() -> asyncio.AbstractEventLoop:
    import uvloop  # noqa: PLC0415 - comes with uvicorn[standard]; not on every platform

    return uvloop.new_event_loop()


if __name__ == "__main__":
    main()
