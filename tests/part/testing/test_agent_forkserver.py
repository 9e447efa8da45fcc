"""Agents that are forked: one ends as its program does, and one that is given up takes nothing along."""

import asyncio
from pathlib import Path

from testing.agent_forkserver import fork_agent


async def test_a_start_that_is_given_up_keeps_no_other_from_beginning(tmp_path: Path) -> None:
    for turns in range(6):  # before, while and after it is asked for
        given_up = asyncio.create_task(fork_agent({}, tmp_path / "given-up", tmp_path))
        for _ in range(turns):
            await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)

    process = await fork_agent({"OPERATOR_PROTOCOL": "0", "TERMINATION_LOG": "why"}, tmp_path / "log", tmp_path)
    assert await process.wait() == 1
    assert "this image speaks protocol" in (tmp_path / "log").read_text()
    assert "this image speaks protocol" in (tmp_path / "why").read_text()  # in its folder
