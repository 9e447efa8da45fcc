"""The simulated agent pods of stub_pods.py, whose calls are also written to a real database: by the agents' own writer.

Each call says a few things at even times. What the database has not got at its end is the operator's to collect: by
then nothing writes it here any more, as if the pod were gone. What was said is asked for beside the other results.
`DATABASE_URL` is the agents'.
"""

import asyncio
import contextlib
import os
from collections import defaultdict

from aiohttp import web

from benchmarks.stub_pods import Call, StubPods, main
from voice_agent.conversation_log import ConversationLog, ConversationStart
from voice_agent.farewell import FLUSH_SECONDS
from voicesession import clock
from voicesession.pod_tokens import Purpose
from voicesession.spool import SpooledEnd

# In a call's life, the first as soon as the agent has joined.
ITEMS = 5


class PodsLog(ConversationLog):
    """The agents' writer in a pod that ends before the process it runs in."""

    async def leave(self) -> None:
        """Writes nothing more, as when a pod's process ends."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._disconnect()


class TalkingPods(StubPods):
    """All pods, and what is said in their calls."""

    def __init__(self, public_key: str, call_seconds: float) -> None:
        """As StubPods."""
        super().__init__(public_key, call_seconds)
        self._url = os.environ["DATABASE_URL"]
        self._logs: dict[str, PodsLog] = {}  # of calls that have ended, by the VoiceSession's uid
        self._said: dict[str, list[str]] = defaultdict(list)  # ids of items, by the VoiceSession's uid
        self._late = 0  # calls whose conversation was not written at their end

    def build_pods_app(self) -> web.Application:
        """Returns what an agent pod serves."""
        app = super().build_pods_app()
        app.add_routes([web.get("/spool", self._tell_spool), web.delete("/spool", self._let_go_of_spool)])
        return app

    def build_results_app(self) -> web.Application:
        """Returns what the benchmark asks."""
        app = super().build_results_app()
        app.add_routes([web.get("/said", self._tell_said)])
        return app

    async def _talk(self, call: Call) -> bool:
        given = call.assignment
        start = ConversationStart(
            session_id=given.session_id,
            attempt=given.attempt,
            write_token=given.write_token,
            room_id=given.room,
            participant_id=given.participant_identity,
            llm_provider=given.provider,
            is_local_mode=given.local_mode,
            profile=given.profile_name,
            tenant=given.tenant,
        )
        log = PodsLog(self._url, start, on_superseded=lambda: None)
        log.begin()
        await self._say_all(call, log)
        await log.finish(SpooledEnd(reason=call.reason.value, ended_at=clock.now()), FLUSH_SECONDS)
        written = log.end_written
        if not written:
            self._late += 1
            self._logs[given.session_id] = log
            self._begin(log.leave())
        return written

    async def _say_all(self, call: Call, log: ConversationLog) -> None:
        """Says one thing after the other, until the call's time is over or it is ended."""
        for number in range(ITEMS):
            item_id = f"item-{number}"
            words = {"kind": "message", "role": "assistant", "content": f"This is number {number}."}
            log.append([{"itemId": item_id, "createdAt": clock.now().isoformat(), **words}])
            self._said[call.assignment.session_id].append(item_id)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._call_seconds / ITEMS):
                    await call.end.wait()
                return

    async def _tell_spool(self, request: web.Request) -> web.Response:
        log = await self._log_of(request, Purpose.SPOOL)
        spool = log.spool() if log else None
        if spool is None:
            raise web.HTTPNotFound(text="nothing is unwritten")
        return web.json_response(text=spool.model_dump_json(by_alias=True))

    async def _let_go_of_spool(self, request: web.Request) -> web.Response:
        await self._log_of(request, Purpose.SPOOL_KEPT)
        return web.Response(status=202)

    async def _log_of(self, request: web.Request, purpose: Purpose) -> PodsLog | None:
        pod, _ = await self._authorize(request, purpose)
        call = self._calls.get(pod)
        return self._logs.get(call.assignment.session_id) if call else None

    async def _tell_said(self, _request: web.Request) -> web.Response:
        return web.json_response({"said": self._said, "late": self._late})


if __name__ == "__main__":
    main(TalkingPods)
