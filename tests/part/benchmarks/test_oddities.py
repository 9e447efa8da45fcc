"""The benchmark of odd servers, short: one that answers right, and of each part one that fails and one that stalls."""

from benchmarks.odd_calls import Oddity, Result, list_oddities
from benchmarks.oddities import meet_all
from benchmarks.second_model import fall_back
from testing.livekit import LiveKitServer

# All of them are met without a call in tests/unit/voice_agent/answers.
RIGHT = ("chat, no id, Vertex and OCI", "speech, WAV in place of samples, Kokoros#63")
FAILING = ("speech, silence", "chat, a status within the error")
STALLING = ("chat, headers and then nothing", "speech, no answer", "transcriptions, no answer")


async def test_odd_servers_are_heard_as_an_answer_or_an_apology_and_who_waits_is_told(livekit: LiveKitServer) -> None:
    chosen = [find_oddity(name) for name in (*RIGHT, *FAILING, *STALLING)]
    outcomes = {name_of(each.oddity): each for each in await meet_all(livekit, chosen, at_once=2)}
    assert {name: (each.result, bool(each.detail)) for name, each in outcomes.items()} == {
        **dict.fromkeys(RIGHT, (Result.RIGHT, False)),
        **dict.fromkeys((*FAILING, *STALLING), (Result.NAMED, True)),
    }
    assert [name for name in STALLING if not outcomes[name].is_told] == []


async def test_a_second_model_answers_and_begins_the_next_call(livekit: LiveKitServer) -> None:
    assert (await fall_back(livekit)).next_began_there


def name_of(oddity: Oddity) -> str:
    return f"{oddity.part}, {oddity.name}"


def find_oddity(name: str) -> Oddity:
    return next(each for each in list_oddities() if name_of(each) == name)
