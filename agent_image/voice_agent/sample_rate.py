"""Raw speech of a server that speaks at another rate than its interface says: brought to 24 kHz as it arrives."""

from typing import Any, cast

from livekit import rtc
from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions, tts
from livekit.agents.utils.audio import AudioByteStream
from livekit.plugins import openai
from livekit.plugins.openai.tts import SAMPLE_RATE, ChunkedStream


class ResamplingTTS(openai.TTS):
    """OpenAI's text-to-speech whose raw samples come at a rate of their own. Other formats tell theirs themselves."""

    def __init__(self, sample_rate: int, **options: Any) -> None:
        """`sample_rate`: in Hz, of what the server sends. `options`: as of `openai.TTS`."""
        super().__init__(**options)
        self.server_rate = sample_rate

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        """Returns the speech, at 24 kHz."""
        return _ResamplingStream(self, text, conn_options)


class _ResamplingStream(ChunkedStream):
    def __init__(self, model: ResamplingTTS, text: str, conn_options: APIConnectOptions) -> None:
        super().__init__(tts=model, input_text=text, conn_options=conn_options)
        self._server_rate = model.server_rate

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        emitter = _ResamplingEmitter(output_emitter, self._server_rate)
        await super()._run(cast(tts.AudioEmitter, emitter))


class _ResamplingEmitter:
    """What the plugin uses of an emitter: raw samples are resampled on their way to the real one."""

    def __init__(self, emitter: tts.AudioEmitter, server_rate: int) -> None:
        self._emitter = emitter
        self._is_raw = False
        self._frames = AudioByteStream(server_rate, 1, server_rate // 50)
        self._resampler = rtc.AudioResampler(server_rate, SAMPLE_RATE)

    def initialize(self, *, mime_type: str, **options: Any) -> None:
        self._is_raw = mime_type == "audio/pcm"
        self._emitter.initialize(mime_type=mime_type, **options)

    def push(self, data: bytes) -> None:
        if self._is_raw:
            self._push(self._frames.write(data))
        else:
            self._emitter.push(data)

    def flush(self) -> None:
        if self._is_raw:
            self._push(self._frames.flush())
            for frame in self._resampler.flush():
                self._emitter.push(bytes(frame.data))
        self._emitter.flush()

    def _push(self, frames: list[rtc.AudioFrame]) -> None:
        for frame in frames:
            for resampled in self._resampler.push(frame):
                self._emitter.push(bytes(resampled.data))
