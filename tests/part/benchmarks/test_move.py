"""The benchmark of moves, short: a call goes from pod to pod, with agents that hear what is typed."""

from benchmarks.move import SENTENCES, move_all
from benchmarks.process_stage import ProcessStage
from testing.agent_cluster import AgentCluster
from testing.transcripts import words

WARM = 2
MOVES = 2


async def test_no_call_and_no_word_is_lost(agents: AgentCluster) -> None:
    agents.start_operator()
    await agents.create_warm_pool(WARM)
    moves = await move_all(ProcessStage(agents, WARM), MOVES, {text: words(text) for text in SENTENCES})
    assert not moves.problems
    assert (len(moves.taken), moves.calls_lost, moves.words_lost) == (MOVES, 0, 0)
