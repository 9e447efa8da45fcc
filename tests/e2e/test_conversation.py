"""The main job, end to end: a customer asks for a room, gets an agent pod of their own, and they talk."""

import asyncio
from collections.abc import Callable, Mapping

from demo.conversation import Conversation, converse
from demo.script import SENTENCES
from testing.front_door import Connection, ask_for_connection, call_service
from testing.progress import Step
from testing.release import Release, tool_environment
from testing.release_calls import open_rooms, rows_of, voice_sessions, wait_for_end, wait_for_pod, wait_until_gone
from testing.transcripts import word_error_rate, words
from testing.waiting import stays
from voicesession.names import AGENT_IDENTITY

Speak = Callable[[str], bytes]

CUSTOMERS = (
    ("Anna", "I would like to talk about opening a bank account.", "bank account"),
    ("Robert", "I want to ask about a loan for a house.", "loan"),
    ("Maria", "My suitcase was lost at the airport yesterday.", "suitcase"),
    ("David", "The kitchen window is broken and needs repair.", "window"),
    ("Laura", "Please book a table at the restaurant tonight.", "restaurant"),
)


# Five conversations at once take more than these tests' 2 cores have: answers come late there, and that is all.
PATIENCE_SECONDS = 120.0


async def hold(connection: Connection, speech: Mapping[str, bytes]) -> Conversation:
    """Holds a conversation without telling of it."""
    return await converse(connection, speech, Step("conversation"), PATIENCE_SECONDS)


async def follow_log(release: Release, room: str) -> str:
    """Returns the whole log of the pod that serves this room, in lower case, when the pod has ended."""
    pod = await asyncio.to_thread(wait_for_pod, release, room, PATIENCE_SECONDS)
    command = ("kubectl", "-n", release.namespace, "logs", "-f", pod)
    follow = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=tool_environment())
    log, _ = await follow.communicate()
    assert log, "the pod logged nothing: this test would prove nothing"
    return log.decode().lower()


async def test_a_spoken_conversation_leaves_complete_books(release: Release, front_door: str, speak: Speak) -> None:
    connection = ask_for_connection(front_door)
    conversation = await hold(connection, {sentence: speak(sentence) for sentence in SENTENCES})

    ended = wait_for_end(release, connection.room)
    rows = rows_of(release, connection.room)
    said = [row["content"] for row in rows if row["role"] == "user"]
    assert word_error_rate([" ".join(SENTENCES)], [" ".join(said)]) <= 0.15
    agent_rows = [row["content"] for row in rows if row["role"] == "assistant"]
    assert words(" ".join(agent_rows)) == words(" ".join(conversation.agent_words))
    assert "pizzas" in words(" ".join(agent_rows))

    status = ended["status"]
    assert status["phase"] == "Ended", status
    assert status["endReason"] == "participant_left"
    books = release.sql(f"SELECT * FROM voice.conversation_sessions WHERE room_id = '{connection.room}'")
    assert len(books) == 1
    assert books[0]["session_id"] == ended["metadata"]["uid"]
    assert books[0]["ended_at"] is not None
    assert books[0]["end_reason"] == "participant_left"
    assert books[0]["is_local_mode"] is False
    # A pod that talks is no Warning of its kubelet's, as one is that answers its probe with "not ready".
    told = release.kubectl("get", "events", f"--field-selector=involvedObject.name={status['podName']}")
    assert "Started" in told
    assert "statuscode" not in told
    wait_until_gone(release, status["podName"])
    assert connection.room not in await open_rooms(release)


async def test_customers_at_once_never_cross(release: Release, front_door: str, speak: Speak) -> None:
    count = len(CUSTOMERS)
    scripts = [
        {sentence: speak(sentence) for sentence in (f"Hello, my name is {name}.", topic)}
        for name, topic, _ in CUSTOMERS
    ]
    # As many wait as will come: how a shortage is handled is another test's business.
    release.kubectl("scale", "agentpool/default", f"--replicas={count}")
    release.wait_until_ready(Step("warm pods"), timeout=120)
    # They stay for the scale-down delay; what starts in their place would take the cores from those who talk.
    release.kubectl("scale", "agentpool/default", "--replicas=1")
    connections = [ask_for_connection(front_door) for _ in CUSTOMERS]
    logs = [asyncio.create_task(follow_log(release, connection.room)) for connection in connections]
    conversations = await asyncio.gather(*(hold(c, s) for c, s in zip(connections, scripts, strict=True)))

    sessions = [wait_for_end(release, connection.room) for connection in connections]
    assert len({connection.room for connection in connections}) == count
    assert len({session["status"]["podName"] for session in sessions}) == count
    async with asyncio.timeout(60):
        told = await asyncio.gather(*logs)
    for log in told:
        # Whole words: a room's random name may have "anna" in it.
        text = f" {' '.join(words(log))} "
        assert not [word for name, _, key in CUSTOMERS for word in (name.lower(), key) if f" {word} " in text]
    for mine, (connection, conversation) in enumerate(zip(connections, conversations, strict=True)):
        assert conversation.others_in_the_room == {AGENT_IDENTITY}
        stored = " ".join(row["content"] or "" for row in rows_of(release, connection.room)).lower()
        heard = " ".join([*conversation.agent_words, *conversation.customer_words]).lower()
        # A word or two may have been misheard, "it alone" for "a loan"; most are one topic's.
        in_common = [len({*words(topic)} & {*words(stored)}) for _, topic, _ in CUSTOMERS]
        assert in_common.index(max(in_common)) == mine
        for other, (name, _, key) in enumerate(CUSTOMERS):
            if other != mine:
                assert name.lower() not in words(stored), f"{name} is in another's rows"
                assert key not in stored
                assert key not in heard


async def test_an_unused_token_costs_nothing(release: Release, front_door: str) -> None:
    before = voice_sessions(release)
    rooms = set()
    for _ in range(20):
        answer = call_service("POST", "/api/token", {}, base=front_door)
        rooms.add(answer["participant_token"])
    assert len(rooms) == 20
    await stays(lambda: voice_sessions(release) <= before, 3, "a token made a VoiceSession")
