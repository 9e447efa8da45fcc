"""Refusals and failures in OpenAI's error form."""

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from pydantic import ValidationError

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiError(Exception):
    """A request that is answered with an error body.

    `retry_after`: seconds after which the same request may succeed.
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, retry_after: int = 0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after


def error_type(status: int) -> str:
    """Returns OpenAI's `type` for an HTTP status."""
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def build_error_response(error: ApiError) -> web.Response:
    """Returns {"error": {"message", "type", "param", "code"}} with the error's status."""
    body = {"message": error.message, "type": error_type(error.status), "param": error.param, "code": error.code}
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
    return web.json_response({"error": body}, status=error.status, headers=headers)


def from_validation_error(error: ValidationError) -> ApiError:
    """Returns the first thing wrong with a body as an ApiError. It names the field and never what was in it."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    param = ".".join(str(part) for part in first["loc"]) or None
    return ApiError(400, f"{param or 'body'}: {first['msg']}", param=param, code="invalid_value")


def to_api_error(error: Exception) -> ApiError:
    """Returns any exception of a handler as what the client is told."""
    match error:
        case ApiError():
            return error
        case ValidationError():
            return from_validation_error(error)
        case web.HTTPRequestEntityTooLarge():
            return ApiError(413, error.text or "the body is too large", code="body_too_large")
        case web.HTTPException():
            return ApiError(error.status, error.reason)
        case _:
            return ApiError(500, "the local models failed; their log says where")


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers every refusal and failure in one form."""
    try:
        return await handler(request)
    except Exception as error:
        known = to_api_error(error)
        if known.status == 500:
            log.exception("request failed", extra={"path": request.path})
        return build_error_response(known)
