"""Real calls without a cluster, for short runs: agent processes as pods, and customers who type."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from benchmarks.call_stage import Call, Row
from kube.client import ConflictError, NotFoundError
from testing.agent_cluster import AgentCluster
from testing.standstill import stand_still
from voicesession.models import VoiceSession
from voicesession.names import VOICE_SESSIONS


@dataclass
class ProcessStage:
    """Calls in an agent cluster, whose operator runs and whose pool has `warm` pods."""

    cluster: AgentCluster
    warm: int
    _sessions: dict[str, VoiceSession] = field(default_factory=dict)  # by room
    _cut_off: set[str] = field(default_factory=set)
    _standing: list["subprocess.Popen[str]"] = field(default_factory=list)

    @asynccontextmanager
    async def call(self) -> AsyncIterator[Call]:
        """Yields a new call; its customer hangs up at the end."""
        async with self.cluster.call() as (session, customer):
            typed = list[str]()

            async def say(text: str) -> float:
                typed.append(text)
                await customer.type(text)
                return time.monotonic()

            room = session.spec.room or ""
            self._sessions[room] = session
            yield Call(room, customer, say, typed)

    async def until_ready(self) -> None:
        """Waits until as many pods wait as should."""
        await self.cluster.wait_for_warm(self.warm, seconds=60)

    async def hurt(self, call: Call, fault: str) -> float:
        """Has a fault happen to the pod that has the call; returns when it happened (monotonic)."""
        pod = await self.cluster.pod_of(self._sessions[call.room])
        at = time.monotonic()
        if fault == "node":
            node = self.cluster.kubelet.node_of(pod.name)
            self._cut_off.add(node)
            self.cluster.kubelet.cut(node)
        elif fault == "kill":
            pod.kill()
        elif fault == "oom":
            pod.kill("OOMKilled")
        elif fault == "hang":
            assert pod.process is not None
            self._standing.append(await asyncio.to_thread(stand_still, pod.process.pid))
        elif fault == "delete":
            with contextlib.suppress(NotFoundError, ConflictError):
                await self.cluster.api.delete_pod(pod.name, pod.uid)
        else:
            with contextlib.suppress(NotFoundError):
                await self.cluster.evict(pod.name)
        return at

    async def mend(self) -> None:
        """Gives nodes that are cut off their network back, and has processes that stand still go on."""
        for program in self._standing:
            program.kill()
            await asyncio.to_thread(program.wait)
        self._standing.clear()
        for node in self._cut_off:
            self.cluster.kubelet.mend(node)
        self._cut_off.clear()

    async def move(self, call: Call) -> float:
        """Asks for the call to go on in another pod; returns when (monotonic)."""
        began = time.monotonic()
        name = self._sessions[call.room].metadata.name
        await self.cluster.patch(VOICE_SESSIONS, name, {"spec": {"move": str(time.time_ns())}})
        return began

    async def rows_at_end(self, call: Call) -> list[Row]:
        """Returns the conversation's rows in order, once the call is over."""
        session = self._sessions[call.room]
        await self.cluster.wait_for_phase(session.metadata.name, "Ended", "Failed", seconds=60)
        return await asyncio.to_thread(self.cluster.rows, session)
