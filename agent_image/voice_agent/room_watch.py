"""Listens to a call's room: the customer comes and goes, and LiveKit itself may; comes back after LiveKit."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from livekit import rtc
from livekit.agents.job import DEFAULT_PARTICIPANT_KINDS
from livekit.agents.types import ATTRIBUTE_AGENT_STATE, ATTRIBUTE_PUBLISH_ON_BEHALF

from voice_agent.endings import CallFacts, Ending, decide_room_end
from voice_agent.haste import within
from voice_agent.job_context import CallRoom
from voicesession.models import EndReason
from voicesession.names import AGENT_IDENTITY

ANNOUNCE_SECONDS = 5.0
REJOIN_SECONDS = 0.5

log = logging.getLogger(__name__)


@dataclass
class RoomWatch:
    """What follows from the events of one call's room.

    customer_identity: whom the call is for; None until the first one comes. read_agent_state: as livekit-agents has it.
    start: runs something for as long as the call goes on. on_other_agent: called once, with the identity of somebody
    else's agent that is in the room too. on_customer_known: told the customer's, where it was None. customer_joined,
    announced: happened at least once.
    """

    room: CallRoom
    facts: CallFacts
    customer_identity: str | None
    read_agent_state: Callable[[], str | None]
    start: Callable[[Coroutine[Any, Any, object]], None]
    on_change: Callable[[], None]
    on_other_agent: Callable[[str], None]
    on_customer_known: Callable[[str], None]
    on_end: Callable[[Ending], None]
    customer_joined: asyncio.Event = field(default_factory=asyncio.Event)
    announced: asyncio.Event = field(default_factory=asyncio.Event)
    _is_leaving: bool = False
    _met_other_agent: bool = False
    _rejoining: asyncio.Task[None] | None = None

    def attach(self) -> None:
        """Listens from now on; to be called before the room is connected."""
        self.room.on("participant_connected", self._on_participant)
        self.room.on("participant_disconnected", self._on_participant_gone)
        self.room.on("reconnecting", self._on_lost)
        self.room.on("reconnected", self._on_back)
        self.room.on("disconnected", self._on_disconnected)

    def leave(self) -> None:
        """The call ends: who is out of the room from now on stays out."""
        self._is_leaving = True
        if self._rejoining:
            self._rejoining.cancel()

    def joined(self) -> None:
        """The agent is in the room for the first time: with whom?"""
        self._announce()
        for participant in self.room.remote_participants.values():
            self._on_participant(participant)
        self.on_change()

    def _announce(self) -> None:
        """Has LiveKit tell the customer of the agent now: of one that has done nothing yet it tells late."""

        async def announce() -> None:
            state = self.read_agent_state() or "initializing"
            await self.room.local_participant.set_attributes({ATTRIBUTE_AGENT_STATE: state})
            self.announced.set()

        self.start(within(asyncio.timeout(ANNOUNCE_SECONDS), announce(), "telling the room of the agent"))

    def _is_customer(self, participant: rtc.RemoteParticipant) -> bool:
        if self.customer_identity is not None:
            return participant.identity == self.customer_identity
        return participant.kind in DEFAULT_PARTICIPANT_KINDS

    def _on_participant(self, participant: rtc.RemoteParticipant) -> None:
        if self._is_customer(participant):
            if self.customer_identity is None:
                self.on_customer_known(participant.identity)
            self.customer_identity = participant.identity
            self.facts.customer_by_phone = participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_SIP
            self.facts.customer_came(time.monotonic())
            self.customer_joined.set()
            self.on_change()
        elif is_other_agent(participant) and not self._met_other_agent:
            self._met_other_agent = True
            self.on_other_agent(participant.identity)

    def _on_participant_gone(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity == self.customer_identity:
            self.facts.customer_left(time.monotonic(), participant.disconnect_reason)
            self.on_change()

    def _on_lost(self) -> None:
        log.warning("LiveKit is lost; its library reconnects")
        self.facts.livekit_lost(time.monotonic())
        self.on_change()

    def _on_back(self) -> None:
        log.info("the agent is in the room again")
        self.facts.livekit_back(time.monotonic())
        self.on_change()
        # A LiveKit that was restarted knows nothing of what the agent had said of itself.
        self._announce()

    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType | None) -> None:
        if ending := decide_room_end(reason):
            self.on_end(ending)
        elif not self._is_leaving:
            self.facts.livekit_lost(time.monotonic())
            self.facts.rejoining = True
            self.on_change()
            self._rejoining = asyncio.create_task(self._rejoin(), name="rejoin")

    async def _rejoin(self) -> None:
        """Tries until it succeeds, or the call's patience is over."""
        log.warning("LiveKit's library has given up; the agent tries to come back by itself")
        while not self.room.isconnected():
            try:
                await self.room.rejoin()
            except rtc.ConnectError as error:
                log.info("LiveKit is still away", extra={"error": error})
                await asyncio.sleep(REJOIN_SECONDS)
            except Exception as error:
                log.exception("the agent cannot come back into its room")
                self.on_end(Ending(EndReason.ERROR, f"the way back into the room failed: {type(error).__name__}"))
                return
        self._on_back()


def is_other_agent(participant: rtc.RemoteParticipant) -> bool:
    """Tells whether this is an agent, and none of ours. An avatar, which speaks on an agent's behalf, is none."""
    return (
        participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
        and participant.identity != AGENT_IDENTITY
        and ATTRIBUTE_PUBLISH_ON_BEHALF not in participant.attributes
    )
