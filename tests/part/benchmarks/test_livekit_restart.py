"""The benchmark of LiveKit's restarts, short: two of them under one call, with every part of ours beside it."""

from pathlib import Path

from benchmarks.livekit_restart import run_restarts, running_stage
from testing.conversations import ConversationsDatabase


async def test_a_call_goes_on_after_every_restart_of_livekit(
    api_server: Path, conversations: ConversationsDatabase, tmp_path: Path
) -> None:
    async with running_stage(api_server, conversations, tmp_path, warm=1) as stage:
        findings = await run_restarts(stage, count=1, restarts=2, down=[0.2, 1.0])
    assert (findings.restarts, findings.calls) == (2, 2)
    assert findings.held, findings
