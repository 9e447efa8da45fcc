"""Requests to the API server in one namespace, its errors, and by what credentials it is asked. Plain dicts."""

import asyncio
import contextlib
import json
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config

from voicesession.models import EndReason
from voicesession.names import END_REASON_ANNOTATION, GROUP, POOL_LABEL, SESSION_LABEL, VERSION, VOICE_SESSIONS

Raw = dict[str, Any]
# Part of a list, and the list's resource version.
Page = tuple[list[Raw], int]
OnResponse = Callable[[str, int], object]

_JSON = "application/json"
_JSON_PATCH = "application/json-patch+json"
_MERGE_PATCH = "application/merge-patch+json"
_METADATA_ALONE = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_TIMEOUT_SECONDS = 10.0
_PAGE = 250
_WATCH_SECONDS = 300
# A silent watch is dead, or there is nothing to tell: bookmarks come only while anything of the kind changes.
_SILENCE_SECONDS = 60.0
# How messages begin, in which request is told.
_REQUEST = re.compile(r"^[A-Z]+ /\S+: ")
# How long an API server that has no time is left alone where it does not say.
_THROTTLED_SECONDS = 1.0


class KubernetesError(Exception):
    """The API server refused a request; `status` is its HTTP status and the message its own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message

    @property
    def words(self) -> str:
        """Returns the message without the request that it is about: for people."""
        return _REQUEST.sub("", self.message)


class ForbiddenError(KubernetesError):
    """Not permitted, or beyond a quota (403)."""


class NotFoundError(KubernetesError):
    """There is no such object: a 404 that names it."""


class ConflictError(KubernetesError):
    """The object is not what the request took it for, or there is one of this name already (409)."""


class WatchExpiredError(KubernetesError):
    """The watch, or the list's next page, cannot go on from this version (410): list again."""


class InvalidError(KubernetesError):
    """A test of the JSON-patch failed, or what the object would become breaks a rule (422)."""


class KubeconfigError(Exception):
    """The user's kubeconfig cannot be used; the message says why."""


class KubernetesUnavailableError(Exception):
    """No answer, one of 5xx, or a 404 that is not of the object: whether the request took effect is unknown."""


class ServerError(KubernetesUnavailableError):
    """It answered that it has failed (5xx), as where an admission webhook cannot be reached; `words`: its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.words = _REQUEST.sub("", message)


class ThrottledError(KubernetesUnavailableError):
    """The API server has more to do than it can (429), and has done nothing of this request."""


_REFUSALS: dict[int, type[KubernetesError]] = {
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: WatchExpiredError,
    422: InvalidError,
}


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API server is, and by what credentials."""

    server: str
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    token: str | None


class KubernetesApi:
    """Requests to the API server. Every method may raise KubernetesError or KubernetesUnavailableError."""

    def __init__(
        self,
        api: client.ApiClient,
        namespace: str,
        timeout_seconds: float = _TIMEOUT_SECONDS,
        on_response: OnResponse = lambda _method, _status: None,
    ) -> None:
        """`timeout_seconds`: how long a request may take. `on_response`: is told each answer's method and status."""
        self._api = api
        self._namespace = namespace
        self._timeout = timeout_seconds
        self._on_response = on_response

    @classmethod
    async def connect(
        cls,
        namespace: str,
        kubeconfig: Path | None = None,
        timeout_seconds: float = _TIMEOUT_SECONDS,
        on_response: OnResponse = lambda _method, _status: None,
        request_class: type[aiohttp.ClientRequest] = aiohttp.ClientRequest,
    ) -> Self:
        """Returns a client: of the pod's own service account, or by `kubeconfig` where one is given.

        `request_class`: what aiohttp sends requests by.
        """
        configuration = client.Configuration()
        if kubeconfig:
            await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
        else:
            config.load_incluster_config(client_configuration=configuration)
        configuration.connection_pool_maxsize = 0  # no limit of our own: the API server has its own fairness
        # aiohttp would look for proxies and a .netrc in a thread before each request.
        configuration.client_session_kwargs = {"trust_env": False, "request_class": request_class}
        return cls(client.ApiClient(configuration), namespace, timeout_seconds, on_response)

    @classmethod
    async def connect_as_user(cls, namespace: str | None = None, context: str | None = None) -> Self:
        """Returns a client by the user's own kubeconfig, as kubectl finds it. `context`: None is its current one.

        `namespace`: None is the context's.

        Raises:
            KubeconfigError: there is none, or no such context, or its credentials cannot be had.
        """
        configuration = client.Configuration()
        try:
            contexts, current = config.list_kube_config_contexts()
            chosen = next((each for each in contexts if each["name"] == context), None) if context else current
            if chosen is None:
                raise KubeconfigError(f"the kubeconfig has no context {context!r}")
            await config.load_kube_config(context=chosen["name"], client_configuration=configuration)
        except (config.ConfigException, OSError) as error:
            raise KubeconfigError(f"the kubeconfig cannot be used: {error}") from error
        configuration.client_session_kwargs = {"trust_env": True}  # a proxy of the user's
        return cls(client.ApiClient(configuration), namespace or chosen["context"].get("namespace") or "default")

    @property
    def namespace(self) -> str:
        """Returns the namespace that is asked about."""
        return self._namespace

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

    # Any kind

    async def list_kind(
        self, group_version: str, plural: str, label_selector: str = "", field_selector: str = ""
    ) -> list[Raw]:
        """Returns the namespace's objects of a kind, of `v1` or of `apps/v1` for example, in one answer."""
        root = "/api/v1" if group_version == "v1" else f"/apis/{group_version}"
        selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
        query = urlencode({key: value for key, value in selectors.items() if value})
        path = f"{root}/namespaces/{self._namespace}/{plural}"
        return (await self.request("GET", f"{path}?{query}" if query else path))["items"] or []

    async def read_date(self) -> str | None:
        """Returns the API server's clock as its answers' header has it."""
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        with _told_as_unavailable("GET /version"):
            response = await self._send("GET", "/version", None, _JSON, timeout)
            await response.read()
            return response.headers.get("Date")

    async def get_secret(self, name: str) -> Raw:
        """Returns a Secret."""
        return await self.request("GET", self._core("secrets", name))

    # Pods

    async def list_pods(self) -> tuple[list[Raw], int]:
        """Returns all agent pods and the list's resource version."""
        return await _collect(self.list_pod_pages())

    def list_pod_pages(self, label_selector: str = POOL_LABEL) -> AsyncIterator[Page]:
        """Yields all agent pods, or those with these labels, in pages, each with the list's resource version."""
        return self._list(self._core("pods"), label_selector)

    async def list_pods_of(self, *session_uids: str) -> list[Raw]:
        """Returns the pods that these VoiceSessions have claimed."""
        return (await _collect(self.list_pod_pages(f"{SESSION_LABEL} in ({','.join(session_uids)})")))[0]

    async def get_pod(self, name: str) -> Raw:
        """Returns a Pod as the API server holds it now."""
        return await self.request("GET", self._core("pods", name))

    async def create_pod(self, pod: Raw) -> Raw:
        """Creates a Pod."""
        return await self.request("POST", self._core("pods"), pod)

    async def patch_pod(self, name: str, patch: Sequence[Raw]) -> Raw:
        """Applies a JSON-patch to a Pod.

        Raises:
            InvalidError: one of its tests failed.
        """
        return await self.request("PATCH", self._core("pods", name), list(patch), _JSON_PATCH)

    async def delete_pod(
        self, name: str, uid: str, resource_version: str | None = None, grace_seconds: int | None = None
    ) -> Raw:
        """Deletes the Pod of this name and uid, within `grace_seconds`, or its own grace period.

        Raises:
            ConflictError: it is another one, or not at this resource version.
        """
        preconditions = {"uid": uid} | ({"resourceVersion": resource_version} if resource_version else {})
        grace = {} if grace_seconds is None else {"gracePeriodSeconds": grace_seconds}
        return await self.request("DELETE", self._core("pods", name), {"preconditions": preconditions, **grace})

    # Our objects

    async def list_objects(self, plural: str, label_selector: str = "") -> tuple[list[Raw], int]:
        """Returns all objects of one of our kinds, or those with these labels, and the list's resource version."""
        return await _collect(self._list(self._ours(plural), label_selector))

    def list_pages(self, plural: str) -> AsyncIterator[Page]:
        """Yields all objects of one of our kinds in pages, each with the list's resource version."""
        return self._list(self._ours(plural))

    async def get_session(self, name: str) -> Raw:
        """Returns a VoiceSession as the API server holds it now."""
        return await self.request("GET", self._ours(VOICE_SESSIONS, name))

    async def create_session(self, session: Raw) -> Raw:
        """Creates a VoiceSession.

        Raises:
            ConflictError: there is one of this name.
        """
        return await self.request("POST", self._ours(VOICE_SESSIONS), session)

    async def end_session(self, name: str, reason: EndReason) -> Raw:
        """Sets a VoiceSession's `spec.end`, and writes down why."""
        patch = {"metadata": {"annotations": {END_REASON_ANNOTATION: reason.value}}, "spec": {"end": True}}
        return await self.request("PATCH", self._ours(VOICE_SESSIONS, name), patch, _MERGE_PATCH)

    async def move_session(self, name: str, move: str) -> Raw:
        """Sets a VoiceSession's `spec.move`: another value than before moves its call to another pod."""
        return await self.request("PATCH", self._ours(VOICE_SESSIONS, name), {"spec": {"move": move}}, _MERGE_PATCH)

    async def delete_session(self, name: str, uid: str) -> None:
        """Deletes the VoiceSession of this name and uid."""
        await self.request("DELETE", self._ours(VOICE_SESSIONS, name), {"preconditions": {"uid": uid}})

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

    async def list_events_of(self, uid: str) -> list[Raw]:
        """Returns the newest version of each Event about the object of this uid."""
        query = {"fieldSelector": f"involvedObject.uid={uid}", "limit": str(_PAGE)}
        return (await self.request("GET", f"{self._core('events')}?{urlencode(query)}"))["items"] or []

    # ConfigMaps

    async def create_config_map(self, config_map: Raw) -> None:
        """Creates a ConfigMap.

        Raises:
            ConflictError: there is one of this name.
        """
        await self.request("POST", self._core("configmaps"), config_map)

    async def get_config_map(self, name: str) -> Raw:
        """Returns a ConfigMap."""
        return await self.request("GET", self._core("configmaps", name))

    async def list_config_map_metadata(self, label_selector: str) -> list[Raw]:
        """Returns the metadata of the ConfigMaps with these labels, without what is in them."""
        pages = self._list(self._core("configmaps"), label_selector, _METADATA_ALONE)
        return [item["metadata"] for item in (await _collect(pages))[0]]

    async def delete_config_map(self, name: str) -> None:
        """Deletes a ConfigMap."""
        await self.request("DELETE", self._core("configmaps", name))

    # Leases

    async def get_lease(self, name: str) -> Raw:
        """Returns a Lease."""
        return await self.request("GET", self._leases(name))

    async def create_lease(self, lease: Raw) -> Raw:
        """Creates a Lease.

        Raises:
            ConflictError: there is one of this name.
        """
        return await self.request("POST", self._leases(), lease)

    async def replace_lease(self, lease: Raw) -> Raw:
        """Writes a Lease, provided that it is still at the resource version in `lease`.

        Raises:
            ConflictError: it is not.
        """
        return await self.request("PUT", self._leases(lease["metadata"]["name"]), lease)

    # Watches

    async def watch_objects(self, plural: str, version: int) -> AsyncIterator[Raw]:
        """Yields watch events, bookmarks included, until the API server ends the watch or is silent for a minute.

        Raises:
            WatchExpiredError: the API server no longer knows this version.
            KubernetesUnavailableError: the connection broke.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(version),
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        path = f"{self._ours(plural)}?{urlencode(query)}"
        timeout = aiohttp.ClientTimeout(total=None, connect=self._timeout, sock_read=_SILENCE_SECONDS)
        with _told_as_unavailable(f"watch {plural}"):
            try:
                async with await self._send("GET", path, None, _JSON, timeout) as response:
                    if response.status != 200:
                        raise _to_error(response.status, f"watch {plural}: {_read_message(await response.read())}")
                    async for line in response.content:
                        yield _read_event(line)
            except aiohttp.SocketTimeoutError:
                return

    # Requests

    async def request(
        self, method: str, path: str, body: Any = None, content_type: str = _JSON, accept: str = _JSON
    ) -> Raw:
        """Sends one request and returns the answer; the methods above say what there is to ask for.

        Where the API server has no time it is asked again when it wants to be, as long as the request may take at all.

        Raises:
            KubernetesError: it was refused.
            KubernetesUnavailableError: there was no answer.
        """
        what, deadline = f"{method} {path}", time.monotonic() + self._timeout
        while True:
            with _told_as_unavailable(what):
                timeout = aiohttp.ClientTimeout(total=max(deadline - time.monotonic(), 0.01))  # 0 would be for ever
                response = await self._send(method, path, body, content_type, timeout, accept)
                data = await response.read()
                if response.status < 300:
                    answer: Raw = json.loads(data)
                    return answer
            if response.status == 404 and not _is_of_object(data, path):
                # Its kind is not served just now, or whoever is in between knows no way: nothing is said of the object.
                raise KubernetesUnavailableError(f"404: {what}: {_read_message(data)}")
            pause = _read_pause(response) if response.status == 429 else None
            if pause is None or time.monotonic() + pause > deadline:
                raise _to_error(response.status, f"{what}: {_read_message(data)}")
            await asyncio.sleep(pause)

    def _core(self, *parts: str) -> str:
        return "/".join((f"/api/v1/namespaces/{self._namespace}", *parts))

    def _ours(self, *parts: str) -> str:
        return "/".join((f"/apis/{GROUP}/{VERSION}/namespaces/{self._namespace}", *parts))

    def _leases(self, *parts: str) -> str:
        return "/".join((f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases", *parts))

    async def _list(self, path: str, label_selector: str = "", accept: str = _JSON) -> AsyncIterator[Page]:
        # No resourceVersion: the newest state, not a cache's. In pages, so that reading one never holds up the others.
        query = {"labelSelector": label_selector, "limit": str(_PAGE)}
        while True:
            page = await self.request("GET", f"{path}?{urlencode(query)}", accept=accept)
            metadata = page["metadata"]
            yield page["items"] or [], int(metadata["resourceVersion"])  # null, in an empty list of metadata
            if not metadata.get("continue"):
                return
            query["continue"] = metadata["continue"]

    async def _send(
        self,
        method: str,
        path: str,
        body: Any,
        content_type: str,
        timeout: aiohttp.ClientTimeout,
        accept: str = _JSON,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": accept, "Content-Type": content_type}
        url = self._api.configuration.host + path
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        answer = await self._api.rest_client.request(method, url, headers=headers, body=body, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        self._on_response(method, response.status)
        return response


@contextlib.contextmanager
def _told_as_unavailable(what: str) -> Iterator[None]:
    """Raises KubernetesUnavailableError for a connection that fails, and for an answer that is no JSON."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError, ValueError) as error:
        raise KubernetesUnavailableError(f"{what}: {type(error).__name__}: {error}") from error


async def _collect(pages: AsyncIterator[Page]) -> tuple[list[Raw], int]:
    """Returns all objects of a list and its resource version."""
    items: list[Raw] = []
    version = 0
    async for raws, version in pages:  # noqa: B007 - the last page's is the list's
        items += raws
    return items, version


def _read_pause(response: aiohttp.ClientResponse) -> float:
    """Returns for how many seconds the API server wants to be left alone, and some more: not all at once."""
    asked = response.headers.get("Retry-After", "")
    return (int(asked) if asked.isdecimal() else _THROTTLED_SECONDS) * random.uniform(1.0, 1.25)  # noqa: S311 - jitter


def _read_event(line: bytes) -> Raw:
    event: Raw = json.loads(line)
    if event["type"] == "ERROR":
        status = event["object"]
        raise _to_error(int(status.get("code", 500)), str(status.get("message")))
    return event


def _to_error(status: int, message: str) -> Exception:
    if status == 429:
        return ThrottledError(f"{status}: {message}")
    if status >= 500:
        return ServerError(status, message)
    return _REFUSALS.get(status, KubernetesError)(status, message)


def _is_of_object(data: bytes, path: str) -> bool:
    """Tells whether what is said of something missing is said of the object at this path."""
    try:
        details = json.loads(data)["details"]
        missing = f"/{details['kind']}/{details['name']}"
    except (ValueError, KeyError, TypeError):
        return False
    return path.removesuffix("/status").endswith(missing)


def _read_message(data: bytes) -> str:
    try:
        answer: Mapping[str, Any] = json.loads(data)
        return str(answer.get("message") or answer.get("reason") or "no message")
    except (ValueError, AttributeError):
        return data[:200].decode(errors="replace")
