"""The HTTP client of the models: waits no longer than a customer would, and passes on no answer that is none.

The clients of OpenAI's and of livekit-agents stand on it unchanged: they try again after an error of it, as after any.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx2

from voice_agent.answers.answer import Answer, Mended
from voice_agent.answers.chat import mend_chat
from voice_agent.answers.speech import mend_speech
from voice_agent.answers.transcripts import mend_transcript
from voice_agent.answers.wrong_answer import WrongAnswerError

# After its time a question may still be asked once more, which is answered at once: no.
_ASKED_AGAIN_SECONDS = 2.0

# Among a request's extensions.
PATIENCE = "voice_agent.patience"

_Guard = Callable[[Answer], Awaitable[Mended]]


@dataclass(frozen=True)
class Patience:
    """How many seconds a model's server has; of one request, where it is among its extensions by `PATIENCE`."""

    connect: float = 3.0
    # For the first word or sound of an answer, however often it is tried. None: by the kind of model.
    answer: float | None = None
    # Between two pieces of an answer that has begun.
    stall: float = 4.0


class _Kind(NamedTuple):
    guard: _Guard
    seconds: float


_KINDS = {
    "/chat/completions": _Kind(mend_chat, 8.0),
    "/audio/speech": _Kind(mend_speech, 6.0),
    "/audio/transcriptions": _Kind(mend_transcript, 8.0),
}


class ModelClient(httpx2.AsyncClient):
    """As its base; chat completions, speech and transcriptions are guarded."""

    def __init__(self, **options: Any) -> None:
        """`options` are the base's."""
        super().__init__(**options)
        self._deadlines: dict[int, float] = {}
        self._transcriptions = 0

    @property
    def is_hearing(self) -> bool:
        """Whether a transcription is on its way."""
        return self._transcriptions > 0

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """As its base's. Returns when the first word or sound of the answer is there.

        Raises:
            httpx2.TimeoutException: it took too long.
            WrongAnswerError: it is no answer.
            httpx2.RequestError: the server could not be reached.
        """
        path = request.url.path
        kind = next((kind for ending, kind in _KINDS.items() if path.endswith(ending)), None)
        if kind is None:
            return await super().send(request, stream=stream, **options)
        patience = request.extensions.get(PATIENCE, Patience())
        seconds = patience.answer or kind.seconds
        question = await _identify(request)
        deadline = self._find_deadline(question, seconds)
        # The rest is the deadline's.
        request.extensions["timeout"] = httpx2.Timeout(None, connect=patience.connect).as_dict()
        hears = kind.guard is mend_transcript
        self._transcriptions += hears
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                response = await self._ask(kind.guard, patience, request, options)
                if not stream:
                    await response.aread()
        except TimeoutError:
            raise httpx2.ReadTimeout(f"no answer within {seconds:g} s", request=request) from None
        finally:
            self._transcriptions -= hears
        if response.is_success:
            self._deadlines.pop(question, None)
        return response

    async def _ask(
        self, guard: _Guard, patience: Patience, request: httpx2.Request, options: dict[str, Any]
    ) -> httpx2.Response:
        response = await super().send(request, stream=True, **options)
        if not response.is_success:
            await response.aread()
            return response
        pieces = _SteadyPieces(response, request)
        try:
            mended = await guard(_build_answer(request, response, aiter(pieces)))
        except WrongAnswerError as error:
            await response.aclose()
            if error.status is None:
                raise
            body = {"error": {"message": str(error)}}
            return httpx2.Response(error.status, json=body, request=request)
        except BaseException:
            await response.aclose()
            raise
        # Until now the deadline held.
        pieces.seconds = patience.stall
        headers = httpx2.Headers(response.headers)
        for name in ("content-encoding", "content-length", "transfer-encoding"):
            headers.pop(name, None)
        headers["content-type"] = mended.media_type
        return httpx2.Response(
            response.status_code,
            headers=headers,
            stream=_Pieces(mended.pieces, response),
            request=request,
            extensions=response.extensions,
        )

    def _find_deadline(self, question: int, seconds: float) -> float:
        """Returns until when this question is to be answered: it may have been asked before."""
        now = time.monotonic()
        kept = {key: at for key, at in self._deadlines.items() if now < at + _ASKED_AGAIN_SECONDS}
        deadline = kept.setdefault(question, now + seconds)
        self._deadlines = kept
        return deadline


class _Pieces(httpx2.AsyncByteStream):
    """What the guard lets through; closing it closes the connection's own stream."""

    def __init__(self, pieces: AsyncIterator[bytes], response: httpx2.Response) -> None:
        self._pieces = pieces
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        await self._response.aclose()


async def _identify(request: httpx2.Request) -> int:
    """Returns a number for what is asked: the same when it is asked again."""
    body = await request.aread()
    # The parts of a form are set apart by something new each time.
    boundary = request.headers.get("content-type", "").partition("boundary=")[2]
    return hash((str(request.url), body.replace(boundary.encode(), b"") if boundary else body))


def _build_answer(request: httpx2.Request, response: httpx2.Response, pieces: AsyncIterator[bytes]) -> Answer:
    asked: Any = {}
    with contextlib.suppress(ValueError):
        asked = json.loads(request.content)
    media_type = response.headers.get("content-type", "").split(";")[0].strip().lower()
    return Answer(asked if isinstance(asked, dict) else {}, media_type, pieces)


class _SteadyPieces:
    """A response's pieces. `seconds`: how long the next one may take; None: as long as whoever asks has."""

    def __init__(self, response: httpx2.Response, request: httpx2.Request) -> None:
        self._pieces = response.aiter_bytes()
        self._request = request
        self.seconds: float | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(self.seconds):
                    piece = await anext(self._pieces)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise httpx2.ReadTimeout("the answer stood still", request=self._request) from None
            yield piece
