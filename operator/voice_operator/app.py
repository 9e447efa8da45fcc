"""The operator as a whole: its parts, put together, started and stopped in order."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from conversations.closer import ConversationCloser
from kube.client import Connection, KubernetesApi, KubernetesError, KubernetesUnavailableError, Raw
from rooms.client import RoomClient
from voice_operator.cache import PODS, Cache
from voice_operator.calls.closing import Books
from voice_operator.calls.memory import Calls
from voice_operator.calls.reconciler import Reconciler
from voice_operator.events import EventRecorder
from voice_operator.keys import Key, Kind
from voice_operator.livekit_address import LiveKitAddress
from voice_operator.metrics import MISSED_DELETIONS, RECONCILE_ERRORS, RECONCILE_SECONDS, count_api_request
from voice_operator.pods.client import PodClient
from voice_operator.pools.preparation import Preparer
from voice_operator.pools.probes import Probes
from voice_operator.pools.profiles import ProfileReconciler
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.pools.reconciler import PoolReconciler
from voice_operator.pools.status_writer import StatusWriter
from voice_operator.pools.templates import Templates
from voice_operator.room_poll import RoomPoll
from voice_operator.routing import Routing
from voice_operator.settings import Keys, OperatorSettings
from voice_operator.work_queue import WorkQueue
from voice_operator.write_through import WriteThrough
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, VOICE_SESSIONS

log = logging.getLogger(__name__)

_RELIST_SECONDS = 2.0
# The watches begin some time after the first lists; what was deleted in between is found by an early resync.
_FIRST_RESYNC_SECONDS = 5.0


class Operator:
    """One operator. `start` returns when it has seen everything there is and has begun to decide."""

    def __init__(self, settings: OperatorSettings, kubernetes: KubernetesApi, keys: Keys) -> None:
        self.synced = False
        self.cache = Cache()
        self._settings = settings
        self._kubernetes = kubernetes
        self._keys = keys
        self._queue: WorkQueue[Key] = WorkQueue(
            self._reconcile, on_error=lambda key: RECONCILE_ERRORS.labels(key.kind.value).inc()
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = contextlib.AsyncExitStack()
        self._handlers: dict[Kind, Callable[[str], Awaitable[None]]] = {}

    @classmethod
    async def open(cls, settings: OperatorSettings, keys: Keys, kubeconfig: Path | None = None) -> "Operator":
        """Returns an operator that can reach the API server when that is up."""
        kubernetes = await KubernetesApi.connect(settings.namespace, kubeconfig, on_response=count_api_request)
        return cls(settings, kubernetes, keys)

    async def start(self) -> None:
        """Reads everything, waiting for the API server as long as it takes; then begins to decide."""
        self._stack.push_async_callback(self._kubernetes.close)
        await self._list_until_complete()
        routing = await self._assemble()
        self._queue.start()
        self._stack.push_async_callback(self._queue.stop)
        routing.connect()
        self.synced = True
        log.info(
            "started: %d VoiceSessions, %d pods, %d pools, %d profiles",
            *(len(self.cache.stores[plural].by_name) for plural in (VOICE_SESSIONS, PODS, AGENT_POOLS, AGENT_PROFILES)),
        )

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

    async def resync(self) -> None:
        """Compares the cache with full lists: what a watch has missed is found here."""
        for plural, store in self.cache.stores.items():
            raws, version = await self._list(plural)
            gone = store.resync(raws, version)
            if gone:
                MISSED_DELETIONS.labels(plural).inc(len(gone))
                log.warning("%d %s were gone without a word: %s", len(gone), plural, ", ".join(gone[:5]))

    async def _assemble(self) -> Routing:
        settings, cache, calls = self._settings, self.cache, Calls()
        ready_pods = ReadyPods(cache)
        pods = PodClient(self._keys.signing)
        self._stack.push_async_callback(pods.close)
        rooms = RoomClient(
            settings.livekit_url, settings.livekit_api_key, settings.livekit_api_secret.get_secret_value()
        )
        self._stack.push_async_callback(rooms.close)
        events = EventRecorder(self._kubernetes)
        events.start()
        self._stack.push_async_callback(events.stop)
        books = Books(await self._open_closer(), self._queue)
        livekit = LiveKitAddress(settings.pod_livekit_url)
        templates = Templates(self._keys.public_pem, settings.agent_database_secret, settings.log_level)
        kubernetes = WriteThrough(self._kubernetes, cache)
        probes = Probes(cache, ready_pods, pods, self._queue)
        self._stack.push_async_callback(probes.close)
        pools = PoolReconciler(
            cache=cache,
            ready_pods=ready_pods,
            templates=templates,
            kubernetes=kubernetes,
            probes=probes,
            statuses=StatusWriter(AGENT_POOLS, Kind.POOL, kubernetes, self._queue),
            queue=self._queue,
        )
        profiles = ProfileReconciler(cache, StatusWriter(AGENT_PROFILES, Kind.PROFILE, kubernetes, self._queue))
        reconciler = Reconciler(
            settings=settings,
            keys=self._keys,
            cache=cache,
            calls=calls,
            ready_pods=ready_pods,
            kubernetes=self._kubernetes,
            pods=pods,
            rooms=rooms,
            events=events,
            queue=self._queue,
            templates=templates,
            troubles=pools.troubles,
            close_books=books.close,
            livekit=livekit,
        )
        self._stack.push_async_callback(reconciler.close)
        self._handlers = {
            Kind.CALL: reconciler.reconcile_call,
            Kind.POOL: pools.reconcile_pool,
            Kind.PROFILE: profiles.reconcile_profile,
            Kind.PREPARATION: Preparer(cache, ready_pods, pods).reconcile_preparation,
            Kind.BOOKS: books.reconcile_books,
        }
        poll = RoomPoll(settings, cache, self._kubernetes, rooms)
        self._tasks = [
            asyncio.create_task(self._resync_forever(), name="resync"),
            asyncio.create_task(poll.run(), name="room-poll"),
            asyncio.create_task(livekit.keep_fresh(), name="livekit-address"),
        ]
        return Routing(cache, calls, ready_pods, self._queue)

    async def _open_closer(self) -> ConversationCloser | None:
        if self._settings.database_url is None:
            return None
        return await self._stack.enter_async_context(ConversationCloser(self._settings.database_url.get_secret_value()))

    async def _reconcile(self, key: Key) -> None:
        begun = time.perf_counter()
        await self._handlers[key.kind](key.name)
        RECONCILE_SECONDS.labels(key.kind.value).observe(time.perf_counter() - begun)

    async def _list(self, plural: str) -> tuple[list[Raw], int]:
        return await (self._kubernetes.list_pods() if plural == PODS else self._kubernetes.list_objects(plural))

    async def _list_until_complete(self) -> None:
        while True:
            try:
                await self.resync()
            except (KubernetesUnavailableError, KubernetesError) as error:
                log.warning("cannot read the cluster yet, again in %.0f s: %s", _RELIST_SECONDS, error)
                await asyncio.sleep(_RELIST_SECONDS)
            else:
                return

    async def _resync_forever(self) -> None:
        await asyncio.sleep(_FIRST_RESYNC_SECONDS)
        while True:
            try:
                await self.resync()
            except (KubernetesUnavailableError, KubernetesError) as error:
                log.warning("resync failed, again in %.0f s: %s", self._settings.resync_seconds, error)
            except Exception:
                # It finds what watches miss: whatever an object looks like, it must not end.
                log.exception("resync failed, again in %.0f s", self._settings.resync_seconds)
            await asyncio.sleep(self._settings.resync_seconds)
