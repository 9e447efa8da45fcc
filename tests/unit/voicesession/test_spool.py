"""Pieces of what an agent could not write: they open with their own key alone, and their size is bounded."""

import json
import os
from datetime import UTC, datetime

import pytest

from voicesession.assignment import conversation_write_token
from voicesession.spool import (
    LARGEST_PIECE,
    MOST_PIECES,
    Spool,
    Spooled,
    SpooledEnd,
    SpooledStart,
    SpoolError,
    SpoolKey,
    build_spool,
    spool_key,
)

STARTED = SpooledStart(room_id="room-1", profile="default", started_at=datetime(2026, 1, 1, tzinfo=UTC))
ENDED = SpooledEnd(reason="idle", ended_at=datetime(2026, 1, 1, 1, tzinfo=UTC), usage={"tokens": 3})


def key_of(session_id: str = "session-1", attempt: int = 1, master: bytes = b"k" * 32) -> SpoolKey:
    return spool_key(session_id, attempt, conversation_write_token(master, session_id, attempt))


def random_item(size: int) -> dict[str, object]:
    return {"itemId": "a", "content": os.urandom(size // 2).hex()}


def test_what_was_sealed_comes_back_over_the_wire() -> None:
    items: list[dict[str, object]] = [{"itemId": "a", "content": "für zwei 🙂", "tool": {"guests": None}}]
    spool = Spool.model_validate_json(build_spool(key_of(), STARTED, items, ENDED).model_dump_json(by_alias=True))
    (piece,) = spool.pieces
    assert (spool.session_id, spool.attempt, spool.lost, piece.rows) == ("session-1", 1, 0, 1)
    assert key_of().open(piece.data) == Spooled(started=STARTED, items=items, ended=ENDED)


def test_an_end_without_rows_is_a_piece_too() -> None:
    (piece,) = build_spool(key_of(), STARTED, [], ENDED).pieces
    assert (piece.rows, key_of().open(piece.data).ended) == (0, ENDED)


def test_words_cannot_be_read_in_a_piece() -> None:
    (piece,) = build_spool(key_of(), STARTED, [{"content": "my card is 4111"}], None).pieces
    assert b"my card" not in piece.data
    assert b"room-1" not in piece.data


@pytest.mark.parametrize(
    "other",
    [key_of(attempt=2), key_of("session-2"), key_of(master=b"K" * 32)],
    ids=["another attempt", "another session", "another conversation key"],
)
def test_another_key_opens_nothing(other: SpoolKey) -> None:
    (piece,) = build_spool(key_of(), STARTED, [{"content": "one"}], None).pieces
    with pytest.raises(SpoolError):
        other.open(piece.data)


def test_a_key_is_bound_to_its_attempt_beyond_its_bytes() -> None:
    mine = key_of()
    (piece,) = build_spool(mine, STARTED, [{"content": "one"}], None).pieces
    with pytest.raises(SpoolError):
        SpoolKey("session-2", 1, mine.secret).open(piece.data)


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: b"", lambda data: data[:5] + bytes([data[5] ^ 1]) + data[6:]]
)
def test_a_damaged_piece_is_refused(change: object) -> None:
    assert callable(change)
    (piece,) = build_spool(key_of(), STARTED, [{"content": "one"}], None).pieces
    with pytest.raises(SpoolError):
        key_of().open(change(piece.data))


def test_what_is_no_conversation_is_refused() -> None:
    with pytest.raises(SpoolError):
        key_of().open(key_of().seal(Spooled.model_construct(started=ENDED, items=[])))  # type: ignore[arg-type]


def test_much_is_cut_into_pieces_that_a_configmap_can_hold() -> None:
    items = [random_item(200_000) for _ in range(5)]
    spool = build_spool(key_of(), STARTED, items, ENDED)
    assert [piece.rows for piece in spool.pieces] == [2, 2, 1]
    assert all(len(piece.data) <= LARGEST_PIECE for piece in spool.pieces)
    opened = [key_of().open(piece.data) for piece in spool.pieces]
    assert [item for each in opened for item in each.items] == items
    assert all((each.started, each.ended) == (STARTED, ENDED) for each in opened)


def test_what_is_beyond_the_bound_is_counted() -> None:
    small: dict[str, object] = {"itemId": "b", "content": "small"}
    too_large = [random_item(3 * LARGEST_PIECE), small]
    spool = build_spool(key_of(), STARTED, too_large, None)
    assert (spool.lost, [key_of().open(piece.data).items for piece in spool.pieces]) == (1, [[small]])

    many = [random_item(LARGEST_PIECE - 20_000) for _ in range(MOST_PIECES + 2)]
    spool = build_spool(key_of(), STARTED, many, None)
    assert (spool.lost, len(spool.pieces)) == (2, MOST_PIECES)
    assert len(json.dumps(spool.model_dump(mode="json"))) < 8 * 1024 * 1024
