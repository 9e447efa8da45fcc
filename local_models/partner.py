"""The rule-based partner: what it answers to a conversation. Pure; it keeps nothing between two requests."""

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from local_models.memory import Memory, remember
from local_models.request_bodies import Function, Message, NamedTool
from local_models.tool_choice import choose_tool, fill_arguments
from local_models.words import as_sentence, integers_in, number_word, plain, speak_digits, straighten

GREETING = "Hello! How can I help you today?"
GOODBYE = "Goodbye, and thank you for calling."
HONESTY = "I am a small rule-based stand-in, not a language model."
ABILITIES = (
    "I can repeat what you say, remember your name, a number or an order, count, tell a story, "
    "and use the tools I am given."
)
STORY = (
    "Once upon a time there was a lighthouse keeper who lived on a small island far from the coast. "
    "Every evening she climbed two hundred steps to light the great lamp. "
    "One winter night a storm broke the window, and the wind blew out the flame. "
    "She lit it again, and again the wind blew it out. "
    "Far away on the dark water a fishing boat was looking for the light. "
    "So the keeper took a brass bell from the wall and carried it up all the stairs. "
    "She rang the bell for seven hours, until her arms were tired and the morning came. "
    "When the sun rose, the boat lay safely in the harbour below. "
    "The fishermen gave her a silver fish as a present, and she hung it over her door. "
    "And to this day, when the wind is strong, people on that coast say that they can hear a bell."
)
_HIGHEST_COUNT = 30
_MOST_CHARACTERS = 2000
# Of a conversation's messages: what the rules look for takes longer than in proportion to what they look at.
_MOST_REMEMBERED = 100


@dataclass(frozen=True)
class Say:
    """An answer in words."""

    text: str


@dataclass(frozen=True)
class CallTool:
    """An answer that calls a tool."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


Reply = Say | CallTool


def decide_reply(
    messages: Sequence[Message],
    offered: Sequence[Function] = (),
    tool_choice: str | NamedTool | None = None,
) -> Reply:
    """Returns the answer to `messages`: to a tool's result, to an instruction at the end, or to the customer."""
    tail = _tail(messages)
    if isinstance(tool_choice, NamedTool):
        offered = [function for function in offered if function.name == tool_choice.function.name]
    if offered and (tool_choice == "required" or isinstance(tool_choice, NamedTool)):
        return _call_whatever_fits(_last_said(messages), offered)
    if tail and tail[-1].role == "tool":
        return Say(" ".join(_speak_result(message.text) for message in tail))
    if tail and tail[-1].role in ("system", "developer"):
        return Say(_follow_instruction(tail[-1].text, messages))
    if tail and tail[-1].role == "assistant":
        return Say("Is there anything else that I can do for you?")
    return _answer(messages, () if tool_choice == "none" else offered)


def _tail(messages: Sequence[Message]) -> Sequence[Message]:
    """Returns the last messages that have one role in common."""
    start = len(messages)
    while start > 0 and messages[start - 1].role == messages[-1].role:
        start -= 1
    return messages[start:]


def _said(messages: Sequence[Message]) -> list[str]:
    """Returns what the customer said, oldest first."""
    texts = [straighten(message.text)[:_MOST_CHARACTERS] for message in messages if message.role == "user"]
    return [text for text in texts if text]


def _told(messages: Sequence[Message]) -> list[str]:
    """Returns what the customer said, to remember it: parts with no answer in between also as one sentence."""
    told: list[str] = []
    for role, run in itertools.groupby(messages[-_MOST_REMEMBERED:], key=lambda message: message.role):
        if role == "user":
            parts = _said(list(run))
            told += [_join(parts), *parts]
    return told


def _join(parts: Sequence[str]) -> str:
    """Returns parts of a sentence as one, its end where it is long: a recognizer ends each with a full stop."""
    return " ".join([part.rstrip(" .,") for part in parts[:-1]] + list(parts[-1:]))[-_MOST_CHARACTERS:]


def _last_said(messages: Sequence[Message]) -> str:
    said = _said(messages)
    return said[-1] if said else ""


def _answer(messages: Sequence[Message], offered: Sequence[Function]) -> Reply:
    said = _said(messages)
    memory = remember(_told(messages))
    if not said:
        return Say(_greet(memory))
    # A pause may have cut a sentence in two: without an answer in between, the parts may only make sense together.
    parts = _said(_tail(messages))
    for text in dict.fromkeys((said[-1], _join(parts))):
        if (reply := _apply_rules(text, messages, memory, offered)) is not None:
            return reply
    return Say(f"You said: {as_sentence(' '.join(parts)[-_MOST_CHARACTERS:])}")


def _apply_rules(text: str, messages: Sequence[Message], memory: Memory, offered: Sequence[Function]) -> Reply | None:
    if (answer := _repeat(text, messages) or _recall(text, memory)) is not None:
        return Say(answer)
    if (function := choose_tool(text, offered)) is not None:
        return _call(text, function)
    for rule in _RULES:
        if (answer := rule(text, memory)) is not None:
            return Say(answer)
    return None


# The customer's words


def _repeat(text: str, messages: Sequence[Message]) -> str | None:
    if re.search(r"\b(?:repeat (?:that|it|yourself)|say (?:that|it) again|what did you say|pardon)\b", plain(text)):
        spoken = [message.text for message in messages if message.role == "assistant" and message.text]
        return spoken[-1] if spoken else "I have not said anything yet."
    match = re.search(r"\b(?:repeat(?: after me)?|say after me)\b[\s:,.]*(?P<what>.*\w.*)", text, re.IGNORECASE)
    return as_sentence(match["what"]) if match else None


_ASK_FOR_MY = r"\b(?:what(?:'s| is| was)|do you (?:know|remember)|tell me|say) my "
_ASK_NAME = re.compile(_ASK_FOR_MY + r"(?:\w+ )?name\b|\bwho am i\b|\bwhat my name (?:is|was)\b")
_ASK_NUMBER = re.compile(_ASK_FOR_MY + r"(?:(?P<label>\w+) )?(?:number|code|pin|id)\b")
_ASK_ORDER = re.compile(
    r"\bwhat (?:did i|have i|i) (?:just )?(?:order|book|reserve|buy|bought)|\bwhat(?:'s| is| was) my order$"
)


def _recall(text: str, memory: Memory) -> str | None:
    words = plain(text)
    if _ASK_NAME.search(words):
        return f"Your name is {memory.name}." if memory.name else "You have not told me your name yet."
    if number := _ASK_NUMBER.search(words):
        return _speak_number(number["label"] or "", memory)
    return _speak_order(memory) if _ASK_ORDER.search(words) else None


def _speak_number(label: str, memory: Memory) -> str:
    digits, kind = memory.number(label), f"{label} number".strip()
    return f"Your {kind} is {speak_digits(digits)}." if digits else f"You have not told me your {kind} yet."


def _speak_order(memory: Memory) -> str:
    if memory.order is None:
        return "You have not ordered anything yet."
    past = {"order": "ordered", "book": "booked", "reserve": "reserved", "buy": "bought"}[memory.order.verb]
    return f"You {past} {memory.order.what}."


_ASK_WHO = re.compile(
    r"\b(?:who|what) are you\b|\byour name\b"
    r"|\bare you (?:a |an |really |some )?(?:real|human|person|robot|bot|machine|computer|ai|language|chatbot)\b"
)


def _identify(text: str, memory: Memory) -> str | None:
    words = plain(text)
    if _ASK_WHO.search(words):
        return HONESTY
    if re.search(r"\bwhat can you do\b|\bhow can you help\b", words):
        return ABILITIES
    return "Yes, I can hear you." if re.search(r"\bcan you hear me\b", words) else None


def _tell_story(text: str, memory: Memory) -> str | None:
    return STORY if re.search(r"\b(?:tell|read|say|know|hear|want|like)\b.* story\b", plain(text)) else None


def _count(text: str, memory: Memory) -> str | None:
    words = plain(text)
    if not re.search(r"\bcount\b.*\b(?:to|from|down|backwards)\b", words):
        return None
    numbers = integers_in(text)
    if not numbers:
        return "Please tell me how far to count."
    first, last = (numbers[0], numbers[1]) if len(numbers) > 1 else (1, numbers[0])
    if len(numbers) == 1 and re.search(r"\bfrom\b|\bbackwards?\b|\bdown\b", words):
        first, last = last, 1
    if max(first, last) > _HIGHEST_COUNT:
        return f"I only count up to {number_word(_HIGHEST_COUNT)}."
    step = 1 if last >= first else -1
    return as_sentence(", ".join(number_word(value) for value in range(first, last + step, step)))


def _note(text: str, memory: Memory) -> str | None:
    told = remember([text])
    if told.is_empty():
        return None
    answers = [f"Nice to meet you, {told.name}."] if told.name else []
    for label, digits in told.numbers.items():
        answers.append(f"I have noted your {f'{label} number'.strip()}: {speak_digits(digits)}.")
    if told.order is not None:
        answers.append(f"Very well, I {told.order.verb} {told.order.what}.")
    return " ".join(answers)


def _say_goodbye(text: str, memory: Memory) -> str | None:
    if not re.search(r"\b(?:good ?bye|bye|see you|talk to you later|have a nice day)\b", plain(text)):
        return None
    return f"Goodbye {memory.name}, and thank you for calling." if memory.name else GOODBYE


def _accept_thanks(text: str, memory: Memory) -> str | None:
    return "You are welcome." if re.match(r"(?:\w+ ){0,2}(?:thank you|thanks)(?: \w+){0,6}$", plain(text)) else None


def _greet_back(text: str, memory: Memory) -> str | None:
    if not re.match(r"(?:hello|hi|hey|good (?:morning|afternoon|evening|day))\b(?: \w+){0,3}$", plain(text)):
        return None
    return _greet(memory)


def _greet(memory: Memory) -> str:
    return GREETING.replace("Hello", f"Hello {memory.name}") if memory.name else GREETING


_RULES: tuple[Callable[[str, Memory], str | None], ...] = (
    _identify,
    _tell_story,
    _count,
    _note,
    _say_goodbye,
    _accept_thanks,
    _greet_back,
)


# Tools and instructions


def _call(text: str, function: Function) -> Reply:
    arguments = fill_arguments(text, function)
    if arguments.missing:
        return Say(f"I can do that. Please say it again together with the {arguments.missing}.")
    return CallTool(function.name, arguments.values)


def _call_whatever_fits(text: str, offered: Sequence[Function]) -> CallTool:
    function = choose_tool(text, offered) or offered[0]
    return CallTool(function.name, fill_arguments(text, function).values)


def _speak_result(result: str) -> str:
    """Returns a tool's result as a sentence: JSON objects as "key value, key value"."""
    try:
        spoken = _speak_json(json.loads(result))
    except json.JSONDecodeError:
        spoken = result.strip()
    if spoken in ("", "None", "null"):
        return "That is done."
    return as_sentence(f"The answer is {spoken}" if len(spoken.split()) < 3 else spoken)


def _speak_json(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_speak_json(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_speak_json(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


_WORDS_TO_SAY = re.compile(
    r"[\"\u201c](?P<double>.{2,}?)[\"\u201d]|(?<!\w)'(?P<single>.{2,})'(?!\w)|\bsay: *(?P<colon>.{2,})"
)


def _follow_instruction(instruction: str, messages: Sequence[Message]) -> str:
    """Returns what an instruction at the end of the messages asks to be said now.

    livekit-agents puts `generate_reply(instructions=...)` there.
    """
    before = messages[: len(messages) - len(_tail(messages))]
    memory = remember(_told(messages))
    if len(messages) == 1:
        return _greet(memory)  # The agent's own instructions and nothing else: the call has just begun.
    if quoted := _WORDS_TO_SAY.search(instruction):
        return as_sentence(quoted[quoted.lastgroup or 0])
    for rule in (_obey_farewell, _obey_greeting, _tell_story, _count):
        if (told := rule(instruction, memory)) is not None:
            return told
    if before and before[-1].role == "user" and isinstance(answer := _answer(before, ()), Say):
        return answer.text
    return "How can I help you?" if before else _greet(memory)


def _obey_farewell(instruction: str, memory: Memory) -> str | None:
    asked = re.search(r"\b(?:goodbye|good bye|farewell|hang up|end the call)\b", instruction, re.IGNORECASE)
    return _say_goodbye("goodbye", memory) if asked else None


def _obey_greeting(instruction: str, memory: Memory) -> str | None:
    asked = re.search(r"\b(?:greet|welcome|introduce|say hello|say hi)\b", instruction, re.IGNORECASE)
    return _greet(memory) if asked else None
