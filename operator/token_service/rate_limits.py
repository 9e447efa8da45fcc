"""How often somebody may ask, counted by this replica alone: a tenant, a call's customer, or an address."""

import ipaddress
import math
from typing import Literal

from fastapi import Request
from throttled import MemoryStore, Quota, RateLimiterType, Throttled, rate_limiter

from token_service.metrics import RATE_LIMITED
from token_service.problems import HttpProblem
from token_service.settings import TokenServiceSettings

By = Literal["tenant", "call", "address"]

# Of each kind, those that asked last are remembered; somebody who is forgotten begins anew.
_REMEMBERED = 50_000
# Of an IPv6 customer's addresses, these bits are given by the network, and the others are his own to choose.
_IPV6_NETWORK_BITS = 64
_WHO: dict[By, str] = {"tenant": "This key's owner", "call": "This call's customer", "address": "Your address"}


class RateLimits:
    """Counts by GCRA: a minute's requests may come at once, and each is given back after its share of the minute.

    A call's customer may ask as often as an address, whatever address it is: many have the same.
    """

    def __init__(self, per_tenant: int, per_address: int) -> None:
        """Both in requests a minute; 0: no limit."""
        self._allowed: dict[By, int] = {"tenant": per_tenant, "call": per_address, "address": per_address}
        self._counters = {by: _count(rate_limiter.per_min(limit)) for by, limit in self._allowed.items() if limit}
        self._rooms_looked_up = _count(rate_limiter.per_sec(1))
        self._looked_up = _count(rate_limiter.per_sec(20))

    def check(self, by: By, name: str) -> None:
        """Counts a request of this tenant, of this room's customer, or from this address.

        Raises:
            HttpProblem: 429, there were too many.
        """
        counter = self._counters.get(by)
        if counter is None:
            return
        counted = counter.limit(name)
        if not counted.limited:
            return
        RATE_LIMITED.labels(by).inc()
        seconds = max(1, math.ceil(counted.state.retry_after))
        detail = f"{_WHO[by]} may ask {self._allowed[by]} times a minute. Try again in {seconds} s."
        raise HttpProblem(429, "too-many-requests", "Too many requests", detail, seconds)

    def may_look_up(self, room: str) -> bool:
        """Tells whether the API server may be asked for this room's calls now: not twice a second, nor for too many."""
        return not self._rooms_looked_up.limit(room).limited and not self._looked_up.limit("all").limited


def build_rate_limits(settings: TokenServiceSettings) -> RateLimits:
    """Returns the limits that the settings ask for."""
    return RateLimits(settings.rate_limit_per_tenant, settings.rate_limit_per_address)


def address_of(request: Request) -> str:
    """Returns whose request it is, as far as an address tells: that of the peer, or the one a trusted proxy names."""
    return network_of(request.client.host if request.client else "")


def network_of(host: str) -> str:
    """Returns what is counted as one address: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), _IPV6_NETWORK_BITS), strict=False))


def _count(quota: Quota) -> Throttled:
    store = MemoryStore(options={"MAX_SIZE": _REMEMBERED})
    return Throttled(using=RateLimiterType.GCRA.value, quota=quota, store=store)
