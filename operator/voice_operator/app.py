"""The operator as a whole: its parts, put together, started and stopped in order."""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

from conversations.closer import ConversationCloser
from conversations.undelivered import UndeliveredPieces
from kube.client import Connection, KubernetesApi, KubernetesError, KubernetesUnavailableError, Raw
from kube.skew import tell_of_older_crds
from kube.store import Unreadable
from rooms.client import RoomClient
from rooms.tokens import RoomTokens
from voice_operator.backoff import Backoff
from voice_operator.cache import KINDS, Cache
from voice_operator.calls.agent_look import AgentLook
from voice_operator.calls.agents import Access, Agents
from voice_operator.calls.api_broker import ApiBroker
from voice_operator.calls.claim import Claims
from voice_operator.calls.closing import Closing
from voice_operator.calls.collecting import Collecting
from voice_operator.calls.incidents import Incidents
from voice_operator.calls.links import Links
from voice_operator.calls.live import list_live_calls
from voice_operator.calls.measuring import Measuring
from voice_operator.calls.memory import Calls
from voice_operator.calls.observe import World
from voice_operator.calls.reconciler import Reconciler
from voice_operator.calls.room import CallRooms
from voice_operator.calls.session_writer import SessionWriter
from voice_operator.calls.steps import Terms
from voice_operator.calls.sweep import Sweep
from voice_operator.delivery import Delivery
from voice_operator.events import EventReason, EventRecorder, Subject
from voice_operator.gate import build_request_class
from voice_operator.keys import LANES, Key, Kind
from voice_operator.lease import Identity, Lease
from voice_operator.livekit_address import LiveKitAddress
from voice_operator.metrics import CRD_FIELDS_MISSING, RECONCILE_ERRORS, RECONCILE_SECONDS, count_api_request
from voice_operator.pods.client import PodClient
from voice_operator.pools.pod_template import PodBasis
from voice_operator.pools.preparation import Preparer
from voice_operator.pools.probes import Probes
from voice_operator.pools.profiles import ProfileReconciler
from voice_operator.pools.ready_pods import ReadyPods
from voice_operator.pools.reconciler import PoolReconciler
from voice_operator.pools.status_writer import StatusWriter
from voice_operator.pools.stuck_pods import StuckPods
from voice_operator.pools.templates import Templates
from voice_operator.resync import Resync
from voice_operator.room_poll import RoomPoll
from voice_operator.routing import Routing
from voice_operator.seen_rooms import SeenRooms
from voice_operator.settings import Keys, OperatorSettings
from voice_operator.state_metrics import show_state
from voice_operator.work_queue import WorkQueue
from voice_operator.write_through import WriteThrough
from voicesession.admission import is_finished
from voicesession.live_calls import LiveCall
from voicesession.measures import Measured
from voicesession.names import AGENT_POOLS, AGENT_PROFILES

log = logging.getLogger(__name__)

# What is being written when it ends may be answered still.
_DRAIN_SECONDS = 0.5
# How many uids fit into a label selector, with room to spare.
_UIDS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class _Shared:
    """What pools and calls have in common."""

    kubernetes: WriteThrough
    pods: PodClient
    ready_pods: ReadyPods
    templates: Templates


class Answers:
    """What the API server answers: counted, and when it last did what it was asked."""

    def __init__(self) -> None:
        self.last_at = time.monotonic()

    def count(self, method: str, status: int) -> None:
        """Takes in an answer."""
        count_api_request(method, status)
        if status < 400:
            self.last_at = time.monotonic()


class Operator:
    """One operator of a namespace. It knows what its watches tell, and decides while it leads."""

    def __init__(
        self, settings: OperatorSettings, keys: Keys, kubernetes: KubernetesApi, lease: Lease, answers: Answers
    ) -> None:
        self.cache = Cache()
        self._answers = answers
        self.lease = lease
        self._settings = settings
        self._kubernetes = kubernetes
        self._keys = keys
        self._request_class = build_request_class(lambda: lease.leading)
        self._resync = Resync(kubernetes, self.cache, settings.resync_seconds)
        self._all_listed = asyncio.Event()
        self._seen_rooms = SeenRooms()
        self._events = EventRecorder(kubernetes)
        self._queue: WorkQueue[Key] = WorkQueue(
            self._reconcile,
            lanes=LANES,
            lane_of=lambda key: key.kind,
            on_error=lambda key: RECONCILE_ERRORS.labels(key.kind.value).inc(),
            log_fields=self.cache.log_fields,
        )
        self._handlers: dict[Kind, Callable[[str], Awaitable[None]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._keeping: asyncio.Task[NoReturn] | None = None
        self._rounds: list[asyncio.Task[None]] = []  # the leader's
        self._stack = contextlib.AsyncExitStack()

    @classmethod
    async def open(
        cls,
        settings: OperatorSettings,
        keys: Keys,
        kubeconfig: Path | None = None,
        wrap: Callable[[KubernetesApi], KubernetesApi] = lambda kubernetes: kubernetes,
    ) -> "Operator":
        """Returns an operator that can reach the API server when that is up. `wrap`: puts something around its client.

        The Lease has a client of its own, which may write before the operator leads.
        """
        namespace = settings.namespace
        answers = Answers()
        leases = await KubernetesApi.connect(namespace, kubeconfig, on_response=answers.count)
        lease = Lease(leases, Identity.of_this_process(settings.release_name, settings.pod_name, settings.node_name))
        kubernetes = await KubernetesApi.connect(
            namespace,
            kubeconfig,
            on_response=answers.count,
            request_class=build_request_class(lambda: lease.leading),
        )
        operator = cls(settings, keys, wrap(kubernetes), lease, answers)
        operator._stack.push_async_callback(leases.close)
        operator._stack.push_async_callback(kubernetes.close)
        return operator

    @property
    def synced(self) -> bool:
        """Tells whether everything there is was seen."""
        return self._all_listed.is_set()

    @property
    def answered_at(self) -> float:
        """Returns when the API server last did what it was asked, by the monotonic clock."""
        return self._answers.last_at

    @property
    def obstacle(self) -> str | None:
        """Returns why this operator will not lead, for people."""
        return self.lease.obstacle

    @property
    def stuck_seconds(self) -> float:
        """Returns for how long nothing has been looked at though something is to be."""
        return self._queue.stuck_seconds

    async def start(self) -> None:
        """Puts everything together. Nothing is decided yet."""
        log.info("starts", extra={"namespace": self._settings.namespace, "release": self._settings.release_name})
        self._routing = await self._assemble()

    async def lead(self) -> NoReturn:
        """Leads from when everything was seen and it is this operator's turn, until cancelled.

        Raises:
            LeaseLostError: another operator leads.
        """
        await self._all_listed.wait()
        await self.lease.acquire()
        self._keeping = asyncio.create_task(self.lease.keep(self._pause, self._resume), name="lease")
        await asyncio.gather(self._keeping, self._begin())
        raise AssertionError("it is kept until it is lost")

    async def stop(self) -> None:
        """Ends what it is at, lets the next one lead, then ends everything else. Calls in progress go on."""
        tasks = [*self._tasks, *self._rounds]
        for task in tasks:
            task.cancel()
        await self._queue.drain(_DRAIN_SECONDS)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._queue.stop()
        if self._keeping:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self.lease.give_back()
        await self._stack.aclose()

    async def list_all(self, plural: str) -> int:
        """Takes in a full list of a kind; returns a resource version up to which the cache has everything.

        Raises:
            KubernetesError: it was refused.
            KubernetesUnavailableError: there was no answer.
        """
        version = await self._resync.list_all(plural)
        if all(store.synced for store in self.cache.stores.values()):
            self._all_listed.set()
        return version

    async def look_at_crds(self) -> None:
        """Says what the cluster's CRDs lack, until they lack nothing."""
        await tell_of_older_crds(self._kubernetes, lambda missing: CRD_FIELDS_MISSING.set(len(missing)))

    async def connection(self) -> Connection:
        """Returns by what credentials to watch: the same as for everything else."""
        return await self._kubernetes.connection()

    def see(self, plural: str, kind: str | None, raw: Raw) -> None:
        """Takes in what a watch tells. `kind` is DELETED, or anything else for an object as it is."""
        if kind == "DELETED":
            self.cache.stores[plural].remove(raw["metadata"]["name"], raw["metadata"]["uid"])
        else:
            self.cache.stores[plural].put(raw)

    def show_state(self) -> None:
        """Brings the gauges up to date, for a scrape."""
        depths = {kind: self._queue.depths[kind] for kind in Kind}
        heartbeats = self._links.heartbeats() if self.lease.leading else ()
        show_state(self.cache, heartbeats, depths, leading=self.lease.leading)

    def list_live_calls(self) -> list[LiveCall]:
        """Returns what is known of the calls in progress; a standby knows nothing."""
        return list_live_calls(self._calls, self._links) if self.lease.leading else []

    async def _begin(self) -> None:
        """Begins to decide."""
        self._links.note_lost_node(self.lease.lost_node)
        await self._see_last_claims()
        self._queue.start()
        self._routing.connect()
        if self.lease.leading:
            self._start_rounds()
        for plural, store in self.cache.stores.items():
            store.on_unreadable = functools.partial(self._tell_unreadable, plural)
            for found in store.unreadable:
                self._tell_unreadable(plural, found)
        counts = {plural: len(store.by_name) for plural, store in self.cache.stores.items()}
        log.info("decides", extra=counts)

    def _start_rounds(self) -> None:
        """Starts what looks around by itself; each has nothing to remember from one start to the next."""
        self._stop_rounds()
        self._rounds = [asyncio.create_task(self._poll.run(), name="room-poll")]
        if self._closer:
            sweep = Sweep(self._closer, self.cache.sessions)
            self._rounds.append(asyncio.create_task(sweep.run(), name="sweep"))
        if self._delivery:
            self._rounds.append(asyncio.create_task(self._delivery.run(), name="delivery"))

    def _stop_rounds(self) -> None:
        for task in self._rounds:
            task.cancel()

    def _pause(self) -> None:
        """Leads no more: what is known may be old, and another operator may lead."""
        self._queue.pause()
        self._stop_rounds()

    def _resume(self) -> None:
        """Leads again, and nobody else has since."""
        self._start_rounds()
        self._queue.resume()

    async def _see_last_claims(self) -> None:
        """Looks for pods that the leader before has just claimed, whose claims no watch has told yet."""
        waiting = [
            session.metadata.uid
            for session in self.cache.sessions.all()
            if not is_finished(session) and not self.cache.pods.count("session", session.metadata.uid)
        ]
        pauses = Backoff(0.1, 2.0)
        while waiting:
            some = waiting[:_UIDS_AT_ONCE]
            try:
                for raw in await self._kubernetes.list_pods_of(*some):
                    self.cache.pods.put(raw)
            except (KubernetesError, KubernetesUnavailableError) as error:
                log.warning("cannot read the last claims", extra={"error": error})
                await asyncio.sleep(pauses.next())
            else:
                del waiting[:_UIDS_AT_ONCE]

    def _tell_unreadable(self, plural: str, found: Unreadable) -> None:
        api_version, kind = KINDS[plural]
        subject = Subject(api_version, kind, self._settings.namespace, found.name, found.uid)
        words = f"This release cannot read it and passes it over; it may be of a newer one. {found.wrong}"
        self._events.record_once(subject, EventReason.UNREADABLE, words)

    async def _reconcile(self, key: Key) -> None:
        begun = time.perf_counter()
        await self._handlers[key.kind](key.name)
        RECONCILE_SECONDS.labels(key.kind.value).observe(time.perf_counter() - begun)

    # Putting together

    async def _assemble(self) -> Routing:
        settings = self._settings
        pods = PodClient(self._keys.signing, request_class=self._request_class)
        self._stack.push_async_callback(pods.close)
        secret = settings.livekit_api_secret.get_secret_value()
        rooms = RoomClient(settings.livekit_url, settings.livekit_api_key, secret, self._request_class)
        self._stack.push_async_callback(rooms.close)
        livekit = LiveKitAddress(settings.pod_livekit_url)
        basis = PodBasis(
            public_key=self._keys.public_pem,
            database_secret=settings.agent_database_secret,
            log_level=settings.log_level,
            user_id=settings.agent_user_id,
            database_version=settings.agent_database_version,
            traces_endpoint=settings.otel_exporter_otlp_endpoint,
        )
        shared = _Shared(
            kubernetes=WriteThrough(self._kubernetes, self.cache),
            pods=pods,
            ready_pods=ReadyPods(self.cache),
            templates=Templates(basis),
        )
        pools = self._assemble_pools(shared)
        access = Access(livekit, RoomTokens(settings.livekit_api_key, secret), self._keys.conversation)
        self._closer = await self._open_closer()
        self._pieces = UndeliveredPieces(self._kubernetes)
        self._delivery = Delivery(self._pieces, self._closer, self._keys.conversation) if self._closer else None
        calls = self._assemble_calls(shared, pools, rooms, access)
        self._poll = RoomPoll(
            settings, self._keys.tickets, self.cache, self._kubernetes, rooms, self._seen_rooms, self._queue
        )
        self._tasks = [
            asyncio.create_task(self._resync.run(), name="resync"),
            asyncio.create_task(livekit.keep_fresh(), name="livekit-address"),
        ]
        return Routing(self.cache, calls, shared.ready_pods, self._queue)

    def _assemble_pools(self, shared: _Shared) -> PoolReconciler:
        probes = Probes(self.cache, shared.ready_pods, shared.pods)
        self._stack.push_async_callback(probes.close)
        pools = PoolReconciler(
            cache=self.cache,
            ready_pods=shared.ready_pods,
            templates=shared.templates,
            kubernetes=shared.kubernetes,
            probes=probes,
            stuck=StuckPods(self._kubernetes),
            statuses=StatusWriter(AGENT_POOLS, Kind.POOL, shared.kubernetes, self._queue),
            queue=self._queue,
            own_accounts=self._settings.own_service_accounts,
        )
        profiles = ProfileReconciler(
            self.cache, StatusWriter(AGENT_PROFILES, Kind.PROFILE, shared.kubernetes, self._queue)
        )
        preparer = Preparer(self.cache, shared.ready_pods, shared.pods)
        self._handlers[Kind.POOL] = pools.reconcile_pool
        self._handlers[Kind.PROFILE] = profiles.reconcile_profile
        self._handlers[Kind.PREPARATION] = preparer.reconcile_preparation
        return pools

    def _assemble_calls(self, shared: _Shared, pools: PoolReconciler, rooms: RoomClient, access: Access) -> Calls:
        self._calls = calls = Calls()
        broker = ApiBroker(self.cache, calls, rooms, shared.pods)
        self._stack.push_async_callback(broker.close)
        incidents, measuring = Incidents(self.cache, self._events), Measuring(calls)

        def take(uid: str, measured: Measured) -> None:
            measuring.take(uid, measured)
            incidents.tell_model_failures(uid, measured.failures)

        links = Links(shared.pods, self._queue, broker, take)
        self._links = links
        self._stack.push_async_callback(links.close)
        look = AgentLook(rooms, on_answer=lambda uid: self._queue.add(Key(Kind.CALL, uid)))
        self._stack.push_async_callback(look.close)
        self._events.start()
        self._stack.push_async_callback(self._events.stop)
        closing = Closing(self._closer, self._queue)
        terms = Terms(timedelta(seconds=self._settings.no_pod_timeout_seconds), self._settings.admission_limits)
        reconciler = Reconciler(
            world=World(
                self.cache,
                calls,
                shared.ready_pods,
                pools.troubles,
                terms,
                look.absent,
                self._seen_rooms,
                self._keys.conversation,
                shared.templates.hash_of,
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
                incidents=incidents,
            ),
            rooms=CallRooms(rooms, self._keys.tickets, calls),
            sessions=SessionWriter(shared.kubernetes, self._events),
            closing=closing,
            collecting=Collecting(shared.pods, self._pieces, self._delivery, incidents),
            links=links,
            incidents=incidents,
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
