"""What the token service is told by its environment."""

import ipaddress
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from voice_telemetry.start import LogLevel
from voicesession.admission_settings import AdmissionSettings

# Those by whose key nobody but the issuer can sign.
ALGORITHMS = frozenset({"EdDSA", *(kind + bits for kind in ("RS", "PS", "ES") for bits in ("256", "384", "512"))})


class TokenServiceSettings(AdmissionSettings, BaseSettings):
    """Read once at start; see docs/reference/environment.md. An empty variable counts as unset."""

    model_config = SettingsConfigDict(env_ignore_empty=True)

    namespace: str = Field(default="default", description="Namespace of the VoiceSessions, pools and profiles.")
    log_level: LogLevel = Field(default="INFO", description="Lowest level of what is logged.")
    otel_exporter_otlp_endpoint: str = Field(
        default="", description="Where spans of calls are sent, a collector's OTLP/HTTP base URL; nowhere where empty."
    )
    host: str = Field(default="", description="Address to listen at; all of them, IPv6 ones too, where empty.")
    port: int = Field(default=3000, description="Port for callers, the page and LiveKit's webhook.")
    health_port: int = Field(default=3001, description="Port of `/healthz`, `/readyz` and `/metrics`.")
    kubeconfig: Path | None = Field(default=None, description="How to reach the API server from outside a cluster.")

    livekit_url: str = Field(description="LiveKit as the service reaches it, `ws://` or `wss://`.")
    livekit_public_url: str = Field(description="LiveKit as customers' clients reach it.")
    livekit_api_key: str = Field(description="LiveKit's API key.")
    livekit_api_secret: SecretStr = Field(description="Its secret; signs tokens, and checks webhooks.")

    installation_key_file: Path = Field(
        description="File with the key that signs call tickets; the operator's is the same."
    )

    auth_mode: Literal["none", "api-key", "oidc"] = Field(
        default="api-key",
        description="Who may ask for a call: whoever has an API key, or a token of the issuer `OIDC_ISSUER`, or with "
        "`none` anybody.",
    )
    api_keys_file: Path | None = Field(
        default=None, description="File of the API keys, one `NAME:SHA256` a line; needed with `api-key`."
    )
    oidc_issuer: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/]+(/[^\s]*)?$",
        description="The OpenID Connect issuer, as its tokens' `iss` says it; needed with `oidc`.",
    )
    oidc_audience: str | None = Field(
        default=None, description="Which `aud` its tokens have that are for this service; needed with `oidc`."
    )
    oidc_jwks_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/]+(/[^\s]*)?$",
        description="Where its keys are; without it, its discovery document says it.",
    )
    oidc_tenant_claim: str = Field(default="sub", description="The claim that names the tenant.")
    oidc_algorithms: str = Field(
        default="RS256,ES256,EdDSA",
        description="By what its tokens may be signed, separated by commas: `RS`, `PS` or `ES` with 256, 384 or 512, "
        "or `EdDSA`.",
    )
    oidc_clock_skew_seconds: int = Field(
        default=30, ge=0, le=300, description="How far the issuer's clock may differ from this one's, in seconds."
    )
    cors_allowed_origins: str = Field(
        default="", description="Origins of other pages that may call, separated by commas; `*` for any."
    )

    rate_limit_per_tenant: int = Field(
        default=6000, ge=0, description="Requests a minute that a tenant may make of one replica; 0: no limit."
    )
    rate_limit_per_address: int = Field(
        default=600,
        ge=0,
        description="Requests a minute to one replica from an address without an API key, and of a call's customer; "
        "0: no limit.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Networks of proxies, separated by commas, whose `X-Forwarded-For` is believed; `10.0.0.0/8`.",
    )

    token_lifetime_seconds: int = Field(
        default=60, ge=10, le=600, description="How long a participant's token can be used to connect, in seconds."
    )
    allow_caller_rooms: bool = Field(default=False, description="Whether callers may name their room themselves.")

    database_url: SecretStr | None = Field(
        default=None, description="The database as role `voice_reader`; without it there are no transcripts."
    )
    db_min_connections: int = Field(default=0, ge=0, description="Connections to the database that are kept open.")
    db_max_connections: int = Field(default=4, ge=1, description="Most connections to the database at once.")

    calls_page: bool = Field(
        default=False, description="Whether whoever has a key can look at calls, at `/calls` and `/api/calls`."
    )
    calls_page_all_tenants: str = Field(
        default="", description="Tenants, separated by commas, whose keys or tokens see every tenant's calls there."
    )
    calls_database_url: SecretStr | None = Field(
        default=None, description="The database as role `voice_viewer`; needed with `CALLS_PAGE`."
    )

    web_root: Path | None = Field(default=None, description="Folder of the built page; without it there is none.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.auth_mode == "api-key" and self.api_keys_file is None:
            raise ValueError("AUTH_MODE=api-key needs API_KEYS_FILE; for a demo without keys set AUTH_MODE=none")
        if self.auth_mode == "oidc" and not (self.oidc_issuer and self.oidc_audience):
            raise ValueError("AUTH_MODE=oidc needs OIDC_ISSUER and OIDC_AUDIENCE")
        if self.calls_page and self.auth_mode == "none":
            raise ValueError(
                "CALLS_PAGE=true needs AUTH_MODE=api-key or oidc: without keys anybody would see every call"
            )
        if self.calls_page and self.calls_database_url is None:
            raise ValueError("CALLS_PAGE=true needs CALLS_DATABASE_URL, the database as role voice_viewer")
        if self.token_lifetime_seconds > self.max_ticket_age_seconds:
            raise ValueError("TOKEN_LIFETIME_SECONDS must not exceed MAX_TICKET_AGE_SECONDS")
        return self

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, text: str) -> str:
        for network in _split(text):
            ipaddress.ip_network(network)
        return text

    @field_validator("oidc_algorithms")
    @classmethod
    def _check_algorithms(cls, text: str) -> str:
        if unknown := set(_split(text)) - ALGORITHMS:
            raise ValueError(f"{', '.join(sorted(unknown))}: not of {', '.join(sorted(ALGORITHMS))}")
        return text

    @property
    def signing_algorithms(self) -> list[str]:
        """Returns by what an issuer's tokens may be signed."""
        return _split(self.oidc_algorithms)

    @property
    def proxies(self) -> list[str]:
        """Returns the networks whose word on a customer's address is believed."""
        return _split(self.trusted_proxies)

    @property
    def all_tenants(self) -> list[str]:
        """Returns whose keys see every tenant's calls."""
        return _split(self.calls_page_all_tenants)

    @property
    def cors_origins(self) -> list[str]:
        """Returns the origins whose pages may call."""
        return [origin.rstrip("/") for origin in _split(self.cors_allowed_origins)]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
