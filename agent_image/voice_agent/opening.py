"""How an agent begins that goes on with a conversation: it knows all of it, and speaks first only where it should.

What code says by itself as it begins, in `on_enter` or after `session.start`, is a greeting: the customer has had it.
"""

import asyncio
import contextlib
import functools
import inspect
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from livekit.agents import Agent, AgentSession, ChatContext, ChatMessage
from livekit.agents.llm import ChatItem
from livekit.agents.utils.misc import camel_to_snake_case
from livekit.agents.voice import SpeechHandle

from voice_agent import memory
from voice_agent.quiet import is_idle
from voice_agent.recollection import Opening, Recollection, decide_opening

# How long what code says by itself counts as a greeting, unless the customer speaks before.
GREETING_SECONDS = 3.0
# A gap that a customer notices.
GAP_SECONDS = 2.0
# To the model. A partner that goes by words may take "greet" or "hello" for an order: they are not in it.
ASK_AGAIN = (
    "You were in the middle of a conversation with this customer and were cut off; what was said cannot be read now. "
    "Say so in one short sentence, in the customer's language, and ask where the two of you were. Do not begin anew."
)
GO_ON = (
    "You were cut off in the middle of your last message: the customer has heard no more of it than stands there. "
    "Say the rest of it now, in the same language, without what was heard already. Do not begin anew."
)

log = logging.getLogger(__name__)


class Resumption:
    """What becomes of the first agent session that starts in this process: it goes on with its conversation."""

    def __init__(
        self,
        load: Callable[[], Awaitable[Recollection]],
        customer_joined: asyncio.Event,
        on_started: Callable[[AgentSession[Any]], None],
        read_gap: Callable[[], float],
        apologize: Callable[[AgentSession[Any]], None],
    ) -> None:
        """`load` returns what is known as soon as it is; `on_started` is called when the session runs.

        read_gap: for how many seconds the customer has heard no agent. apologize: says that in the profile's words.
        """
        self._load = load
        self._customer_joined = customer_joined
        self._on_started = on_started
        self._read_gap = read_gap
        self._apologize = apologize
        self._known = Recollection()
        self._opening = Opening.GREET
        self._session: AgentSession[Any] | None = None
        self._is_mute = False
        self._started = asyncio.Event()

    def attach(self) -> None:
        """Has every `AgentSession` of this process begin so, from now on."""
        sessions: Any = AgentSession
        start, say, generate_reply = sessions.start, sessions.say, sessions.generate_reply

        @functools.wraps(start)
        async def start_resumed(session: AgentSession[Any], agent: Agent, **options: Any) -> Any:
            if self._session is not None:
                return await start(session, agent, **options)
            self._session = session
            agent = await self._prepare(session, agent)
            result = await start(session, agent, **options)
            self._started.set()
            self._on_started(session)
            return result

        @functools.wraps(say)
        def say_unless_mute(session: AgentSession[Any], *arguments: Any, **options: Any) -> SpeechHandle:
            return unsaid() if self._mutes(session) else say(session, *arguments, **options)

        @functools.wraps(generate_reply)
        def reply_unless_mute(session: AgentSession[Any], **options: Any) -> SpeechHandle:
            if options.get("user_input"):
                self._unmute()
            return unsaid() if self._mutes(session) else generate_reply(session, **options)

        sessions.start = start_resumed
        sessions.say = say_unless_mute
        sessions.generate_reply = reply_unless_mute

    async def speak(self, session: AgentSession[Any]) -> None:
        """Says the first words, if any are due, when the customer is there; then leaves the word to the code."""
        await self._customer_joined.wait()
        if memory.speaks_first:
            return
        with self._aloud():
            if self._opening not in {Opening.GREET, Opening.ASK} and self._read_gap() > GAP_SECONDS:
                self._apologize(session)
            if self._opening is Opening.ASK:
                session.generate_reply(instructions=ASK_AGAIN)
            elif self._opening is Opening.GO_ON:
                session.generate_reply(instructions=GO_ON)
            elif self._opening is Opening.ANSWER:
                session.generate_reply()
        await asyncio.sleep(GREETING_SECONDS)
        self._is_mute = False

    async def hear_late(self, items: Sequence[ChatItem]) -> None:
        """Puts what the customer said to the predecessor's ears before what they say now, and answers it."""
        await self.know_late(items)
        session = self._session
        if session is None:
            return
        agent = session.current_agent
        if not await is_idle(session):
            return  # the customer speaks on, and will be answered
        messages = [item for item in agent.chat_ctx.items if isinstance(item, ChatMessage)]
        if messages and messages[-1].role == "user":
            with self._aloud():
                session.generate_reply()

    async def know_late(self, items: Sequence[ChatItem]) -> None:
        """Puts earlier items, which are known only now, before what has been said since."""
        await self._started.wait()
        if self._session is None:
            return
        agent = self._session.current_agent
        context = agent.chat_ctx.copy()
        context.merge(ChatContext([*items]))
        await agent.update_chat_ctx(context, exclude_invalid_function_calls=False)
        self._session.history.merge(ChatContext([*items]))

    async def _prepare(self, session: AgentSession[Any], agent: Agent) -> Agent:
        self._known = await self._load()
        agent = find_agent(agent, self._known.agent_id)
        self._opening = decide_opening(self._known)
        if self._opening is Opening.ENTER and agent.id != self._known.agent_id:
            self._opening = Opening.ANSWER
        self._is_mute = self._opening not in {Opening.GREET, Opening.ENTER}
        session.on("user_input_transcribed", lambda _: self._unmute())
        await give_history(session, agent, self._known)
        if self._known.userdata is not None:
            session.userdata = self._known.userdata
        log.info("the conversation goes on", extra={"opening": self._opening.name, "items": len(self._known.items)})
        return agent

    @property
    def is_first_word(self) -> bool:
        """Whether nobody has said anything yet, so that the customer is to be greeted."""
        return self._opening is Opening.GREET

    def _unmute(self) -> None:
        self._is_mute = False

    def _mutes(self, session: AgentSession[Any]) -> bool:
        return self._is_mute and session is self._session and not memory.speaks_first

    @contextlib.contextmanager
    def _aloud(self) -> Iterator[None]:
        """What is said within is ours."""
        was_mute, self._is_mute = self._is_mute, False
        try:
            yield
        finally:
            self._is_mute = was_mute


async def give_history(session: AgentSession[Any], agent: Agent, known: Recollection) -> None:
    """Has the session and its first agent, which do not run yet, know what was said, after what the code gave them."""
    items = [*agent.chat_ctx.items, *known.items]
    await agent.update_chat_ctx(ChatContext(items), exclude_invalid_function_calls=False)
    session.history.merge(ChatContext([*known.items]))


def find_agent(first: Agent, agent_id: str | None) -> Agent:
    """Returns the agent of this id, made anew: of a class in the first one's module that can be made without arguments.

    Where there is none, the first one.
    """
    if agent_id in {None, first.id}:
        return first
    module = sys.modules.get(type(first).__module__)
    for found in vars(module).values() if module else ():
        if inspect.isclass(found) and issubclass(found, Agent) and camel_to_snake_case(found.__name__) == agent_id:
            make: Callable[[], Agent] = found
            try:
                return make()
            except Exception:
                log.exception("the agent that had the conversation cannot be made without arguments")
                break
    log.warning("the conversation's first agent goes on in place of another", extra={"agent": agent_id})
    return first


def unsaid() -> SpeechHandle:
    """Returns what a speech that is over is told by."""
    handle = SpeechHandle.create()
    handle._mark_done()  # noqa: SLF001
    return handle
