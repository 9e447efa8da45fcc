"""Who serves a call, and what is said where something is missing."""

import itertools
from typing import Any

import pytest
import yaml

from local_cluster.layout import REPOSITORY
from testing.operator_objects import CLOUD, LOCAL, MODELS, make_pool, make_profile
from token_service.call_names import CallNames
from token_service.callers import Caller
from token_service.problems import HttpProblem
from token_service.schemas import TokenRequest
from token_service.wanted_call import decide_call, list_choices
from voice_operator.pools.preparation import build_preparation
from voicesession.conditions import Reason
from voicesession.models import AgentPool, AgentProfile, AgentProfileSpec, VoiceSessionSpec
from voicesession.serving import Problem, Serving, find_serving, resolve_serving

TWO = [CLOUD, {"name": "second", **MODELS}]
EXAMPLES = REPOSITORY / "crds" / "examples"


def resolve(
    spec: dict[str, Any] | None = None, profiles: list[AgentProfile] | None = None, pools: list[AgentPool] | None = None
) -> Serving | Problem:
    known_profiles = {each.metadata.name: each for each in ([make_profile()] if profiles is None else profiles)}
    known_pools = {each.metadata.name: each for each in ([make_pool(providers=TWO)] if pools is None else pools)}
    return resolve_serving(VoiceSessionSpec.model_validate(spec or {}), known_profiles.get, known_pools.get)


@pytest.mark.parametrize(
    ("asked", "default", "provider"),
    [(None, None, "cloud"), (None, "second", "second"), ("second", "cloud", "second")],
)
def test_the_asked_provider_wins_then_the_profiles_then_the_pools_first(
    asked: str | None, default: str | None, provider: str
) -> None:
    serving = resolve({"llmProvider": asked}, [make_profile(provider=default)])
    assert isinstance(serving, Serving)
    assert serving.provider == provider


def test_the_profiles_limits_are_a_ceiling() -> None:
    asked = {"limits": {"maxDurationSeconds": 9999, "idleTimeoutSeconds": 10}}
    serving = resolve(asked, [make_profile(limits={"maxDurationSeconds": 100})])
    assert isinstance(serving, Serving)
    assert (serving.limits.max_duration_seconds, serving.limits.idle_timeout_seconds) == (100, 10)


def test_local_mode_takes_the_local_pool_and_its_own_provider() -> None:
    pools = [make_pool(providers=TWO), make_pool("near", providers=[LOCAL])]
    serving = resolve({"localMode": True}, [make_profile(localPool="near", provider="second")], pools)
    assert isinstance(serving, Serving)
    assert (serving.pool.metadata.name, serving.provider) == ("near", "local")


def test_code_that_brings_its_own_models_needs_no_provider() -> None:
    serving = resolve(pools=[make_pool(providers=[], code="acme.main:entrypoint")])
    assert isinstance(serving, Serving)
    assert serving.provider == ""


@pytest.mark.parametrize(
    ("spec", "profiles", "pools", "reason", "words"),
    [
        ({"profile": "nobody"}, None, None, Reason.PROFILE_MISSING, "no AgentProfile 'nobody'. Create it"),
        (
            None,
            None,
            [],
            Reason.POOL_MISSING,
            "no AgentPool 'default', which spec.pool of AgentProfile 'default' names",
        ),
        (
            {"llmProvider": "x"},
            None,
            None,
            Reason.PROVIDER_MISSING,
            "'x', which the call asks for. Add it there; it has: cloud, second",
        ),
        (
            None,
            [make_profile(provider="y")],
            None,
            Reason.PROVIDER_MISSING,
            "'y', which AgentProfile 'default' asks for",
        ),
        (
            None,
            None,
            [make_pool(providers=[])],
            Reason.PROVIDER_MISSING,
            "lacks a provider. Add it there; it has: none",
        ),
        (
            {"localMode": True},
            None,
            None,
            Reason.PROVIDER_MISSING,
            "Name a pool with only local ones in `spec.localPool`",
        ),
        (
            {"localMode": True},
            [make_profile(localPool="near")],
            None,
            Reason.POOL_MISSING,
            "no AgentPool 'near', which spec.localPool of",
        ),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(
    spec: dict[str, Any] | None,
    profiles: list[AgentProfile] | None,
    pools: list[AgentPool] | None,
    reason: Reason,
    words: str,
) -> None:
    problem = resolve(spec, profiles, pools)
    assert isinstance(problem, Problem)
    assert problem.reason is reason
    assert words in problem.message


# The front door and the operator


NEAR = make_pool("near", providers=[LOCAL])
POOLS = {
    "near": NEAR,
    "mixed": make_pool("mixed", providers=[LOCAL, CLOUD]),
    "far": make_pool("far", providers=TWO),
    "code": make_pool("code", providers=[], code="acme.main:entrypoint"),
}
PROVIDERS = (None, "local", "cloud", "second", "mars")
# What a call may ask for: provider and local mode.
WISHES = tuple(itertools.product(PROVIDERS, (False, True)))


def is_served(profile: AgentProfile, provider: str | None, local_mode: bool) -> bool:
    spec = VoiceSessionSpec(llm_provider=provider, local_mode=local_mode)
    return isinstance(resolve_serving(spec, {"default": profile}.get, POOLS.get), Serving)


def is_accepted(profile: AgentProfile, provider: str | None, local_mode: bool) -> bool:
    names = CallNames("room", "ada", "c" * 32)
    request = TokenRequest(llm_provider=provider, is_local_mode=local_mode)
    try:
        decide_call(
            *(request, Caller(), names, {"default": profile}, POOLS),
            allow_caller_rooms=False,
            allow_hidden_profiles=False,
        )
    except HttpProblem:
        return False
    return True


@pytest.mark.parametrize("default", PROVIDERS)
@pytest.mark.parametrize("local_pool", [None, "near", "mixed", "gone"])
@pytest.mark.parametrize("pool", [*POOLS, "gone"])
def test_the_front_door_takes_and_offers_what_the_operator_serves(
    pool: str, local_pool: str | None, default: str | None
) -> None:
    profile = make_profile(pool=pool, localPool=local_pool, provider=default)
    served = {wish for wish in WISHES if is_served(profile, *wish)}
    assert {wish for wish in WISHES if is_accepted(profile, *wish)} == served
    choices = list_choices({"default": profile}, POOLS, Caller())
    assert bool(choices) == bool(served)
    for choice in choices:
        assert set(choice.providers) == {provider for provider, local_mode in served if provider and not local_mode}
        assert choice.localMode == ((None, True) in served)


def test_local_mode_is_there_where_no_pod_of_the_pool_holds_a_cloud_key() -> None:
    assert is_served(make_profile(pool="near"), None, True)
    assert is_served(make_profile(pool="mixed", localPool="near"), None, True)
    assert not is_served(make_profile(pool="mixed"), None, True)
    assert not is_served(make_profile(pool="near", localPool="mixed"), "local", True)


def test_the_examples_work_as_they_say() -> None:
    read = [each for path in EXAMPLES.glob("*.yaml") for each in yaml.safe_load_all(path.read_text())]
    pools = {each["metadata"]["name"]: AgentPool.model_validate(each) for each in read if each["kind"] == "AgentPool"}
    (profile,) = (AgentProfile.model_validate(each) for each in read if each["kind"] == "AgentProfile")
    (choice,) = list_choices({profile.metadata.name: profile}, pools, Caller())
    assert (choice.providers, choice.localMode) == (["local", "openai", "openai-realtime"], True)
    specs = [VoiceSessionSpec(llm_provider=provider) for provider in choice.providers]
    for spec in [*specs, VoiceSessionSpec(local_mode=True)]:
        assert isinstance(find_serving(profile, spec, pools.get), Serving)


# Greetings


APOLOGY = AgentProfileSpec().recovery.apology
TROUBLE = AgentProfileSpec().trouble.apology
MOMENT = "One moment, please."
SILENT: dict[str, Any] = {"recovery": {"apology": ""}, "trouble": {"apology": "", "moment": ""}}


def texts(pool: AgentPool, *profiles: AgentProfile) -> list[tuple[str, str | None, str]]:
    return [(each.provider, each.voice, each.text) for each in build_preparation(pool, list(profiles)).greetings]


def test_a_pool_prepares_the_greetings_of_its_profiles_once_each() -> None:
    alloy = make_profile("a", greeting="Hello.", models={"voice": "alloy"})
    same = make_profile("b", greeting="Hello.", models={"voice": "alloy"})
    second = make_profile("c", greeting="Hello.", provider="second")
    elsewhere = make_profile("d", greeting="Not here.", pool="other")
    pool = make_pool(providers=TWO)
    assert texts(pool, alloy, same, second, elsewhere) == [
        ("cloud", "alloy", "Hello."),
        ("second", None, "Hello."),
        ("cloud", "alloy", APOLOGY),
        ("second", None, APOLOGY),
        ("cloud", "alloy", TROUBLE),
        ("second", None, TROUBLE),
        ("cloud", "alloy", MOMENT),
        ("second", None, MOMENT),
    ]


def test_a_local_pool_prepares_the_greetings_of_profiles_that_go_there_in_local_mode() -> None:
    profile = make_profile(greeting="Hello.", pool="other", localPool="near", **SILENT)
    assert texts(make_pool("near", providers=[LOCAL]), profile) == [("local", None, "Hello.")]


@pytest.mark.parametrize("greeting", ["", "Hello {name}."])
def test_no_greeting_and_a_personal_one_are_not_prepared(greeting: str) -> None:
    trouble = {"apology": greeting, "moment": greeting}
    profile = make_profile(greeting=greeting, recovery={"apology": greeting}, trouble=trouble)
    assert texts(make_pool(), profile) == []


@pytest.mark.parametrize(
    ("language", "moment"), [("en", MOMENT), ("auto", MOMENT), ("de-AT", "Einen Moment, bitte."), ("tlh", None)]
)
def test_a_moment_is_prepared_in_the_profiles_language(language: str, moment: str | None) -> None:
    trouble = {"apology": ""}
    profile = make_profile(greeting="", recovery=trouble, trouble=trouble, language=language)
    assert [text for _, _, text in texts(make_pool(), profile)] == [moment] * (moment is not None)


def test_a_profiles_own_moment_is_prepared() -> None:
    profile = make_profile(greeting="", **{**SILENT, "trouble": {"apology": "", "moment": "Just a second."}})
    assert [text for _, _, text in texts(make_pool(), profile)] == ["Just a second."]
