"""The benchmark of recovery, short: one of each fault, with customers who type."""

from benchmarks.call_stage import POD_FAULTS
from benchmarks.process_stage import ProcessStage
from benchmarks.recovery import suffer_all
from testing.agent_cluster import AgentCluster

WARM = 2
# Sooner than by default: the test waits for it.
HANG_SECONDS = 5


async def test_a_call_outlives_whatever_happens_to_its_pod(agents: AgentCluster) -> None:
    agents.start_operator()
    await agents.create_warm_pool(WARM, hangSeconds=HANG_SECONDS)
    outcomes = await suffer_all(ProcessStage(agents, WARM), POD_FAULTS)
    assert [(each.fault, each.problem) for each in outcomes] == [(fault, "") for fault in POD_FAULTS]
    assert all(each.remembered for each in outcomes), outcomes
    assert sum(each.rows_lost + each.doubled for each in outcomes) == 0, outcomes
