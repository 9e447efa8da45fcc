"""The HTTP application: which endpoints run, who may ask, health and metrics."""

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from aiohttp import web

from local_models.chat_api import ChatApi
from local_models.completions import MODEL as CHAT_MODEL
from local_models.errors import ApiError, Handler, error_middleware
from local_models.metrics import Metrics
from local_models.settings import LocalModelsSettings, Service

if TYPE_CHECKING:
    from local_models.speech_api import SpeechApi

log = logging.getLogger(__name__)

_MODELS: dict[Service, str] = {"stt": "whisper-tiny.en", "tts": "hibari", "chat": CHAT_MODEL}
_PATHS: dict[Service, str] = {
    "stt": "/v1/audio/transcriptions",
    "tts": "/v1/audio/speech",
    "chat": "/v1/chat/completions",
}
# A multipart form is a little larger than the file in it.
_LARGEST_BODY = 13 * 1024 * 1024


class LocalModels:
    """The application's state: what is loaded, and whether that worked."""

    def __init__(self, settings: LocalModelsSettings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._state = "loading"

    def build_app(self) -> web.Application:
        """Returns the application; models are loaded after it has started to listen."""
        middlewares = [self._observe, error_middleware, self._authenticate]
        app = web.Application(middlewares=middlewares, client_max_size=_LARGEST_BODY)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._show_metrics)
        app.router.add_get("/v1/models", self._list_models)
        handlers: dict[Service, Handler] = {"chat": ChatApi(self._metrics).complete}
        speech = self._build_speech()
        if speech is not None:
            handlers |= {"stt": speech.transcribe, "tts": speech.speak}
        for service, path in _PATHS.items():
            app.router.add_post(path, handlers[service] if service in self._settings.services else self._refuse)
        app.cleanup_ctx.append(lambda _: self._run_models(speech))
        return app

    def _build_speech(self) -> "SpeechApi | None":
        if not {"stt", "tts"} & set(self._settings.services):
            return None
        # Imported only when needed: the speech libraries take seconds, and chat alone starts without them.
        from local_models.speech_api import SpeechApi  # noqa: PLC0415

        return SpeechApi(self._settings, self._metrics)

    async def _run_models(self, speech: "SpeechApi | None") -> AsyncIterator[None]:
        loading = asyncio.create_task(self._load(speech))
        yield
        loading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await loading
        if speech is not None:
            speech.close()

    async def _load(self, speech: "SpeechApi | None") -> None:
        began = time.perf_counter()
        try:
            if speech is not None:
                await speech.load()
        except Exception:
            self._state = "failed"
            log.exception("the models could not be loaded")
        else:
            self._state = "ready"
            seconds = round(time.perf_counter() - began, 1)
            log.info("ready", extra={"seconds": seconds, "services": self._settings.services})

    @web.middleware
    async def _observe(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        response = await handler(request)
        resource = request.match_info.route.resource
        path = resource.canonical if resource is not None else "unknown"
        self._metrics.requests.labels(path, str(response.status)).inc()
        if path.startswith("/v1/"):
            log.info(
                "request answered",
                extra={
                    "method": request.method,
                    "route": path,
                    "status": response.status,
                    "milliseconds": round((time.perf_counter() - began) * 1000, 1),
                },
            )
        return response

    @web.middleware
    async def _authenticate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        key = self._settings.api_key
        if key is not None and request.path.startswith("/v1/"):
            given = request.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {key.get_secret_value()}".encode()):
                raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
        return await handler(request)

    async def _refuse(self, request: web.Request) -> web.StreamResponse:
        running = ", ".join(self._settings.services)
        raise ApiError(404, f"{request.path} does not run here; this server runs {running}", code="service_not_running")

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"status": self._state}, status=503 if self._state == "failed" else 200)

    async def _readyz(self, _: web.Request) -> web.Response:
        return web.json_response({"status": self._state}, status=200 if self._state == "ready" else 503)

    async def _show_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _list_models(self, _: web.Request) -> web.Response:
        models = [
            {"id": _MODELS[service], "object": "model", "created": 0, "owned_by": "local_models"}
            for service in self._settings.services
        ]
        return web.json_response({"object": "list", "data": models})
