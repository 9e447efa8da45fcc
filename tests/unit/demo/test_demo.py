"""What the demo computes, word errors and memory figures of both cgroup versions; and where an OpenAI key goes."""

import json
from typing import Any

import pytest

import testing.release
from demo import __main__ as command
from testing.pod_memory import PodMemory, parse_pod_memory
from testing.transcripts import word_error_rate, word_errors


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("Hello there.", "hello there", 0),
        ("Hello there.", "hello", 1),
        ("one two three", "one too three four", 2),
        ("one two three", "", 3),
        ("", "noise", 1),
    ],
)
def test_word_errors(said: str, heard: str, errors: int) -> None:
    assert word_errors(said, heard) == errors


def test_word_error_rate_counts_over_all_sentences() -> None:
    assert word_error_rate(["a b c d", "e f g h"], ["a b c d", "e f x"]) == pytest.approx(2 / 8)


def test_memory_of_cgroup_v1_and_v2() -> None:
    one = "memory.stat total_rss 100\nmemory.stat total_inactive_file 20\nmemory.usage_in_bytes 150\n"
    two = "memory.stat anon 100\nmemory.stat inactive_file 20\nmemory.current 150\n"
    assert parse_pod_memory(one) == parse_pod_memory(two) == PodMemory(anonymous=100, working_set=130)


def test_memory_without_a_cgroup_is_an_error() -> None:
    with pytest.raises(ValueError, match="no memory cgroup"):
        parse_pod_memory("")


def test_a_key_for_openai_goes_into_a_secret_and_into_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[tuple[str, ...], str]] = []

    def run_tool(*arguments: str, stdin: str | None = None, **_: Any) -> str:
        calls.append((arguments, stdin or ""))
        return '{"items": []}' if "get" in arguments else "voice"

    monkeypatch.setattr(testing.release, "run_tool", run_tool)
    monkeypatch.setattr(command, "_expose", lambda: None)
    assert command.add_openai("sk-4711") == 0
    assert not [arguments for arguments, _ in calls if "sk-4711" in " ".join(arguments)]
    (secret,) = [stdin for _, stdin in calls if "sk-4711" in stdin]
    assert "kind: Secret" in secret
    (values,) = [stdin for arguments, stdin in calls if "upgrade" in arguments]
    assert json.loads(values)["openai"] == {"apiKeySecret": "openai"}


def test_without_a_key_or_a_release_the_demo_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing.release, "run_tool", lambda *_, **__: "")
    with pytest.raises(testing.release.ReleaseError, match="OPENAI_API_KEY=sk-"):
        command.add_openai("")
    with pytest.raises(testing.release.ReleaseError, match="`make demo` makes one"):
        command.add_openai("sk-4711")
