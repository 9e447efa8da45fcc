"""Sentences in progress, and the whole ones that take their place."""

from typing import Any

import pytest

from voice_agent.conversation_log import ConversationLog, ConversationStart
from voice_agent.drafts import SETTLED_CHARACTERS, SETTLED_SECONDS, Drafts

START = ConversationStart("s", 1, "token", "room", "customer", "acme", False, "default", None)


class Speaking:
    """Both sides' sentences, and what was written of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        conversation = ConversationLog("postgresql://nowhere", START, on_superseded=lambda: None)
        self.written: list[dict[str, Any]] = []
        monkeypatch.setattr(conversation, "draft", self.written.append)
        self.spoken = ""
        self.seconds = 1_000_000.0
        self.conversation = conversation
        self.drafts = Drafts(conversation, lambda: self.spoken, now=lambda: self.seconds)

    def taken(self) -> list[dict[str, Any]]:
        return self.conversation.recent()

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
    assert speaking.drafts.complete(whole) == [{**whole, **placed}]
    assert agents["position"] < customers["position"]
    assert speaking.drafts.complete(whole) == [whole], "the next one has no draft"
    speaking.drafts.complete({"itemId": "item_2", "role": "user", "content": "But when?"})
    speaking.spoken = ""
    speaking.drafts.write()
    assert len(speaking.written) == 2


def say(speaking: Speaking, *texts: str) -> None:
    for text in texts:
        speaking.drafts.hear(text, is_final=True)


def message(text: str) -> dict[str, Any]:
    return {"itemId": "item_1", "kind": "message", "role": "user", "content": text}


def contents(rows: list[dict[str, Any]]) -> list[str]:
    return [row["content"] for row in rows]


def test_what_no_message_has_covered_comes_before_the_one_that_covers_the_rest(speaking: Speaking) -> None:
    say(speaking, "Yes.", "I have", "a question.", "Are you open?", "And on Sunday?")
    rows = speaking.drafts.complete(message("Are you open?"))
    assert contents(rows) == ["Yes. I have a question.", "Are you open?"]
    assert not rows[0]["interrupted"]
    assert contents(speaking.drafts.rest()) == ["And on Sunday?"]
    assert speaking.drafts.rest() == []


def test_what_is_typed_covers_nothing_and_what_code_has_changed_covers_all(speaking: Speaking) -> None:
    say(speaking, "Are you open?")
    assert contents(speaking.drafts.complete(message("hello"), spoken=False)) == ["hello"]
    assert contents(speaking.drafts.complete(message("Are you open? (Context: always)"))) == [
        "Are you open? (Context: always)"
    ]
    assert speaking.drafts.rest() == []


def test_a_word_in_the_middle_of_which_the_call_ended_is_kept_as_cut_off(speaking: Speaking) -> None:
    say(speaking, "Yes, book")
    speaking.drafts.hear("it for", is_final=False)
    speaking.drafts.write()
    (row,) = speaking.drafts.rest()
    assert (row["content"], row["interrupted"]) == ("Yes, book it for", True)
    assert row["itemId"] == speaking.written[0]["itemId"], "it takes its draft's place"


def test_what_nobody_answers_is_a_row_after_a_while_and_never_twice(speaking: Speaking) -> None:
    say(speaking, "Note this.")
    speaking.seconds += SETTLED_SECONDS
    speaking.drafts.write()
    assert contents(speaking.taken()) == ["Note this."]
    say(speaking, "And this.")
    (late,) = speaking.drafts.complete(message("Note this. And this."))
    assert late["content"] == "And this."
    assert speaking.drafts.rest() == []


def test_who_only_listens_has_rows_though_nobody_falls_silent(speaking: Speaking) -> None:
    for _ in range(3):
        say(speaking, "x" * (SETTLED_CHARACTERS // 2))
        speaking.drafts.write()
    assert len(speaking.taken()) == 1
