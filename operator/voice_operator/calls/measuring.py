"""Takes in what a call's pod has measured, under the labels of that call."""

from voice_operator.agent_metrics import count_first_word, count_measured
from voice_operator.calls.memory import CallMemory, Calls
from voice_telemetry.traces import build_exemplar
from voicesession import clock
from voicesession.measures import Measured


class Measuring:
    """Knows a call's profile, and how long it has been under way when its agent is heard."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def take(self, uid: str, measured: Measured) -> None:
        """Adds what the pod of the VoiceSession of this uid has measured."""
        memory = self._calls.get(uid)
        if memory is None:
            return  # it is over, and forgotten
        exemplar = build_exemplar(memory.trace)
        count_measured(memory.profile, measured, exemplar)
        if measured.turn and measured.turn.answer_millis is not None:
            self._calls.note_answer(uid, measured.turn.answer_millis)
        if measured.first_word:
            seconds = self._seconds_to_first_word(memory, measured.first_word.millis)
            if seconds is not None:
                count_first_word(memory.profile, memory.start_type.value, seconds, exemplar)

    def _seconds_to_first_word(self, memory: CallMemory, millis: int | None) -> float | None:
        """Returns after how long the agent was heard; None where this process has not seen the call begin.

        `millis`: since the customer came, where that was after the agent.
        """
        if millis is not None:
            return millis / 1000
        if memory.uid in self._calls.inherited:
            return None
        return (clock.steady() - memory.arrived_at).total_seconds()
