"""Two installations on one LiveKit: all in the cluster, and all elsewhere, in a namespace that is `restricted`."""

import asyncio
import uuid
from collections.abc import Callable

import jwt
import pytest

from demo.conversation import converse
from local_cluster.errors import ClusterError
from testing.cluster import apply, build_python_pod
from testing.company import DATABASE, NAMESPACE, PRIVATE, TENANT, Company
from testing.front_door import Connection, FrontDoorError, ask_for_connection, call_service
from testing.outside_postgres import OutsidePostgres
from testing.progress import Step
from testing.release import Release
from testing.release_calls import rows_of, voice_session_of, wait_for_end, wait_for_pod, wait_until_gone
from testing.transcripts import words
from voicesession.names import AGENT_IDENTITY

PATIENCE_SECONDS = 120.0


def ask_as_a_browser(base: str, key: str) -> Connection:
    """Returns a token of `/api/token`: nothing happens before somebody connects with it."""
    answer = call_service("POST", "/api/token", {}, key, base)
    claims = jwt.decode(answer["participant_token"], options={"verify_signature": False})
    return Connection(answer["server_url"], claims["video"]["room"], claims["sub"], answer["participant_token"])


async def test_two_namespaces_share_a_livekit_and_nothing_else(
    release: Release, company: Company, postgres: OutsidePostgres, front_door: str, speak: Callable[[str], bytes]
) -> None:
    base = f"http://{company.release.token_service_address()}"
    ours = ask_for_connection(front_door, variables={"note": PRIVATE})
    # LiveKit's webhooks go to the other installation, which has to leave this room alone; this one's operator finds it.
    theirs = ask_as_a_browser(base, company.api_key)
    sentences = {ours.room: "My suitcase was lost at the airport.", theirs.room: "The kitchen window is broken."}
    talks = [
        asyncio.create_task(converse(each, {said: speak(said)}, Step(each.room), PATIENCE_SECONDS))
        for each, said in ((ours, sentences[ours.room]), (theirs, sentences[theirs.room]))
    ]
    pods = await asyncio.gather(
        asyncio.to_thread(wait_for_pod, release, ours.room, PATIENCE_SECONDS),
        asyncio.to_thread(wait_for_pod, company.release, theirs.room, PATIENCE_SECONDS),
    )
    assert voice_session_of(release, theirs.room) is None
    assert voice_session_of(company.release, ours.room) is None
    conversations = await asyncio.gather(*talks)

    assert all(each.others_in_the_room == {AGENT_IDENTITY} for each in conversations)
    ended = [wait_for_end(release, ours.room), wait_for_end(company.release, theirs.room)]
    assert [each["status"]["podName"] for each in ended] == [*pods]
    assert [each["status"]["endReason"] for each in ended] == ["participant_left"] * 2
    heard = [
        words(" ".join(row["content"] or "" for row in rows))
        for rows in (rows_of(release, ours.room), company.rows_of(postgres, theirs.room))
    ]
    assert ["airport" in said for said in heard] == [True, False]
    assert ["window" in said for said in heard] == [False, True]
    assert company.rows_of(postgres, ours.room) == rows_of(release, theirs.room) == []

    shown = call_service("GET", f"/api/sessions/{theirs.room}/transcript", None, company.api_key, base)
    assert [item["content"] for item in shown["items"]] == [
        row["content"] for row in company.rows_of(postgres, theirs.room)
    ]
    told = call_service("GET", f"/api/calls/{theirs.room}", None, company.api_key, base)
    spoken = [item["content"] for item in told["items"] if item.get("role") not in {"system", "developer"}]
    assert spoken == [item["content"] for item in shown["items"]]
    found = call_service("GET", "/api/calls", None, company.api_key, base)["items"]
    assert {each["tenant"] for each in found} == {TENANT}
    assert theirs.room in {each["room"] for each in found}
    with pytest.raises(FrontDoorError, match="401"):
        call_service("GET", f"/calls/{theirs.room}", base=base)


async def test_helm_test_holds_a_call_in_each(release: Release, company: Company) -> None:
    printed = await asyncio.gather(*(asyncio.to_thread(each.try_call) for each in (release, company.release)))
    assert ["The call was whole." in each for each in printed] == [True, True]


def test_a_backend_that_asks_twice_has_one_call_and_can_end_it(company: Company) -> None:
    base, again = f"http://{company.release.token_service_address()}", str(uuid.uuid4())
    rooms = [
        call_service("POST", "/api/connection-details", {}, company.api_key, base, again)["roomName"] for _ in range(2)
    ]
    assert rooms[0] == rooms[1]
    call_service("DELETE", f"/api/sessions/{rooms[0]}", None, company.api_key, base)
    ended = wait_for_end(company.release, rooms[0])
    assert (ended["spec"]["tenant"], ended["status"]["endReason"]) == (TENANT, "ended_by_request")


def test_a_call_whose_voicesession_is_deleted_lets_its_pod_go(company: Company) -> None:
    connection = ask_for_connection(f"http://{company.release.token_service_address()}", company.api_key)
    pod = wait_for_pod(company.release, connection.room)
    session = voice_session_of(company.release, connection.room)
    assert session is not None
    company.release.kubectl("delete", "voicesession", session["metadata"]["name"])
    wait_until_gone(company.release, pod)


def test_every_connection_to_the_companys_postgres_is_encrypted(company: Company, postgres: OutsidePostgres) -> None:
    """Its pg_hba.conf lets nobody else in; that the certificate is checked, tests/part/chart shows."""
    query = "SELECT count(*), bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = "
    count, encrypted = postgres.sql(f"{query}'{DATABASE}' AND client_addr IS NOT NULL").strip().split("|")
    assert int(count) >= 1, "nobody is connected"
    assert encrypted == "t"


def test_the_companys_namespace_refuses_what_is_not_restricted(company: Company) -> None:
    """Else its pods' being there would show nothing."""
    pod = build_python_pod("loose", "print()")
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        apply({**pod, "metadata": {"name": "loose", "namespace": NAMESPACE}})
    assert company.release.get("pods")["items"]
