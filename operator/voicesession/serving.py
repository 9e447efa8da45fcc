"""Which pool, provider and limits serve a call, and what is missing for it. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from voicesession.conditions import Reason
from voicesession.models import AgentPool, AgentProfile, EffectiveLimits, VoiceSessionSpec


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a call cannot be served, and in the message what to do about it."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Serving:
    """Who serves a call. `provider` is empty where the pool has none because its code brings its own models."""

    profile: AgentProfile
    pool: AgentPool
    provider: str
    limits: EffectiveLimits


def resolve_serving(
    spec: VoiceSessionSpec,
    get_profile: Callable[[str], AgentProfile | None],
    get_pool: Callable[[str], AgentPool | None],
) -> Serving | Problem:
    """Returns who serves a call of this spec, or what is missing."""
    profile = get_profile(spec.profile)
    if profile is None:
        return Problem(
            Reason.PROFILE_MISSING,
            f"There is no AgentProfile {spec.profile!r}. Create it, or name another in `spec.profile`.",
        )
    return find_serving(profile, spec, get_pool)


def find_serving(
    profile: AgentProfile, spec: VoiceSessionSpec, get_pool: Callable[[str], AgentPool | None]
) -> Serving | Problem:
    """Returns who serves a call of this spec, whose profile is at hand, or what is missing."""
    pool_name = pool_for(profile, spec.local_mode)
    pool = get_pool(pool_name)
    if pool is None:
        name = profile.metadata.name
        field = "spec.localPool" if spec.local_mode and profile.spec.local_pool else "spec.pool"
        return Problem(
            Reason.POOL_MISSING,
            f"There is no AgentPool {pool_name!r}, which {field} of AgentProfile {name!r} names. Create it.",
        )
    provider = choose_provider(pool, profile, spec.llm_provider, local_mode=spec.local_mode)
    if isinstance(provider, Problem):
        return provider
    return Serving(profile, pool, provider, profile.spec.limits.narrowed_by(spec.limits))


def pool_for(profile: AgentProfile, local_mode: bool) -> str:
    """Returns the name of the pool that serves this profile's calls."""
    return (profile.spec.local_pool or profile.spec.pool) if local_mode else profile.spec.pool


def list_providers(
    profile: AgentProfile, get_pool: Callable[[str], AgentPool | None], *, local_mode: bool
) -> list[str]:
    """Returns the names of the providers that a call of this profile may ask for. None in local mode: it has none."""
    pool = get_pool(pool_for(profile, local_mode))
    if pool is None or (local_mode and not is_local(pool)):
        return []
    return [provider.name for provider in pool.spec.providers]


def choose_provider(pool: AgentPool, profile: AgentProfile, asked: str | None, *, local_mode: bool) -> str | Problem:
    """Returns the name of the pool's provider for a call: the asked one, else the profile's, else the pool's first."""
    name = pool.metadata.name
    if local_mode and not is_local(pool):
        return Problem(
            Reason.PROVIDER_MISSING,
            f"Local mode wants pods without a cloud key, but AgentPool {name!r} has other than local providers. "
            f"Name a pool with only local ones in `spec.localPool` of AgentProfile {profile.metadata.name!r}.",
        )
    if asked is None and not pool.spec.providers and pool.spec.code:
        return ""
    providers = [provider.name for provider in pool.spec.providers]
    wanted = asked or _default_provider(profile, providers, local_mode)
    if wanted in providers:
        return wanted
    known = ", ".join(providers) or "none"
    who = "the call" if asked else f"AgentProfile {profile.metadata.name!r}"
    what = f"provider {wanted!r}, which {who} asks for" if wanted else "a provider"
    return Problem(Reason.PROVIDER_MISSING, f"AgentPool {name!r} lacks {what}. Add it there; it has: {known}.")


def is_local(pool: AgentPool) -> bool:
    """Tells whether this pool's pods have no cloud key, so that they need no way out of the cluster.

    A pod that holds one is not local, whichever of its providers serves the call.
    """
    return bool(pool.spec.providers) and all(provider.local for provider in pool.spec.providers)


def _default_provider(profile: AgentProfile, providers: Sequence[str], local_mode: bool) -> str | None:
    first = providers[0] if providers else None
    # A profile's default names a provider of its `pool`; `localPool` may know it by another name.
    if local_mode and profile.spec.provider not in providers:
        return first
    return profile.spec.provider or first
