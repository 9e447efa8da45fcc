"""Postgres stops answering in the middle of conversations: nobody hears it, and no row is missing."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from testing.customer import joined_room
from testing.front_door import ask_for_connection
from testing.host_pods import processes_of_pod
from testing.postgres import paused
from testing.release import Release
from testing.release_calls import rows_of, wait_for_end
from testing.transcripts import words
from testing.waiting import eventually, stays

# Longer than anybody waits for an answer of its.
OUTAGE_SECONDS = 40
SENTENCES = (
    "Hello, my name is Robert.",
    "I would like to order three green apples.",
    "Please remember that my room number is four.",
    "What did I order a moment ago?",
)


@contextmanager
def frozen_postgres(release: Release) -> Iterator[None]:
    """Stops every process of the release's Postgres, which is worse than ending it: connections hang."""
    uid = release.get("pod", release.full_name("postgres-0"))["metadata"]["uid"]
    pids = processes_of_pod(uid, "postgres")
    if not pids:
        pytest.skip("the nodes' processes cannot be seen from here: the netns cluster is needed")
    with paused(pids):
        yield


async def test_a_frozen_postgres_is_not_heard_and_loses_nothing(
    release: Release, front_door: str, speak: Callable[[str], bytes]
) -> None:
    speech = [speak(sentence) for sentence in SENTENCES]
    connection, brief = ask_for_connection(front_door), ask_for_connection(front_door)
    async with joined_room(connection.server_url, connection.token) as customer:
        await customer.answer(customer.connect_began_at)
        with frozen_postgres(release):
            ends_at = asyncio.get_running_loop().time() + OUTAGE_SECONDS
            # One whose pod does not live to see the database again: the operator keeps its rows meanwhile.
            async with joined_room(brief.server_url, brief.token) as other:
                await other.answer(other.connect_began_at)
                await other.until(lambda: other.heard.transcripts, 20, "what was said, as text")
                greeting = [said.text for said in other.heard.transcripts]
            answers = [await customer.ask(pcm) for pcm in speech[:-1]]
            left = ends_at - asyncio.get_running_loop().time()
            await stays(lambda: customer.heard.disconnected is None, left, "the outage ended the call")
        answers.append(await customer.ask(speech[-1]))
        heard = [said.text for said in customer.heard.transcripts]
    print("answers after", [round(seconds, 2) for seconds in answers], "s; the last one after the outage")

    ended = wait_for_end(release, connection.room)
    assert ended["status"]["phase"] == "Ended", ended["status"]
    assert [row["content"] for row in await eventually(partial(rows_of, release, brief.room), 90)] == greeting
    rows = [row["content"] for row in rows_of(release, connection.room)]
    assert sorted(words(" ".join(rows))) == sorted(words(" ".join(heard)))
    assert "apples" in words(rows[-1])
