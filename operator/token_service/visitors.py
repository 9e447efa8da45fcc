"""Who looks at calls: whoever shows a key or an issuer's token, or the cookie of a sign-in by one."""

from collections.abc import Collection
from dataclasses import dataclass

from fastapi import Request

from token_service.callers import Caller, read_bearer, unauthorized
from token_service.service import Service
from token_service.sign_in import COOKIE, SignIns


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks. `sees_all`: every tenant's calls."""

    tenant: str
    sees_all: bool


class Visitors:
    """Knows visitors, whose requests count as any other of their tenant's."""

    def __init__(self, service: Service, all_tenants: Collection[str]) -> None:
        """`all_tenants`: whose keys see every tenant's calls."""
        self.sign_ins = SignIns(service.tickets.key)
        self._service = service
        self._all_tenants = frozenset(all_tenants)

    async def know(self, request: Request) -> Visitor:
        """Returns who asks.

        Raises:
            HttpProblem: 401 for a stranger, 429 for one who asks too often, 503 where nobody can tell.
        """
        bearer = read_bearer(request.headers.get("authorization"))
        cookie = request.cookies.get(COOKIE)
        if bearer is None and cookie:
            caller = self._read(cookie)
            self._service.count(request, caller)
        else:
            caller = await self._service.authenticate(request)
        if caller is None or caller.tenant is None:
            raise unauthorized("Sign in at /calls, or send your key as `Authorization: Bearer KEY`.")
        return Visitor(caller.tenant, caller.tenant in self._all_tenants)

    def _read(self, cookie: str) -> Caller | None:
        caller = self.sign_ins.read(cookie)
        return caller if caller and self._service.authenticator.still_knows(caller) else None
