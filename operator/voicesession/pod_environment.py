"""Which variables of an agent pod are not a team's own to set."""

# By this key a pod's very own operator seals what it tells it.
SEAL_KEY_VARIABLE = "POD_SEAL_KEY"
# What the operator's pod template sets in each agent pod: the settings of `voice_agent`.
OPERATOR_VARIABLES = frozenset(
    {
        "AGENT_ADDRESS",
        "AGENT_CODE",
        "AGENT_GRACE_SECONDS",
        "AGENT_HANG_SECONDS",
        "AGENT_INFERENCE",
        "AGENT_LOG_LEVEL",
        "AGENT_MCP_SERVERS",
        "AGENT_PORT",
        "AGENT_PROVIDERS",
        "AGENT_VAD",
        "DATABASE_URL",
        "OPERATOR_PROTOCOL",
        "OPERATOR_PUBLIC_KEY",
        "POD_NAME",
        SEAL_KEY_VARIABLE,
        "POD_UID",
        "PROVIDER_KEYS_FOLDER",
        "TERMINATION_LOG",
    }
)
# By these a program is an administrator of a whole LiveKit. They come into a pod by `envFrom`, with a Secret that was
# made of a project's .env file, and are taken out again.
LIVEKIT_SECRETS = frozenset({"LIVEKIT_API_KEY", "LIVEKIT_API_SECRET", "LIVEKIT_TOKEN", "LIVEKIT_WORKER_TOKEN"})
_LIVEKITS = "LIVEKIT_"
# Of LiveKit's, what says nothing of how an agent reaches its room.
_HARMLESS = ("LIVEKIT_INFERENCE_", "LIVEKIT_SIP_")


def is_reserved(name: str) -> bool:
    """Tells whether a pool's `env` is refused this name; the CRD says the same."""
    return name in OPERATOR_VARIABLES or (name.startswith(_LIVEKITS) and not name.startswith(_HARMLESS))
