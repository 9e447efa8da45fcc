"""TAB knows the commands and their options."""

import sys

import pytest

from kubectl_voice.completion import main


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        (["t"], {"top", "transcript", "timeline"}),
        (["why", "call", "--out"], {"--output"}),
        (["top", "--output", ""], {"table", "wide", "json"}),
    ],
    ids=["command", "option", "value"],
)
def test_kubectl_is_told_what_may_come_next(
    words: list[str], candidates: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("_KUBECTL_VOICE_COMPLETE", "COMP_WORDS", "COMP_CWORD"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(sys, "argv", ["kubectl_complete-voice", *words])
    main()
    *told, directive = capsys.readouterr().out.split()
    assert (set(told), directive) == (candidates, ":4")
