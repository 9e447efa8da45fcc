"""The page of calls: its files, and signing in to it and out; to a stranger it shows nothing but how to sign in."""

import logging
import os
import re
from pathlib import Path
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

from token_service.problems import HttpProblem
from token_service.service import Service
from token_service.sign_in import COOKIE
from token_service.visitors import Visitors
from voicesession import clock

log = logging.getLogger(__name__)

# Below the folder of the built page.
FOLDER = "calls"

_LIST = "/calls"
_SIGN_IN = "/calls/sign-in"
# An address of the page's own; a browser takes a backslash for a slash.
_OWN_ADDRESS = re.compile(r"/calls(?:[?/][!-\[\]-~]*)?")
_MOST_FIELDS = 8
_OTHER_SITES = {"cross-site", "same-site"}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
}


class PublicFiles(StaticFiles):
    """All files of the built page but those of the page of calls."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Finds none of the page of calls."""
        return ("", None) if Path(path).parts[:1] == (FOLDER,) else super().lookup_path(path)


def build_calls_pages(service: Service, visitors: Visitors, folder: Path) -> APIRouter:
    """Returns the routes under `/calls`. `folder`: of the page's files, which are read now.

    Raises:
        OSError: they are not there.
    """
    shell, form = (folder / "index.html").read_text(), (folder / "sign-in.html").read_text()
    router = APIRouter(prefix=_LIST, include_in_schema=False)

    @router.get("/sign-in")
    async def show_form() -> HTMLResponse:
        return HTMLResponse(form, headers=_HEADERS)

    @router.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        _refuse_other_sites(request)
        fields = await _read_form(request)
        wanted = _own_address(fields.get("next", ""))
        try:
            caller = await service.authenticate_bearer(request, fields.get("key", "").strip() or None)
        except HttpProblem as problem:
            if problem.status not in {401, 429}:
                raise
            marker = "wrong" if problem.status == 401 else "later"
            return _go(f"{_SIGN_IN}?next={quote(wanted, safe='')}#{marker}")
        cookie, seconds = visitors.sign_ins.sign(caller, clock.now())
        log.info("signed in to the page of calls", extra={"seconds": seconds})
        answer = _go(wanted)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, cookie, seconds, secure=secure, httponly=True, samesite="strict")
        return answer

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        _refuse_other_sites(request)
        answer = _go(f"{_SIGN_IN}#out")
        answer.delete_cookie(COOKIE, secure=request.url.scheme == "https", httponly=True, samesite="strict")
        return answer

    @router.get("")
    @router.get("/{room}")
    async def show(request: Request) -> HTMLResponse:
        try:
            await visitors.know(request)
        except HttpProblem as problem:
            if problem.status != 401:
                raise
            return HTMLResponse(form, 401, {**_HEADERS, **problem.headers})
        return HTMLResponse(shell, headers=_HEADERS)

    return router


async def _read_form(request: Request) -> dict[str, str]:
    """Returns a form's fields; none where it is no form."""
    try:
        text = (await request.body()).decode()
        return {name: values[0] for name, values in parse_qs(text, max_num_fields=_MOST_FIELDS).items()}
    except ValueError:
        return {}


def _own_address(wanted: str) -> str:
    is_own = _OWN_ADDRESS.fullmatch(wanted) and "//" not in wanted and not wanted.startswith(_SIGN_IN)
    return wanted if is_own else _LIST


def _refuse_other_sites(request: Request) -> None:
    """Refuses what another site's page has a browser send. Not every browser tells; a sign-in needs the key anyway."""
    if request.headers.get("sec-fetch-site") in _OTHER_SITES:
        raise HttpProblem(403, "other-site", "Sent by another site", "Sign in and out on this service's own page.")


def _go(address: str) -> RedirectResponse:
    return RedirectResponse(address, 303, _HEADERS)
