"""What is wrong with an installation, the worst first, each with what to do. Pure: a short question for each."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from kubectl_voice.facts import PodFacts
from kubectl_voice.findings import Finding, Weight
from kubectl_voice.installation import Installation, wanted_secrets
from voicesession.conditions import ConditionType, Reason, find_condition
from voicesession.models import Phase

# A leader renews its Lease each 1.5 s.
_LEASE_STALE = timedelta(seconds=15)
# Tokens bear a minute.
_CLOCK_TOLERANCE = timedelta(seconds=30)
_RECENT = timedelta(minutes=30)
_IMAGE_TROUBLE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
_CONFIG_TROUBLE = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_NEEDED = ("operator", "token-service")


def examine(known: Installation) -> list[Finding]:
    """Returns what is wrong, the worst first; nothing where all is well."""
    found = [
        *_find_kinds(known),
        *_find_workloads(known),
        *_find_leader(known),
        *_find_migration(known),
        *_find_secrets(known),
        *_find_pods(known),
        *_find_pools(known),
        *_find_profiles(known),
        *_find_quotas(known),
        *_find_unreadable(known),
        *_find_dns(known),
        *_find_livekit(known),
        *_find_webhooks(known),
        *_find_clocks(known),
        *_find_others(known),
        *_find_undelivered(known),
    ]
    return sorted(found, key=lambda finding: finding.weight)


def _find_kinds(known: Installation) -> Iterator[Finding]:
    lacking = known.crds_lack or ()
    if kinds := [each for each in lacking if "." not in each]:
        yield Finding("crds-missing", Weight.CUSTOMER, f"The API server does not know {', '.join(kinds)}.", _CRD_ADVICE)
    elif lacking:
        # Where the operator finds nothing missing, it is this program that is newer than the installation.
        is_the_operators = known.metrics.get("operator", {}).get("voice_operator_crd_fields_missing") != 0
        some = f"{', '.join(lacking[:_SHOWN_FIELDS])}{', ...' if len(lacking) > _SHOWN_FIELDS else ''}"
        yield Finding(
            "crds-older",
            Weight.OPERATION if is_the_operators else Weight.NOTE,
            f"The CRDs are older than this `kubectl voice`; the API server drops {len(lacking)} fields: {some}.",
            _CRD_ADVICE if is_the_operators else "The operator misses none of them: both are of an older release.",
        )


_CRD_ADVICE = (
    "Upgrade the chart voice-agent-crds to the installation's release: docs/upgrade.md. Settings that were dropped "
    "have to be applied again."
)
_SHOWN_FIELDS = 3


def _find_workloads(known: Installation) -> Iterator[Finding]:
    present = {workload.component for workload in known.workloads}
    for component in _NEEDED:
        if component not in present:
            yield Finding(
                f"{component}-missing",
                Weight.CUSTOMER,
                f"Namespace {known.namespace!r} has no {component}.",
                "Is it the release's namespace? `helm list -A` shows the releases.",
            )
    for workload in known.workloads:
        if workload.wanted == 0:
            yield Finding(
                f"{workload.component}-scaled-to-0",
                Weight.CUSTOMER,
                f"{workload.name} is scaled to 0.",
                f"`kubectl scale --replicas=1` it, or set the chart's value for {workload.component}.",
            )
        elif workload.ready == 0:
            yield Finding(
                f"{workload.component}-down",
                Weight.CUSTOMER,
                f"{workload.name} has no ready pod of {workload.wanted}.",
                f"`kubectl describe pod -l app.kubernetes.io/component={workload.component}` says why.",
            )
        elif workload.ready < workload.wanted:
            yield Finding(
                f"{workload.component}-short",
                Weight.OPERATION,
                f"{workload.name} has {workload.ready} of {workload.wanted} pods ready.",
                f"`kubectl describe pod -l app.kubernetes.io/component={workload.component}` says why.",
            )


def _find_leader(known: Installation) -> Iterator[Finding]:
    if not known.workloads or known.server_time is None or known.metrics.get("operator", {}).get(_LEADING):
        return
    renewed = known.lease_renewed_at
    if not known.lease_holder or renewed is None:
        yield Finding("no-leader", Weight.CUSTOMER, "No operator leads: nobody holds the Lease.", _LEADER_ADVICE)
    elif known.server_time - renewed > _LEASE_STALE:
        seconds = round((known.server_time - renewed).total_seconds())
        sentence = f"No operator leads: {known.lease_holder} has not renewed the Lease for {seconds} s."
        yield Finding("no-leader", Weight.CUSTOMER, sentence, _LEADER_ADVICE)


_LEADING = "voice_operator_leading"
_LEADER_ADVICE = "See the operator's pods and their log. Calls in progress go on; no new one begins."


def _find_migration(known: Installation) -> Iterator[Finding]:
    if known.failed_job:
        yield Finding(
            "migration-failed",
            Weight.OPERATION,
            f"The database is not migrated: {known.failed_job}",
            "`kubectl logs -l app.kubernetes.io/component=migrations` says why; then `helm upgrade` again.",
        )


def _find_secrets(known: Installation) -> Iterator[Finding]:
    for name, keys in sorted(wanted_secrets(known.workloads, known.pools).items()):
        if name not in known.secrets:
            continue
        present = known.secrets[name]
        if present is None:
            yield Finding("secret-missing", Weight.CUSTOMER, f"Secret {name!r} is missing.", _NAMED_ADVICE)
        elif missing := sorted(keys - present):
            sentence = f"Secret {name!r} has no key {', '.join(missing)}."
            yield Finding("secret-key-missing", Weight.CUSTOMER, sentence, _NAMED_ADVICE)


_NAMED_ADVICE = "docs/security.md lists the Secrets and their keys; who names this one waits for it."


def _find_pods(known: Installation) -> Iterator[Finding]:
    """Pods of one pool, or part, that have the same trouble are told of once."""
    told: dict[tuple[str, str], list[Finding]] = {}
    for pod in known.pods:
        if found := _find_pod(pod):
            told.setdefault((pod.pool or pod.component, found.code), []).append(found)
    for first, *others in told.values():
        more = f" It is the same with {len(others)} more of them." if others else ""
        yield replace(first, sentence=first.sentence + more)


def _find_pod(pod: PodFacts) -> Finding | None:
    whose = f"Pod {pod.name}"
    if pod.waiting in _IMAGE_TROUBLE:
        advice = "Check the image's name, and that its registry's key is among the imagePullSecrets."
        return Finding("image", Weight.CUSTOMER, f"{whose}: {pod.waiting_message or pod.waiting}", advice)
    if pod.waiting in _CONFIG_TROUBLE:
        advice = "Something that the pod names is missing: a Secret, a ConfigMap, a key."
        return Finding("pod-config", Weight.CUSTOMER, f"{whose}: {pod.waiting_message or pod.waiting}", advice)
    if pod.waiting == "CrashLoopBackOff":
        advice = f"`kubectl logs {pod.name} --previous` has the last words."
        return Finding("crash-loop", Weight.CUSTOMER, f"{whose} ends again and again: {pod.ended}.", advice)
    if pod.unschedulable:
        advice = "Add nodes, or correct nodeSelector, tolerations and resources."
        return Finding("unschedulable", Weight.CUSTOMER, f"{whose}: {pod.unschedulable}", advice)
    return None


def _find_pools(known: Installation) -> Iterator[Finding]:
    for pool in known.pools:
        ready = find_condition(pool.status.conditions, ConditionType.READY)
        if ready and ready.status != "True" and ready.reason != Reason.PODS_STARTING:
            sentence = f"AgentPool {pool.metadata.name!r} is short of pods: {ready.reason}: {ready.message}"
            yield Finding("pool-short", Weight.CUSTOMER, sentence, "`kubectl voice pool` shows how it stands.")


def _find_profiles(known: Installation) -> Iterator[Finding]:
    for profile in known.profiles:
        ready = find_condition(profile.status.conditions, ConditionType.READY)
        if ready and ready.status != "True":
            sentence = f"AgentProfile {profile.metadata.name!r} cannot be served: {ready.reason}: {ready.message}"
            yield Finding("profile-unserved", Weight.CUSTOMER, sentence, "Correct the profile, or make what it names.")


def _find_quotas(known: Installation) -> Iterator[Finding]:
    for quota in known.full_quotas:
        yield Finding(
            "quota-full",
            Weight.OPERATION,
            f"ResourceQuota {quota.name!r} leaves nothing of {quota.resource}: all of {quota.hard} is used.",
            "Raise it, or lower the pools' `warm.max`: no further pod is created.",
        )


def _find_unreadable(known: Installation) -> Iterator[Finding]:
    for name in known.unreadable:
        advice = "It was written for another release: correct it, or upgrade."
        yield Finding("unreadable", Weight.OPERATION, f"{name} cannot be read by this release.", advice)


def _find_dns(known: Installation) -> Iterator[Finding]:
    if known.dns_ready is False:
        sentence = "Nothing answers for the cluster's DNS."
        yield Finding("dns-down", Weight.CUSTOMER, sentence, "`kubectl -n kube-system get pods -l k8s-app=kube-dns`.")


def _find_livekit(known: Installation) -> Iterator[Finding]:
    """Browsers, the operator and agents reach it each by a way of its own."""
    if known.livekit_error:
        yield Finding(
            "livekit-unreachable",
            Weight.OPERATION,
            f"LiveKit does not answer here at the address that browsers are given: {known.livekit_error}",
            "Where customers are in another network than you, try it there; else correct `livekit.publicUrl`.",
        )
    for outcome, (sentence, advice) in _OPERATORS_LIVEKIT.items():
        if known.metrics.get("operator", {}).get(f'voice_operator_livekit{{outcome="{outcome}"}}'):
            yield Finding(f"livekit-{outcome}", Weight.CUSTOMER, sentence, advice)
    failed = [each for each in known.sessions if each.status.reason == Reason.LIVEKIT_UNAVAILABLE]
    if failed:
        yield Finding(
            "livekit-unavailable",
            Weight.CUSTOMER,
            f"The operator does not reach LiveKit: {failed[-1].status.message}",
            "Check LiveKit's URL and key, and what is between.",
        )
    lost = [each for each in known.sessions if each.status.reason == Reason.ASSIGNMENT_FAILED]
    if lost and not any(each.status.phase is Phase.ACTIVE for each in known.sessions):
        yield Finding(
            "agents-do-not-join",
            Weight.CUSTOMER,
            f"Agents take their calls and do not join: {lost[-1].status.message}",
            "Pods must reach LiveKit's address and its media ports: NetworkPolicies, DNS, proxies.",
        )


_OPERATORS_LIVEKIT = {
    "unresolved": (
        "In the operator's pod, nobody knows the name of LiveKit's server.",
        "Correct `livekit.url`, or see the cluster's DNS and `networkPolicies.dns`: `kubectl exec` there shows.",
    ),
    "unanswered": (
        "LiveKit does not answer the operator, in whose pod its name is known.",
        "Is LiveKit up? Else see `networkPolicies` and firewalls between, and the port in `livekit.url`.",
    ),
    "refused": (
        "LiveKit refuses what the operator asks.",
        "Most often the API key or secret in the release's LiveKit Secret is not LiveKit's own, or a clock is wrong: "
        "`kubectl logs` of the operator has LiveKit's words.",
    ),
}


def _find_webhooks(known: Installation) -> Iterator[Finding]:
    service, operator = known.metrics.get("token-service", {}), known.metrics.get("operator", {})
    webhooks = _sum(service, "voice_token_service_webhooks_total")
    found_late = operator.get('voice_operator_rooms_polled_total{outcome="lost-webhook"}', 0.0)
    if service and not webhooks and found_late:
        yield Finding(
            "webhooks-never-came",
            Weight.CUSTOMER,
            f"No webhook of LiveKit has come; {found_late:.0f} calls began seconds late, when the operator looked.",
            "Register /livekit/webhook of the token service in LiveKit's configuration, with the release's API key.",
        )
    forged = service.get('voice_token_service_webhooks_total{outcome="forged"}', 0.0)
    if forged:
        yield Finding(
            "webhooks-of-another-key",
            Weight.CUSTOMER,
            f"{forged:.0f} webhooks were signed by another key than the release's.",
            "LiveKit's `webhook.api_key` must be the key in the release's LiveKit Secret.",
        )
    foreign = operator.get('voice_operator_rooms_polled_total{outcome="foreign"}', 0.0)
    if foreign:
        yield Finding(
            "foreign-rooms",
            Weight.NOTE,
            f"{foreign:.0f} rooms of another installation were seen on this LiveKit, and left alone.",
            "That is as it should be where two installations share a LiveKit.",
        )


def _sum(metrics: Mapping[str, float], name: str) -> float:
    return sum(value for key, value in metrics.items() if key.partition("{")[0] == name)


def _find_clocks(known: Installation) -> Iterator[Finding]:
    clocks = {f"pod {pod}": ahead for pod, ahead in known.clocks.items()}
    if not clocks and known.server_time and known.lease_renewed_at and known.lease_renewed_at > known.server_time:
        clocks = {"the leading operator": known.lease_renewed_at - known.server_time}
    wrong = {whose: ahead for whose, ahead in clocks.items() if abs(ahead) > _CLOCK_TOLERANCE}
    if wrong:
        whose = max(wrong, key=lambda each: abs(wrong[each]))
        seconds = round(wrong[whose].total_seconds())
        way = "ahead of" if seconds > 0 else "behind"
        yield Finding(
            "clock",
            Weight.CUSTOMER,
            f"The clock of {whose} is {abs(seconds)} s {way} the API server's.",
            "Set the nodes' clocks by NTP: tokens of a clock that is wrong are refused.",
        )


def _find_others(known: Installation) -> Iterator[Finding]:
    recent = [event for event in known.events if known.now - event.at < _RECENT]
    other = next((event for event in reversed(recent) if event.reason == "OtherAgent"), None)
    if other:
        yield Finding(
            "other-agent",
            Weight.CUSTOMER,
            f"Another agent answers in this installation's rooms: {other.message}",
            "Stop the livekit-agents worker on the same LiveKit, or give it an `agent_name`.",
        )


def _find_undelivered(known: Installation) -> Iterator[Finding]:
    if known.undelivered_rows:
        yield Finding(
            "undelivered",
            Weight.OPERATION,
            f"{known.undelivered_rows} rows of conversations wait for the database.",
            "They are delivered once Postgres takes them: see its health, and PgBouncer's.",
        )
