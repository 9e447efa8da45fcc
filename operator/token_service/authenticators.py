"""Which Authenticator the settings ask for."""

import logging

from token_service.callers import Anybody, ApiKeys, Authenticator
from token_service.issuer_keys import IssuerKeys
from token_service.oidc import OidcTerms, OidcTokens
from token_service.settings import TokenServiceSettings

log = logging.getLogger(__name__)


def build_authenticator(settings: TokenServiceSettings) -> Authenticator:
    """Returns what the settings ask for, and says loudly when that is nothing.

    Raises:
        ValueError: the file of API keys is malformed.
        OSError: it cannot be read.
    """
    if settings.auth_mode == "oidc":
        return _build_oidc(settings)
    if settings.auth_mode == "api-key" and settings.api_keys_file is not None:
        return ApiKeys(settings.api_keys_file)
    log.warning(
        "AUTH_MODE=none: ANYBODY WHO REACHES THIS SERVICE CAN START CALLS. For a demo on your own machine only; "
        "set AUTH_MODE=api-key or oidc for anything else."
    )
    return Anybody()


def _build_oidc(settings: TokenServiceSettings) -> OidcTokens:
    addresses = [address for address in (settings.oidc_issuer, settings.oidc_jwks_url) if address]
    if any(address.startswith("http:") for address in addresses):
        log.warning("the issuer's keys come over plain HTTP: whoever is on the way to them can let anybody in")
    keys = IssuerKeys(settings.oidc_issuer or "", settings.oidc_jwks_url, settings.signing_algorithms)
    terms = OidcTerms(
        settings.oidc_issuer or "",
        settings.oidc_audience or "",
        settings.oidc_tenant_claim,
        settings.oidc_clock_skew_seconds,
    )
    return OidcTokens(terms, keys)
