"""Why an agent is gone, and whether another one carries its call on. Pure: a table."""

from dataclasses import dataclass
from datetime import timedelta

from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pods.link_view import LinkState, LinkView
from voicesession.conditions import Reason
from voicesession.models import EndReason

# Ends that an agent told, and that are none of its call: its pod was told to stop, and leaves the call open. All others
# are the call's: a key that is refused, or the code's own error, would be the next agent's too. An agent that dies
# tells no end, and its call goes on.
RECOVERED = frozenset({EndReason.SHUTDOWN})

# Its node is lost, is being emptied, or has no way to LiveKit: the next agent's place is on another one.
NODES_FAULT = frozenset({Reason.NODE_LOST, Reason.EVICTED, Reason.ASSIGNMENT_FAILED})

# Before the agent after the first, second, third ... that was lost is claimed; then twice as long each time.
_FIRST_DELAY = timedelta(seconds=1)
_LONGEST_DELAY = timedelta(seconds=15)
# What the pod's own watchdog leaves.
_HUNG = "hang"


@dataclass(frozen=True, slots=True)
class Death:
    """Why an agent that had accepted its call is gone."""

    reason: Reason
    message: str


def recovery_delay(lost_agents: int) -> timedelta:
    """Returns for how long the next agent is waited with: the first time not at all."""
    if lost_agents <= 1:
        return timedelta(0)
    doubled: timedelta = _FIRST_DELAY * 2 ** min(lost_agents - 2, 10)
    return min(_LONGEST_DELAY, doubled)


def judge_death(pod: AgentPod | None, link: LinkView | None) -> Death:  # noqa: PLR0911 - a table
    """Returns why an agent that had accepted its call is gone."""
    if pod is None:
        return Death(Reason.POD_DELETED, "The agent's pod is gone.")
    if pod.exit and pod.exit.out_of_memory:
        advice = "Raise the pool's `resources.memoryLimit`."
        return Death(Reason.OUT_OF_MEMORY, f"The agent in pod {pod.name} took more memory than its limit. {advice}")
    if _hangs(pod, link):
        return Death(Reason.AGENT_HUNG, f"The agent in pod {pod.name} hangs: it takes connections and answers nothing.")
    if link and link.state is LinkState.SILENT:
        return Death(Reason.NODE_LOST, f"Node {pod.node or '?'} with pod {pod.name} is lost.")
    if pod.evicted:
        return Death(Reason.EVICTED, f"Pod {pod.name} was evicted from node {pod.node or '?'}.")
    if pod.deleting or (link and link.ended):
        return Death(Reason.POD_DELETED, f"Pod {pod.name} was told to stop.")
    if pod.exit:
        message = f"The agent in pod {pod.name} ended without a reason: {pod.exit.detail}."
        return Death(Reason.AGENT_CRASHED, message)
    return Death(Reason.AGENT_CRASHED, f"The agent in pod {pod.name} is gone.")


def _hangs(pod: AgentPod, link: LinkView | None) -> bool:
    if pod.exit:
        return pod.exit.termination is not None and pod.exit.termination.reason == _HUNG
    return link is not None and link.state is LinkState.SILENT and link.unanswered_since is not None
