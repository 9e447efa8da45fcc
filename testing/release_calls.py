"""What e2e tests ask of a release about one call: its VoiceSession, its pod, its rows, its room."""

from typing import Any

from livekit import api

from testing.release import Release
from testing.waiting import eventually_sync


def voice_sessions(release: Release) -> set[str]:
    """Returns the uids of all VoiceSessions."""
    return {item["metadata"]["uid"] for item in release.get("voicesessions")["items"]}


def voice_session_of(release: Release, room: str) -> dict[str, Any] | None:
    """Returns the VoiceSession whose status names `room`, or None."""
    items = release.get("voicesessions")["items"]
    return next((item for item in items if item.get("status", {}).get("room") == room), None)


def wait_for_end(release: Release, room: str, timeout: float = 60.0) -> dict[str, Any]:
    """Returns the VoiceSession of `room` once its books are closed."""

    def ended() -> dict[str, Any] | None:
        found = voice_session_of(release, room)
        return found if found and found["status"].get("phase") in {"Ended", "Failed"} else None

    return eventually_sync(ended, timeout, lambda: voice_session_of(release, room), pace=0.5)


def wait_for_pod(release: Release, room: str, timeout: float = 30.0) -> str:
    """Returns the name of the pod that serves `room`."""

    def pod() -> str | None:
        return ((voice_session_of(release, room) or {}).get("status") or {}).get("podName")

    return eventually_sync(pod, timeout, lambda: voice_session_of(release, room), pace=0.3)


def wait_until_gone(release: Release, pod: str, timeout: float = 40.0) -> None:
    """Waits until the pod does not exist any more."""
    release.kubectl("wait", "--for=delete", f"pod/{pod}", f"--timeout={timeout:.0f}s", timeout=timeout + 10)


def rows_of(release: Release, room: str) -> list[dict[str, Any]]:
    """Returns the conversation's messages, in order."""
    return release.sql(
        "SELECT m.* FROM voice.conversation_messages m JOIN voice.conversation_sessions s USING (session_id) "
        f"WHERE s.room_id = '{room}' ORDER BY m.id"
    )


async def open_rooms(release: Release) -> list[str]:
    """Returns the names of the rooms that LiveKit has open."""
    key, secret = release.livekit_credentials()
    async with api.LiveKitAPI(f"http://{release.livekit_address()}", key, secret) as livekit:
        answer = await livekit.room.list_rooms(api.ListRoomsRequest())
    return [room.name for room in answer.rooms]
