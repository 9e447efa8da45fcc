"""A team's code asks LiveKit's server API, unedited, in a pod that holds no key."""

import json
from pathlib import Path
from typing import Any

from testing.agent_cluster import AgentCluster
from testing.code_path import PYTHONPATH
from testing.guest import guest_in
from testing.process_pod import ProcessPod
from testing.waiting import eventually
from voicesession.names import AGENT_PROFILES

PERMITTED = ["ReadRoom", "SendData", "UpdateParticipants", "RemoveParticipants"]
# As it would stand in an entrypoint for LiveKit's worker; what becomes of each call is printed.
PROGRAM = """
import json
from livekit import api
from livekit.agents import JobContext

async def tell(what, asking):
    try:
        said = ["ok", str(await asking)]
    except api.TwirpError as error:
        said = [error.code, error.message]
    print("told", json.dumps([what, *said]), flush=True)

async def entrypoint(ctx: JobContext):
    room, lk = ctx.room.name, ctx.api.room
    await ctx.connect()
    await ctx.wait_for_participant(identity="eve")
    eve = api.RoomParticipantIdentity(room=room, identity="eve")
    await tell("list", lk.list_participants(api.ListParticipantsRequest(room=room)))
    await tell("get", lk.get_participant(eve))
    await tell("rooms", lk.list_rooms(api.ListRoomsRequest(names=[room])))
    await tell("elsewhere", lk.list_participants(api.ListParticipantsRequest(room="elsewhere")))
    await tell("all rooms", lk.list_rooms(api.ListRoomsRequest()))
    await tell("metadata", lk.update_room_metadata(api.UpdateRoomMetadataRequest(room=room, metadata="of the code")))
    await tell("dial", ctx.api.sip.create_sip_participant(api.CreateSIPParticipantRequest(room_name=room)))
    await tell("update", lk.update_participant(api.UpdateParticipantRequest(room=room, identity="eve", name="Eve")))
    await tell("send", lk.send_data(api.SendDataRequest(room=room, data=b"{}", topic="voice-agent")))
    await tell("nobody", lk.remove_participant(api.RoomParticipantIdentity(room=room, identity="nobody")))
    await tell("remove", lk.remove_participant(eve))
    await ctx.wait_for_participant(identity="mallory")
    await tell("remove again", lk.remove_participant(api.RoomParticipantIdentity(room=room, identity="mallory")))
    await lk.delete_room(api.DeleteRoomRequest(room=room))
"""


def read_told(pod: ProcessPod) -> dict[str, list[str]]:
    """Returns LiveKit's word for each of the program's calls, and what came with it."""
    lines = [line.removeprefix("told ") for line in pod.log.split("\n")[:-1] if line.startswith("told ")]
    return {what: said for what, *said in map(json.loads, lines)}


async def until_told(pod: ProcessPod, what: str) -> dict[str, list[str]]:
    """Returns what the program was told, when the answer to this call is there."""
    await eventually(lambda: what in read_told(pod), 60, lambda: pod.log)
    return read_told(pod)


async def create_program(agents: AgentCluster, folder: Path, *permissions: str) -> None:
    (folder / "acme.py").write_text(PROGRAM)
    path: dict[str, Any] = {"name": "PYTHONPATH", "value": f"{PYTHONPATH}:{folder}"}
    await agents.create_warm_pool(1, code="acme:entrypoint", env=[path])
    await agents.patch(AGENT_PROFILES, "default", {"spec": {"permissions": permissions}})


async def test_code_acts_on_its_calls_own_room_as_its_profile_permits(agents: AgentCluster, tmp_path: Path) -> None:
    running = agents.start_operator()
    await create_program(agents, tmp_path, *PERMITTED)
    assert running.operator is not None
    profiles = running.operator.cache.profiles.by_name
    await eventually(lambda: [str(each) for each in profiles["default"].spec.permissions] == PERMITTED)
    async with agents.call() as (session, customer):
        room = customer.room.name
        pod = await agents.pod_of(session)
        async with guest_in(agents.livekit, room, "eve") as eve:
            told = await until_told(pod, "remove")
            await eve.until_gone()
        await customer.until(lambda: ("voice-agent", b"{}") in customer.heard.messages, 20, "the data message")
        assert {what: said[0] for what, said in told.items()} == {
            "list": "ok",
            "get": "ok",
            "rooms": "ok",
            "elsewhere": "permission_denied",
            "all rooms": "permission_denied",
            "metadata": "permission_denied",
            "dial": "permission_denied",
            "update": "ok",
            "send": "ok",
            "nobody": "not_found",
            "remove": "ok",
        }
        assert all(f'identity: "{who}"' in told["list"][1] for who in ("agent", "customer", "eve"))
        assert "add UpdateRoom to its `spec.permissions`" in told["metadata"][1]
        assert "not for 'elsewhere'" in told["elsewhere"][1]
        assert 'name: "Eve"' in told["update"][1]
        await agents.patch(AGENT_PROFILES, "default", {"spec": {"permissions": []}})
        await eventually(lambda: not profiles["default"].spec.permissions)
        async with guest_in(agents.livekit, room, "mallory") as mallory:
            told = await until_told(pod, "remove again")
            assert "add RemoveParticipants" in told["remove again"][1]
            await mallory.until_gone()  # with everybody, as the room is deleted
        ended = await agents.wait_for_phase(session.metadata.name, "Ended")
        assert ended.status.end_reason == "room_closed"
        assert await agents.livekit.sid_of(room) is None
