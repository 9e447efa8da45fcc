"""Gathers what can be known of an installation, by the user's rights: what they may not read is left out, and said."""

import asyncio
import contextlib
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from conversations.undelivered import read_metadata
from kube.client import ForbiddenError, KubernetesApi, KubernetesError, NotFoundError, Raw
from kube.skew import list_missing
from kubectl_voice.evidence import list_sessions
from kubectl_voice.facts import EventFacts, PodFacts, read_events, read_pod, read_time
from kubectl_voice.forwarding import ForwardingError, forwarded
from kubectl_voice.live import OPERATORS
from voicesession import clock
from voicesession.mcp_keys import list_server_keys
from voicesession.models import AgentPool, AgentProfile, VoiceSession
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, POOL_LABEL, UNDELIVERED_LABEL
from voicesession.provider_keys import list_keys

_RELEASE = "app.kubernetes.io/name=voice-agent"
_COMPONENT = "app.kubernetes.io/component"
_LEASE = "voice-agent-operator"
_METRICS_PORTS = {"operator": 8080, "token-service": 3001}
_REACH_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or StatefulSet of the release."""

    component: str
    name: str
    wanted: int
    ready: int
    environment: Mapping[str, str]
    secrets: Mapping[str, frozenset[str]]
    """The Secrets that it cannot do without, with the keys that it names."""


@dataclass(frozen=True, slots=True)
class Quota:
    """One bound of a ResourceQuota that is used up."""

    name: str
    resource: str
    hard: str


@dataclass(frozen=True, slots=True)
class Scrape:
    """What a pod told of itself. `ahead`: of the API server's clock, the pod's."""

    pod: str
    component: str
    counters: Mapping[str, float]
    ahead: timedelta | None


@dataclass(frozen=True, slots=True)
class Installation:
    """What is known of an installation. None where the user may not read it; `unread` names those."""

    namespace: str
    now: datetime
    crds_lack: tuple[str, ...] | None = None
    """Fields, KIND.spec.FIELD, and whole kinds that this release knows and the API server does not."""
    workloads: tuple[Workload, ...] = ()
    pods: tuple[PodFacts, ...] = ()
    events: tuple[EventFacts, ...] = ()
    pools: tuple[AgentPool, ...] = ()
    profiles: tuple[AgentProfile, ...] = ()
    sessions: tuple[VoiceSession, ...] = ()
    unreadable: tuple[str, ...] = ()
    secrets: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    """Of those that something names: its keys, or None where it is missing. Without those that may not be read."""
    full_quotas: tuple[Quota, ...] = ()
    failed_job: str = ""
    lease_holder: str | None = None
    lease_renewed_at: datetime | None = None
    server_time: datetime | None = None
    undelivered_rows: int = 0
    dns_ready: bool | None = None
    livekit_error: str | None = None
    """Why LiveKit cannot be reached at its public address, from here; None where it can, or where nobody tried."""
    clocks: Mapping[str, timedelta] = field(default_factory=dict)
    """By pod: how far its node's clock is ahead of the API server's."""
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By metric and labels, `name{label="value"}`, the sum over the pods of its part."""
    unread: tuple[str, ...] = ()


async def gather_installation(api: KubernetesApi, context: str | None) -> Installation:
    """Returns what can be known of the namespace's installation."""
    unread: list[str] = []

    async def ask(what: str, question: Awaitable[Any], otherwise: Any) -> Any:
        try:
            return await question
        except NotFoundError:
            return otherwise
        except (ForbiddenError, ForwardingError) as error:
            unread.append(f"{what}: {error}")
            return otherwise

    deployments = await ask("Deployments", api.list_kind("apps/v1", "deployments", _RELEASE), [])
    stateful = await ask("StatefulSets", api.list_kind("apps/v1", "statefulsets", _RELEASE), [])
    workloads = tuple(read_workload(raw) for raw in [*deployments, *stateful])
    own = await ask("pods", api.list_kind("v1", "pods", _RELEASE), [])
    agents = await ask("pods", api.list_kind("v1", "pods", POOL_LABEL), [])
    pods = {raw["metadata"]["name"]: read_pod(raw) for raw in [*own, *agents]}
    lacking = await ask("the API's kinds", _read_missing(api), None)
    # The list of a kind that is not served is answered as by a server that is not whole.
    served = not any("." not in each for each in lacking or ())
    pools, bad_pools = read_all(AgentPool, await ask("AgentPools", _objects(api, AGENT_POOLS), []) if served else [])
    profiles, bad_profiles = read_all(
        AgentProfile, await ask("AgentProfiles", _objects(api, AGENT_PROFILES), []) if served else []
    )
    quotas = await ask("ResourceQuotas", api.list_kind("v1", "resourcequotas"), [])
    jobs = await ask("Jobs", api.list_kind("batch/v1", "jobs", f"{_RELEASE},{_COMPONENT}=migrations"), [])
    lease = await ask("the operator's Lease", api.get_lease(_LEASE), {})
    kept = await ask("ConfigMaps", api.list_config_map_metadata(f"{UNDELIVERED_LABEL}=true"), [])
    scrapes = await ask("metrics, and pods' clocks", _scrape_all(api, pods.values(), context), [])
    return Installation(
        namespace=api.namespace,
        now=clock.now(),
        crds_lack=lacking,
        workloads=workloads,
        pods=tuple(pods.values()),
        events=read_events(await ask("Events", api.list_kind("v1", "events"), [])),
        pools=tuple(pools),
        profiles=tuple(profiles),
        sessions=tuple(await ask("VoiceSessions", list_sessions(api), []) if served else ()),
        unreadable=(*bad_pools, *bad_profiles),
        secrets=await _read_secrets(api, wanted_secrets(workloads, pools), unread),
        full_quotas=tuple(full for raw in quotas for full in read_quota(raw)),
        failed_job=next((failed for raw in jobs if (failed := read_failed_job(raw))), ""),
        lease_holder=(lease.get("spec") or {}).get("holderIdentity"),
        lease_renewed_at=read_time((lease.get("spec") or {}).get("renewTime")),
        server_time=await _read_server_time(api),
        undelivered_rows=sum(piece.rows for raw in kept if (piece := read_metadata(raw))),
        dns_ready=await ask("the cluster's DNS", _read_dns(api), None),
        livekit_error=await _try_livekit(find_variable(workloads, "token-service", "LIVEKIT_PUBLIC_URL")),
        clocks={scrape.pod: scrape.ahead for scrape in scrapes if scrape.ahead is not None},
        metrics=sum_counters(scrapes),
        unread=tuple(dict.fromkeys(unread)),
    )


async def say_where_releases_are(api: KubernetesApi) -> str:
    """Returns a sentence for whoever has found nothing in a namespace that has no release; nothing where it has one."""
    try:
        if await api.list_kind("apps/v1", "deployments", OPERATORS):
            return ""
    except KubernetesError:
        return ""
    return f"There is no release in namespace {api.namespace!r}. {await _name_others(api)}"


async def _name_others(api: KubernetesApi) -> str:
    try:
        found = await api.request("GET", f"/apis/apps/v1/deployments?{urlencode({'labelSelector': OPERATORS})}")
    except KubernetesError:
        return "`-n` names another one; `helm list -A` shows where releases are."
    others = sorted({item["metadata"]["namespace"] for item in found["items"] or ()})
    return f"There is one in {', '.join(others)}: name it by `-n`." if others else "Nor is there one in any other."


def read_workload(raw: Raw) -> Workload:
    """Returns what matters of a Deployment or StatefulSet."""
    spec, status = raw["spec"], raw.get("status") or {}
    pod = spec["template"]["spec"]
    containers = [*(pod.get("initContainers") or ()), *pod["containers"]]
    variables = [variable for container in containers for variable in container.get("env") or ()]
    return Workload(
        component=raw["metadata"]["labels"].get(_COMPONENT, ""),
        name=raw["metadata"]["name"],
        wanted=spec.get("replicas", 1),
        ready=status.get("readyReplicas") or 0,
        environment={each["name"]: each["value"] for each in variables if "value" in each},
        secrets=_named_secrets(variables, pod.get("volumes") or ()),
    )


def _named_secrets(variables: Sequence[Raw], volumes: Sequence[Raw]) -> dict[str, frozenset[str]]:
    named: dict[str, set[str]] = {}
    for variable in variables:
        reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
        if reference and not reference.get("optional"):
            named.setdefault(reference["name"], set()).add(reference["key"])
    for volume in volumes:
        secret = volume.get("secret")
        if secret and not secret.get("optional"):
            keys = {item["key"] for item in secret.get("items") or ()}
            named.setdefault(secret["secretName"], set()).update(keys)
    return {name: frozenset(keys) for name, keys in named.items()}


def wanted_secrets(workloads: Sequence[Workload], pools: Sequence[AgentPool]) -> dict[str, frozenset[str]]:
    """Returns the Secrets that parts and pools cannot do without, with the keys that they name."""
    wanted: dict[str, set[str]] = {}
    for workload in workloads:
        for name, keys in workload.secrets.items():
            wanted.setdefault(name, set()).update(keys)
    for pool in pools:
        for name, key in _pool_secrets(pool):
            wanted.setdefault(name, set()).add(key)
    return {name: frozenset(keys) for name, keys in wanted.items()}


def _pool_secrets(pool: AgentPool) -> list[tuple[str, str]]:
    keys = [key for provider in pool.spec.providers for key in list_keys(provider)]
    keys += [key for server in pool.spec.mcp_servers for key in list_server_keys(server)]
    variables = [each.value_from.secret_key_ref for each in pool.spec.env if each.value_from]
    wanted = [(each.name, each.key) for each in variables if each and not each.optional]
    return [(key.secret_ref.name, key.secret_ref.key) for key in keys] + wanted


def read_all(kind: type[Any], raws: Sequence[Raw]) -> tuple[list[Any], list[str]]:
    """Returns the objects that can be read, and the names of those that cannot."""
    read, unreadable = [], []
    for raw in raws:
        try:
            read.append(kind.model_validate(raw))
        except ValidationError:
            unreadable.append(f"{raw.get('kind', kind.__name__)} {raw['metadata']['name']}")
    return read, unreadable


def read_quota(raw: Raw) -> list[Quota]:
    """Returns the bounds of a ResourceQuota that leave nothing."""
    status = raw.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    full = [resource for resource in hard if used.get(resource) == hard[resource] and hard[resource] != "0"]
    return [Quota(raw["metadata"]["name"], resource, hard[resource]) for resource in full]


def read_failed_job(raw: Raw) -> str:
    """Returns why a Job has failed, or nothing."""
    conditions = (raw.get("status") or {}).get("conditions") or ()
    failed = next((each for each in conditions if each["type"] == "Failed" and each["status"] == "True"), None)
    return f"{failed.get('reason', '')}: {failed.get('message', '')}" if failed else ""


def find_variable(workloads: Sequence[Workload], component: str, name: str) -> str | None:
    """Returns the value of a part's variable, or None."""
    found = (each.environment.get(name) for each in workloads if each.component == component)
    return next((value for value in found if value), None)


async def _objects(api: KubernetesApi, plural: str) -> list[Raw]:
    return (await api.list_objects(plural))[0]


async def _read_missing(api: KubernetesApi) -> tuple[str, ...]:
    return tuple(await list_missing(api))


async def _read_secrets(
    api: KubernetesApi, wanted: Mapping[str, frozenset[str]], unread: list[str]
) -> dict[str, frozenset[str] | None]:
    found: dict[str, frozenset[str] | None] = {}
    for name in wanted:
        try:
            found[name] = frozenset((await api.get_secret(name)).get("data") or {})
        except NotFoundError:
            found[name] = None
        except ForbiddenError as error:
            unread.append(f"Secrets: {error}")
            return found
    return found


async def _read_server_time(api: KubernetesApi) -> datetime | None:
    """Returns what time the API server says it is."""
    stamp = await api.read_date()
    return parsedate_to_datetime(stamp) if stamp else None


async def _read_dns(api: KubernetesApi) -> bool | None:
    """Returns whether something answers for the cluster's DNS; None where it has another name than usual."""
    slices = await api.request(
        "GET", "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices?labelSelector=k8s-app%3Dkube-dns"
    )
    items = slices["items"] or []
    if not items:
        return None
    endpoints = [each for item in items for each in item.get("endpoints") or ()]
    return any((each.get("conditions") or {}).get("ready") for each in endpoints)


async def _try_livekit(url: str | None) -> str | None:
    """Returns why LiveKit does not answer at its public address, or None."""
    if not url:
        return None
    parts = urlsplit(url)
    http = urlunsplit(parts._replace(scheme="https" if parts.scheme in {"wss", "https"} else "http"))
    try:
        async with (
            aiohttp.ClientSession(trust_env=True, timeout=aiohttp.ClientTimeout(total=_REACH_SECONDS)) as session,
            session.get(http),
        ):
            return None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return f"{url}: {type(error).__name__}: {error}".rstrip(": ")


async def _scrape_all(api: KubernetesApi, pods: Collection[PodFacts], context: str | None) -> list[Scrape]:
    asked = [pod for pod in pods if pod.component in _METRICS_PORTS and pod.ready and not pod.deleting]
    answers = await asyncio.gather(*(_scrape(api, pod, context) for pod in asked), return_exceptions=True)
    scrapes = [answer for answer in answers if isinstance(answer, Scrape)]
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    # A pod may go meanwhile; where none can be asked, it is for want of rights.
    if errors and not scrapes:
        raise errors[0]
    return scrapes


async def _scrape(api: KubernetesApi, pod: PodFacts, context: str | None) -> Scrape | None:
    async with forwarded(f"pod/{pod.name}", _METRICS_PORTS[pod.component], api.namespace, context) as port:
        timeout = aiohttp.ClientTimeout(total=_REACH_SECONDS)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"http://127.0.0.1:{port}/metrics") as answer,
            ):
                counters = read_counters(await answer.text())
                stamp, server_time = answer.headers.get("Date"), await _read_server_time(api)
                ahead = parsedate_to_datetime(stamp) - server_time if stamp and server_time else None
                return Scrape(pod.name, pod.component, counters, ahead)
    return None


def sum_counters(scrapes: Iterable[Scrape]) -> dict[str, dict[str, float]]:
    """Returns the counters of operators and token services, by part, summed over its pods."""
    sums: dict[str, dict[str, float]] = {}
    for scrape in scrapes:
        part = sums.setdefault(scrape.component, {})
        for name, value in scrape.counters.items():
            part[name] = part.get(name, 0.0) + value
    return sums


def read_counters(text: str) -> dict[str, float]:
    """Returns our counters and gauges by name and labels, as `name{label="value"}`."""
    found = {}
    for family in text_string_to_metric_families(text):
        if not family.name.startswith("voice_"):
            continue
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found
