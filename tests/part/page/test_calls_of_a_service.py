"""The page of calls on the real token service, over rows in a real Postgres: who sees what, desktop and phone."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from testing.browser import PHONE, open_tab
from testing.conversations import NOON, AgentsConversation, ConversationsDatabase, message, put_conversation
from testing.fake_cluster import FakeCluster
from testing.page_stage import BUILT_PAGE
from testing.token_service_app import FrontDoor
from tests.part.token_service.test_calls_page import serving_calls
from voicesession.names import VOICE_SESSIONS

ENDED: dict[str, Any] = {"ended_at": NOON + timedelta(minutes=1), "end_reason": "participant_left"}
ORDER = {"name": "order", "callId": "1"}


@pytest.fixture
async def door(conversations: ConversationsDatabase) -> AsyncIterator[FrontDoor]:
    """A service with calls of two tenants, one that two agents had in turn, and one that waits for its first."""
    cluster = FakeCluster()
    cluster.put(VOICE_SESSIONS, "vs-1", {"room": "waiting", "tenant": "acme"}, {"phase": "Pending"})
    put_conversation(conversations, -60, room_id="older", profile="shop", **{**ENDED, "end_reason": "error"})
    put_conversation(conversations, tenant="beta", room_id="theirs", **ENDED)
    session_id = put_conversation(conversations, room_id="ours")
    heard = {"transcriptionMillis": 200, "endOfTurnMillis": 500}
    spoken = {"answerMillis": 1600, "llmFirstTokenMillis": 800, "ttsFirstByteMillis": 200}
    AgentsConversation(conversations, session_id).append(
        row(1, 2, "Two pizzas, please.", latencies=heard),
        row(2, 3, None, "assistant", kind="tool_call", tool={**ORDER, "arguments": {"pizzas": 2}}),
        row(3, 4, "Sold out", "tool", kind="tool_result", tool={**ORDER, "isError": True}),
        row(4, 5, "We have", "assistant", interrupted=True, latencies=spoken),
    )
    conversations.query("UPDATE voice.conversation_sessions SET attempts = 2 WHERE room_id = 'ours' RETURNING 1")
    AgentsConversation(conversations, session_id, 2).append(row(5, 30, "None today.", "assistant"))
    conversations.query(
        "UPDATE voice.conversation_sessions SET ended_at = %s, end_reason = %s WHERE room_id = 'ours' RETURNING 1",
        *ENDED.values(),
    )
    async with serving_calls(cluster, conversations, BUILT_PAGE) as running:
        yield running


def row(position: int, seconds: float, content: str | None, role: str = "user", **more: Any) -> dict[str, Any]:
    """Returns a row as an agent writes it."""
    at = (NOON + timedelta(seconds=seconds)).isoformat()
    return {**message(position, ""), "content": content, "role": role, "createdAt": at, **more}


async def sign_in(tab: Page, key: str) -> None:
    await tab.get_by_label("API key").fill(key)
    await tab.get_by_role("button", name="Sign in").click()


def rooms(tab: Page) -> Any:
    return tab.locator("tbody a")


async def test_a_tenant_signs_in_searches_opens_a_call_and_never_another_s(door: FrontDoor, browser: Browser) -> None:
    async with open_tab(browser) as tab:
        told: list[str] = []
        tab.on("console", lambda each: told.append(each.text))
        # Nothing of the page comes without a key.
        answer = await tab.goto(f"{door.url}/calls/ours")
        assert answer is not None
        assert answer.status == 401
        assert "assets/calls-" not in await answer.text()
        await sign_in(tab, "a-wrong-key")
        await expect(tab.get_by_role("heading", name="This key is not known")).to_be_visible()
        await sign_in(tab, "acme-key")
        await tab.wait_for_url(f"{door.url}/calls/ours")

        await expect(tab.locator("h1")).to_have_text("The customer hung up")
        await expect(tab.locator(".title")).to_contain_text("2 agents")
        assert await tab.locator(".said .text").all_inner_texts() == ["Two pizzas, please.", "We have", "None today."]
        await expect(tab.locator(".measure").first).to_contain_text("1.6 s")
        await expect(tab.locator(".measure").first).to_contain_text("Chat model")
        await expect(tab.locator(".said .note")).to_have_text("interrupted")
        await expect(tab.get_by_text("Next agent")).to_be_visible()
        await tab.locator(".tool summary").click()
        await expect(tab.locator(".tool pre").last).to_have_text("Sold out")

        await tab.get_by_role("link", name="← Calls").click()
        await expect(rooms(tab)).to_have_text(["waiting", "ours", "older"])
        await expect(tab.locator("tbody tr").first).to_contain_text("Waits for a pod")
        await expect(tab.locator("tbody tr").nth(1)).to_contain_text("1.6 s")
        await tab.get_by_label("How it ended").select_option("error")
        await tab.get_by_role("button", name="Search").click()
        await expect(rooms(tab)).to_have_text(["older"])

        await tab.goto(f"{door.url}/calls/theirs")
        await expect(tab.get_by_role("heading", name="No such call")).to_be_visible()
        await tab.get_by_role("button", name="Sign out").click()
        await expect(tab.get_by_text("You are signed out.")).to_be_visible()
        await tab.go_back()
        await expect(tab.get_by_role("button", name="Sign in")).to_be_visible()
        await expect(tab.locator(".said")).to_have_count(0)
        assert not [text for text in told if "Content Security Policy" in text]


async def test_who_sees_all_tenants_does_so_on_a_phone(door: FrontDoor, browser: Browser) -> None:
    async with open_tab(browser) as tab:
        await tab.set_viewport_size(PHONE)
        await tab.goto(f"{door.url}/calls")
        await sign_in(tab, "sre-key")
        await expect(tab.locator("#tenant")).to_have_text("All tenants")
        await expect(rooms(tab)).to_have_count(4)
        await tab.get_by_label("Tenant").fill("beta")
        await tab.get_by_role("button", name="Search").click()
        await expect(rooms(tab)).to_have_text(["theirs"])
        await expect(tab.locator("tbody")).to_contain_text("default · beta")
        await rooms(tab).click()
        await expect(tab.locator("h1")).to_have_text("The customer hung up")
        await expect(tab.get_by_text("Nothing that was said is written down.")).to_be_visible()
        assert await tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
