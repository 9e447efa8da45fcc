"""Calls to look at: what a tenant's list may have in it, one call with everything, and hostile words."""

from testing.calls_stage import Json, at, build_item, build_story, build_summary

HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\u202e</p>\'"`${1}{{1}}'


def latencies(answer: int, model: int = 410, voice: int = 160) -> dict[str, int]:
    """Returns an answer's latencies in milliseconds."""
    return {"answerMillis": answer, "llmFirstTokenMillis": model, "ttsFirstByteMillis": voice}


HEARD = {"transcriptionMillis": 190, "endOfTurnMillis": 520}
TOOL = {"name": "order_pizza", "callId": "call_1"}


def a_list() -> list[Json]:
    """Returns calls of all kinds, newest first."""
    running = {"phase": "Active", "reason": "Joined", "endedAt": None}
    return [
        build_summary(0, **running, durationSeconds=41, answers=2),
        build_summary(1, phase="Recovering", reason="OutOfMemory", endedAt=None, attempts=2, durationSeconds=184),
        build_summary(2, profile="bank", answers=11, medianAnswerMillis=910),
        build_summary(
            3, phase="Failed", reason="QuotaExceeded", answers=0, medianAnswerMillis=None, durationSeconds=20
        ),
        build_summary(4, medianAnswerMillis=3420),
        build_summary(5, profile="bank", reason="ended_by_request"),
        build_summary(6, attempts=2, medianAnswerMillis=1180),
        build_summary(7, reason="error", answers=1, medianAnswerMillis=2100),
        build_summary(8, reason="idle", answers=3),
        build_summary(9),
        build_summary(10, reason="max_duration", durationSeconds=3600, answers=142),
        build_summary(11, profile="bank"),
    ]


def a_recovered_call() -> Json:
    """Returns a call with tools, an interruption, a slow answer, a lost agent and its successor."""
    items = [
        build_item(1, 1.2, "assistant", "Hello, this is Ada. How can I help?"),
        build_item(2, 6.4, "user", "I would like to order two large pizzas.", latencies=HEARD),
        build_item(
            3, 6.9, "assistant", None, kind="tool_call", tool={**TOOL, "arguments": {"pizzas": 2, "size": "large"}}
        ),
        build_item(
            4, 7.3, "tool", '{"price": 23.8, "ready": "19:00"}', kind="tool_result", tool={**TOOL, "isError": False}
        ),
        build_item(
            5, 8.2, "assistant", "Two large pizzas. Would you", interrupted=True, latencies=latencies(2320, model=1390)
        ),
        build_item(6, 11.4, "user", "And a bottle of water, please.", latencies=HEARD),
        build_item(7, 12.1, "assistant", "Two large pizzas and a bottle of water.", latencies=latencies(1120)),
        build_item(8, 17.8, "user", "When will they be here?", latencies={**HEARD, "transcriptionMillis": 240}),
        build_item(
            9,
            29.6,
            "assistant",
            "Sorry for the wait. They will be with you at seven.",
            attempt=2,
            latencies=latencies(1080),
        ),
        build_item(10, 38.0, "user", "Can I pay by card?", attempt=2, latencies=HEARD),
        build_item(
            11,
            38.4,
            "assistant",
            None,
            attempt=2,
            kind="tool_call",
            tool={"name": "payment_methods", "callId": "call_2", "arguments": {}},
        ),
        build_item(
            12,
            41.4,
            "tool",
            "TimeoutError: the till does not answer",
            attempt=2,
            kind="tool_result",
            tool={"name": "payment_methods", "callId": "call_2", "isError": True},
        ),
        build_item(
            13,
            42.1,
            "assistant",
            "I cannot see that just now, but cash is fine.",
            attempt=2,
            latencies=latencies(4550, model=3700),
        ),
        build_item(14, 49.5, "user", "Cash it is. Thank you, goodbye.", attempt=2, latencies=HEARD),
        build_item(15, 50.4, "assistant", "Goodbye, and enjoy your meal!", attempt=2, latencies=latencies(980)),
    ]
    events = [
        {"at": at(0), "kind": "created", "text": "Asked for, with profile default."},
        {"at": at(0.1), "kind": "claimed", "text": "Pod default-f9gc7 on node node2 (warm start)."},
        {"at": at(0.4), "kind": "joined", "text": "The agent is in the room."},
        {"at": at(19.2), "kind": "lost", "text": "OutOfMemory: The agent's container had 512 MiB."},
        {"at": at(27.9), "kind": "recovered", "text": "Joined: Another agent was in the room 8.7 s after the loss."},
        {"at": at(62), "kind": "ended", "text": "participant_left"},
    ]
    usage = {
        "models": [
            {"type": "llm", "provider": "openai", "model": "gpt-4.1", "input_tokens": 6120, "output_tokens": 214},
            {"type": "tts", "provider": "openai", "model": "tts-1", "characters_count": 231},
        ]
    }
    other = {"sessionId": "00000000-0000-4000-8000-000000000099", "startedAt": at(-86_400)}
    return build_story(items, events, attempts=2, usage=usage, others=[other])


def a_hostile_call() -> Json:
    """Returns a call in which every text wants to be markup."""
    items = [
        build_item(1, 1, "user", HOSTILE),
        build_item(2, 2, "assistant", HOSTILE, latencies=latencies(700)),
        build_item(3, 3, "system", HOSTILE),
        build_item(
            4, 4, "tool", HOSTILE, kind="tool_call", tool={"name": HOSTILE, "callId": "c", "arguments": {"x": HOSTILE}}
        ),
        build_item(5, 5, "tool", HOSTILE, kind="tool_result", tool={"name": HOSTILE, "callId": "c", "isError": True}),
        build_item(6, 6, "assistant", None, kind="handoff", tool={"from": HOSTILE, "to": HOSTILE}),
        build_item(7, 7, HOSTILE, HOSTILE, kind=HOSTILE),
    ]
    events = [{"at": at(8), "kind": HOSTILE, "text": HOSTILE}]
    said = {"profile": HOSTILE, "message": HOSTILE, "llmProvider": HOSTILE, "traceId": HOSTILE, "reason": HOSTILE}
    usage = {"models": [{"provider": HOSTILE, "model": HOSTILE, "input_tokens": 1}]}
    return build_story(items, events, usage=usage, endReason=HOSTILE, **said)
