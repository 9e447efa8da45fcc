"""Holds one scripted conversation and measures it as the customer hears it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from testing.customer import Customer, joined_room
from testing.front_door import Connection
from testing.progress import Step


@dataclass
class Conversation:
    """What a conversation came to. Times in seconds."""

    connect_seconds: float = 0.0
    agent_seconds: float = 0.0
    greeting_seconds: float = 0.0
    answer_seconds: list[float] = field(default_factory=list)
    customer_words: list[str] = field(default_factory=list)
    agent_words: list[str] = field(default_factory=list)
    others_in_the_room: set[str] = field(default_factory=set)


async def converse(
    connection: Connection, speech: Mapping[str, bytes], step: Step, patience: float = 30.0
) -> Conversation:
    """Joins the room, waits for the greeting, says each sentence of `speech` and waits for its answer.

    `speech`: sentence → 24 kHz mono 16-bit samples, in the order to say them. `patience`: seconds for each answer.

    Raises:
        testing.customer.CustomerError: an answer did not come.
    """
    result = Conversation()
    async with joined_room(connection.server_url, connection.token) as customer:
        result.connect_seconds = customer.connected_at - customer.connect_began_at
        await customer.until(lambda: customer.heard.agent_joined_at is not None, patience, "the agent")
        result.agent_seconds = (customer.heard.agent_joined_at or 0.0) - customer.connect_began_at
        step.note("the agent is in the room")
        greeted = await customer.answer(customer.connect_began_at, patience)
        result.greeting_seconds = greeted - customer.connect_began_at
        for number, (sentence, pcm) in enumerate(speech.items(), start=1):
            seconds = await customer.ask(pcm, patience)
            result.answer_seconds.append(seconds)
            step.note(f"turn {number} of {len(speech)}: {sentence!r} answered after {seconds:.2f} s")
        result.others_in_the_room = set(customer.room.remote_participants)
        result.customer_words = _words_of(customer, connection.identity)
        result.agent_words = [said.text for said in customer.heard.transcripts if said.identity != connection.identity]
    return result


def _words_of(customer: Customer, identity: str) -> list[str]:
    return [said.text for said in customer.heard.transcripts if said.identity == identity]
