"""What the API server refuses in our objects, what it says about it, and what it fills in."""

import copy
import json
import re
import subprocess
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from local_cluster.binaries import KUBERNETES
from local_cluster.layout import REPOSITORY
from testing.crds import EXAMPLES
from voicesession.models import AgentPool, AgentProfile, AgentProfileSpec, VoiceSession
from voicesession.names import API_VERSION, GROUP, VERSION
from voicesession.pod_environment import OPERATOR_VARIABLES

NAMESPACE = "crd-tests"
PLURALS = {"VoiceSession": "voicesessions", "AgentPool": "agentpools", "AgentProfile": "agentprofiles"}
FROM_SECRET: dict[str, Any] = {"secretKeyRef": {"name": "s", "key": "k"}}
STT_LLM_TTS: dict[str, Any] = {"stt": {"model": "a"}, "llm": {"model": "b"}, "tts": {"model": "c"}}


class Objects:
    """Creates, updates and reads our objects as a client does."""

    def __init__(self, kubeconfig: Path) -> None:
        api = config.new_client_from_config(str(kubeconfig))
        self.kubeconfig = kubeconfig
        self.custom = client.CustomObjectsApi(api)
        namespace = client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE))
        try:
            client.CoreV1Api(api).create_namespace(namespace)
        except client.ApiException as error:
            if error.status != HTTPStatus.CONFLICT:  # another part of these tests has made it
                raise

    def create(self, kind: str, spec: Any, name: str | None = None) -> Any:
        """Creates an object; `spec` of ... leaves it out. Raises RefusedError."""
        body: dict[str, Any] = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"generateName": "t-"}}
        if name is not None:
            body["metadata"] = {"name": name}
        if spec is not ...:
            body["spec"] = spec
        return self.create_body(body)

    def create_body(self, body: Any) -> Any:
        plural = PLURALS[body["kind"]]
        try:
            return self.custom.create_namespaced_custom_object(
                GROUP, VERSION, NAMESPACE, plural, body, field_validation="Strict"
            )
        except client.ApiException as error:
            raise RefusedError(error) from error

    def replace(self, created: Any, spec: Any) -> Any:
        """Replaces an object's spec. Raises RefusedError."""
        body = copy.deepcopy(created)
        if spec is ...:
            del body["spec"]
        else:
            body["spec"] = spec
        try:
            return self.custom.replace_namespaced_custom_object(
                GROUP, VERSION, NAMESPACE, PLURALS[body["kind"]], body["metadata"]["name"], body
            )
        except client.ApiException as error:
            raise RefusedError(error) from error

    def put_status(self, created: Any, status: Any) -> Any:
        body = {**created, "status": status}
        return self.custom.replace_namespaced_custom_object_status(
            GROUP, VERSION, NAMESPACE, PLURALS[body["kind"]], body["metadata"]["name"], body
        )

    def kubectl(self, *arguments: str) -> str:
        command = [str(KUBERNETES.path("kubectl")), "--kubeconfig", str(self.kubeconfig), "-n", NAMESPACE, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


class RefusedError(Exception):
    """The API server's 4xx with its message."""

    def __init__(self, error: client.ApiException) -> None:
        self.status = error.status
        super().__init__(json.loads(error.body or "{}")["message"])


@pytest.fixture(scope="module")
def objects(api_server: Path) -> Objects:
    return Objects(api_server)


def pool(**fields: Any) -> dict[str, Any]:
    return {"image": "agent:1", **fields}


def with_provider(**fields: Any) -> dict[str, Any]:
    return pool(providers=[{"name": "p", **fields}])


def with_part(name: str, **fields: Any) -> dict[str, Any]:
    """Returns a pool whose provider's one part has these fields too."""
    return with_provider(**{**STT_LLM_TTS, name: {**STT_LLM_TTS[name], **fields}})


def at_hosts(*urls: str | None, **parts: dict[str, Any]) -> dict[str, Any]:
    """Returns a pool whose provider has one key; stt, llm and tts are at these URLs. `parts`: further fields."""
    servers = {
        name: {**part, **({"baseUrl": url} if url else {}), **parts.get(name, {})}
        for (name, part), url in zip(STT_LLM_TTS.items(), urls, strict=True)
    }
    return with_provider(**servers, secretRef={"name": "shared"})


def mounting(path: str) -> dict[str, Any]:
    return pool(volumes=[{"name": "v", "emptyDir": {}}], volumeMounts=[{"name": "v", "mountPath": path}])


def with_second(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Returns a pool with a provider `p` that has these fields too, and a provider `q`."""
    return pool(providers=[{"name": "p", **STT_LLM_TTS, **first}, {"name": "q", **second}])


REFUSED = [
    # kind, spec, what the message must say
    ("VoiceSession", ..., "spec: Required value"),
    ("VoiceSession", {"room": "with space"}, "letters, digits and `_ . : = -`"),
    ("VoiceSession", {"room": "a/b"}, "for example voice_assistant_room_"),
    ("VoiceSession", {"room": "x" * 129}, "128"),
    ("VoiceSession", {"room": ""}, "spec.room"),
    ("VoiceSession", {"roomSid": "RM_x"}, "give the room's name in `room` too"),
    ("VoiceSession", {"profile": "Not A Name"}, "lower-case letters"),
    ("VoiceSession", {"profile": ""}, "spec.profile"),
    ("VoiceSession", {"llmProvider": "Open AI"}, "`name` of one of the pool's providers"),
    ("VoiceSession", {"tenant": "-acme"}, "a tenant is written as a label's value"),
    ("VoiceSession", {"tenant": "x" * 64}, "63"),
    ("VoiceSession", {"participantIdentity": "x" * 257}, "256"),
    ("VoiceSession", {"variables": {f"v{number}": "" for number in range(33)}}, "must have at most 32 items"),
    ("VoiceSession", {"variables": {"a": "x" * 1025}}, "1024"),
    ("VoiceSession", {"variables": {"x" * 65: ""}}, "1 to 64 characters"),
    ("VoiceSession", {"variables": {"a": 1}}, "must be of type string"),
    ("VoiceSession", {"limits": {"maxDurationSeconds": 9}}, "greater than or equal to 10"),
    ("VoiceSession", {"limits": {"maxDurationSeconds": 86401}}, "less than or equal to 86400"),
    ("VoiceSession", {"limits": {"joinTimeoutSeconds": 0}}, "greater than or equal to 1"),
    ("VoiceSession", {"limits": {"idleTimeoutSeconds": 4}}, "greater than or equal to 5"),
    ("VoiceSession", {"limits": {"reconnectGraceSeconds": -1}}, "greater than or equal to 0"),
    ("VoiceSession", {"limits": {"ttlSecondsAfterFinished": -1}}, "greater than or equal to 0"),
    ("VoiceSession", {"end": "yes"}, "must be of type boolean"),
    ("VoiceSession", {"romo": "a"}, 'unknown field "spec.romo"'),
    ("AgentPool", ..., "spec: Required value"),
    ("AgentPool", {}, "spec.image: Required value"),
    ("AgentPool", {"image": "a b"}, "one image reference without spaces"),
    ("AgentPool", pool(code="acme/bot.py"), "not a file's path"),
    ("AgentPool", pool(code="acme.bot:"), "`module.path:Name`"),
    ("AgentPool", pool(code="acme.bot:Support.run"), "for example acme.bot:Support"),
    ("AgentPool", pool(vad="webrtc"), 'supported values: "native", "silero"'),
    ("AgentPool", pool(resources={"memoryLimit": "much"}), "with its unit, for example 256Mi"),
    ("AgentPool", pool(resources={"memoryLimit": "512"}), "above 16Mi"),
    ("AgentPool", pool(resources={"memoryRequest": "1Gi"}), "raise the limit or lower the request"),
    ("AgentPool", pool(resources={"cpuRequest": "0"}), "for example 100m"),
    ("AgentPool", pool(resources={"cpuRequest": "fast"}), "for example 100m"),
    ("AgentPool", pool(resources={"cpuLimit": "0"}), "for example 100m"),
    ("AgentPool", pool(resources={"cpuRequest": "2", "cpuLimit": "1"}), "raise the limit or lower the request"),
    ("AgentPool", pool(resources={"extra": {"memory": "1Gi"}}), "there are fields of their own"),
    ("AgentPool", pool(resources={"extra": {"requests.cpu/x": 1}}), "there are fields of their own"),
    ("AgentPool", pool(resources={"extra": {"nvidia.com/gpu": 0}}), "an amount above 0"),
    ("AgentPool", pool(resources={"extra": {"ephemeral-storage": "much"}}), "an amount above 0"),
    ("AgentPool", pool(imagePullPolicy="Sometimes"), 'supported values: "Always", "IfNotPresent", "Never"'),
    ("AgentPool", pool(env=[{"name": "A"}]), "either a `value` or a `valueFrom`"),
    (
        "AgentPool",
        pool(env=[{"name": "A", "value": "", "valueFrom": FROM_SECRET}]),
        "either a `value` or a `valueFrom`",
    ),
    ("AgentPool", pool(env=[{"name": "A", "valueFrom": {}}]), "name one of `secretKeyRef`"),
    ("AgentPool", pool(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]), "key: Required value"),
    ("AgentPool", pool(env=[{"name": "A-B", "value": "1"}]), "for example DEEPGRAM_API_KEY"),
    ("AgentPool", pool(env=[{"name": "A", "value": "1"}] * 2), "Duplicate value"),
    ("AgentPool", pool(env=[{"name": f"A{number}", "value": ""} for number in range(65)]), "at most 64 items"),
    ("AgentPool", pool(env=[{"name": "LIVEKIT_API_SECRET", "value": "x"}]), "LIVEKIT_... are refused"),
    ("AgentPool", pool(envFrom=[{}]), "either a `secretRef` or a `configMapRef`"),
    ("AgentPool", pool(envFrom=[{"prefix": "a-", "secretRef": {"name": "s"}}]), "letters, digits and `_`"),
    ("AgentPool", pool(volumes=[{"name": "v"}]), "one of `secret`, `configMap` and `emptyDir`"),
    ("AgentPool", pool(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), 'unknown field "spec.volumes[0].hostPath"'),
    ("AgentPool", pool(volumes=[{"name": "tmp", "emptyDir": {}}]), "the operator's own volumes"),
    ("AgentPool", pool(volumes=[{"name": "key-x", "emptyDir": {}}]), "the operator's own volumes"),
    ("AgentPool", pool(volumes=[{"name": "v", "emptyDir": {"sizeLimit": "much"}}]), "for example 1Gi"),
    ("AgentPool", pool(volumeMounts=[{"name": "v", "mountPath": "/etc/acme"}]), "names one of `volumes`"),
    *(
        ("AgentPool", pool(env=[{"name": name, "value": "x"}]), "the operator sets this variable itself")
        for name in sorted(OPERATOR_VARIABLES)
    ),
    *(("AgentPool", mounting(path), "an absolute path of plain names") for path in ("etc", "/", "/a/../b", "/a//b")),
    *(
        ("AgentPool", mounting(path), "would hide what the agent itself is made of")
        for path in (
            "/tmp",
            "/app",
            "/app/voice_agent/process",
            "/etc/voice-agent",
            "/usr/local/lib",
            "/var/run/secrets/x",
        )
    ),
    ("AgentPool", pool(pod={"hostNetwork": True}), 'unknown field "spec.pod.hostNetwork"'),
    ("AgentPool", pool(pod={"labels": {"voiceagents.dev/state": "warm"}}), "the operator's own"),
    ("AgentPool", pool(pod={"annotations": {"voiceagents.dev/attempt": "1"}}), "the operator's own"),
    (
        "AgentPool",
        pool(pod={"annotations": {"container.apparmor.security.beta.kubernetes.io/agent": "unconfined"}}),
        "weaken AppArmor",
    ),
    ("AgentPool", pool(pod={"tolerations": [{"effect": "Never"}]}), "supported values"),
    ("AgentPool", pool(pod={"imagePullSecrets": [{}]}), "name: Required value"),
    ("AgentPool", with_provider(), "either `realtime` alone, or all three"),
    ("AgentPool", with_provider(stt={"model": "a"}, llm={"model": "b"}), "either `realtime` alone, or all three"),
    ("AgentPool", with_provider(**STT_LLM_TTS, realtime={"model": "r"}), "either `realtime` alone, or all three"),
    ("AgentPool", with_provider(stt={"model": "a"}, realtime={"model": "r"}), "either `realtime` alone"),
    ("AgentPool", with_provider(realtime={"model": ""}), "providers[0].realtime.model"),
    ("AgentPool", with_provider(realtime={}), "model: Required value"),
    ("AgentPool", with_provider(local=True, **STT_LLM_TTS), "a local provider needs a `baseUrl` for each"),
    ("AgentPool", with_provider(local=True, realtime={"model": "r"}), "a local provider needs a `baseUrl` for each"),
    ("AgentPool", with_provider(realtime={"model": "r", "baseUrl": "wss://x/v1"}), "begins with http:// or https://"),
    ("AgentPool", with_provider(realtime={"model": "r", "baseUrl": "https://"}), "begins with http:// or https://"),
    ("AgentPool", with_provider(**{**STT_LLM_TTS, "llm": {"model": "a", "temperature": 3}}), "equal to 2"),
    ("AgentPool", with_provider(**{**STT_LLM_TTS, "tts": {"model": "a", "speed": 9}}), "equal to 4"),
    ("AgentPool", with_provider(**STT_LLM_TTS, secretRef={}), "secretRef.name: Required value"),
    ("AgentPool", with_part("llm", secretRef={}), "llm.secretRef.name: Required value"),
    ("AgentPool", with_part("llm", headers=[{"name": "X-A"}]), "either a `value`, or a `secretRef`"),
    ("AgentPool", with_part("llm", headers=[{"name": "X-A", "value": "a", "secretRef": {"name": "s"}}]), "either a"),
    ("AgentPool", with_part("llm", headers=[{"name": "X A", "value": "a"}]), "a header's name has letters"),
    ("AgentPool", with_part("llm", headers=[{"name": "Host", "value": "a"}]), "the HTTP client's own"),
    ("AgentPool", with_part("llm", headers=[{"name": "X-A", "value": "a\nb"}]), "printable ASCII"),
    ("AgentPool", with_part("llm", headers=[{"name": "X-A", "value": "a"}] * 2), "Duplicate value"),
    ("AgentPool", with_part("llm", timeouts={"readSeconds": 0}), "greater than or equal to 1"),
    ("AgentPool", with_provider(**STT_LLM_TTS, fallback="absent"), "another provider of this pool"),
    ("AgentPool", with_part("llm", fallback="p"), "another provider of this pool"),
    ("AgentPool", with_second({"fallback": "q"}, {"realtime": {"model": "r"}}), "both have `stt`, `llm` and `tts`"),
    ("AgentPool", with_part("tts", sampleRate=22050, responseFormat="mp3"), "a `sampleRate` is for pcm alone"),
    ("AgentPool", with_part("tts", responseFormat="midi"), "supported values"),
    ("AgentPool", at_hosts("http://a/v1", "http://b/v1", "http://b/v1"), "a key is for one host"),
    ("AgentPool", at_hosts("http://a:1/v1", "http://a:2/v1", "http://a:2/v1"), "a key is for one host"),
    ("AgentPool", pool(providers=[{"name": "Open AI", **STT_LLM_TTS}]), "a provider's name has lower-case letters"),
    ("AgentPool", pool(providers=[{"name": "p", **STT_LLM_TTS}] * 2), "Duplicate value"),
    ("AgentPool", pool(warm={"min": 5, "max": 3}), "raise `warm.max` or lower `warm.min`"),
    ("AgentPool", pool(warm={"min": -1}), "greater than or equal to 0"),
    ("AgentPool", pool(warm={"buffer": "many"}), 'for example "20%"'),
    ("AgentPool", pool(warm={"buffer": -1}), 'for example "20%"'),
    ("AgentPool", pool(warm={"maxStarting": 0}), "greater than or equal to 1"),
    ("AgentPool", pool(warm={"scaleDownDelaySeconds": -1}), "greater than or equal to 0"),
    ("AgentProfile", {"pool": "Big Pool"}, "lower-case letters"),
    ("AgentProfile", {"localPool": "Big Pool"}, "lower-case letters"),
    ("AgentProfile", {"provider": "Open AI"}, "`name` of one of the pool's providers"),
    ("AgentProfile", {"language": "English!"}, "for example en, de or pt-BR"),
    ("AgentProfile", {"turnTaking": {"minEndpointingMillis": 4000}}, "raise the maximum or lower the minimum"),
    ("AgentProfile", {"turnTaking": {"detection": "magic"}}, 'supported values: "vad", "turn-detector"'),
    ("AgentProfile", {"permissions": ["DeleteEverything"]}, 'supported values: "ReadRoom"'),
    ("AgentProfile", {"permissions": ["ReadRoom", "ReadRoom"]}, "Duplicate value"),
    ("AgentProfile", {"mcpServers": [{"name": "a", "url": "tools:80"}]}, "begins with http:// or https://"),
    ("AgentProfile", {"mcpServers": [{"name": "a", "url": "http://a"}] * 2}, "Duplicate value"),
    ("AgentProfile", {"mcpServers": [{"name": "a", "transport": "stdio"}]}, "Unsupported value"),
    ("AgentProfile", {"mcpServers": [{"name": "a", "secretRef": {"name": "s"}}]}, "unknown field"),
    ("AgentProfile", {"mcpServers": [{"name": "a", "headers": [{"name": "host", "value": "b"}]}]}, "leave it out"),
    ("AgentPool", {"image": "a", "mcpServers": [{"name": "a"}]}, "url: Required value"),
    ("AgentPool", {"image": "a", "mcpServers": [{"name": "A", "url": "http://a"}]}, "lower-case letters"),
    ("AgentProfile", {"limits": {"maxDurationSeconds": 1}}, "greater than or equal to 10"),
    ("AgentProfile", {"maxSessions": -1}, "greater than or equal to 0"),
    ("AgentProfile", {"allowedTenants": ["acme:lobby"]}, "should match"),
    ("AgentProfile", {"allowedTenants": ["acme", "acme"]}, "Duplicate value"),
    ("AgentProfile", {"instructions": "x" * 32769}, "32768"),
    ("AgentProfile", {"greeting": "x" * 1025}, "1024"),
]


@pytest.mark.parametrize(("kind", "spec", "words"), REFUSED)
def test_refused_with_what_to_write_instead(objects: Objects, kind: str, spec: Any, words: str) -> None:
    with pytest.raises(RefusedError) as refused:
        objects.create(kind, spec)
    assert refused.value.status in {400, 422}
    assert words in str(refused.value)


ACCEPTED = [
    ("VoiceSession", {}),
    ("VoiceSession", {"room": "voice_assistant_room_2PqX7w", "roomSid": "RM_DHFTioovDg3u", "tenant": "acme"}),
    ("VoiceSession", {"room": "x" * 128, "variables": {f"v{number}": "x" * 1024 for number in range(32)}}),
    ("AgentPool", pool(code="acme.bot:Support", vad="silero")),
    ("AgentPool", pool(code="my-agent")),
    ("AgentPool", pool(code="acme.01-basics:server")),
    ("AgentPool", pool(code="acme.main", warm={"min": 0, "buffer": 3})),
    ("AgentPool", pool(warm={"min": 3, "max": 3, "buffer": "20%"})),
    ("AgentPool", with_provider(realtime={"model": "r", "baseUrl": "https://example.com/v1"})),
    ("AgentPool", at_hosts("http://a/v1", "http://A/v2", "http://a/v1")),
    ("AgentPool", at_hosts("http://a/v1", None, "http://b/v1")),
    ("AgentPool", at_hosts("http://a/v1", "http://b/v1", "http://b/v1", stt={"secretRef": {"name": "a"}})),
    ("AgentPool", with_part("tts", headers=[{"name": "X-A", "value": "a b"}], timeouts={"connectSeconds": 1.5})),
    ("AgentPool", with_part("tts", sampleRate=22050)),
    ("AgentPool", with_second({"fallback": "q"}, {**STT_LLM_TTS, "fallback": "p"})),
    ("AgentPool", with_second({"llm": {"model": "m", "fallback": "q"}}, STT_LLM_TTS)),
    ("AgentPool", with_provider(**STT_LLM_TTS, warmUp=True)),
    ("AgentPool", with_provider(local=True, realtime={"model": "r", "baseUrl": "http://local:8000"})),
    ("AgentPool", pool(pod={"affinity": {"podAntiAffinity": {}}, "tolerations": [{"operator": "Exists"}]})),
    ("AgentPool", pool(resources={"cpuRequest": "1", "memoryRequest": "512Mi", "memoryLimit": "0.5Gi"})),
    ("AgentPool", pool(resources={"cpuLimit": "1", "extra": {"nvidia.com/gpu": 1, "ephemeral-storage": "1Gi"}})),
    ("AgentPool", pool(env=[{"name": "A", "value": ""}, {"name": "B", "valueFrom": FROM_SECRET}])),
    ("AgentPool", pool(env=[{"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}])),
    ("AgentPool", pool(env=[{"name": name, "value": "x"} for name in ("LIVEKIT_INFERENCE_URL", "AGENT_NAME")])),
    ("AgentPool", pool(envFrom=[{"secretRef": {"name": "s"}}, {"configMapRef": {"name": "c", "optional": True}}])),
    *(("AgentPool", mounting(path)) for path in ("/etc/acme", "/app/acme", "/tmp/cache", "/app/.cache", "/run/acme")),
    ("AgentProfile", ...),
    ("AgentProfile", {"greeting": "", "goodbye": "", "language": "pt-BR", "maxSessions": 0}),
    ("AgentProfile", {"language": "auto"}),
    ("AgentProfile", {"allowedTenants": []}),
    ("AgentProfile", {"allowedTenants": ["acme", "acme-1.test_2"]}),
]


@pytest.mark.parametrize(("kind", "spec"), ACCEPTED)
def test_accepted(objects: Objects, kind: str, spec: Any) -> None:
    objects.create(kind, spec)


def test_long_names_are_refused(objects: Objects) -> None:
    with pytest.raises(RefusedError, match="at most 50 characters"):
        objects.create("AgentPool", pool(), name="p" * 51)
    with pytest.raises(RefusedError, match="at most 63 characters"):
        objects.create("AgentProfile", {}, name="p" * 64)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_examples_are_accepted(objects: Objects, path: Path) -> None:
    for body in yaml.safe_load_all(path.read_text()):
        objects.create_body(body)


def test_the_pages_example_of_mixed_vendors_is_accepted(objects: Objects) -> None:
    page = (REPOSITORY / "docs" / "agents.md").read_text()
    example = re.search(r"^    providers:\n(?:     .*\n)+", page, re.MULTILINE)
    assert example
    (provider,) = yaml.safe_load(example[0])["providers"]
    assert {part["model"] for part in (provider["stt"], provider["llm"], provider["tts"])}
    objects.create("AgentPool", pool(providers=[provider]))


WHOLE: dict[str, Any] = {
    "profile": "default",
    "room": "room-1",
    "roomSid": "RM_1",
    "participantIdentity": "ada",
    "llmProvider": "local",
    "localMode": True,
    "limits": {"maxDurationSeconds": 60},
    "variables": {"a": "1"},
    "tenant": "acme",
}
OTHER: dict[str, Any] = {
    "profile": "other",
    "room": "room-2",
    "roomSid": "RM_2",
    "participantIdentity": "bob",
    "llmProvider": "openai",
    "localMode": False,
    "limits": {"maxDurationSeconds": 61},
    "variables": {"a": "2"},
    "tenant": "other",
}


@pytest.mark.parametrize("field", sorted(WHOLE))
def test_spec_of_a_voicesession_cannot_be_changed(objects: Objects, field: str) -> None:
    full = objects.create("VoiceSession", WHOLE)
    with pytest.raises(RefusedError, match="except that `end` may be set to true"):
        objects.replace(full, {**WHOLE, field: OTHER[field]})
    if field != "profile":  # its default would come back
        with pytest.raises(RefusedError, match="except that `end` may be set to true"):
            objects.replace(full, {key: value for key, value in WHOLE.items() if key != field})
    if field in {"participantIdentity", "llmProvider", "limits", "variables", "tenant"}:
        empty = objects.create("VoiceSession", {})
        with pytest.raises(RefusedError, match="except that `end` may be set to true"):
            objects.replace(empty, {**empty["spec"], field: WHOLE[field]})


def test_parts_of_limits_and_variables_cannot_be_changed(objects: Objects) -> None:
    full = objects.create("VoiceSession", WHOLE)
    changes: list[dict[str, Any]] = [{"limits": {}}, {"variables": {}}, {"variables": {"a": "1", "b": "2"}}]
    for change in changes:
        with pytest.raises(RefusedError, match="cannot be changed"):
            objects.replace(full, {**WHOLE, **change})


def test_spec_of_a_voicesession_cannot_be_removed(objects: Objects) -> None:
    full = objects.create("VoiceSession", WHOLE)
    with pytest.raises(RefusedError, match="spec: Required value"):
        objects.replace(full, ...)


def test_end_goes_only_from_false_to_true(objects: Objects) -> None:
    full = objects.create("VoiceSession", WHOLE)
    assert full["spec"]["end"] is False
    ended = objects.replace(full, {**WHOLE, "end": True})
    assert objects.replace(ended, {**WHOLE, "end": True})["spec"]["end"] is True
    for back in ({**WHOLE, "end": False}, WHOLE):
        with pytest.raises(RefusedError, match="cannot be taken back"):
            objects.replace(ended, back)


def test_a_call_may_be_moved_again_and_again(objects: Objects) -> None:
    moved = objects.create("VoiceSession", WHOLE)
    for value in ("1", "2", "1"):
        moved = objects.replace(moved, {**WHOLE, "move": value})
        assert moved["spec"]["move"] == value
    with pytest.raises(RefusedError, match=r"spec\.move"):
        objects.replace(moved, {**WHOLE, "move": ""})


def test_defaults_are_those_of_the_models(objects: Objects) -> None:
    session = VoiceSession.model_validate(objects.create("VoiceSession", {}))
    assert session.spec.profile == "default"
    profile = objects.create("AgentProfile", ...)
    assert AgentProfile.model_validate(profile).spec == AgentProfileSpec()
    assert profile["spec"]["limits"]["maxDurationSeconds"] == 3600
    stored = objects.create("AgentPool", with_provider(realtime={"model": "r"}, secretRef={"name": "s"}))
    read = AgentPool.model_validate(stored)
    assert stored["spec"]["warm"] == read.spec.warm.to_wire()
    assert stored["spec"]["handover"] == read.spec.handover.to_wire()
    assert stored["spec"]["rollout"] == read.spec.rollout.to_wire()
    assert stored["spec"]["resources"] == read.spec.resources.to_wire()
    assert stored["spec"]["providers"] == [provider.to_wire() for provider in read.spec.providers]


def test_status_is_a_subresource(objects: Objects) -> None:
    created = objects.create("VoiceSession", {})
    replaced = objects.replace({**created, "status": {"phase": "Active"}}, {**created["spec"], "end": True})
    assert "status" not in replaced
    stored = objects.put_status({**replaced, "spec": {"profile": "other"}}, {"phase": "Active"})
    assert (stored["status"]["phase"], stored["spec"]["profile"]) == ("Active", "default")


def test_scale_of_a_pool(objects: Objects) -> None:
    created = objects.create("AgentPool", pool(), name="scaled")
    selector = "voiceagents.dev/pool=scaled,voiceagents.dev/state=warm"
    objects.put_status(created, {"replicas": 4, "selector": selector})
    assert "scaled" in objects.kubectl("scale", "apool/scaled", "--replicas=5")
    scale = json.loads(
        objects.kubectl("get", "--raw", f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/agentpools/scaled/scale")
    )
    assert scale["spec"]["replicas"] == 5
    assert scale["status"] == {"replicas": 4, "selector": selector}
    with pytest.raises(subprocess.CalledProcessError) as refused:
        objects.kubectl("scale", "apool/scaled", "--replicas=101")
    assert "raise `warm.max`" in refused.value.stderr


def test_kubectl_shows_calls_within_120_columns(objects: Objects) -> None:
    created = objects.create("VoiceSession", {"profile": "table-reservations"}, name="vs-0123456789abcdef")
    objects.put_status(
        created,
        {
            "phase": "Recovering",
            "reason": "LiveKitUnavailable",
            "podName": "default-x7k2p",
            "startType": "Warm",
            "connectMillis": 14999,
        },
    )
    lines = objects.kubectl("get", "vs", "vs-0123456789abcdef").splitlines()
    assert lines[0].split() == ["NAME", "PHASE", "REASON", "PROFILE", "POD", "CONNECT(MS)", "AGE"]
    assert max(map(len, lines)) <= 120
    assert lines[1].split()[:4] == ["vs-0123456789abcdef", "Recovering", "LiveKitUnavailable", "table-reservations"]
    wide = objects.kubectl("get", "vs", "vs-0123456789abcdef", "-o", "wide").splitlines()[0].split()
    assert wide[-7:] == ["START", "ROOM", "PARTICIPANT", "PROVIDER", "NODE", "ATTEMPTS", "END-REASON"]
    assert "vs-0123456789abcdef" in objects.kubectl("get", "voice")
