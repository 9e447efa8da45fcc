"""Chat servers as they are found, and what comes of each answer: words, calls of tools, or a failure with a name.

Beside each oddity stands where somebody met it.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from testing.odd_client import PATIENT
from testing.odd_server import Reply, call, delta, one_json, stream
from voice_agent.answers.client import Patience

WORDS = "Your table is booked."
SHORT = Patience(answer=2)
RESTLESS = Patience(connect=60, answer=120, stall=0.5)


@dataclass(frozen=True)
class Odd:
    """`replies` in turn; what comes of it: words, calls, or a failure. `tries`: how often the server is asked."""

    name: str
    replies: list[Reply]
    words: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    failure: str = ""
    tries: int = 1
    patience: Patience = PATIENT


BOOK = [("book", {"day": "Friday"})]
FRIDAY = '{"day": "Friday"}'
SAID = delta(content=WORDS)
STOP = delta("stop")
CALLED = delta("tool_calls")


def fails(name: str, reply: Reply, failure: str) -> Odd:
    return Odd(name, [reply], failure=failure, tries=3)


def says(name: str, reply: Reply, words: str = WORDS) -> Odd:
    return Odd(name, [reply], words=words)


def calls(name: str, reply: Reply, *wanted: tuple[str, Any]) -> Odd:
    return Odd(name, [reply], calls=list(wanted) or BOOK)


ODDITIES = [
    says("as OpenAI does", stream(delta(role="assistant", content=""), SAID, STOP)),
    # ---- what is no answer
    fails("200 with an error, ggml-org/llama.cpp#14566", one_json({"error": {"message": "no"}}), "an error in a succ"),
    fails("an error in the stream, fox1245/NeoGraph#124", stream({"error": "STREAM_EXPLODED"}), "an error in a succ"),
    fails(
        "an error event, eca#559",
        Reply([b'event: error\ndata: {"type": "error", "code": "server_is_overloaded"}\n\n']),
        "an error in a success (server_is_overloaded)",
    ),
    fails(
        "vLLM's own form of an error",
        one_json({"object": "error", "message": "too long", "type": "BadRequestError"}),
        "an error in a success (BadRequestError)",
    ),
    Odd(
        "a status within the error",
        [one_json({"error": {"message": "Unauthorized", "code": 401}})],
        failure="401",
        tries=1,
    ),
    Odd("a quota within the error", [one_json({"error": {"message": "no", "code": "429"}})], failure="429", tries=3),
    fails("an error without JSON, mistral.rs#1874", Reply([b"data: Number of choices must be > 0.\n\n"]), "no JSON"),
    fails("an empty body", Reply([]), "nothing"),
    fails("only the last event", Reply([b"data: [DONE]\n\n"]), "nothing: neither words"),
    fails("no words, BerriAI/litellm#32237", stream(delta(role="assistant", content=""), STOP), "nothing: neither"),
    fails("blank words", stream(delta(content="\n\n"), STOP), "nothing: neither words"),
    fails("no choices", stream({"id": "1", "object": "chat.completion.chunk", "choices": []}), "nothing: neither"),
    fails("thoughts alone, Ollama", stream(delta(reasoning="Hmm."), STOP), "thoughts and no words"),
    fails("thoughts in their own field, vLLM", stream(delta(reasoning_content="Hmm."), STOP), "thoughts and no words"),
    fails("thoughts that never end", stream(delta(content="<think>Hmm, a table"), delta("length")), "thoughts and"),
    fails("filtered, Azure", stream(delta("content_filter")), "its content filter stepped in"),
    fails("a finish by error, hermes-agent#12753", stream(delta("error", content="")), "ends by 'error'"),
    fails("a page", Reply([b"<!doctype html><html>Sign in</html>"], "text/html"), "no JSON"),
    fails("JSON that breaks off", Reply([b'data: {"id": "1", "choices": [{"delta": {"con']), "no JSON"),
    fails("FastAPI's own form of an error", one_json({"detail": "Model not loaded"}), "nothing: neither words"),
    fails("a call that cannot be read", stream(delta(content='<tool_call>{"name": "book"'), STOP), "cannot be read"),
    Odd("no connection's end", [Reply([], pauses_before_headers=True)], failure="Timeout", patience=SHORT),
    Odd("headers and then nothing", [Reply([], pauses=True)], failure="Timeout", patience=SHORT),
    Odd(
        "comments and then nothing, OpenRouter",
        [Reply([b": OPENROUTER PROCESSING\n\n"], pauses=True)],
        failure="Timeout",
        patience=SHORT,
    ),
    Odd(
        "words, then a standstill",
        [Reply([*stream(delta(content="Your table"), ends=False).pieces], pauses=True)],
        words="Your table",
        failure="Timeout",
        patience=RESTLESS,
    ),
    Odd(
        "words, then cut off",
        [
            Reply(
                [*stream(delta(content="Your table"), ends=False).pieces],
                is_cut=True,
                headers={"Content-Length": "999"},
            )
        ],
        words="Your table",
        failure="APIConnectionError",
    ),
    Odd("status 500", [one_json({"error": {"message": "no"}}, 500)], failure="500", tries=3),
    Odd("status 400", [one_json({"error": {"message": "no such parameter"}}, 400)], failure="400"),
    # ---- what passes
    Odd("wrong, then right", [one_json({"error": "busy"}), stream(SAID, STOP)], words=WORDS, tries=2),
    Odd("empty, then right", [Reply([]), stream(SAID, STOP)], words=WORDS, tries=2),
    # ---- what is written another way
    says("a completion that was not streamed", one_json({"id": "1", "choices": [{"message": {"content": WORDS}}]})),
    says("the same in an event", stream({"id": "1", "choices": [{"index": 0, "message": {"content": WORDS}}]})),
    says(
        "the same over several lines",
        Reply([json.dumps({"choices": [{"message": {"content": WORDS}}]}, indent=2).encode()], "application/json"),
    ),
    says("no last event", stream(SAID, STOP, ends=False)),
    says("no finish reason, ModelTC/LightLLM#130", stream(SAID)),
    says("another finish reason", stream(SAID, delta("end_turn"))),
    says("the old completions' text", stream({"choices": [{"index": 0, "text": WORDS, "finish_reason": "stop"}]})),
    says(
        "the whole message again, Perplexity",
        stream(
            {"choices": [{"delta": {"content": WORDS}, "message": {"content": WORDS}}]},
            {"choices": [{"delta": {}, "message": {"content": WORDS}, "finish_reason": "stop"}]},
        ),
    ),
    says("words in parts, Mistral", stream(delta(content=[{"type": "text", "text": WORDS}]), STOP)),
    says("a refusal", stream(delta(refusal=WORDS), STOP)),
    says("thoughts first", stream(delta(content="<think>Hm"), delta(content="m.</think>"), SAID, STOP)),
    says("no delta, Azure", stream({"choices": [{"index": 0, "delta": None}]}, SAID, STOP)),
    says("filter results without a choice, Azure", stream({"choices": [], "prompt_filter_results": [{}]}, SAID, STOP)),
    says("a model's own end, LightLLM#130", stream(SAID, delta(content="<|im_end|>"), STOP)),
    says("counts that are null", stream(SAID, {**STOP, "usage": {"prompt_tokens": None, "prompt_tokens_details": []}})),
    says("counts elsewhere, Groq", stream(SAID, {**STOP, "x_groq": {"usage": {"prompt_tokens": 7}}})),
    says("lines without `data:`", Reply([json.dumps(each).encode() + b"\n" for each in (SAID, STOP)])),
    says("events without empty lines", Reply([f"data:{json.dumps(each)}\n".encode() for each in (SAID, STOP)])),
    says("carriage returns", Reply([f"data: {json.dumps(each)}\r\n\r\n".encode() for each in (SAID, STOP)])),
    says("comments and pings", Reply([b": ping\n\nevent: ping\ndata: {}\n\n", *stream(SAID, STOP).pieces])),
    says("another media type", Reply(stream(SAID, STOP).pieces, "text/plain")),
    says(
        "a letter in two pieces",
        Reply([f"data: {json.dumps(SAID)}\n\n".encode()[:60], f"data: {json.dumps(SAID)}\n\n".encode()[60:]]),
    ),
    says("an end, and no close", Reply(stream(SAID, STOP, ends=False).pieces, pauses=True)),
    says("JSON that was asked for", stream(delta(content='{"mood": "good"}'), STOP), '{"mood": "good"}'),
    # ---- tool calls
    calls(
        "as OpenAI's",
        stream(
            delta(tool_calls=[call("book", "", index=0, id="a")]),
            delta(tool_calls=[call(None, FRIDAY, index=0)]),
            CALLED,
        ),
    ),
    calls("no id, Vertex and OCI", stream(delta(tool_calls=[call("book", FRIDAY, index=0, id=None)]), CALLED)),
    calls("an empty id, Gemini", stream(delta(tool_calls=[call("book", FRIDAY, index=0, id="")]), CALLED)),
    calls("no index, ollama/ollama#7881", stream(delta(tool_calls=[call("book", FRIDAY, id="a")]), CALLED)),
    calls(
        "stop, googleapis/python-genai#2868", stream(delta(tool_calls=[call("book", FRIDAY, index=0, id="a")]), STOP)
    ),
    calls(
        "end_turn, BerriAI/litellm#12481",
        stream(delta(tool_calls=[call("book", FRIDAY, index=0, id="a")]), delta("end_turn")),
    ),
    calls("no reason, vllm-project/vllm#27572", stream(delta(tool_calls=[call("book", FRIDAY, index=0, id="a")]))),
    calls(
        "function_call as the reason",
        stream(delta(tool_calls=[call("book", FRIDAY, index=0, id="a")]), delta("function_call")),
    ),
    calls(
        "before tool calls there were",
        stream(delta(function_call={"name": "book", "arguments": FRIDAY}), delta("function_call")),
    ),
    calls(
        "arguments as an object", stream(delta(tool_calls=[call("book", {"day": "Friday"}, index=0, id="a")]), CALLED)
    ),
    calls(
        "arguments as a string of a string",
        stream(delta(tool_calls=[call("book", json.dumps(FRIDAY), index=0, id="a")]), CALLED),
    ),
    calls("no arguments", stream(delta(tool_calls=[call("cancel", None, index=0, id="a")]), CALLED), ("cancel", {})),
    calls("empty arguments", stream(delta(tool_calls=[call("cancel", "", index=0, id="a")]), CALLED), ("cancel", {})),
    calls(
        "two with one index, omnigent#28",
        stream(
            delta(tool_calls=[call("book", FRIDAY, index=0, id="a"), call("cancel", "{}", index=0, id="b")]), CALLED
        ),
        *BOOK,
        ("cancel", {}),
    ),
    calls(
        "two with one index and no ids",
        stream(
            delta(tool_calls=[call("book", FRIDAY, index=0)]), delta(tool_calls=[call("cancel", "{}", index=0)]), CALLED
        ),
        *BOOK,
        ("cancel", {}),
    ),
    calls(
        "two of one tool",
        stream(
            delta(tool_calls=[call("book", FRIDAY, index=0, id="a")]),
            delta(tool_calls=[call("book", '{"day": "Sunday"}', index=0, id="b")]),
            CALLED,
        ),
        *BOOK,
        ("book", {"day": "Sunday"}),
    ),
    calls(
        "two with one id",
        stream(
            delta(tool_calls=[call("book", FRIDAY, index=0, id="a"), call("cancel", "{}", index=1, id="a")]), CALLED
        ),
        *BOOK,
        ("cancel", {}),
    ),
    calls(
        "another id with each part",
        stream(
            delta(tool_calls=[call("book", "", index=0, id="a")]),
            delta(tool_calls=[call(None, FRIDAY, index=0, id="b")]),
            CALLED,
        ),
    ),
    calls(
        "id and name with each part",
        stream(
            delta(tool_calls=[call("book", '{"day": ', index=0, id="a")]),
            delta(tool_calls=[call("book", '"Friday"}', index=0, id="a")]),
            CALLED,
        ),
    ),
    calls(
        "the id once, litellm#11407",
        stream(
            delta(tool_calls=[call("book", "", index=1, id="a")]),
            delta(tool_calls=[call(None, FRIDAY, index=1)]),
            CALLED,
        ),
    ),
    calls(
        "another index, LibreChat#13987",
        stream(
            delta(tool_calls=[call("book", "", index=0, id="a")]),
            delta(tool_calls=[call(None, FRIDAY, index=1)]),
            CALLED,
        ),
    ),
    calls(
        "the name later, vercel/ai#14760",
        stream(
            delta(tool_calls=[call(None, "", index=0, id="a")]),
            delta(tool_calls=[call("book", FRIDAY, index=0)]),
            CALLED,
        ),
    ),
    calls(
        "an empty name, sub2api#5632",
        stream(
            delta(tool_calls=[call("book", "", index=0, id="a")]), delta(tool_calls=[call("", FRIDAY, index=0)]), CALLED
        ),
    ),
    calls(
        "the name in pieces",
        stream(
            delta(tool_calls=[call("bo", "", index=0, id="a")]), delta(tool_calls=[call("ok", FRIDAY, index=0)]), CALLED
        ),
    ),
    calls(
        "all of it again, open-webui#22235",
        stream(
            delta(tool_calls=[call("book", FRIDAY, index=0, id="a")]),
            delta(tool_calls=[call("book", FRIDAY, index=0, id="a")]),
            CALLED,
        ),
    ),
    calls(
        "arguments again, opencodex#361",
        stream(
            delta(tool_calls=[call("book", FRIDAY, index=0, id="a")]),
            delta(tool_calls=[call(None, FRIDAY, index=0)]),
            CALLED,
        ),
    ),
    calls(
        "two in one, open-webui#22235",
        stream(delta(tool_calls=[call("book", FRIDAY + '{"day": "Sunday"}', index=0, id="a")]), CALLED),
        *BOOK,
        ("book", {"day": "Sunday"}),
    ),
    calls(
        "a name with a prefix, Kimi",
        stream(delta(tool_calls=[call("functions.book:0", FRIDAY, index=0, id="a")]), CALLED),
    ),
    calls(
        "not streamed",
        one_json(
            {
                "choices": [
                    {
                        "message": {"content": None, "tool_calls": [call("book", FRIDAY, id="a")]},
                        "finish_reason": "tool_calls",
                    }
                ]
            }
        ),
    ),
    calls("one that is no list", stream(delta(tool_calls=call("book", FRIDAY, id="a")), CALLED)),
    calls(
        "written as words, Qwen",
        stream(
            delta(content="<tool_"),
            delta(content='call>{"name": "book", "arg'),
            delta(content='uments": {"day": "Friday"}}</tool_call>'),
            STOP,
        ),
    ),
    calls(
        "written as JSON, litellm#12481",
        stream(delta(content='{"name": "book", '), delta(content='"parameters": {"day": "Friday"}}'), STOP),
    ),
    calls(
        "written by Mistral",
        stream(delta(content='[TOOL_CALLS][{"name": "book", "arguments": {"day": "Friday"}}]'), STOP),
    ),
    calls(
        "arguments that cannot be read",
        stream(delta(tool_calls=[call("book", '{"day": Friday', index=0, id="a")]), CALLED),
        ("book", '{"day": Friday'),
    ),
    calls(
        "a tool that nobody has",
        stream(delta(tool_calls=[call("dance", "{}", index=0, id="a")]), CALLED),
        ("dance", {}),
    ),
    Odd(
        "words and a call",
        [stream(SAID, delta(tool_calls=[call("book", FRIDAY, id=None)]), STOP)],
        words=WORDS,
        calls=BOOK,
    ),
]
