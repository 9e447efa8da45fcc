"""A store under watches that deliver late, twice or not at all."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from kube.store import Store, Unreadable
from voice_telemetry.logs import JsonFormatter
from voicesession.models import VoiceSession

Change = tuple[str | None, str | None]


def raw(name: str, version: int, value: str = "", uid: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}, "value": value}


async def pages(version: int, *pages: list[dict[str, Any]]) -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
    """A full list of this version, as the API server gives it."""
    for page in pages or [[]]:
        yield page, version


@pytest.fixture
def changes() -> list[Change]:
    return []


@pytest.fixture
def store(changes: list[Change]) -> Store[str]:
    return Store(
        lambda given: given["value"],
        {"first": lambda value: value[:1] or None},
        lambda before, after: changes.append((before, after)),
    )


def test_what_was_seen_is_there_by_name_and_by_index(store: Store[str]) -> None:
    store.put(raw("a", 1, "red"))
    store.put(raw("b", 2, "rose"))
    assert store.get("a") == "red"
    assert sorted(store.by("first", "r")) == ["red", "rose"]
    assert store.count("first", "r") == 2
    store.put(raw("a", 3, "blue"))
    assert store.by("first", "r") == ["rose"]
    assert store.by("first", "b") == ["blue"]


def test_an_older_or_equal_version_changes_nothing(store: Store[str], changes: list[Change]) -> None:
    store.put(raw("a", 5, "new"))
    store.put(raw("a", 5, "same"))
    store.put(raw("a", 4, "old"))
    assert store.get("a") == "new"
    assert changes == [(None, "new")]


def test_versions_are_compared_as_numbers(store: Store[str]) -> None:
    store.put(raw("a", 9, "nine"))
    store.put(raw("a", 10, "ten"))
    assert store.get("a") == "ten"


def test_what_went_does_not_come_back_by_a_late_answer(store: Store[str], changes: list[Change]) -> None:
    store.put(raw("a", 1, "x"))
    store.remove("a", "uid-a")
    store.put(raw("a", 9, "late"))
    assert store.get("a") is None
    assert store.by("first", "l") == []
    assert changes == [(None, "x"), ("x", None)]


def test_another_object_of_the_same_name_takes_its_place(store: Store[str], changes: list[Change]) -> None:
    store.put(raw("a", 1, "first", "uid-1"))
    store.put(raw("a", 2, "second", "uid-2"))
    assert changes == [(None, "first"), ("first", None), (None, "second")]
    store.remove("a", "uid-1")  # the first one's deletion arrives late
    assert store.get("a") == "second"


async def test_a_full_list_shows_deletions_that_no_watch_told(store: Store[str], changes: list[Change]) -> None:
    store.put(raw("kept", 1, "kept"))
    store.put(raw("gone", 2, "gone"))
    assert await store.resync(pages(4, [raw("kept", 1, "kept")], [raw("new", 3, "new")])) == ["gone"]
    assert store.get("gone") is None
    assert sorted(store.all()) == ["kept", "new"]
    assert changes[-1] == ("gone", None)


async def test_what_is_newer_than_a_full_list_is_not_missing_in_it(store: Store[str]) -> None:
    async def list_while_one_is_made() -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
        yield [raw("a", 5, "a")], 6
        store.put(raw("made-meanwhile", 7, "x"))
        yield [raw("b", 6, "b")], 6

    assert await store.resync(list_while_one_is_made()) == []
    assert sorted(store.by_name) == ["a", "b", "made-meanwhile"]


async def test_a_list_that_breaks_off_removes_nothing(store: Store[str]) -> None:
    store.put(raw("a", 1, "a"))

    async def break_off() -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
        yield [raw("b", 2, "b")], 3
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await store.resync(break_off())
    assert sorted(store.by_name) == ["a", "b"]
    assert not store.synced


async def test_only_a_full_list_makes_it_complete(store: Store[str]) -> None:
    store.put(raw("a", 1, "x"))
    assert not store.synced
    await store.resync(pages(4))
    assert store.synced
    assert store.listed_at == 4


async def test_a_list_that_is_older_than_what_was_seen_takes_its_place(
    store: Store[str], changes: list[Change]
) -> None:
    """As after a restore of etcd: versions count from the copy's again, and what was deleted since is back."""
    store.put(raw("changed", 90, "after the copy"))
    store.put(raw("made-since", 95, "x"))
    store.put(raw("deleted-since", 40, "there"))
    store.remove("deleted-since", "uid-deleted-since")
    page = [raw("changed", 30, "in the copy"), raw("deleted-since", 40, "there")]
    assert await store.resync(pages(50, page)) == ["made-since"]
    assert dict(store.by_name) == {"changed": "in the copy", "deleted-since": "there"}
    store.put(raw("changed", 60, "after the restore"))
    assert store.get("changed") == "after the restore"


def test_the_objects_by_name_follow_and_cannot_be_written(store: Store[str]) -> None:
    by_name = store.by_name
    store.put(raw("a", 1, "x"))
    assert dict(by_name) == {"a": "x"}
    with pytest.raises(TypeError):
        by_name["b"] = "y"  # type: ignore[index]


async def test_an_object_that_cannot_be_read_is_told_once_without_its_words_and_hides_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[Unreadable] = []
    sessions = Store(VoiceSession.model_validate, on_unreadable=told.append)
    unreadable = {"kind": "VoiceSession", **raw("bad", 1), "spec": {"variables": "secret words"}}
    for _ in range(2):
        await sessions.resync(pages(2, [unreadable, {**raw("good", 2), "spec": {}}]))
    assert list(sessions.by_name) == ["good"]
    assert sessions.is_unreadable("uid-bad")
    assert told == [Unreadable("bad", "uid-bad", "spec.variables: Input should be a valid dictionary")]
    assert sessions.unreadable == told
    (line,) = (JsonFormatter({"kube"}).format(record) for record in caplog.records)
    assert '"kind": "VoiceSession", "object": "bad"' in line
    assert "secret words" not in caplog.text + line


@pytest.mark.parametrize("error", [KeyError("status"), ValueError("no time"), TypeError("None"), RecursionError()])
def test_whatever_is_wrong_with_an_object_it_is_passed_over(error: Exception) -> None:
    def parse(_raw: object) -> str:
        raise error

    store: Store[str] = Store(parse)
    store.put(raw("bad", 1))
    assert len(store.unreadable) == 1


def test_an_object_without_a_version_is_passed_over(store: Store[str], caplog: pytest.LogCaptureFixture) -> None:
    store.put({"metadata": {"name": "a", "uid": "uid-a"}})
    store.put({})
    assert not store.by_name
    assert caplog.text.count("is passed over") == 2


async def test_what_can_be_read_again_or_is_gone_counts_as_unreadable_no_more() -> None:
    sessions = Store(VoiceSession.model_validate)
    for name in ("mended", "removed", "missing"):
        sessions.put({**raw(name, 1), "spec": {"variables": "no map"}})
    assert len(sessions.unreadable) == 3
    sessions.put({**raw("mended", 2), "spec": {}})
    sessions.remove("removed", "uid-removed")
    await sessions.resync(pages(3, [{**raw("mended", 2), "spec": {}}]))
    assert not sessions.unreadable


def test_an_object_that_can_be_read_no_more_stays_as_it_was() -> None:
    sessions = Store(VoiceSession.model_validate)
    sessions.put({**raw("call", 1), "spec": {"profile": "shop"}})
    sessions.put({**raw("call", 2), "spec": {"variables": "no map"}})
    held = sessions.get("call")
    assert held is not None
    assert held.spec.profile == "shop"


def test_so_many_are_remembered_as_gone_and_no_more(store: Store[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kube.store._GRAVES", 2)
    for number in range(3):
        store.remove(f"a{number}", f"uid-{number}")
    for number in range(3):
        store.put(raw(f"a{number}", 1, "x", f"uid-{number}"))
    assert list(store.by_name) == ["a0"]
