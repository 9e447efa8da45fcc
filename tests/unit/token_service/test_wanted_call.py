"""Every field of a request is honoured, or refused with the reason."""

import json
from typing import Any

import pytest
from google.protobuf import json_format
from livekit.protocol.agent_dispatch import RoomAgentDispatch
from livekit.protocol.room import RoomConfiguration
from pydantic import ValidationError

from testing.fake_cluster import LOCAL_POOL, POOL
from token_service.call_names import CallNames
from token_service.callers import Caller
from token_service.problems import HttpProblem
from token_service.schemas import TokenRequest
from token_service.wanted_call import WantedCall, decide_call, list_choices
from voicesession.models import AgentPool, AgentProfile

NAMES = CallNames("room", "ada", "c" * 32)


def profile(name: str, **spec: Any) -> AgentProfile:
    return AgentProfile.model_validate({"metadata": {"name": name}, "spec": spec})


PROFILES = {
    each.metadata.name: each
    for each in (
        profile("default", localPool="local"),
        profile("shop", pool="cloud"),
        profile("hidden", public=False),
        profile("acmes", allowedTenants=["acme", "acme-test"]),
        profile("acmes-hidden", allowedTenants=["acme"], public=False),
        profile("nobodys", allowedTenants=[]),
        profile("mixed", pool="cloud", localPool="local"),
        profile("lost", pool="gone"),
    )
}
POOLS = {
    "default": AgentPool.model_validate({"metadata": {"name": "default"}, "spec": POOL}),
    "local": AgentPool.model_validate({"metadata": {"name": "local"}, "spec": LOCAL_POOL}),
    "cloud": AgentPool.model_validate({"metadata": {}, "spec": {"image": "x", "providers": [{"name": "openai"}]}}),
}


def decide(body: dict[str, Any], tenant: str | None = None, rooms: bool = False, hidden: bool = False) -> WantedCall:
    request = TokenRequest.model_validate(body)
    return decide_call(
        request, Caller(tenant), NAMES, PROFILES, POOLS, allow_caller_rooms=rooms, allow_hidden_profiles=hidden
    )


def agent(**fields: Any) -> dict[str, Any]:
    return {"room_config": {"agents": [fields]}}


def refusal(body: dict[str, Any], **options: Any) -> HttpProblem:
    with pytest.raises(HttpProblem) as refused:
        decide(body, **options)
    return refused.value


def test_nothing_asked_gives_the_default_profile_and_unguessable_names() -> None:
    bodies: list[dict[str, Any]] = [{}, {"room_config": None}, {"room_config": {}}, agent(), agent(agent_name="")]
    for body in bodies:
        wanted = decide(body)
        assert wanted.profile.metadata.name == "default"
        assert (wanted.customer.room, wanted.customer.identity) == (NAMES.room, NAMES.identity)
        assert (wanted.llm_provider, wanted.local_mode, wanted.variables) == (None, False, {})


def test_a_standard_client_chooses_by_its_agent() -> None:
    metadata = json.dumps({"llm_provider": "local", "is_local_mode": "true", "customer": "Ada"})
    wanted = decide(agent(agent_name="default", metadata=metadata))
    assert (wanted.llm_provider, wanted.local_mode, wanted.variables) == ("local", True, {"customer": "Ada"})


def test_our_own_fields_choose_the_same() -> None:
    body = {"profile": "shop", "llm_provider": "openai", "is_local_mode": False, "variables": {"customer": "Ada"}}
    wanted = decide(body)
    assert (wanted.profile.metadata.name, wanted.llm_provider) == ("shop", "openai")
    assert wanted.variables == {"customer": "Ada"}


def test_both_forms_of_protobuf_s_json_are_taken() -> None:
    wanted = decide(
        {"participantName": "Ada", "roomConfig": {"maxParticipants": "2", "agents": [{"agentName": "shop"}]}}
    )
    assert (wanted.customer.name, wanted.customer.max_participants) == ("Ada", 2)
    assert wanted.profile.metadata.name == "shop"


@pytest.mark.parametrize("as_named_there", [True, False])
def test_fields_that_hold_protobuf_s_defaults_ask_for_nothing(as_named_there: bool) -> None:
    # As Go's and Java's clients may send them; of the request itself there is no type in Python.
    config = json_format.MessageToDict(
        RoomConfiguration(agents=[RoomAgentDispatch()]),
        preserving_proto_field_name=as_named_there,
        always_print_fields_with_no_presence=True,
    )
    texts = ("room_name", "participant_name", "participant_identity", "participant_metadata")
    body: dict[str, Any] = {**dict.fromkeys(texts, ""), "participant_attributes": {}, "room_config": config}
    wanted = decide(body)
    assert wanted.profile.metadata.name == "default"
    assert (wanted.customer.room, wanted.customer.identity) == (NAMES.room, NAMES.identity)


def test_the_participant_s_fields_are_honoured() -> None:
    body = {
        "participant_name": "Ada",
        "participant_identity": "ada-1",
        "participant_metadata": "anything",
        "participant_attributes": {"colour": "green"},
    }
    customer = decide(body).customer
    assert (customer.name, customer.identity, customer.metadata) == ("Ada", "ada-1", "anything")
    assert customer.attributes == {"colour": "green"}


def test_a_caller_may_name_its_room_only_where_allowed_and_under_its_own_name() -> None:
    assert refusal({"room_name": "lobby"}).status == 403
    assert decide({"room_name": "lobby"}, tenant="acme", rooms=True).customer.room == "acme:lobby"
    assert decide({"room_name": "lobby"}, rooms=True).customer.room == "anyone:lobby"


@pytest.mark.parametrize(
    "config",
    [
        {"name": "preset"},
        {"empty_timeout": 1},
        {"departure_timeout": 1},
        {"metadata": "mine"},
        {"egress": {"room": {}}},
        {"min_playout_delay": 1},
        {"max_playout_delay": 1},
        {"sync_streams": True},
        {"tags": {"a": "b"}},
        {"agents": [{"deployment": "staging"}]},
        {"agents": [{"attributes": {"a": "b"}}]},
        {"agents": [{"restart_policy": "JRP_NEVER"}]},
        {"agents": [{"restart_policy": 1}]},
    ],
)
def test_what_the_profile_decides_is_refused_with_the_reason(config: dict[str, Any]) -> None:
    problem = refusal({"room_config": config})
    assert problem.status == 403
    assert problem.kind == "not-configurable"
    assert problem.detail.startswith("room_config.")


def test_protobuf_s_defaults_are_no_wishes() -> None:
    config = {
        "name": "",
        "empty_timeout": 0,
        "sync_streams": False,
        "tags": {},
        "agents": [{"deployment": "", "restart_policy": "JRP_ON_FAILURE", "attributes": {}}],
    }
    assert decide({"room_config": config}).customer.max_participants == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"profile": "nobody"}, "GET /api/profiles"),
        ({"profile": "hidden"}, "GET /api/profiles"),
        ({"llm_provider": "mars"}, "local, openai"),
        ({"llm_provider": "openai", "is_local_mode": True}, "(local)"),
        ({"profile": "shop", "is_local_mode": True}, "without is_local_mode"),
        ({"profile": "shop", **agent(agent_name="default")}, "say it once"),
        ({"room_config": {"agents": [{}, {}]}}, "at most one"),
        ({"participant_identity": "agent"}, "the agent's"),
        ({"participant_identity": "a\u0007"}, "printable"),
        ({"participant_identity": "\u202eadmin"}, "printable"),
        (agent(metadata="hello"), "JSON object of texts"),
        (agent(metadata='{"a": 1}'), "JSON object of texts"),
        (agent(metadata='["a"]'), "JSON object of texts"),
        (agent(metadata="[" * 8000), "JSON object of texts"),
        (agent(metadata='{"is_local_mode": "perhaps"}'), '"true" or "false"'),
        (agent(metadata=json.dumps({str(n): "" for n in range(33)})), "at most 32"),
        ({"variables": {str(n): "" for n in range(20)}, **agent(metadata=json.dumps({f"x{n}": "" for n in range(20)}))},
         "at most 32"),
        (agent(metadata=json.dumps({"": "x"})), "1 to 64"),
    ],
)  # fmt: skip
def test_what_does_not_exist_or_contradicts_itself_is_refused_with_what_to_do(body: dict[str, Any], words: str) -> None:
    problem = refusal(body)
    assert problem.status == 422
    assert words in problem.detail


def test_attributes_in_livekit_s_own_name_are_refused() -> None:
    assert refusal({"participant_attributes": {"lk.agent.state": "speaking"}}).status == 403


def test_local_mode_asks_the_profile_s_local_pool() -> None:
    assert decide({"profile": "mixed", "is_local_mode": True, "llm_provider": "local"}).local_mode
    assert refusal({"profile": "mixed", "llm_provider": "local"}).status == 422


def test_a_call_that_is_not_set_up_is_refused_without_the_platform_s_names() -> None:
    problem = refusal({"profile": "lost", "llm_provider": "openai"})
    assert (problem.status, problem.kind, problem.retry_after) == (422, "not-set-up", None)
    assert "gone" not in problem.detail


def test_a_hidden_profile_is_for_backends() -> None:
    assert decide({"profile": "hidden"}, tenant="acme", hidden=True).profile.metadata.name == "hidden"


@pytest.mark.parametrize(
    ("name", "tenant", "served"),
    [
        ("acmes", "acme", True),
        ("acmes", "acme-test", True),
        ("acmes", "beta", False),
        ("acmes", None, False),
        ("acmes-hidden", "acme", True),
        ("acmes-hidden", "beta", False),
        ("nobodys", "acme", False),
    ],
)
def test_a_profile_that_is_bound_to_tenants_does_not_exist_for_others(
    name: str, tenant: str | None, *, served: bool
) -> None:
    if served:
        assert decide({"profile": name}, tenant=tenant, hidden=True).profile.metadata.name == name
        return
    refused = refusal({"profile": name}, tenant=tenant, hidden=tenant is not None)
    assert refused.detail == refusal({"profile": "none-such"}).detail.replace("none-such", name)


def test_a_tenant_is_shown_its_own_profiles_and_everybodys() -> None:
    def names(tenant: str | None) -> list[str]:
        return [choice.name for choice in list_choices(PROFILES, POOLS, Caller(tenant))]

    assert names("acme") == ["acmes", "default", "mixed", "shop"]
    assert names("beta") == names(None) == ["default", "mixed", "shop"]


def test_private_variables_stay_out_of_the_ticket() -> None:
    wanted = decide({"variables": {"customer": "Ada Lovelace"}})
    private = wanted.build_ticket(NAMES, Caller("acme"), private=True, voice_session="vs-1")
    assert "Lovelace" not in private.model_dump_json()
    assert (private.call_id, private.tenant, private.voice_session) == (NAMES.call_id, "acme", "vs-1")
    public = wanted.build_ticket(NAMES, Caller(), private=False, voice_session=None)
    assert public.variables == {"customer": "Ada Lovelace"}


@pytest.mark.parametrize(
    "body",
    [
        {"unknown": 1},
        {"room_config": {"unknown": 1}},
        {"room_name": "a b"},
        {"room_name": "x" * 65},
        {"room_name": "acme:lobby"},
        {"participant_name": "x" * 257},
        {"participant_attributes": {"a": 1}},
        {"room_config": {"max_participants": -1}},
        {"profile": "Default"},
        {"llm_provider": "-"},
        {"is_local_mode": "perhaps"},
        {"variables": {"a": "x" * 1025}},
        {"variables": {"": "x"}},
        {"variables": {"x" * 65: "x"}},
        {"variables": ["a"]},
        {"participant_name": "\ud800"},
    ],
)
def test_malformed_fields_do_not_get_that_far(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TokenRequest.model_validate(body)
