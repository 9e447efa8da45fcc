"""The one form of every refusal: RFC 9457 problem details."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

CONTENT_TYPE = "application/problem+json"
_TYPE_PREFIX = "urn:problem-type:"


class HttpProblem(Exception):  # noqa: N818 - RFC 9457's own word
    """A refusal. `kind` is the last part of its `type`, for programs; `detail` says what to do, for people."""

    def __init__(
        self,
        status: int,
        kind: str,
        title: str,
        detail: str,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {kind}: {detail}")
        self.status = status
        self.kind = kind
        self.title = title
        self.detail = detail
        self.retry_after = retry_after
        self.headers = dict(headers or {})


def unavailable(what: str, retry_after: int = 2) -> HttpProblem:
    """Returns the refusal for when `what` does not answer."""
    detail = f"{what} cannot be reached just now. Nothing was changed; try again in {retry_after} s."
    return HttpProblem(503, "unavailable", "Try again shortly", detail, retry_after)


class InvalidField(BaseModel):
    """What is wrong with one field."""

    pointer: str = Field(description="Where in the request, for example /body/room_config.")
    detail: str = Field(description="What is wrong with it.")


class ProblemDetails(BaseModel):
    """Every refusal's body, as `application/problem+json` (RFC 9457)."""

    type: str = Field(examples=["urn:problem-type:profile-full"], description="Which problem, for programs.")
    title: str = Field(examples=["No free place"], description="Which problem, for people.")
    status: int = Field(examples=[429], description="The HTTP status.")
    detail: str = Field(description="What happened this time, and what to do.")
    instance: str = Field(examples=["/api/token"], description="The path that was asked.")
    requestId: str = Field(description="Names this request in the service's log.")  # noqa: N815 - as it is sent
    retryAfterSeconds: int | None = Field(default=None, description="As the Retry-After header.")  # noqa: N815
    errors: list[InvalidField] | None = Field(default=None, description="The fields, where some are wrong.")


_DESCRIPTIONS = {
    400: "The body is not JSON.",
    401: "No key or token, or an unknown one.",
    403: "A field that callers may not choose.",
    404: "There is no such call, or it is not yours.",
    408: "The body did not arrive in time.",
    409: "The room is in use, or the Idempotency-Key's call is over.",
    413: "The body is too large.",
    415: "The body is not said to be JSON.",
    422: "A field is wrong, or names what does not exist.",
    429: "No free place just now, or too many requests. `Retry-After` says when to try again.",
    503: "LiveKit, Kubernetes or the database cannot be reached. Nothing was changed; `Retry-After` says when.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the description of these refusals for the OpenAPI page."""
    return {status: {"model": ProblemDetails, "description": _DESCRIPTIONS[status]} for status in statuses}


def build_problem(problem: HttpProblem, path: str, request_id: str, errors: Sequence[Any] = ()) -> Response:
    """Returns the answer for a refusal."""
    body: dict[str, Any] = {
        "type": _TYPE_PREFIX + problem.kind,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": path,
        "requestId": request_id,
    }
    headers = dict(problem.headers)
    if problem.retry_after is not None:
        body["retryAfterSeconds"] = problem.retry_after
        headers["Retry-After"] = str(problem.retry_after)
    if errors:
        body["errors"] = errors
    return Response(json.dumps(body), problem.status, headers, CONTENT_TYPE)


def internal_error() -> HttpProblem:
    """Returns the refusal for our own mistakes; what went wrong stands in the log only."""
    detail = "That is a mistake of this service. Its log has more under this request's id."
    return HttpProblem(500, "internal", "Internal error", detail)


def install_problem_handlers(app: FastAPI) -> None:
    """Makes the app answer every refusal in the one form."""
    app.add_exception_handler(HttpProblem, _handle_problem)
    app.add_exception_handler(RequestValidationError, _handle_validation)
    app.add_exception_handler(HTTPException, _handle_http)


def _answer(request: Request, problem: HttpProblem, errors: Sequence[Any] = ()) -> Response:
    return build_problem(problem, request.url.path, request.scope.get("request_id", ""), errors)


def _handle_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HttpProblem)  # noqa: S101 - it is registered for this class
    return _answer(request, error)


def _handle_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for this class
    if error.status_code == 404:
        return _answer(
            request, HttpProblem(404, "not-found", "Not found", "There is nothing here; /docs lists what is.")
        )
    if error.status_code == 405:
        detail = f"{request.method} is not what this path takes; /docs lists what it does."
        return _answer(
            request, HttpProblem(405, "method-not-allowed", "Method not allowed", detail, headers=error.headers)
        )
    if error.status_code == 400:
        return _answer(request, _malformed())
    return _answer(
        request, HttpProblem(error.status_code, "refused", "Refused", str(error.detail), headers=error.headers)
    )


def _handle_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for this class
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        return _answer(request, _malformed())
    if isinstance(error.body, bytes):  # nobody has parsed it
        detail = "Send the body with `Content-Type: application/json`, or send none."
        return _answer(request, HttpProblem(415, "not-json", "Not said to be JSON", detail))
    # Never the input: it may hold what is nobody's business, and it may be anything.
    errors = [{"pointer": _pointer(each["loc"]), "detail": each["msg"]} for each in found]
    first = errors[0]
    detail = f"{first['pointer']}: {first['detail']}"
    return _answer(request, HttpProblem(422, "invalid-request", "The request has invalid fields", detail), errors[:20])


def _malformed() -> HttpProblem:
    return HttpProblem(
        400, "malformed", "Malformed body", "The body is not JSON. Send a JSON object, or no body at all."
    )


def _pointer(location: Sequence[str | int]) -> str:
    return "/" + "/".join(str(part)[:64].replace("~", "~0").replace("/", "~1") for part in location)
