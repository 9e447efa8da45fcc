"""The Lease by which one operator of a namespace leads, whichever release it is of; the others wait for it.

Whoever leads renews it. A renewal lets its holder lead for four seconds from when it was asked for, and keeps the
others away for six from when they saw it: two seconds lie between one leader's last write and the next one's first.
Each measures by a clock of its own that nothing sets and that runs while the machine sleeps; what time the Lease says
it is does not matter. A leader that cannot renew stops leading; it goes on when it can and nobody else has led since.
"""

import asyncio
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from kube.client import ConflictError, KubernetesError, KubernetesUnavailableError, NotFoundError, Raw
from voicesession import clock

log = logging.getLogger(__name__)

NAME = "voice-agent-operator"
RELEASE_LABEL = "app.kubernetes.io/instance"
NODE_ANNOTATION = "voiceagents.dev/node"
LEADS_SECONDS = 4.0
KEEPS_AWAY_SECONDS = 6
RENEW_SECONDS = 1.5
LOOK_SECONDS = 0.5
REQUEST_SECONDS = 1.5
# Looks further apart than this have not seen what was between them: an API server that was away kept the holder, too,
# from renewing.
_BLIND_SECONDS = 3.0
_COMPLAIN_SECONDS = 10.0
# How long another release must be gone before its namespace is taken over; longer than its restarts take.
_RELEASE_GONE_SECONDS = 60.0

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class LeaseLostError(Exception):
    """Another operator leads."""


class Leases(Protocol):
    """Who keeps Leases; `kube.client.KubernetesApi` does, and says what it raises."""

    async def get_lease(self, name: str) -> Raw:
        """Returns a Lease."""

    async def create_lease(self, lease: Raw) -> Raw:
        """Creates a Lease."""

    async def replace_lease(self, lease: Raw) -> Raw:
        """Writes a Lease, provided that it is still at the resource version in `lease`."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who wants to lead: a process of a pod of a release, on a node."""

    release: str
    pod: str
    process: str
    node: str = ""

    @classmethod
    def of_this_process(cls, release: str, pod: str, node: str) -> "Identity":
        """Returns an identity that no other process has. `pod`, `node`: empty outside a pod."""
        return cls(release, pod or f"{socket.gethostname()}-{os.getpid()}", secrets.token_hex(4), node)

    @property
    def holder(self) -> str:
        """Returns its name in the Lease."""
        return f"{self.pod}_{self.process}"


@dataclass(frozen=True, slots=True)
class Holding:
    """What a Lease says."""

    version: str = ""
    holder: str = ""  # empty: it was given back
    release: str = ""
    node: str = ""  # the holder's, where it is known
    seconds: float = KEEPS_AWAY_SECONDS


def read_lease(raw: Mapping[str, Any]) -> Holding:
    """Returns what a Lease says."""
    spec, metadata = raw.get("spec") or {}, raw["metadata"]
    return Holding(
        version=metadata["resourceVersion"],
        holder=spec.get("holderIdentity") or "",
        release=(metadata.get("labels") or {}).get(RELEASE_LABEL, ""),
        node=(metadata.get("annotations") or {}).get(NODE_ANNOTATION, ""),
        seconds=max(spec.get("leaseDurationSeconds") or 0, KEEPS_AWAY_SECONDS),
    )


def is_free(holding: Holding, identity: Identity, unchanged_seconds: float) -> bool:
    """Tells whether this identity may take the Lease, which it has seen unchanged for so long."""
    if holding.release != identity.release:
        return unchanged_seconds >= _RELEASE_GONE_SECONDS
    # Of one pod, only one container runs at a time: an earlier process of it is over.
    if not holding.holder or holding.holder.rpartition("_")[0] == identity.pod:
        return True
    return unchanged_seconds >= holding.seconds


def find_pause(*, renewed: bool, took: float) -> float:
    """Returns for how many seconds to wait before the next try, where the last one took so long.

    From one's beginning to the next's: an API server that hangs is asked again at once, and so serves once it goes on.
    """
    return max((RENEW_SECONDS if renewed else LOOK_SECONDS) * random.uniform(0.8, 1.0) - took, 0.0)  # noqa: S311


def build_lease(identity: Identity, before: Mapping[str, Any] | None, *, give_back: bool = False) -> Raw:
    """Returns the Lease as this identity writes it; `before`: as it was seen, None where there is none."""
    now = clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    metadata, spec = dict((before or {}).get("metadata") or {"name": NAME}), dict((before or {}).get("spec") or {})
    labels = {
        **(metadata.get("labels") or {}),
        "app.kubernetes.io/name": "voice-agent",
        RELEASE_LABEL: identity.release,
    }
    metadata["labels"] = {name: value for name, value in labels.items() if value}
    annotations = {**(metadata.get("annotations") or {}), NODE_ANNOTATION: identity.node}
    metadata["annotations"] = {name: value for name, value in annotations.items() if value}
    if spec.get("holderIdentity") != identity.holder:
        spec["leaseTransitions"] = (spec.get("leaseTransitions") or 0) + (1 if before else 0)
        spec["acquireTime"] = now
    spec["holderIdentity"] = "" if give_back else identity.holder
    spec["leaseDurationSeconds"] = KEEPS_AWAY_SECONDS
    spec["renewTime"] = now
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


class Observation:
    """For how long a Lease was seen unchanged."""

    def __init__(self) -> None:
        self._version: str | None = None
        self._since = 0.0
        self._seen_at = 0.0

    def see(self, version: str | None, now: float) -> float:
        """Returns for how many seconds it has been at this version, all of which somebody looked; None: not there."""
        if version != self._version or now - self._seen_at > _BLIND_SECONDS:
            self._version, self._since = version, now
        self._seen_at = now
        return now - self._since


class Lease:
    """The Lease as one operator sees it."""

    def __init__(self, leases: Leases, identity: Identity) -> None:
        self._leases = leases
        self._identity = identity
        self.lost_node: str | None = None  # of the one that led before, where it fell silent
        self._raw: Raw | None = None
        self._ever_seen = False
        self._leads_until = float("-inf")
        self._other: Holding | None = None
        self._refusal: KubernetesError | None = None
        self._complained_at = float("-inf")

    @property
    def leading(self) -> bool:
        """Tells whether this operator leads, just now."""
        return _now() < self._leads_until

    @property
    def obstacle(self) -> str | None:
        """Returns why this operator will not lead, for people; None where it only waits for its turn."""
        if self._refusal:
            return f"the API server refuses the Lease {NAME}: {self._refusal}"
        other = self._other
        if other is None or other.release == self._identity.release:
            return None
        return (
            f"release {other.release or '(without a name)'} serves this namespace (Lease {NAME}, held by "
            f"{other.holder or 'nobody'}), and a namespace has one release: uninstall that one, or install this one "
            f"in a namespace of its own; a minute after that one's last operator this one takes over"
        )

    async def acquire(self) -> None:
        """Returns when this operator leads."""
        observation = Observation()
        told = None
        while True:
            try:
                if await self._try_to_acquire(observation):
                    log.info("leads", extra={"holder": self._identity.holder})
                    return
            except (KubernetesError, KubernetesUnavailableError, TimeoutError) as error:
                self._refusal = error if isinstance(error, KubernetesError) else None
                self._complain(error)
            if self.obstacle and self.obstacle != told:
                log.error("will not lead", extra={"obstacle": self.obstacle})
            told = self.obstacle
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    async def keep(self, pause: Callable[[], object], resume: Callable[[], object]) -> NoReturn:
        """Renews until cancelled. `pause` and `resume` are called when it leads no more, and again.

        Raises:
            LeaseLostError: another operator leads.
        """
        paused, renewed, took = False, True, 0.0
        while True:
            await asyncio.sleep(find_pause(renewed=renewed, took=took))
            asked_at = _now()
            try:
                renewed = await self._renew()
            except (KubernetesError, KubernetesUnavailableError, TimeoutError) as error:
                renewed = False
                self._complain(error)
            took = _now() - asked_at
            if self.leading == paused:
                paused = not paused
                log.warning("leading has changed", extra={"leading": not paused, "holder": self._identity.holder})
                (pause if paused else resume)()

    async def give_back(self) -> None:
        """Stops leading at once, and lets the next one lead; without an answer that waits until the Lease is over.

        To be called when nothing keeps it any more.
        """
        held, self._leads_until = self.leading, float("-inf")
        if not held:
            return
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                await self._write_back()
        except (KubernetesError, KubernetesUnavailableError, TimeoutError) as error:
            log.warning("the Lease was not given back", extra={"error": error})

    async def _write_back(self) -> None:
        try:
            await self._leases.replace_lease(build_lease(self._identity, self._raw, give_back=True))
        except ConflictError:
            # The last renewal was broken off, and was carried out.
            self._raw = await self._look()
            if self._raw and read_lease(self._raw).holder == self._identity.holder:
                await self._leases.replace_lease(build_lease(self._identity, self._raw, give_back=True))

    async def _try_to_acquire(self, observation: Observation) -> bool:
        self._raw = await self._look()
        self._refusal = None
        if self._raw is None:
            # Who has seen it leaves its holder the time to make it again.
            seconds = observation.see(None, _now())
            return (not self._ever_seen or seconds >= KEEPS_AWAY_SECONDS) and await self._write()
        self._ever_seen = True
        holding = read_lease(self._raw)
        self._other = holding
        if not is_free(holding, self._identity, observation.see(holding.version, _now())):
            return False
        self.lost_node = holding.node or None if holding.holder else None
        return await self._write()

    async def _renew(self) -> bool:
        if await self._write():
            return True
        self._raw = await self._look()
        if self._raw and read_lease(self._raw).holder != self._identity.holder:
            raise LeaseLostError(read_lease(self._raw).holder)
        # Deleted by somebody; or it was renewed, and the answer did not arrive.
        return await self._write()

    async def _look(self) -> Raw | None:
        try:
            async with asyncio.timeout(self._patience()):
                return await self._leases.get_lease(NAME)
        except NotFoundError:
            return None

    async def _write(self) -> bool:
        asked_at = _now()
        lease = build_lease(self._identity, self._raw)
        try:
            async with asyncio.timeout(self._patience()):
                write = self._leases.replace_lease if self._raw else self._leases.create_lease
                self._raw = await write(lease)
        except (ConflictError, NotFoundError):
            return False
        self._other = None
        self._leads_until = asked_at + LEADS_SECONDS
        return True

    def _complain(self, error: Exception) -> None:
        """Tells what keeps the Lease from being read or written; not twice a second."""
        if _now() - self._complained_at >= _COMPLAIN_SECONDS:
            self._complained_at = _now()
            log.warning("cannot read or write the Lease", extra={"leading": self.leading, "error": error})

    def _patience(self) -> float:
        """Returns for how many seconds to wait for an answer: whoever leads no more is to know it at once."""
        left = self._leads_until - _now()
        return min(left, REQUEST_SECONDS) if left > 0 else REQUEST_SECONDS


def _now() -> float:
    return time.clock_gettime(_CLOCK)
