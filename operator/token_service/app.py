"""Puts the HTTP application together."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from token_service.calls_pages import FOLDER, PublicFiles, build_calls_pages
from token_service.calls_routes import build_calls_router
from token_service.middleware import BodyLimit, OwnMistakes, RequestContext
from token_service.problems import CONTENT_TYPE, install_problem_handlers
from token_service.service import ConversationSource, Service
from token_service.session_routes import build_session_router
from token_service.token_routes import build_token_router
from token_service.visitors import Visitors
from token_service.webhook_routes import build_webhook_router

BODY_LIMIT_BYTES = 256 * 1024
# By these LiveKit's clients know LiveKit Cloud, and ask it for the addresses of its regions.
CLOUD_DOMAINS = (".livekit.cloud", ".livekit.run")

_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key or an issuer's token, or for `/api/sessions` also the participant's own.",
}
_DESCRIPTION = """\
Gives customers a LiveKit room with an agent of their own.

Any LiveKit client connects with nothing but `/api/token`. Every refusal is an
[RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem with a `type` for programs, a `detail` that says what to do,
and the `requestId` under which the service's log has it.
"""


class _Application(FastAPI):
    """FastAPI, which by itself describes every answer as application/json."""

    def openapi(self) -> dict[str, Any]:
        """Returns the OpenAPI description: refusals as the problems that they are, and how callers prove themselves.

        FastAPI's own security classes would do the latter, at a tenth of a token request's time.
        """
        if self.openapi_schema is None:
            schema = super().openapi()
            schema["components"]["securitySchemes"] = {"bearer": _BEARER}
            for path, operations in schema["paths"].items():
                for operation in operations.values():
                    _correct_refusals(operation["responses"])
                    operation["security"] = [{"bearer": []}, {}] if path.startswith("/api/") else []
        return super().openapi()


def build_app(service: Service) -> FastAPI:
    """Returns the application; `service` brings everything that outlives a request."""
    app = _Application(
        title="Voice agents: the front door",
        version="0.1.0",
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,
        redoc_url=None,
    )
    app.add_api_route("/docs", _show_docs, include_in_schema=False)
    app.include_router(build_token_router(service))
    app.include_router(build_session_router(service))
    app.include_router(build_webhook_router(service))
    install_problem_handlers(app)
    web_root = service.settings.web_root
    if service.calls is not None:
        _add_calls(app, service, service.calls, web_root)
    if web_root is not None:
        app.mount("/", PublicFiles(directory=web_root, html=True), name="page")
    # The last one added is the first to see a request.
    app.add_middleware(BodyLimit, limit=BODY_LIMIT_BYTES)
    app.add_middleware(OwnMistakes)
    if service.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            # Whatever a listed page's client sends along, such as traceparent: what counts are those that are read.
            allow_headers=["*"],
            expose_headers=["X-Request-Id", "Retry-After"],
            max_age=600,
        )
    app.add_middleware(RequestContext, headers=build_headers(service.settings.livekit_public_url))
    return app


def _add_calls(app: FastAPI, service: Service, conversations: ConversationSource, web_root: Path | None) -> None:
    """Adds what looks at calls, and its page where it was built."""
    visitors = Visitors(service, service.settings.all_tenants)
    app.include_router(build_calls_router(service, visitors, conversations))
    if web_root is None or not (folder := web_root / FOLDER).is_dir():
        return
    # They hold nothing of any call; the form for strangers has some too.
    app.mount(f"/{FOLDER}/assets", StaticFiles(directory=folder / "assets", check_dir=False), name="calls-assets")
    app.include_router(build_calls_pages(service, visitors, folder))


def _correct_refusals(responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        if status.startswith(("4", "5")):
            response["content"] = {CONTENT_TYPE: response["content"]["application/json"]}


async def _show_docs() -> HTMLResponse:
    # FastAPI's page brings its program from a CDN; all else that this service serves is its own.
    page = get_swagger_ui_html(openapi_url="/openapi.json", title="Voice agents: the front door")
    page.headers["Content-Security-Policy"] = (
        "default-src 'self'; script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
        "style-src 'unsafe-inline' https://cdn.jsdelivr.net; img-src 'self' data: https://fastapi.tiangolo.com"
    )
    return page


def build_headers(livekit_public_url: str) -> dict[str, str]:
    """Returns the headers that every answer has: above all, whom the page may talk to."""
    livekit = urlsplit(livekit_public_url)
    secure = "s" if livekit.scheme in {"wss", "https"} else ""
    # Where its first host is away, a client goes on at another region's.
    cloud = next((f"//*{domain}" for domain in CLOUD_DOMAINS if (livekit.hostname or "").endswith(domain)), "")
    # A policy cannot name an IPv6 address: browsers ignore one that does, and nobody would be reached.
    own = "" if "[" in livekit.netloc else f"//{livekit.netloc}"
    hosts = [own, cloud] if cloud else [own]
    connect = " ".join(f"ws{secure}:{host} http{secure}:{host}" for host in hosts)
    policy = (
        f"default-src 'self'; connect-src 'self' {connect}; "
        "img-src 'self' data:; media-src 'self' blob: mediastream:; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "microphone=(self)",
    }
