"""Rows that wait for the database: in order, and bounded by number and by size."""

from voice_agent import waiting_rows
from voice_agent.conversation_items import Row
from voice_agent.waiting_rows import WaitingRows


def row(number: int, size: int = 1) -> Row:
    return {"itemId": str(number), "content": "x" * size}


def test_they_go_as_they_have_come() -> None:
    rows = WaitingRows()
    assert all(rows.add(row(number)) for number in range(5))
    assert rows.first(2) == [row(0), row(1)]
    rows.drop(2)
    assert (rows.all(), len(rows), rows.first(9)) == ([row(2), row(3), row(4)], 3, [row(2), row(3), row(4)])


def test_there_is_room_for_so_many() -> None:
    rows = WaitingRows()
    assert [rows.add(row(number)) for number in range(waiting_rows.MOST_ROWS + 1)][-2:] == [True, False]


def test_there_is_room_for_so_much_and_again_when_some_have_gone() -> None:
    rows = WaitingRows()
    half = waiting_rows.MOST_BYTES // 2
    assert [rows.add(row(number, half - 100)) for number in range(3)] == [True, True, False]
    assert rows.add(row(4)), "a small one still fits"
    rows.drop(1)
    assert rows.add(row(5, half - 100))
