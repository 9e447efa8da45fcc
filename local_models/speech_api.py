"""POST /v1/audio/transcriptions and /v1/audio/speech, and the models behind them."""

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from aiohttp import BodyPartReader, web

from local_models.audio import CONTENT_TYPES, HEARD_RATE, AudioError, decode, encode
from local_models.errors import ApiError
from local_models.lane import Lane, QueueFullError
from local_models.metrics import Metrics
from local_models.request_bodies import SpeechRequest, TranscriptionRequest
from local_models.settings import LocalModelsSettings
from local_models.speech_to_text import Transcriber
from local_models.text_to_speech import Synthesizer, split_pieces

log = logging.getLogger(__name__)

# Two minutes of 48 kHz 16-bit mono.
LARGEST_UPLOAD = 12 * 1024 * 1024
_MOST_FIELDS = 32
_QUEUE_LENGTH = "X-Queue-Length"


class SpeechApi:
    """Handlers of the two endpoints. Until `load` is done they answer 503."""

    def __init__(self, settings: LocalModelsSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._lanes = {work: self._build_lane(work, metrics) for work in ("stt", "tts")}
        self._transcriber: Transcriber | None = None
        self._synthesizer: Synthesizer | None = None

    async def load(self) -> None:
        """Loads and warms the models that are to run."""
        await asyncio.to_thread(self._load)

    def close(self) -> None:
        """Gives the threads back."""
        for lane in self._lanes.values():
            lane.close()

    async def transcribe(self, request: web.Request) -> web.Response:
        """Answers with the words of the uploaded audio.

        Raises:
            ApiError: a form that is wrong, audio that cannot be read, or no turn.
        """
        fields, upload = await _read_form(request)
        form = TranscriptionRequest.model_validate(fields)
        if self._transcriber is None:
            raise _loading_error()
        headers = {_QUEUE_LENGTH: str(self._lanes["stt"].waiting)}
        work = partial(_transcribe_upload, self._transcriber, upload, self._settings.max_audio_seconds)
        try:
            text, seconds = await self._lanes["stt"].run(work)
        except QueueFullError as error:
            raise _busy_error(error) from error
        except AudioError as error:
            raise ApiError(400, str(error), param="file", code="invalid_audio") from error
        if form.response_format == "text":
            return web.Response(text=f"{text}\n", headers=headers)
        body: dict[str, object] = {"text": text}
        if form.response_format == "verbose_json":
            body |= {"task": "transcribe", "language": "english", "duration": seconds}
        return web.json_response(body, headers=headers)

    async def speak(self, request: web.Request) -> web.StreamResponse:
        """Answers with the spoken input; pcm is sent piece by piece as it is made.

        Raises:
            ApiError: a body that is wrong, or no turn.
        """
        body = SpeechRequest.model_validate_json(await request.read())
        encoding = body.response_format or "mp3"
        headers = {_QUEUE_LENGTH: str(self._lanes["tts"].waiting), "Content-Type": CONTENT_TYPES[encoding]}
        async with aclosing(self._speak_pieces(body.input, body.speed or 1.0)) as pieces:
            try:
                first = await anext(pieces)
                rest = b"" if encoding == "pcm" else b"".join([piece async for piece in pieces])
            except QueueFullError as error:
                raise _busy_error(error) from error
            if encoding == "pcm":
                return await _stream(request, headers, first, pieces)
            return web.Response(body=await asyncio.to_thread(encode, first + rest, encoding), headers=headers)

    async def _speak_pieces(self, text: str, speed: float) -> AsyncGenerator[bytes, None]:
        """Yields 24 kHz pcm. Between two pieces others have their turn, so a long text holds up nobody."""
        if self._synthesizer is None:
            raise _loading_error()
        for number, piece in enumerate(split_pieces(text) or [text]):
            work = partial(self._synthesizer.synthesize, piece, speed)
            yield await self._lanes["tts"].run(work, admitted=number > 0)

    def _build_lane(self, work: str, metrics: Metrics) -> Lane:
        lane = Lane(
            work,
            concurrency=self._settings.concurrency,
            queue_limit=self._settings.queue_limit,
            timeout_seconds=self._settings.queue_timeout_seconds,
        )
        metrics.watch(lane)
        return lane

    def _load(self) -> None:
        voice = Synthesizer()
        sound = encode(voice.synthesize("Hello, how can I help you today?"), "wav")
        if "tts" in self._settings.services:
            self._synthesizer = voice
        if "stt" in self._settings.services:
            ears = Transcriber(threads=self._settings.threads, concurrency=self._settings.concurrency)
            _transcribe_upload(ears, sound, self._settings.max_audio_seconds)
            self._transcriber = ears
        gc.collect()
        gc.freeze()  # What is loaded stays; later collections need not look at it.


def _transcribe_upload(transcriber: Transcriber, upload: bytes, max_seconds: float) -> tuple[str, float]:
    samples = decode(upload, max_seconds)
    return transcriber.transcribe(samples), samples.size / HEARD_RATE


async def _stream(
    request: web.Request, headers: dict[str, str], first: bytes, rest: AsyncGenerator[bytes, None]
) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    await response.write(first)
    try:
        async for piece in rest:
            await response.write(piece)
    except QueueFullError:
        # Too late for an error body: a broken connection tells the client, an early end would not.
        log.warning("speech broken off: no turn for its next piece")
        if request.transport is not None:
            request.transport.abort()
        return response
    await response.write_eof()
    return response


async def _read_form(request: web.Request) -> tuple[dict[str, str], bytes]:
    """Returns the form's text fields and its file; nothing touches the disk."""
    if request.content_type != "multipart/form-data":
        raise ApiError(400, "send multipart/form-data with the fields file and model")
    fields: dict[str, str] = {}
    upload: bytes | None = None
    left = LARGEST_UPLOAD
    try:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader) or len(fields) >= _MOST_FIELDS:
                raise ApiError(400, f"the form is nested or has more than {_MOST_FIELDS} fields")
            content = bytes(await part.read())
            left -= len(content)
            if left < 0:
                raise ApiError(413, f"more than {LARGEST_UPLOAD} bytes", param="file", code="body_too_large")
            if part.name == "file":
                upload = content
            else:
                fields[part.name or ""] = content.decode()
    except ValueError as error:
        raise ApiError(400, "the multipart body is malformed") from error
    if upload is None:
        raise ApiError(400, "file: field required", param="file", code="missing_file")
    return fields, upload


def _busy_error(error: QueueFullError) -> ApiError:
    return ApiError(429, f"too much work: {error}", code="rate_limit_exceeded", retry_after=1)


def _loading_error() -> ApiError:
    return ApiError(503, "the models are not loaded yet; /readyz tells when", code="model_loading", retry_after=2)
