"""Rows of tables, the same for people and programs: a column's title, and its value as JSON has it. Pure."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from conversations.reader import TranscriptItem
from kubectl_voice.findings import Finding
from kubectl_voice.story import Moment
from kubectl_voice.turns import Turn
from voicesession.admission import is_finished
from voicesession.conditions import ConditionType, find_condition
from voicesession.live_calls import LiveCall
from voicesession.models import AgentPool, Phase, VoiceSession

Cell = str | int | None
Row = Mapping[str, Cell]


def age_of(since: datetime | None, now: datetime) -> str:
    """Returns how long ago a moment was, as kubectl writes it: 42s, 12m, 3h, 2d."""
    if since is None:
        return ""
    seconds = max(0, round((now - since).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def call_rows(
    sessions: Iterable[VoiceSession], now: datetime, memory: Mapping[str, int], told: Mapping[str, LiveCall]
) -> list[Row]:
    """Returns the calls that are not over, those that wait first.

    `memory`: of pods by name, in bytes. `told`: what operators know of calls at this moment, by name.
    """
    live = sorted((session for session in sessions if not is_finished(session)), key=_is_served)
    return [_call_row(session, now, memory, told.get(session.metadata.name)) for session in live]


def _is_served(session: VoiceSession) -> bool:
    return session.status.phase is Phase.ACTIVE


def _call_row(session: VoiceSession, now: datetime, memory: Mapping[str, int], told: LiveCall | None) -> Row:
    status = session.status
    bound = find_condition(status.conditions, ConditionType.POD_BOUND)
    waits = bound.reason if bound and bound.status == "False" else status.reason
    used = memory.get(status.pod_name or "") or (told.memory_bytes if told else None)
    answers = told.answers_millis if told else []
    return {
        "NAME": session.metadata.name,
        "PROFILE": session.spec.profile,
        "TENANT": session.spec.tenant,
        "PHASE": status.phase or Phase.PENDING,
        "WHY": None if status.phase is Phase.ACTIVE else waits,
        "AGE": age_of(session.metadata.creation_timestamp, now),
        "TALKS": age_of(status.agent_joined_at, now) or None,
        "AGENT": told.agent_state if told else None,
        "LAST-MS": answers[-1] if answers else None,
        "MEDIAN-MS": round(statistics.median(answers)) if answers else None,
        "LOST": status.lost_agents or None,
        "MEMORY": f"{used // 2**20}Mi" if used is not None else None,
        "POD": status.pod_name,
        "NODE": status.node_name,
    }


def pool_rows(pools: Iterable[AgentPool]) -> list[Row]:
    """Returns the pools with how many pods wait, start and talk, and why one is short."""
    return [_pool_row(pool) for pool in sorted(pools, key=lambda pool: pool.metadata.name)]


def _pool_row(pool: AgentPool) -> Row:
    status, ready = pool.status, find_condition(pool.status.conditions, ConditionType.READY)
    return {
        "NAME": pool.metadata.name,
        "READY": status.ready,
        "STARTING": status.starting,
        "IN-USE": status.in_use,
        "WAITING": status.waiting,
        "MIN": pool.spec.warm.min,
        "MAX": pool.spec.warm.max,
        "BUFFER": str(pool.spec.warm.buffer),
        "REASON": ready.reason if ready else None,
        "MESSAGE": ready.message if ready and ready.status != "True" else None,
    }


def moment_rows(moments: Sequence[Moment]) -> list[Row]:
    """Returns a story's lines, each with the seconds since the first."""
    return [
        {
            "TIME": moment.at.strftime("%H:%M:%S"),
            "AFTER": f"{(moment.at - moments[0].at).total_seconds():.1f}s",
            "WHO": moment.who,
            "WHAT": moment.what,
        }
        for moment in moments
    ]


def finding_rows(findings: Iterable[Finding]) -> list[Row]:
    """Returns findings for programs."""
    return [
        {
            "CODE": each.code,
            "WEIGHT": each.weight.name.lower(),
            "SENTENCE": each.sentence,
            "ADVICE": each.advice or None,
        }
        for each in findings
    ]


def turn_rows(turns: Sequence[Turn]) -> list[Row]:
    """Returns the answers of a call with what each took, in milliseconds."""
    return [
        {
            "TIME": turn.at.strftime("%H:%M:%S"),
            "ATTEMPT": turn.attempt,
            "ANSWER": turn.answer_millis,
            "STT": turn.parts.get("transcriptionMillis"),
            "END-OF-TURN": turn.parts.get("endOfTurnMillis"),
            "LLM": turn.parts.get("llmFirstTokenMillis"),
            "TTS": turn.parts.get("ttsFirstByteMillis"),
            "INTERRUPTED": "yes" if turn.interrupted else None,
        }
        for turn in turns
    ]


def transcript_rows(items: Iterable[TranscriptItem]) -> list[Row]:
    """Returns a conversation's lines: who said what; a tool's by its name."""
    return [{"TIME": item.created_at.strftime("%H:%M:%S"), "WHO": _who(item), "WORDS": _words(item)} for item in items]


def _who(item: TranscriptItem) -> str:
    if item.kind != "message":
        return item.kind.replace("_", " ")
    return {"user": "customer", "assistant": "agent"}.get(item.role or "", item.role or "?")


def _words(item: TranscriptItem) -> str:
    if item.kind == "tool_call":
        return f"{(item.tool or {}).get('name', '?')}({(item.tool or {}).get('arguments', '')})"
    return f"{item.content or ''}{' [interrupted]' if item.interrupted else ''}"
