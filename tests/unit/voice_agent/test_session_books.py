"""What agent sessions leave in a conversation's books: each word once, in the order in which it was said."""

from livekit.agents import AgentSession, ChatMessage
from livekit.agents.llm import FunctionCallOutput
from livekit.agents.voice.events import (
    AgentEvent,
    ConversationItemAddedEvent,
    EventTypes,
    UserInputTranscribedEvent,
)

from voice_agent.conversation_log import ConversationLog, ConversationStart
from voice_agent.drafts import Drafts
from voice_agent.session_books import SessionBooks

START = ConversationStart("s", 1, "token", "room", "customer", "acme", False, "default", None)


def new_books() -> SessionBooks:
    # Never begun: its rows wait.
    conversation = ConversationLog("postgresql://nowhere", START, on_superseded=lambda: None)
    return SessionBooks(conversation, Drafts(conversation, read_spoken=lambda: ""))


class Talk:
    """A session whose books are kept."""

    def __init__(self, books: SessionBooks | None = None) -> None:
        self.books = books or new_books()
        self.conversation = self.books.conversation
        self.session: AgentSession[None] = AgentSession(vad=None, turn_handling={"turn_detection": "manual"})
        self.books.attach(self.session)

    def emit(self, name: EventTypes, event: AgentEvent) -> None:
        self.session.emit(name, event)

    def add(self, item: ChatMessage) -> None:
        self.emit("conversation_item_added", ConversationItemAddedEvent(item=item))

    def contents(self) -> list[str]:
        return [row["content"] for row in self.conversation.recent() if row.get("content")]


async def test_messages_become_rows() -> None:
    talk = Talk()
    talk.add(ChatMessage(role="user", content=["hello"], metrics={"transcription_delay": 0.2}))
    talk.add(ChatMessage(role="assistant", content=["hi"], metrics={"llm_node_ttft": 0.1, "e2e_latency": 0.9}))
    assert talk.contents() == ["hello", "hi"]
    assert talk.conversation.unwritten == 2


async def test_several_sessions_write_one_conversation() -> None:
    first = Talk()
    drafts = Drafts(first.conversation, read_spoken=lambda: "")
    second = Talk(SessionBooks(first.conversation, drafts, first.books.told))
    shared = ChatMessage(role="user", content=["to the first"])
    first.add(shared)
    second.session.history.insert(shared)
    second.add(ChatMessage(role="user", content=["to the second"]))
    for talk in (first, second):
        talk.emit("user_input_transcribed", UserInputTranscribedEvent(transcript="answered by nobody", is_final=True))
        talk.books.write_rest()
    assert first.contents() == ["to the first", "to the second", "answered by nobody", "answered by nobody"]


async def test_what_comes_into_the_history_without_an_event_is_a_row_once() -> None:
    talk = Talk()
    restored = ChatMessage(role="user", content=["before my time"])
    talk.books.know([restored])
    late = FunctionCallOutput(call_id="call_1", name="find_flight", output="199 euros", is_error=False)
    talk.session.history.insert([restored, late])
    talk.add(ChatMessage(role="user", content=["hi"]))
    talk.session.history.add_message(role="system", content="They booked.")
    talk.books.write_rest()
    talk.books.write_rest()
    assert talk.contents() == ["hi", "199 euros", "They booked."]


async def test_a_revised_transcript_is_another_row_and_a_repeated_one_none() -> None:
    talk = Talk()
    for text in ("I'd like tea", "I'd like tea", "I'd like two teas"):
        talk.add(ChatMessage(id="item_1", role="user", content=[text], transcript_confidence=1.0))
    assert talk.contents() == ["I'd like tea", "I'd like two teas"]
    assert len({row["itemId"] for row in talk.conversation.recent()}) == 2


async def test_what_was_heard_and_answered_by_nobody_is_a_row_at_the_end() -> None:
    talk = Talk()
    talk.emit("user_input_transcribed", UserInputTranscribedEvent(transcript="note this", is_final=True))
    talk.books.write_rest()
    assert talk.contents() == ["note this"]


async def test_a_question_that_is_told_after_its_answer_comes_before_it() -> None:
    talk = Talk()
    talk.add(ChatMessage(role="assistant", content=["At nine."], created_at=200.0))
    talk.add(ChatMessage(role="user", content=["When?"], created_at=100.0, transcript_confidence=1.0))
    rows = sorted(talk.conversation.recent(), key=lambda row: row["position"])
    assert [row["content"] for row in rows] == ["When?", "At nine."]
