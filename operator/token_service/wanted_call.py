"""What can be asked for, and what a request asks for: every field honoured, or refused with the reason. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from rooms.tokens import Customer
from token_service.call_names import CallNames
from token_service.callers import Caller
from token_service.problems import HttpProblem
from token_service.schemas import AgentDispatch, ProfileChoice, RoomConfig, TokenRequest, Variables
from voicesession.conditions import Reason
from voicesession.customer_words import NOT_SET_UP
from voicesession.models import AgentPool, AgentProfile, VoiceSessionSpec
from voicesession.names import AGENT_IDENTITY
from voicesession.serving import Problem, find_serving, list_providers
from voicesession.tickets import CallTicket, new_ticket

T = TypeVar("T")

DEFAULT_PROFILE = "default"
_VARIABLES: TypeAdapter[dict[str, str]] = TypeAdapter(Variables)
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True)
class WantedCall:
    """What is asked for, checked against what there is."""

    profile: AgentProfile
    customer: Customer
    llm_provider: str | None
    local_mode: bool
    variables: dict[str, str] = field(repr=False)

    def build_ticket(
        self,
        names: CallNames,
        caller: Caller,
        *,
        private: bool,
        voice_session: str | None,
        traceparent: str | None = None,
    ) -> CallTicket:
        """Returns the room's ticket. With `private`, the variables stay out of it: the customer can read it.

        `traceparent`: the caller's span that the call is below.
        """
        return new_ticket(
            self.profile.metadata.name,
            call_id=names.call_id,
            tenant=caller.tenant,
            participant_identity=self.customer.identity,
            llm_provider=self.llm_provider,
            local_mode=self.local_mode,
            variables={} if private else self.variables,
            voice_session=voice_session,
            traceparent=traceparent,
        )


def decide_call(
    request: TokenRequest,
    caller: Caller,
    names: CallNames,
    profiles: Mapping[str, AgentProfile],
    pools: Mapping[str, AgentPool],
    *,
    allow_caller_rooms: bool,
    allow_hidden_profiles: bool,
) -> WantedCall:
    """Returns the call that is asked for.

    Raises:
        HttpProblem: 403 for what callers may not choose, 422 for what does not exist or contradicts itself.
    """
    config = request.room_config or RoomConfig()
    _refuse_fixed(config)
    dispatch = _only_agent(config)
    asked = _read_agent_metadata(dispatch.metadata)
    name = _agree("profile", request.profile, dispatch.agent_name or None) or DEFAULT_PROFILE
    profile = _find_profile(name, profiles, caller, allow_hidden_profiles)
    provider = _agree("llm_provider", request.llm_provider, asked.pop("llm_provider", None))
    local_mode = _agree("is_local_mode", request.is_local_mode, _read_truth(asked.pop("is_local_mode", None))) or False
    _check_served(profile, provider, local_mode, pools)
    customer = Customer(
        room=_choose_room(request.room_name, caller, names, allow_caller_rooms),
        identity=_choose_identity(request.participant_identity, names),
        name=request.participant_name or "",
        metadata=request.participant_metadata or "",
        attributes=_check_attributes(request.participant_attributes or {}),
        max_participants=config.max_participants or 0,
    )
    return WantedCall(profile, customer, provider, local_mode, _merge_variables(asked, request.variables or {}))


def list_choices(
    profiles: Mapping[str, AgentProfile], pools: Mapping[str, AgentPool], caller: Caller
) -> list[ProfileChoice]:
    """Returns the public profiles of which a call of this caller's would be served, with what it may ask for."""
    wanted = (profiles[name] for name in sorted(profiles))
    open_to_it = [profile for profile in wanted if profile.spec.public and profile.spec.is_for(caller.tenant)]
    return [choice for profile in open_to_it if (choice := _build_choice(profile, pools))]


def _build_choice(profile: AgentProfile, pools: Mapping[str, AgentPool]) -> ProfileChoice | None:
    name = profile.metadata.name
    providers = list_providers(profile, pools.get, local_mode=False)
    local_mode = bool(list_providers(profile, pools.get, local_mode=True))
    if not (providers or local_mode) and isinstance(find_serving(profile, VoiceSessionSpec(), pools.get), Problem):
        return None
    return ProfileChoice(
        name=name, displayName=profile.spec.display_name or name, providers=providers, localMode=local_mode
    )


def _refuse_fixed(config: RoomConfig) -> None:
    reasons = {
        "name": "LiveKit's room presets are not used here",
        "empty_timeout": "the profile decides how long its agent waits",
        "departure_timeout": "the profile decides how long its agent waits",
        "metadata": "the room's metadata is the call's ticket; use participant_metadata or variables",
        "egress": "recording is not offered",
        "min_playout_delay": "an agent's voice is not delayed",
        "max_playout_delay": "an agent's voice is not delayed",
        "sync_streams": "there is no video to keep in step",
        "tags": "rooms have no tags here",
    }
    for name, reason in reasons.items():
        if getattr(config, name):
            raise _not_yours(f"room_config.{name}", reason)


def _only_agent(config: RoomConfig) -> AgentDispatch:
    agents = config.agents or []
    if len(agents) > 1:
        raise _invalid("room_config.agents", "a room has one agent; ask for at most one")
    dispatch = agents[0] if agents else AgentDispatch()
    if dispatch.deployment:
        raise _not_yours("room_config.agents[0].deployment", "a profile has one deployment")
    if dispatch.attributes:
        raise _not_yours("room_config.agents[0].attributes", "use metadata, a JSON object of texts")
    if dispatch.restart_policy not in {None, 0, "0", "JRP_ON_FAILURE"}:
        raise _not_yours(
            "room_config.agents[0].restart_policy",
            "an agent that fails is replaced, as often as the profile's limits allow",
        )
    return dispatch


def _read_agent_metadata(text: str | None) -> dict[str, str]:
    if not text:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise _invalid(
            "room_config.agents[0].metadata", 'write a JSON object of texts, such as {"customer_name": "Ada"}'
        )
    return value


def _read_truth(text: str | None) -> bool | None:
    if text is None:
        return None
    if text.lower() not in _TRUTH:
        raise _invalid("room_config.agents[0].metadata", 'is_local_mode is "true" or "false"')
    return _TRUTH[text.lower()]


def _agree(name: str, ours: T | None, livekits: T | None) -> T | None:
    if ours is not None and livekits is not None and ours != livekits:
        raise _invalid(name, "room_config.agents[0] says otherwise; say it once")
    return livekits if ours is None else ours


def _find_profile(name: str, profiles: Mapping[str, AgentProfile], caller: Caller, allow_hidden: bool) -> AgentProfile:
    profile = profiles.get(name)
    # One that is another's looks as one that does not exist.
    if profile is None or not (profile.spec.public or allow_hidden) or not profile.spec.is_for(caller.tenant):
        detail = f"There is no public agent profile {name!r}. GET /api/profiles lists those there are."
        raise HttpProblem(422, "unknown-profile", "Unknown profile", detail)
    return profile


def _check_served(
    profile: AgentProfile, provider: str | None, local_mode: bool, pools: Mapping[str, AgentPool]
) -> None:
    spec = VoiceSessionSpec(llm_provider=provider, local_mode=local_mode)
    problem = find_serving(profile, spec, pools.get)
    if not isinstance(problem, Problem):
        return
    name, providers = profile.metadata.name, list_providers(profile, pools.get, local_mode=local_mode)
    if local_mode and not providers:
        detail = f"Profile {name!r} has no pods without a cloud key. Ask without is_local_mode, or for another profile."
        raise HttpProblem(422, "no-local-mode", "No local mode", detail)
    if provider is not None and problem.reason is Reason.PROVIDER_MISSING:
        where = "in local mode " if local_mode else ""
        known = ", ".join(providers) or "none"
        detail = f"Provider {provider!r} is not one that profile {name!r} has {where}({known})."
        raise HttpProblem(422, "unknown-provider", "Unknown provider", detail)
    # What is missing is the platform's business: the profile's condition names it.
    raise HttpProblem(422, "not-set-up", "Not set up", NOT_SET_UP)


def _choose_room(asked: str | None, caller: Caller, names: CallNames, allowed: bool) -> str:
    if not asked:
        return names.room
    if not allowed:
        raise _not_yours("room_name", "rooms get unguessable names; leave it out")
    return f"{caller.tenant or 'anyone'}:{asked}"


def _choose_identity(asked: str | None, names: CallNames) -> str:
    if not asked:
        return names.identity
    if asked == AGENT_IDENTITY or not asked.isprintable():
        raise _invalid("participant_identity", f"printable characters, and not {AGENT_IDENTITY!r}: that is the agent's")
    return asked


def _check_attributes(attributes: dict[str, str]) -> dict[str, str]:
    if any(name.startswith("lk.") for name in attributes):
        raise _not_yours("participant_attributes", "names that begin with `lk.` are LiveKit's own")
    return attributes


def _merge_variables(livekits: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
    try:
        return _VARIABLES.validate_python({**livekits, **ours})
    except ValidationError as error:
        raise _invalid("variables", "at most 32, names of 1 to 64 and values of at most 1024 characters") from error


def _invalid(name: str, detail: str) -> HttpProblem:
    return HttpProblem(422, "invalid-request", "The request has invalid fields", f"{name}: {detail}.")


def _not_yours(name: str, reason: str) -> HttpProblem:
    return HttpProblem(403, "not-configurable", "Not for callers to choose", f"{name}: {reason}.")
