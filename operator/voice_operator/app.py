"""The operator as a whole: its parts, put together, started and stopped in order."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from conversations.closer import ConversationCloser
from kube.client import Connection, KubernetesApi, Raw
from rooms.client import RoomClient
from rooms.tokens import RoomTokens
from voice_operator.cache import Cache
from voice_operator.calls.agent_look import AgentLook
from voice_operator.calls.agents import Access, Agents
from voice_operator.calls.claim import Claims
from voice_operator.calls.closing import Closing
from voice_operator.calls.links import Links
from voice_operator.calls.memory import Calls
from voice_operator.calls.observe import World
from voice_operator.calls.reconciler import Reconciler
from voice_operator.calls.room import CallRooms
from voice_operator.calls.session_writer import SessionWriter
from voice_operator.calls.steps import Terms
from voice_operator.events import EventRecorder
from voice_operator.keys import LANES, Key, Kind
from voice_operator.livekit_address import LiveKitAddress
from voice_operator.metrics import RECONCILE_ERRORS, RECONCILE_SECONDS, count_api_request
from voice_operator.pods.client import PodClient
from voice_operator.pools.preparation import Preparer
from voice_operator.pools.probes import Probes
from voice_operator.pools.profiles import ProfileReconciler
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.pools.reconciler import PoolReconciler
from voice_operator.pools.status_writer import StatusWriter
from voice_operator.pools.templates import Templates
from voice_operator.resync import Resync
from voice_operator.room_poll import RoomPoll
from voice_operator.routing import Routing
from voice_operator.settings import Keys, OperatorSettings
from voice_operator.work_queue import WorkQueue
from voice_operator.write_through import WriteThrough
from voicesession.names import AGENT_POOLS, AGENT_PROFILES

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What pools and calls have in common."""

    kubernetes: WriteThrough
    pods: PodClient
    ready_pods: ReadyPods
    templates: Templates


class Operator:
    """One operator. `start` returns when it has seen everything there is and has begun to decide."""

    def __init__(self, settings: OperatorSettings, kubernetes: KubernetesApi, keys: Keys) -> None:
        self.synced = False
        self.cache = Cache()
        self._settings = settings
        self._kubernetes = kubernetes
        self._keys = keys
        self._resync = Resync(kubernetes, self.cache, settings.resync_seconds)
        self._queue: WorkQueue[Key] = WorkQueue(
            self._reconcile,
            lanes=LANES,
            lane_of=lambda key: key.kind,
            on_error=lambda key: RECONCILE_ERRORS.labels(key.kind.value).inc(),
            log_fields=self.cache.log_fields,
        )
        self._handlers: dict[Kind, Callable[[str], Awaitable[None]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = contextlib.AsyncExitStack()

    @classmethod
    async def open(cls, settings: OperatorSettings, keys: Keys, kubeconfig: Path | None = None) -> "Operator":
        """Returns an operator that can reach the API server when that is up."""
        kubernetes = await KubernetesApi.connect(settings.namespace, kubeconfig, on_response=count_api_request)
        return cls(settings, kubernetes, keys)

    async def start(self) -> None:
        """Reads everything, waiting for the API server as long as it takes; then begins to decide."""
        self._stack.push_async_callback(self._kubernetes.close)
        await self._resync.list_until_complete()
        routing = await self._assemble()
        self._queue.start()
        self._stack.push_async_callback(self._queue.stop)
        routing.connect()
        self.synced = True
        log.info("started", extra={plural: len(store.by_name) for plural, store in self.cache.stores.items()})

    async def stop(self) -> None:
        """Ends everything that was started, the last first. Calls in progress go on."""
        self.synced = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def connection(self) -> Connection:
        """Returns by what credentials to watch: the same as for everything else."""
        return await self._kubernetes.connection()

    def see(self, plural: str, kind: str | None, raw: Raw) -> None:
        """Takes in what a watch tells. `kind` is DELETED, or anything else for an object as it is."""
        if kind == "DELETED":
            self.cache.stores[plural].remove(raw["metadata"]["name"], raw["metadata"]["uid"])
        else:
            self.cache.stores[plural].put(raw)

    async def _reconcile(self, key: Key) -> None:
        begun = time.perf_counter()
        await self._handlers[key.kind](key.name)
        RECONCILE_SECONDS.labels(key.kind.value).observe(time.perf_counter() - begun)

    # Putting together

    async def _assemble(self) -> Routing:
        settings = self._settings
        pods = PodClient(self._keys.signing)
        self._stack.push_async_callback(pods.close)
        secret = settings.livekit_api_secret.get_secret_value()
        rooms = RoomClient(settings.livekit_url, settings.livekit_api_key, secret)
        self._stack.push_async_callback(rooms.close)
        livekit = LiveKitAddress(settings.pod_livekit_url)
        shared = _Shared(
            kubernetes=WriteThrough(self._kubernetes, self.cache),
            pods=pods,
            ready_pods=ReadyPods(self.cache),
            templates=Templates(self._keys.public_pem, settings.agent_database_secret, settings.log_level),
        )
        pools = self._assemble_pools(shared)
        access = Access(livekit, RoomTokens(settings.livekit_api_key, secret), self._keys.conversation)
        calls = await self._assemble_calls(shared, pools, rooms, access)
        poll = RoomPoll(settings, self._keys.tickets, self.cache, self._kubernetes, rooms)
        self._tasks = [
            asyncio.create_task(self._resync.run(), name="resync"),
            asyncio.create_task(poll.run(), name="room-poll"),
            asyncio.create_task(livekit.keep_fresh(), name="livekit-address"),
        ]
        return Routing(self.cache, calls, shared.ready_pods, self._queue)

    def _assemble_pools(self, shared: _Shared) -> PoolReconciler:
        probes = Probes(self.cache, shared.ready_pods, shared.pods, self._queue)
        self._stack.push_async_callback(probes.close)
        pools = PoolReconciler(
            cache=self.cache,
            ready_pods=shared.ready_pods,
            templates=shared.templates,
            kubernetes=shared.kubernetes,
            probes=probes,
            statuses=StatusWriter(AGENT_POOLS, Kind.POOL, shared.kubernetes, self._queue),
            queue=self._queue,
        )
        profiles = ProfileReconciler(
            self.cache, StatusWriter(AGENT_PROFILES, Kind.PROFILE, shared.kubernetes, self._queue)
        )
        preparer = Preparer(self.cache, shared.ready_pods, shared.pods)
        self._handlers[Kind.POOL] = pools.reconcile_pool
        self._handlers[Kind.PROFILE] = profiles.reconcile_profile
        self._handlers[Kind.PREPARATION] = preparer.reconcile_preparation
        return pools

    async def _assemble_calls(self, shared: _Shared, pools: PoolReconciler, rooms: RoomClient, access: Access) -> Calls:
        calls, links = Calls(), Links(shared.pods, self._queue)
        self._stack.push_async_callback(links.close)
        look = AgentLook(rooms, on_answer=lambda uid: self._queue.add(Key(Kind.CALL, uid)))
        self._stack.push_async_callback(look.close)
        events = EventRecorder(self._kubernetes)
        events.start()
        self._stack.push_async_callback(events.stop)
        closing = Closing(await self._open_closer(), self._queue)
        terms = Terms(timedelta(seconds=self._settings.no_pod_timeout_seconds), self._settings.admission_limits)
        reconciler = Reconciler(
            world=World(
                self.cache, calls, shared.ready_pods, pools.troubles, terms, look.absent, self._keys.conversation
            ),
            claims=Claims(self.cache, calls, shared.ready_pods, shared.templates, shared.kubernetes),
            agents=Agents(
                access=access,
                calls=calls,
                links=links,
                look=look,
                pods=shared.pods,
                ready_pods=shared.ready_pods,
                kubernetes=shared.kubernetes,
            ),
            rooms=CallRooms(rooms, self._keys.tickets, calls),
            look=look,
            sessions=SessionWriter(shared.kubernetes, events),
            closing=closing,
            links=links,
            kubernetes=shared.kubernetes,
            queue=self._queue,
        )
        self._handlers[Kind.CALL] = reconciler.reconcile_call
        self._handlers[Kind.ROOM] = reconciler.reconcile_room
        self._handlers[Kind.POD] = reconciler.reconcile_pod
        self._handlers[Kind.CLOSING] = closing.reconcile_closing
        return calls

    async def _open_closer(self) -> ConversationCloser | None:
        if self._settings.database_url is None:
            return None
        return await self._stack.enter_async_context(ConversationCloser(self._settings.database_url.get_secret_value()))
