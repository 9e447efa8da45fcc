"""Sentences in progress, and the whole ones that take their place."""

from typing import Any

import pytest

from voice_agent.conversation_log import ConversationLog, ConversationStart
from voice_agent.drafts import Drafts

START = ConversationStart("s", 1, "token", "room", "customer", "acme", False, "default", None)


class Speaking:
    """Both sides' sentences, and what was written of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        conversation = ConversationLog("postgresql://nowhere", START, on_superseded=lambda: None)
        self.written: list[dict[str, Any]] = []
        monkeypatch.setattr(conversation, "draft", self.written.append)
        self.spoken = ""
        self.drafts = Drafts(conversation, lambda: self.spoken)

    def texts(self) -> list[tuple[str, str]]:
        return [(row["role"], row["content"]) for row in self.written]


@pytest.fixture
def speaking(monkeypatch: pytest.MonkeyPatch) -> Speaking:
    return Speaking(monkeypatch)


def test_only_what_is_new_is_written(speaking: Speaking) -> None:
    speaking.drafts.write()
    for speaking.spoken in ("We are", "We are", "We are open"):
        speaking.drafts.write()
    assert speaking.texts() == [("assistant", "We are"), ("assistant", "We are open")]
    first, second = speaking.written
    assert (first["itemId"], first["position"]) == (second["itemId"], second["position"])


def test_what_the_customer_says_is_put_together(speaking: Speaking) -> None:
    speaking.drafts.hear("Are", is_final=False)
    speaking.drafts.hear("Are you", is_final=False)
    speaking.drafts.write()
    speaking.drafts.hear("Are you open", is_final=True)
    speaking.drafts.hear("on", is_final=False)
    speaking.drafts.write()
    assert speaking.texts() == [("user", "Are you"), ("user", "Are you open on")]


def test_a_whole_sentence_takes_its_drafts_place(speaking: Speaking) -> None:
    speaking.spoken = "We are"
    speaking.drafts.hear("But", is_final=False)
    speaking.drafts.write()
    agents, customers = speaking.written
    whole = {"itemId": "item_1", "kind": "message", "role": "assistant", "content": "We are open."}
    placed = {name: agents[name] for name in ("itemId", "position")}
    assert speaking.drafts.complete(whole) == {**whole, **placed}
    assert agents["position"] < customers["position"]
    assert speaking.drafts.complete(whole) == whole, "the next one has no draft"
    speaking.drafts.complete({"itemId": "item_2", "role": "user", "content": "But when?"})
    speaking.spoken = ""
    speaking.drafts.write()
    assert len(speaking.written) == 2
