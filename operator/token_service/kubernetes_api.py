"""The only file that talks to the Kubernetes API server. Plain dicts in and out."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config

from token_service.metrics import API_REQUESTS
from voicesession.names import GROUP, VERSION, VOICE_SESSIONS

Raw = dict[str, Any]

_TIMEOUT_SECONDS = 5.0
# A silent watch is dead, or there is nothing to tell: bookmarks come only while anything of the kind changes.
_SILENCE_SECONDS = 60.0
_WATCH_SECONDS = 300


class KubernetesError(Exception):
    """The API server refused a request; `status` is its HTTP status and the message its own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class NotFoundError(KubernetesError):
    """There is no such object (404)."""


class ConflictError(KubernetesError):
    """There is an object of this name already (409)."""


class KubernetesUnavailableError(Exception):
    """No answer, or one of 5xx or 429: whether the request took effect is unknown."""


class WatchExpiredError(Exception):
    """The watch cannot go on from this version: list again."""


class Cluster(Protocol):
    """All that the token service asks of Kubernetes, in its own namespace."""

    async def list_objects(self, plural: str, label_selector: str = "") -> tuple[list[Raw], str]:
        """Returns all objects of one of our kinds and the list's resource version."""

    def watch_objects(self, plural: str, resource_version: str) -> AsyncIterator[Raw]:
        """Yields watch events, bookmarks included, until the API server ends the watch."""

    async def get_session(self, name: str) -> Raw:
        """Returns a VoiceSession; NotFoundError where there is none."""

    async def create_session(self, body: Raw) -> Raw:
        """Creates a VoiceSession; ConflictError where there is one of this name."""

    async def end_session(self, name: str) -> Raw:
        """Sets a VoiceSession's `spec.end`; NotFoundError where there is none."""


class KubernetesApi:
    """`Cluster` by a real API server. Every method may raise KubernetesError or KubernetesUnavailableError."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        """Takes a client and the one namespace to work in."""
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
        return cls(client.ApiClient(configuration), namespace)

    async def close(self) -> None:
        """Closes all connections."""
        await self._api.close()

    async def list_objects(self, plural: str, label_selector: str = "") -> tuple[list[Raw], str]:
        """Returns all objects of one of our kinds and the list's resource version."""
        query = "?" + urlencode({"labelSelector": label_selector}) if label_selector else ""
        listed = await self._request("GET", self._path(plural) + query)
        return listed["items"], listed["metadata"]["resourceVersion"]

    async def get_session(self, name: str) -> Raw:
        """Returns a VoiceSession as the API server holds it now."""
        return await self._request("GET", self._path(VOICE_SESSIONS, name))

    async def create_session(self, body: Raw) -> Raw:
        """Creates a VoiceSession."""
        return await self._request("POST", self._path(VOICE_SESSIONS), body)

    async def end_session(self, name: str) -> Raw:
        """Sets a VoiceSession's `spec.end`."""
        patch = {"spec": {"end": True}}
        return await self._request("PATCH", self._path(VOICE_SESSIONS, name), patch, "application/merge-patch+json")

    async def watch_objects(self, plural: str, resource_version: str) -> AsyncIterator[Raw]:
        """Yields watch events, bookmarks included, until the API server ends the watch or is silent for a minute.

        Raises:
            WatchExpiredError: the API server no longer knows this version.
            KubernetesUnavailableError: the connection broke.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        path = f"{self._path(plural)}?{urlencode(query)}"
        timeout = aiohttp.ClientTimeout(total=None, connect=_TIMEOUT_SECONDS, sock_read=_SILENCE_SECONDS)
        try:
            response = await self._send("GET", path, None, "application/json", timeout)
            async with response:
                if response.status != 200:
                    raise _to_error(response.status, f"watch {plural}: {_read_message(await response.read())}")
                async for line in response.content:
                    yield _read_event(line)
        except aiohttp.SocketTimeoutError:
            return
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise KubernetesUnavailableError(f"watch {plural}: {type(error).__name__}: {error}") from error

    def _path(self, *parts: str) -> str:
        return "/".join((f"/apis/{GROUP}/{VERSION}/namespaces/{self._namespace}", *parts))

    async def _request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Raw:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        try:
            response = await self._send(method, path, body, content_type, timeout)
            data = await response.read()
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise KubernetesUnavailableError(f"{method} {path}: {type(error).__name__}: {error}") from error
        if response.status >= 300:
            raise _to_error(response.status, f"{method} {path}: {_read_message(data)}")
        answer: Raw = json.loads(data)
        return answer

    async def _send(
        self, method: str, path: str, body: Any, content_type: str, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        url = self._api.configuration.host + path
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        answer = await self._api.rest_client.request(method, url, headers=headers, body=body, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        API_REQUESTS.labels(method, str(response.status)).inc()
        return response


def _read_event(line: bytes) -> Raw:
    event: Raw = json.loads(line)
    if event["type"] == "ERROR":
        status = event["object"]
        if status.get("code") == 410:
            raise WatchExpiredError(status.get("message", "expired"))
        raise _to_error(int(status.get("code", 500)), str(status.get("message")))
    return event


def _to_error(status: int, message: str) -> Exception:
    if status == 404:
        return NotFoundError(status, message)
    if status == 409:
        return ConflictError(status, message)
    if status == 410:
        return WatchExpiredError(message)
    if status == 429 or status >= 500:
        return KubernetesUnavailableError(f"{status}: {message}")
    return KubernetesError(status, message)


def _read_message(data: bytes) -> str:
    try:
        answer: Mapping[str, Any] = json.loads(data)
    except ValueError:
        return data[:200].decode(errors="replace")
    return str(answer.get("message") or answer.get("reason") or "no message")
