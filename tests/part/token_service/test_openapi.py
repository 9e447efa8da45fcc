"""Hundreds of generated requests on the OpenAPI description: no 500, no leak, nothing made for a refused one."""

import asyncio
import contextlib
import hashlib
import json
import threading
import traceback
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings, strategies
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from testing.conversations import ConversationsDatabase
from testing.fake_cluster import FakeCluster
from testing.livekit import SECRET, LiveKitServer
from testing.token_service_app import room_event, running_front_door, sign_webhook

# As many well-formed as malformed ones; most for the two operations that take a body.
EXAMPLES_WITH_BODY = 80
EXAMPLES_WITHOUT = 25
FEWEST_REQUESTS = 350
# With what each line of a traceback has and no token can by chance: `.py`, for one, was in a signature.
LEAKS = (SECRET, "Traceback", '", line ', "site-packages", "KubernetesError", "postgres")


@dataclass
class Seen:
    """What came back."""

    statuses: Counter[int] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    opened: int = 0


@contextlib.contextmanager
def serving(cluster: FakeCluster, livekit: LiveKitServer, **settings: Any) -> Iterator[str]:
    """Serves the application from another thread, since schemathesis is synchronous; yields its base URL."""
    address: Future[str] = Future()
    loop = asyncio.new_event_loop()
    ending = asyncio.Event()

    async def serve() -> None:
        async with running_front_door(
            cluster, livekit_url=livekit.url, allow_caller_rooms=True, rate_limit_per_address=0, **settings
        ) as door:
            address.set_result(door.url)
            await ending.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        yield address.result(30)
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(30)
        loop.close()


def check(case: Any, response: Any, seen: Seen) -> None:
    seen.statuses[response.status_code] += 1
    seen.operations[case.operation.label] += 1
    seen.opened += case.operation.path == "/api/connection-details" and response.status_code == 201
    checks = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
    case.validate_response(response, checks=checks)
    for leak in LEAKS:
        assert leak not in response.text, f"{leak} in {response.text}"
    if response.status_code >= 400:
        problem = response.json()
        assert {"type", "title", "status", "detail", "instance", "requestId"} <= set(problem)


def test_each_line_of_a_traceback_is_a_leak() -> None:
    for line in traceback.format_stack():
        assert any(leak in json.dumps(line) for leak in LEAKS), line


def test_hundreds_of_generated_requests(livekit: LiveKitServer) -> None:
    cluster, seen = FakeCluster(), Seen()
    with serving(cluster, livekit) as url:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        with urllib.request.urlopen(urllib.request.Request(f"{url}/api/token", method="POST"), timeout=20) as answer:
            bearer = json.load(answer)["participant_token"]
        for result in schema.get_all_operations():
            operation: Any = result.ok()  # type: ignore[union-attr]
            for mode in GenerationMode:
                # Not every operation has something that could be sent wrongly.
                with contextlib.suppress(Unsatisfiable):
                    run(operation, mode, seen, bearer)
    assert sum(seen.statuses.values()) >= FEWEST_REQUESTS
    assert seen.statuses[201] > 20
    assert seen.statuses[422] > 20
    assert len(seen.operations) == 7
    # A VoiceSession for each call that was opened, and for nothing else.
    assert len(cluster.sessions) == seen.opened


def test_generated_searches_for_calls(livekit: LiveKitServer, conversations: ConversationsDatabase) -> None:
    keys, seen = conversations.folder / "keys", Seen()
    keys.write_text(f"acme:{hashlib.sha256(b'key').hexdigest()}\n")
    conversations.new_conversation().start()
    calls = {"calls_page": True, "calls_database_url": conversations.url("voice_viewer")}
    with serving(FakeCluster(), livekit, auth_mode="api-key", api_keys_file=keys, **calls) as url:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json").include(path_regex="^/api/calls")
        for result in schema.get_all_operations():
            for mode in GenerationMode:
                run(result.ok(), mode, seen, "key")  # type: ignore[union-attr]
    assert len(seen.operations) == 2
    assert {200, 404, 422} <= seen.statuses.keys()
    assert seen.statuses[503] == 0


def run(operation: Any, mode: GenerationMode, seen: Seen, bearer: str) -> None:
    @seed(7)
    @settings(
        max_examples=EXAMPLES_WITH_BODY if operation.body else EXAMPLES_WITHOUT,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        check(case, case.call(headers={"Authorization": f"Bearer {bearer}"}), seen)

    send()


def test_generated_webhooks_with_a_true_signature(livekit: LiveKitServer) -> None:
    """LiveKit's signature does not make an event sensible: whatever it holds, no 500."""
    cluster = FakeCluster()
    json_values = strategies.recursive(
        strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(),
        lambda children: strategies.lists(children, max_size=3) | strategies.dictionaries(strategies.text(), children),
        max_leaves=6,
    )
    fields = strategies.sampled_from(["event", "room", "participant", "createdAt", "id"])
    with serving(cluster, livekit) as url:

        @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(changes=strategies.dictionaries(fields, json_values), metadata=strategies.text())
        def send(changes: dict[str, Any], metadata: str) -> None:
            text = json.dumps({**room_event("room", "RM_x", metadata), **changes})
            headers = {"Authorization": sign_webhook(text)}
            request = urllib.request.Request(f"{url}/livekit/webhook", text.encode(), headers, method="POST")
            try:
                status = urllib.request.urlopen(request, timeout=20).status
            except urllib.error.HTTPError as error:
                status = error.code
            assert status in {200, 401}, text

        send()
    assert not cluster.sessions
