"""Builds the Pod that a pool's agents run in. Pure."""

import json
from dataclasses import dataclass
from typing import Any

from voice_operator.pods.agent_pod import AGENT_CONTAINER, GRACE_SECONDS
from voicesession.assignment import PROTOCOL
from voicesession.mcp_keys import list_server_keys
from voicesession.models import AgentPool, OnDrain, Resources
from voicesession.names import (
    AGENT_PORT,
    API_VERSION,
    ATTEMPT_ANNOTATION,
    DATABASE_ANNOTATION,
    EGRESS_LABEL,
    FREE_ANNOTATIONS,
    LOCAL_EGRESS,
    ON_DRAIN_LABEL,
    POOL_LABEL,
    PROTOCOL_ANNOTATION,
    STATE_LABEL,
    TEMPLATE_LABEL,
    WARM,
    short_hash,
)
from voicesession.pod_environment import SEAL_KEY_VARIABLE, is_reserved
from voicesession.provider_keys import KEY_FILE, KEYS_FOLDER, ProviderKey, list_keys
from voicesession.serving import is_local

Raw = dict[str, Any]

# The longest call that a profile allows, where it says nothing itself.
WAIT_SECONDS = 3600
# A pod that stands by has to be claimed first, or even started.
STANDBY_SECONDS = 15
# How long a pod stays bound to a node that is gone.
NODE_LOSS_SECONDS = 10
TERMINATION_LOG = "/dev/termination-log"
# OpenTelemetry's own name for it.
TRACES_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"


@dataclass(frozen=True)
class PodBasis:
    """What every pool's pods have in common, by the operator's settings."""

    public_key: str
    """PEM, by which the pod knows the operator."""
    database_secret: str = ""
    """Secret whose key `url` is the agents' DATABASE_URL; empty: no database."""
    log_level: str = "INFO"
    user_id: int | None = None
    """The user, and the group, that the pods run as; None: whom the platform chooses."""
    database_version: str = ""
    """Another one for each content of `database_secret`, so that no pod waits with an older one; empty: not known."""
    traces_endpoint: str = ""
    """Where the agents' spans are sent; empty: nowhere."""


def build_agent_pod(pool: AgentPool, basis: PodBasis, pod_key: str) -> Raw:
    """Returns an unassigned pod of this pool, to be created. `pod_key`: what it is told is sealed by, its very own."""
    template = build_template(pool, basis)
    template_hash = hash_template(template)
    template["spec"]["containers"][0]["env"].append({"name": SEAL_KEY_VARIABLE, "value": pod_key})
    metadata = template["metadata"]
    labels = {
        **metadata["labels"],
        POOL_LABEL: pool.metadata.name,
        STATE_LABEL: WARM,
        TEMPLATE_LABEL: template_hash,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{pool.metadata.name}-",
            "labels": labels,
            # There from the start: a JSON-patch cannot add to annotations that do not exist.
            "annotations": {**metadata["annotations"], ATTEMPT_ANNOTATION: "0"},
            # Deleting a pool deletes its idle pods; a claim replaces the owner by the VoiceSession.
            "ownerReferences": [build_owner_reference("AgentPool", pool.metadata.name, pool.metadata.uid)],
        },
        "spec": template["spec"],
    }


def hash_template(template: Raw) -> str:
    """Returns what tells pods of this template from outdated ones."""
    return short_hash(json.dumps(template, sort_keys=True), 10)


def build_template(pool: AgentPool, basis: PodBasis) -> Raw:
    """Returns the part of a pod that, when changed, makes waiting pods outdated."""
    settings = pool.spec.pod
    labels = {
        "app.kubernetes.io/name": "voice-agent",
        "app.kubernetes.io/component": "agent",
        **settings.labels,
        ON_DRAIN_LABEL: pool.spec.disruption.on_drain.value,
    }
    if is_local(pool):
        labels[EGRESS_LABEL] = LOCAL_EGRESS
    spec: Raw = {
        "restartPolicy": "Never",
        # A token only where somebody has said whose.
        "automountServiceAccountToken": settings.service_account_name is not None,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds(pool),
        "securityContext": {
            "runAsNonRoot": True,
            **_optional(runAsUser=basis.user_id, runAsGroup=basis.user_id, fsGroup=basis.user_id),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": [*build_node_loss_tolerations(), *settings.tolerations],
        "containers": [_build_container(pool, basis)],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            *map(_build_key_volume, list_pool_keys(pool)),
            *(volume.to_wire() for volume in pool.spec.volumes),
        ],
        **_optional(
            nodeSelector=settings.node_selector,
            affinity=settings.affinity,
            topologySpreadConstraints=settings.topology_spread_constraints or build_spread(pool),
            runtimeClassName=settings.runtime_class_name,
            priorityClassName=settings.priority_class_name,
            serviceAccountName=settings.service_account_name,
            imagePullSecrets=settings.image_pull_secrets,
        ),
    }
    annotations = {
        **FREE_ANNOTATIONS,
        **settings.annotations,
        PROTOCOL_ANNOTATION: str(PROTOCOL),
        **_optional(**{DATABASE_ANNOTATION: basis.database_version}),
    }
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}


def list_pool_keys(pool: AgentPool) -> list[ProviderKey]:
    """Returns the keys of providers and tool servers that this pool's pods are given."""
    providers = [key for provider in pool.spec.providers for key in list_keys(provider)]
    return providers + [key for server in pool.spec.mcp_servers for key in list_server_keys(server)]


def grace_seconds(pool: AgentPool) -> int:
    """Returns how long a pod that was told to stop may go on with its call; idle ones go at once.

    Where its call is to move: until another pod has it.
    """
    disruption = pool.spec.disruption
    if disruption.grace_seconds is not None:
        return disruption.grace_seconds
    move = STANDBY_SECONDS + pool.spec.handover.patience_seconds + GRACE_SECONDS
    return WAIT_SECONDS if disruption.on_drain is OnDrain.WAIT else move


def build_node_loss_tolerations() -> list[Raw]:
    """Returns tolerations by which pods leave a lost node after seconds; Kubernetes' default is 300."""
    return [
        {
            "key": f"node.kubernetes.io/{taint}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": NODE_LOSS_SECONDS,
        }
        for taint in ("not-ready", "unreachable")
    ]


def build_spread(pool: AgentPool) -> list[Raw]:
    """Returns what spreads a pool's waiting pods over nodes, where it says nothing itself.

    A node that is lost takes only its share of them along, and calls do not all begin on the same node. Kubernetes
    spreads by itself what a Deployment owns, not these.
    """
    return [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {POOL_LABEL: pool.metadata.name, STATE_LABEL: WARM}},
        }
    ]


def build_owner_reference(kind: str, name: str, uid: str) -> Raw:
    """Returns an owner reference to one of our objects; it never blocks the owner's deletion."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _build_container(pool: AgentPool, basis: PodBasis) -> Raw:
    return {
        "name": AGENT_CONTAINER,
        "image": pool.spec.image,
        **_optional(imagePullPolicy=pool.spec.image_pull_policy),
        "ports": [{"name": "http", "containerPort": AGENT_PORT}],
        # What stands here wins over `envFrom`.
        "env": [
            *_build_env(pool, basis),
            # The CRD refuses names of ours, an older one not all of them.
            *(variable.to_wire() for variable in pool.spec.env if not is_reserved(variable.name)),
        ],
        **_optional(envFrom=[variables.to_wire() for variables in pool.spec.env_from]),
        "resources": _build_resources(pool.spec.resources),
        # Asked often, so that a pod that is up is known; patient, since a late answer is a Warning in its Events.
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": AGENT_PORT},
            "periodSeconds": 1,
            "timeoutSeconds": 3,
            "failureThreshold": 3,
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": TERMINATION_LOG,
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own, empty
            *(
                {"name": key.volume, "mountPath": f"{KEYS_FOLDER}/{key.folder}", "readOnly": True}
                for key in list_pool_keys(pool)
            ),
            *(mount.to_wire() for mount in pool.spec.volume_mounts),
        ],
    }


def _build_resources(resources: Resources) -> Raw:
    extra = resources.extra or {}
    return {
        "requests": {"cpu": resources.cpu_request, "memory": resources.memory_request, **extra},
        "limits": {**_optional(cpu=resources.cpu_limit), "memory": resources.memory_limit, **extra},
    }


def _build_env(pool: AgentPool, basis: PodBasis) -> list[Raw]:
    providers = json.dumps([provider.to_wire() for provider in pool.spec.providers], sort_keys=True)
    servers = json.dumps([server.to_wire() for server in pool.spec.mcp_servers], sort_keys=True)
    env: list[Raw] = [
        {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "OPERATOR_PUBLIC_KEY", "value": basis.public_key},
        {"name": "OPERATOR_PROTOCOL", "value": str(PROTOCOL)},
        {"name": "AGENT_CODE", "value": pool.spec.code},
        {"name": "AGENT_VAD", "value": pool.spec.vad},
        {"name": "AGENT_HANG_SECONDS", "value": str(pool.spec.hang_seconds)},
        {"name": "AGENT_INFERENCE", "value": pool.spec.inference},
        {"name": "AGENT_PROVIDERS", "value": _escape(providers)},
        {"name": "AGENT_MCP_SERVERS", "value": _escape(servers)},
        {"name": "AGENT_LOG_LEVEL", "value": basis.log_level},
        {"name": "AGENT_GRACE_SECONDS", "value": str(grace_seconds(pool))},
        # As they are anyway; here because nothing that comes by `envFrom` may say otherwise.
        {"name": "AGENT_ADDRESS", "value": ""},
        {"name": "AGENT_PORT", "value": str(AGENT_PORT)},
        {"name": "PROVIDER_KEYS_FOLDER", "value": KEYS_FOLDER},
        {"name": "TERMINATION_LOG", "value": TERMINATION_LOG},
    ]
    own = {variable.name for variable in pool.spec.env}
    if basis.traces_endpoint and TRACES_VARIABLE not in own:  # a team may have a collector of its own
        env.append({"name": TRACES_VARIABLE, "value": basis.traces_endpoint})
    reference = {"valueFrom": {"secretKeyRef": {"name": basis.database_secret, "key": "url"}}}
    return [*env, {"name": "DATABASE_URL", **(reference if basis.database_secret else {"value": ""})}]


def _escape(value: str) -> str:
    """Keeps the kubelet from expanding $(NAME) in a text that may contain it."""
    return value.replace("$(", "$$(")


def _build_key_volume(key: ProviderKey) -> Raw:
    return {
        "name": key.volume,
        "secret": {
            "secretName": key.secret_ref.name,
            "items": [{"key": key.secret_ref.key, "path": KEY_FILE}],
            "defaultMode": 0o440,
        },
    }


def _optional(**fields: Any) -> Raw:
    return {name: value for name, value in fields.items() if value}
