"""What we build for Kubernetes and for the agents, compared whole with tests/data."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from kube.store import Store
from testing.golden import DATA, check_golden, find_cases
from testing.operator_objects import NOW, make_pool
from testing.tickets import TICKETS
from voice_operator.calls.assignment import build_assignment
from voice_operator.calls.claim import build_claim
from voice_operator.events import Subject, build_event
from voice_operator.pods.agent_pod import read_pod
from voice_operator.pools.pod_template import PodBasis, build_agent_pod
from voicesession.admission import SESSION_INDEXES, AdmissionLimits, Admit, Grounds, RoomStart, decide_admission
from voicesession.assignment import Assignment
from voicesession.models import AgentPool, AgentProfile, EffectiveLimits, Metadata, VoiceSession
from voicesession.serving import Serving
from voicesession.tickets import CallTicket

Raw = dict[str, Any]


def agent_pod(given: Raw) -> Raw:
    pool = AgentPool.model_validate(given["pool"])
    basis = PodBasis(
        given["publicKey"], given.get("databaseSecret", ""), given.get("logLevel", "INFO"), given.get("userId")
    )
    return build_agent_pod(pool, basis, "the pod's own")


def claim(given: Raw) -> list[Raw]:
    """The JSON-patch tests what makes a pod claimable, and nothing that the kubelet moves."""
    session = VoiceSession.model_validate(given["voiceSession"])
    return list(build_claim(read_pod(given["pod"]), session, given["attempt"], NOW))


def voice_session(given: Raw) -> Raw:
    ticket = CallTicket.model_validate(given["ticket"])
    room = RoomStart(given["room"], given["roomSid"], ticket.issued_at, TICKETS.sign(ticket, given["room"]))
    profiles = {ticket.profile: AgentProfile(metadata=Metadata(name=ticket.profile))}
    sessions = Store(VoiceSession.model_validate, SESSION_INDEXES)
    admission = decide_admission(room, ticket.issued_at, Grounds(sessions, profiles, AdmissionLimits(), TICKETS))
    assert isinstance(admission, Admit), admission
    return admission.voice_session_body


def event(given: Raw) -> Raw:
    session = VoiceSession.model_validate(given["voiceSession"])
    made = build_event(Subject.of(session), given["type"], given["reason"], given["message"], NOW)
    made["metadata"]["name"] = re.sub(r"\.[0-9a-f]{16}$", ".<random>", made["metadata"]["name"])
    return made


def assignment(given: Raw) -> Raw:
    session = VoiceSession.model_validate(given["voiceSession"])
    profile, limits = AgentProfile.model_validate(given["profile"]), EffectiveLimits.model_validate(given["limits"])
    serving = Serving(profile, make_pool(), given["provider"], limits)
    made = build_assignment(
        session, serving, given["attempt"], given["room"], given["roomSid"], "ws://livekit:7880", "token", b"k" * 32
    )
    wire = made.model_dump_json(by_alias=True)
    assert Assignment.model_validate_json(wire) == made
    return dict(json.loads(wire))


BUILDERS: dict[str, Callable[[Raw], object]] = {
    "agent_pod": agent_pod,
    "assignment": assignment,
    "claim": claim,
    "event": event,
    "voice_session": voice_session,
}


@pytest.mark.parametrize("case", find_cases(*BUILDERS))
def test_what_is_built_is_what_was_written_down(case: str) -> None:
    check_golden(case, BUILDERS[case.split("/", maxsplit=1)[0]])


def test_every_folder_of_golden_files_is_read() -> None:
    assert {folder.name for folder in DATA.iterdir()} == {*BUILDERS, "chart"}
