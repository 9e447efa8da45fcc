"""The only file that talks to the Kubernetes API server (watching aside, which is kopf's). Plain dicts in and out."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config

from voice_operator.metrics import API_REQUESTS
from voicesession.names import GROUP, POOL_LABEL, SESSION_LABEL, VERSION

Raw = dict[str, Any]

_JSON_PATCH = "application/json-patch+json"
_MERGE_PATCH = "application/merge-patch+json"
_TIMEOUT_SECONDS = 10.0
_PAGE = 250


class KubernetesError(Exception):
    """The API server refused a request; `status` is its HTTP status and the message its own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class NotFoundError(KubernetesError):
    """There is no such object (404)."""


class ConflictError(KubernetesError):
    """The object is not what the request took it for: 409, or 422 for a failed JSON-patch test."""


class ForbiddenError(KubernetesError):
    """Not permitted, or beyond a quota (403)."""


class KubernetesUnavailableError(Exception):
    """No answer, or one of 5xx or 429: whether the request took effect is unknown."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API server is, and by what credentials."""

    server: str
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    token: str | None


class KubernetesApi:
    """Requests to the API server in one namespace."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._api = api
        self._namespace = namespace

    @classmethod
    async def connect(cls, namespace: str, kubeconfig: Path | None = None) -> Self:
        """Returns a client: of the pod's own service account, or by `kubeconfig` where one is given."""
        configuration = client.Configuration()
        if kubeconfig:
            await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
        else:
            config.load_incluster_config(client_configuration=configuration)
        configuration.connection_pool_maxsize = 0  # no limit of our own: the API server has its own fairness
        # aiohttp would look for proxies and a .netrc in a thread before each request.
        configuration.client_session_kwargs = {"trust_env": False}
        return cls(client.ApiClient(configuration), namespace)

    async def close(self) -> None:
        """Closes all connections."""
        await self._api.close()

    async def connection(self) -> Connection:
        """Returns the credentials as they are now: a service account's token is renewed every hour."""
        configuration = self._api.configuration
        key = await configuration.get_api_key_with_prefix("BearerToken")
        return Connection(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            token=key.split()[-1] if key else None,
        )

    # Pods

    async def list_pods(self) -> tuple[list[Raw], int]:
        """Returns all agent pods and the list's resource version."""
        return await self._list(self._core("pods"), labelSelector=POOL_LABEL)

    async def list_pods_of(self, session_uid: str) -> list[Raw]:
        """Returns the pods that this VoiceSession has claimed."""
        return (await self._list(self._core("pods"), labelSelector=f"{SESSION_LABEL}={session_uid}"))[0]

    async def get_pod(self, name: str) -> Raw:
        """Returns a Pod as the API server holds it now."""
        return await self.request("GET", self._core("pods", name))

    async def create_pod(self, pod: Raw) -> Raw:
        """Creates a Pod."""
        return await self.request("POST", self._core("pods"), pod)

    async def patch_pod(self, name: str, patch: Sequence[Raw]) -> Raw:
        """Applies a JSON-patch to a Pod.

        Raises:
            ConflictError: one of its tests failed.
        """
        return await self.request("PATCH", self._core("pods", name), list(patch), _JSON_PATCH)

    async def delete_pod(self, name: str, uid: str, resource_version: str | None = None) -> Raw:
        """Deletes the Pod of this name and uid, within its own grace period.

        Raises:
            ConflictError: it is another one, or not at this resource version.
        """
        preconditions = {"uid": uid} | ({"resourceVersion": resource_version} if resource_version else {})
        return await self.request("DELETE", self._core("pods", name), {"preconditions": preconditions})

    # Our objects

    async def list_objects(self, plural: str) -> tuple[list[Raw], int]:
        """Returns all objects of one of our kinds and the list's resource version."""
        return await self._list(self._ours(plural))

    async def get_session(self, name: str) -> Raw:
        """Returns a VoiceSession as the API server holds it now."""
        return await self.request("GET", self._ours("voicesessions", name))

    async def create_session(self, session: Raw) -> Raw:
        """Creates a VoiceSession.

        Raises:
            ConflictError: there is one of this name.
        """
        return await self.request("POST", self._ours("voicesessions"), session)

    async def delete_session(self, name: str, uid: str) -> None:
        """Deletes the VoiceSession of this name and uid."""
        await self.request("DELETE", self._ours("voicesessions", name), {"preconditions": {"uid": uid}})

    async def patch_status(self, plural: str, name: str, resource_version: str, status: Raw) -> Raw:
        """Merges `status` into the object's, provided that it is still at this resource version.

        Raises:
            ConflictError: it is not: read again, then decide again.
        """
        patch = {"metadata": {"resourceVersion": resource_version}, "status": status}
        return await self.request("PATCH", f"{self._ours(plural, name)}/status", patch, _MERGE_PATCH)

    async def create_event(self, event: Raw) -> None:
        """Creates a Kubernetes Event."""
        await self.request("POST", self._core("events"), event)

    def _core(self, *parts: str) -> str:
        return "/".join((f"/api/v1/namespaces/{self._namespace}", *parts))

    def _ours(self, *parts: str) -> str:
        return "/".join((f"/apis/{GROUP}/{VERSION}/namespaces/{self._namespace}", *parts))

    async def _list(self, path: str, **query: str) -> tuple[list[Raw], int]:
        # No resourceVersion: the newest state, not a cache's. In pages, so that reading one never holds up the others.
        items: list[Raw] = []
        query = {**query, "limit": str(_PAGE)}
        while True:
            page = await self.request("GET", f"{path}?{urlencode(query)}")
            items += page["items"]
            if not page["metadata"].get("continue"):
                return items, int(page["metadata"]["resourceVersion"])
            query["continue"] = page["metadata"]["continue"]

    async def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Raw:
        """Sends one request and returns the answer; the methods above say what there is to ask for.

        Raises:
            KubernetesError: it was refused.
            KubernetesUnavailableError: there was no answer.
        """
        headers = {"Accept": "application/json", "Content-Type": content_type}
        url = self._api.configuration.host + path
        try:
            await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            response = await self._api.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=_TIMEOUT_SECONDS
            )
            data = await response.read()
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise KubernetesUnavailableError(f"{method} {path}: {type(error).__name__}: {error}") from error
        API_REQUESTS.labels(method, str(response.status)).inc()
        if response.status < 300:
            return _parse(data, f"{method} {path}")
        raise _to_error(response.status, f"{method} {path}: {_read_message(data)}")


def _parse(data: bytes, what: str) -> Raw:
    try:
        answer: Raw = json.loads(data)
    except ValueError as error:
        raise KubernetesUnavailableError(f"{what}: the answer is no JSON") from error
    return answer


def _to_error(status: int, message: str) -> Exception:
    if status == 404:
        return NotFoundError(status, message)
    if status in {409, 422}:
        return ConflictError(status, message)
    if status == 403:
        return ForbiddenError(status, message)
    if status == 429 or status >= 500:
        return KubernetesUnavailableError(f"{status}: {message}")
    return KubernetesError(status, message)


def _read_message(data: bytes) -> str:
    try:
        answer: Mapping[str, Any] = json.loads(data)
    except ValueError:
        return data[:200].decode(errors="replace")
    return str(answer.get("message") or answer.get("reason") or "no message")
