"""A pizza line in the shape that LiveKit teaches: one takes the order, another the address.

The same file, unchanged, runs

    on a laptop                        OPENAI_API_KEY=… python pizza.py console
    in a pool, as it is (rung 2)       code: pizza:entrypoint   (or just: pizza)
    in a pool, its class alone (1)     code: pizza:OrderTaker   (models, greeting and limits are then the profile's)

Should its pod die in the middle of an order, the next one goes on with the same pizzas: each is saved as it is added.

In a pool, OPENAI_BASE_URL and OPENAI_API_KEY are the ones of the call's provider.
"""

import json
import logging
import os
from dataclasses import asdict, dataclass, field

from livekit.agents import (
    Agent,
    AgentServer,
    AgentSession,
    JobContext,
    JobProcess,
    RunContext,
    cli,
    function_tool,
    get_job_context,
)
from livekit.agents.inference import VAD
from livekit.plugins import openai

from voice_agent import memory

logger = logging.getLogger("pizza")

MENU = {"margherita": 8, "funghi": 9, "salami": 10, "quattro formaggi": 11}


@dataclass
class Order:
    """What has been ordered so far."""

    pizzas: list[str] = field(default_factory=list)
    address: str = ""

    async def save(self) -> None:
        """Keeps it for whoever goes on with this conversation, should this pod die."""
        await memory.save(asdict(self))


def menu() -> dict[str, int]:
    """Returns the menu that `prewarm` loaded, or the one above where there was no prewarm."""
    loaded: dict[str, int] = get_job_context().proc.userdata.get("menu", MENU)
    return loaded


class OrderTaker(Agent):
    """Takes the order, then hands over."""

    def __init__(self) -> None:
        """Starts with an empty order."""
        super().__init__(
            instructions=(
                "You take orders at a pizza line. Answer in one short sentence. Use add_pizza for each pizza, "
                "read_menu when asked what there is, and finish_order when the customer wants nothing more."
            )
        )
        self.order = Order()

    async def on_enter(self) -> None:
        """Greets; nobody hears that who was greeted before, by an agent whose pod has died."""
        self.order = Order(**memory.saved)
        self.session.say("Pizza line, good evening. What may I bring you?")

    @function_tool
    async def read_menu(self, context: RunContext[None]) -> str:
        """Read the menu with its prices."""
        return ", ".join(f"{name} {price} euros" for name, price in menu().items())

    @function_tool
    async def add_pizza(self, context: RunContext[None], pizza: str) -> str:
        """Add a pizza to the order.

        Args:
            pizza: The pizza's name, for example funghi.
        """
        if pizza.lower() not in menu():
            return f"There is no {pizza}. There are {', '.join(menu())}."
        self.order.pizzas.append(pizza.lower())
        await self.order.save()
        return f"One {pizza}. That makes {len(self.order.pizzas)} so far."

    @function_tool
    async def finish_order(self, context: RunContext[None]) -> tuple[Agent, str]:
        """Finish the order and ask where to bring it."""
        total = sum(menu()[pizza] for pizza in self.order.pizzas)
        return Dispatcher(), f"That is {total} euros. A colleague takes the address."


class Dispatcher(Agent):
    """Takes the address, and ends the call."""

    def __init__(self) -> None:
        """Needs nothing to be made, so that it can be made again."""
        super().__init__(
            instructions=(
                "You note the address for a pizza order. Answer in one short sentence. "
                "Use set_address with what the customer says, and hang_up when they say goodbye."
            )
        )
        self.order = Order()

    async def on_enter(self) -> None:
        """Asks for the address."""
        self.order = Order(**memory.saved)
        self.session.say("Where may I send it?")

    @function_tool
    async def set_address(self, context: RunContext[None], address: str) -> str:
        """Note the delivery address.

        Args:
            address: Street and number.
        """
        self.order.address = address
        await self.order.save()
        return f"It will be at {address} in half an hour."

    @function_tool
    async def hang_up(self, context: RunContext[None]) -> None:
        """Say goodbye and end the call."""
        await self.session.say("Enjoy your meal. Goodbye.", allow_interruptions=False)
        get_job_context().shutdown(reason="the order is complete")


server = AgentServer()


def prewarm(process: JobProcess) -> None:
    """Loads what every call needs, before there is one."""
    process.userdata["menu"] = json.loads(os.environ.get("PIZZA_MENU", "null")) or MENU
    process.userdata["vad"] = VAD()


server.setup_fnc = prewarm


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    """Runs one call."""
    ctx.log_context_fields = {"room": ctx.room.name}
    session: AgentSession[None] = AgentSession(
        stt=openai.STT(model=os.environ.get("STT_MODEL", "gpt-4o-mini-transcribe")),
        llm=openai.LLM(model=os.environ.get("LLM_MODEL", "gpt-4.1-mini")),
        tts=openai.TTS(model=os.environ.get("TTS_MODEL", "gpt-4o-mini-tts"), response_format="pcm"),
        vad=ctx.proc.userdata["vad"],
        turn_handling={"turn_detection": "vad"},
    )

    async def on_shutdown(reason: str) -> None:
        logger.info("the call is over: %s", reason)

    ctx.add_shutdown_callback(on_shutdown)
    await session.start(agent=OrderTaker(), room=ctx.room)
    await ctx.connect()


if __name__ == "__main__":
    cli.run_app(server)
