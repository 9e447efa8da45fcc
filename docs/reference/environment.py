"""Builds the page of the environment from the settings classes, and from a list of what is read beside them."""

from pydantic import BaseModel

from conversations.settings import MigrationSettings, PgBouncerSettings, UndeliveredSettings
from docs.reference.schemas import Schema, build_row
from local_models.settings import LocalModelsSettings
from token_service.settings import TokenServiceSettings
from voice_agent.settings import AgentSettings
from voice_operator.settings import OperatorSettings

# What each part reads by its settings class.
PARTS: dict[str, tuple[str, type[BaseModel]]] = {
    "Token service": ("`python -m token_service`. An empty variable counts as unset.", TokenServiceSettings),
    "Operator": ("`python -m voice_operator`.", OperatorSettings),
    "Migrations": (
        "`python -m conversations migrate`. libpq's own variables hold too, `PGPASSWORD` for one.",
        MigrationSettings,
    ),
    "What is undelivered": (
        "`python -m conversations undelivered`, in the operator's pod, whose variables it takes.",
        UndeliveredSettings,
    ),
    "PgBouncer's metrics": ("`python -m conversations.pgbouncer`, in PgBouncer's pod.", PgBouncerSettings),
    "Agent pod": ("`python -m voice_agent`. The operator sets these; none is set by hand.", AgentSettings),
    "Local models": ("`python -m local_models`.", LocalModelsSettings),
}

# What is read elsewhere in the code, by name. A test finds every such place and compares.
BESIDE_SETTINGS = {
    "Beside the settings of a part": {
        "KUBECONFIG": "How the operator, `CLUSTER=current` and the tests' tools reach the API server from outside a "
        "cluster.",
        "LIVEKIT_RTC_DEBUG": "`1` has an agent pod log everything that LiveKit's native library says.",
        "RUST_LOG": "What LiveKit's native library writes to an agent pod's standard error; `off` unless set.",
        "TOKIO_WORKER_THREADS": "Threads that drive an agent's connection to LiveKit; 1 unless set.",
        "LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE": "`1` loads livekit-agents' turn detector at an agent pod's start "
        "(243 MB); `0` unless set.",
        "HTTPS_PROXY": "The proxy by which an agent pod asks `https://` and `wss://`; see "
        "[agents](../agents.md#behind-a-companys-proxy-and-authority).",
        "HTTP_PROXY": "Likewise for `http://` and `ws://`, as a cluster's own services are asked.",
        "OPENAI_API_KEY": "Set by the agent pod for a team's own code: the provider's key. For `make demo-openai`: "
        "your key.",
        "OPENAI_API_BASE": "Set by the agent pod for a team's own code: the same address, as older clients read it.",
        "OPENAI_BASE_URL": "Set by the agent pod for a team's own code: the provider's address.",
        "API_KEY": "For `python -m voice_agent try`, as `helm test` runs it: a key of the token service's.",
        "ORT_DISABLE_TELEMETRY": "Always set to `1` by the local models: onnxruntime tells its maker nothing.",
    },
    "make and the local cluster": {
        "CLUSTER": "Which Kubernetes: `auto`, `kind`, `netns` or `current`; `auto` unless set.",
        "NODES": "How many nodes the cluster has, 1 to 3; 1 unless set.",
        "AUDIT": "`1` has a new cluster log who asked the API server for what.",
        "IMAGES": "Which images `make images` builds, separated by spaces; all unless set.",
        "IMAGE_BASE": "Base of every image in place of the one that buildah would make, for example "
        "`python:3.12-slim`.",
        "REGISTRY": "Where images are pushed with `CLUSTER=current`, `localhost:5000` unless set; where `make release` "
        "puts images and charts.",
        "VERSION": "Which version `make release` makes.",
        "PLATFORMS": "For which machines `make release` builds, `linux/amd64,linux/arm64` unless set.",
        "DOWNLOADS": "Where the archives of `kubectl voice` will be, a folder's URL, for krew's manifest.",
        "SOURCE": "Where the sources are, for the labels of the images that `make release` builds.",
        "PLAIN_HTTP": "Anything: `make release` speaks to a registry without TLS.",
        "NAME": "Which benchmark `make bench` runs.",
        "N": "Which node `make node-down` and `make node-up` mean, counted from 1.",
        "ARGS": "What `make kubectl` passes to kubectl.",
        "XDG_CACHE_HOME": "Folder in which `voice-agent-operator/` keeps what is costly to make; `~/.cache` unless "
        "set.",
        "VOICE_AGENT_CLUSTER_NAME": "Another name for the cluster's folders and cgroups; only a test uses it.",
    },
    "Tests": {
        "KEEP_RELEASE": "Anything: the e2e tests leave their release installed.",
        "LIVEKIT_SERVER": "A LiveKit server to use in place of the built one.",
        "UPDATE_GOLDEN": "Anything: the tests write their golden files anew (`make golden`).",
        "CI": "Anything: nobody is there, so golden files are never written.",
        "PAGE_IMAGES": "Folder in which the page's tests leave their pictures.",
        "DASHBOARD_IMAGES": "Folder in which an e2e test leaves pictures of the dashboards.",
    },
}

_HEAD = "| variable | type | default | meaning |\n|---|---|---|---|"


def build_page() -> str:
    """Returns the page."""
    parts = [
        "# Environment variables\n",
        "Made from the settings classes by `make reference`; change those, not this page. A **bold** variable is "
        "required. A part that finds one missing or wrong says which in one sentence and ends with exit code 2.\n",
    ]
    parts += [_build_part(title, words, settings) for title, (words, settings) in PARTS.items()]
    parts += [_build_list(title, variables) for title, variables in BESIDE_SETTINGS.items()]
    return "\n".join(parts)


def read_names(settings: type[BaseModel]) -> dict[str, str]:
    """Returns the variable of each property in the schema of a settings class."""
    prefix = str(settings.model_config.get("env_prefix", ""))
    # An alias is a variable's whole name already.
    return {name: name if name.isupper() else f"{prefix}{name}".upper() for name in _properties(settings)}


def _build_part(title: str, words: str, settings: type[BaseModel]) -> str:
    required = settings.model_json_schema().get("required", [])
    names = read_names(settings)
    rows = [
        build_row(names[key], key in required, field, _show_default(field))
        for key, field in _properties(settings).items()
    ]
    return "\n".join([f"## {title}\n", f"{words}\n", _HEAD, *rows, ""])


def _build_list(title: str, variables: dict[str, str]) -> str:
    rows = [f"| `{name}` | {meaning} |" for name, meaning in variables.items()]
    return "\n".join([f"## {title}\n", "| variable | meaning |", "|---|---|", *rows, ""])


def _show_default(field: Schema) -> str:
    default = field.get("default")
    match default:
        case None:
            return ""
        case list():
            return ",".join(default)
        case bool():
            return str(default).lower()
        case _:
            return str(default)


def _properties(settings: type[BaseModel]) -> dict[str, Schema]:
    properties: dict[str, Schema] = settings.model_json_schema()["properties"]
    return properties
