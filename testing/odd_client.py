"""A client of one model server that waits as long as a test says."""

from typing import Any

import httpx2
from livekit.agents import APIConnectOptions
from openai import AsyncClient

from voice_agent.answers.client import PATIENCE, Patience

# As a call's, but at once.
TRIES = APIConnectOptions(max_retry=2, retry_interval=0.01, timeout=15)


class PatientClient(AsyncClient):
    """OpenAI's, whose requests have this patience."""

    def __init__(self, patience: Patience, **options: Any) -> None:
        """`options` are the base's."""
        super().__init__(api_key="k", max_retries=0, **options)
        self._patience = patience

    async def _prepare_request(self, request: httpx2.Request) -> None:
        request.extensions = {**request.extensions, PATIENCE: self._patience}
