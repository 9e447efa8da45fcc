"""POST /v1/chat/completions, answered by the rule-based partner: in well under a millisecond, and without a queue."""

import asyncio
import json
import time
import uuid

from aiohttp import web

from local_models.completions import build_chunks, build_completion, build_usage
from local_models.errors import ApiError
from local_models.metrics import Metrics
from local_models.partner import decide_reply
from local_models.request_bodies import ChatRequest

LARGEST_CHAT = 1024 * 1024


class ChatApi:
    """The endpoint's handler."""

    def __init__(self, metrics: Metrics) -> None:
        self._seconds = metrics.work_seconds.labels("chat")

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answers with the partner's reply, in one piece or as server-sent events.

        Raises:
            ApiError: a body that is wrong or too large.
        """
        raw = await request.read()
        if len(raw) > LARGEST_CHAT:
            raise ApiError(413, f"more than {LARGEST_CHAT} bytes", code="body_too_large")
        with self._seconds.time():
            body = ChatRequest.model_validate_json(raw)
            offered = [tool.function for tool in body.tools or []]
            # Beside the loop: long messages take it a while, in which nobody else would be heard or spoken to.
            reply = await asyncio.to_thread(decide_reply, body.messages, offered, body.tool_choice)
            usage = build_usage(body.messages, reply)
        answer_id, created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        if not body.stream:
            return web.json_response(build_completion(reply, answer_id=answer_id, created=created, usage=usage))
        wants_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        for chunk in build_chunks(reply, answer_id=answer_id, created=created, usage=usage if wants_usage else None):
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response
