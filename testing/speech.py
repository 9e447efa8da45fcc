"""The customer's voice: sentences spoken by the release's own text-to-speech, kept for the next time."""

import hashlib
import json
import urllib.error
import urllib.request

from testing.release import Release
from testing.sound import SPOKEN


class SpeechError(Exception):
    """The local models did not speak a sentence."""


def synthesize(release: Release, sentence: str) -> bytes:
    """Returns `sentence` as 24 kHz mono 16-bit little-endian samples.

    Raises:
        SpeechError: the server refused or could not be reached.
    """
    kept = SPOKEN / f"{hashlib.sha256(sentence.encode()).hexdigest()[:24]}.pcm"
    if kept.exists():
        return kept.read_bytes()
    body = json.dumps({"model": "tts-1", "voice": "alloy", "input": sentence, "response_format": "pcm"}).encode()
    request = urllib.request.Request(
        f"http://{release.local_models_address()}/v1/audio/speech", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            pcm: bytes = answer.read()
    except (urllib.error.HTTPError, OSError) as error:
        raise SpeechError(f"the local models did not speak: {error}") from error
    SPOKEN.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(pcm)
    return pcm
