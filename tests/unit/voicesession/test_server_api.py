"""What an agent's code may ask of LiveKit's server API, and what it is told where it may not."""

import pytest
from pydantic import ValidationError

from voicesession.assignment import ApiAnswer, ApiRequest, parse_pod_event
from voicesession.clock import now
from voicesession.models import AgentProfileSpec, Permission
from voicesession.server_api import MOST_REQUEST_BYTES, PERMISSIONS, ApiRefusal, decide_request

ALL = tuple(Permission)
OTHERS = "a service of your own that holds LiveKit's API key"


@pytest.mark.parametrize(("method", "wanted"), PERMISSIONS.items())
def test_a_method_is_done_where_the_profile_permits_it_and_nowhere_else(method: str, wanted: Permission) -> None:
    assert decide_request(method, ["room"], "room", "bar", [wanted]) is None
    refusal = decide_request(method, ["room"], "room", "bar", set(ALL) - {wanted})
    assert refusal is not None
    assert (refusal.code, refusal.status) == ("permission_denied", 403)
    assert refusal.message == (
        f"AgentProfile 'bar' does not permit {method}: add {wanted.value} to its `spec.permissions`."
    )


def test_a_profile_that_says_nothing_permits_what_anybody_in_the_room_can_do() -> None:
    permitted = AgentProfileSpec().permissions
    assert {method.partition("/")[2] for method, wanted in PERMISSIONS.items() if wanted in permitted} == {
        "ListRooms",
        "ListParticipants",
        "GetParticipant",
        "SendData",
    }


@pytest.mark.parametrize(
    ("method", "named", "own", "code", "said"),
    [
        ("RoomService/RemoveParticipant", ["other"], "room", "permission_denied", "'room', and not for 'other'. Have"),
        ("RoomService/RemoveParticipant", [""], "room", "permission_denied", "and not for ''"),
        ("RoomService/ListRooms", [], "room", "permission_denied", "and not for all rooms"),
        ("RoomService/ListRooms", ["room", "other"], "room", "permission_denied", "and not for 'room', 'other'"),
        ("RoomService/RemoveParticipant", ["room"], None, "not_found", "The call is over"),
        (
            "RoomService/CreateRoom",
            ["room"],
            "room",
            "permission_denied",
            f"have other rooms made by {OTHERS}",
        ),
        ("RoomService/MoveParticipant", ["room"], "room", "permission_denied", "which hold no LiveKit key"),
        ("RoomService/DeleteRoom", ["room"], "room", "permission_denied", "is not served"),
        ("Egress/StartRoomCompositeEgress", [], "room", "permission_denied", f"Have {OTHERS} record"),
        ("Ingress/CreateIngress", [], "room", "permission_denied", f"Have {OTHERS} ask it"),
        ("SIP/CreateSIPParticipant", [], "room", "permission_denied", f"Have {OTHERS} dial or transfer"),
        ("AgentDispatchService/CreateDispatch", [], "room", "permission_denied", "at the token service"),
        ("", [], "room", "permission_denied", "is not served"),
    ],
)
def test_what_no_profile_can_permit(method: str, named: list[str], own: str | None, code: str, said: str) -> None:
    refusal = decide_request(method, named, own, "bar", ALL)
    assert refusal is not None
    assert refusal.code == code
    assert said in refusal.message


def test_bytes_travel_as_they_are() -> None:
    body = bytes(range(256))
    request = ApiRequest(at=now(), number=7, method="RoomService/SendData", body=body)
    assert parse_pod_event(request.model_dump_json(by_alias=True)) == request
    answer = ApiAnswer(number=7, body=body, refusal=ApiRefusal(message="no"))
    assert ApiAnswer.model_validate_json(answer.model_dump_json(by_alias=True)) == answer
    assert "body" not in repr(request)


def test_the_largest_request_fits_into_a_line_and_no_larger_one_is_read() -> None:
    request = ApiRequest(at=now(), number=1, method="m" * 80, body=bytes(MOST_REQUEST_BYTES))
    assert len(request.model_dump_json(by_alias=True)) < 128 * 1024
    longer = request.model_copy(update={"body": bytes(MOST_REQUEST_BYTES + 1)})
    with pytest.raises(ValidationError):
        parse_pod_event(longer.model_dump_json(by_alias=True))
