"""Real calls without a cluster: an operator, a real API server, LiveKit and Postgres, and agent processes as pods."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from testing.agent_pod import build_provider
from testing.conversations import ConversationsDatabase, Row
from testing.customer import Customer, joined_room
from testing.fake_openai import FakeOpenAI
from testing.kubelet import running_kubelet
from testing.livekit import LiveKitServer, new_room
from testing.operator_cluster import OperatorNamespace, operator_namespace
from testing.process_pod import ProcessKubelet, ProcessPod
from testing.waiting import eventually
from voicesession.models import VoiceSession
from voicesession.names import AGENT_POOLS

NODES = ("node-1", "node-2")
START_SECONDS = 90.0
DATABASE_SECRET = "agent-database"


@dataclass
class AgentCluster(OperatorNamespace):
    """One test's namespace, whose pods hold conversations: with the fake models, in LiveKit, into Postgres."""

    kubelet: ProcessKubelet
    livekit: LiveKitServer
    database: ConversationsDatabase
    models: FakeOpenAI

    async def create_warm_pool(self, count: int, **spec: Any) -> None:
        """Creates the pool and the profile `default`; returns when so many of its pods wait."""
        provider = build_provider(self.models.base_url).to_wire()
        warm = {"min": count, "maxStarting": count}
        await self.create(
            AGENT_POOLS, "AgentPool", "default", {"image": "agent", "providers": [provider], "warm": warm, **spec}
        )
        await self.create_profile(pool="default")
        await self.wait_for_warm(count, START_SECONDS)

    @asynccontextmanager
    async def call(self, **spec: Any) -> AsyncIterator[tuple[VoiceSession, Customer]]:
        """Yields a call that has just been asked for, and its customer, who waits in the room and hangs up at the end.

        `spec`: of the VoiceSession, beside its room and customer.
        """
        room = new_room()
        async with joined_room(self.livekit.url, self.livekit.customer_token(room)) as customer:
            yield await self.create_session(room=room, participantIdentity="customer", **spec), customer

    async def pod_of(self, session: VoiceSession) -> ProcessPod:
        """Returns the pod that has this call, by the VoiceSession's status, once it has one."""

        async def look() -> ProcessPod | None:
            now = await self.session(session.metadata.name)
            return self.kubelet.processes.get(now.status.pod_name or "") if now else None

        return await eventually(look, why=lambda: f"{session.metadata.name} has no pod")

    def rows(self, session: VoiceSession) -> list[Row]:
        """Returns the conversation's items as the database holds them, oldest first."""
        return self.database.query(
            "SELECT * FROM voice.conversation_messages WHERE session_id = %s ORDER BY position, attempt",
            session.metadata.uid,
        )


@asynccontextmanager
async def agent_cluster(
    kubeconfig: Path,
    livekit: LiveKitServer,
    database: ConversationsDatabase,
    models: FakeOpenAI,
    folder: Path,
    **settings: Any,
) -> AsyncIterator[AgentCluster]:
    """Makes a namespace with two nodes, and no operator yet; ends everything in it afterwards."""
    own: dict[str, Any] = {
        "agent_database_secret": DATABASE_SECRET,
        "database_url": SecretStr(database.url("voice_closer")),
        "conversation_key_file": database.key_file,
    }
    async with operator_namespace(kubeconfig, livekit, folder, **own, **settings) as made:
        secret = {"metadata": {"name": DATABASE_SECRET}, "stringData": {"url": database.url("voice_agent")}}
        await made.api.request("POST", f"/api/v1/namespaces/{made.namespace}/secrets", secret)
        kubelet = ProcessKubelet(made.api, made.namespace, folder, NODES)
        cluster = AgentCluster(
            made.kubeconfig, made.namespace, made.api, made.settings, kubelet, livekit, database, models
        )
        async with running_kubelet(kubelet):
            try:
                yield cluster
            finally:
                await cluster.stop_operators()
