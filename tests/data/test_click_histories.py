"""Histories of rows: made of the log or given, whole batches of them, and the leaks that are found."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.clicks import audit_histories as audit_module
from lightning_rec.data.clicks import table as table_module
from lightning_rec.data.clicks.audit import audit_clicks
from lightning_rec.data.clicks.batches import ClickData, ClickSet
from lightning_rec.data.clicks.encode import encode
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.splits import RandomRows, RowProtocol, SplitAssignment, TemporalRows
from lightning_rec.data.clicks.table import ClickTable, prepare_clicks
from lightning_rec.data.core.audited import judged
from lightning_rec.data.sources.click_table import ClickTableSource
from lightning_rec.errors import LeakError, UserError

Made = tuple[ClickTable, Fields, Encoded]


def log(seed: int = 3) -> pl.DataFrame:
    """200 rows of seven users (and of nobody), with ties of time and out of order."""
    chance = np.random.default_rng(seed)
    users, items = [*"abcdefg", None], [*"pqrstuvwxyz", None]
    return pl.DataFrame(
        {
            "user": [users[i] for i in chance.integers(8, size=200)],
            "item": [items[i] for i in chance.integers(12, size=200)],
            "day": chance.integers(40, size=200),
            "liked": chance.integers(2, size=200),
        }
    )


def fields(**changes: Any) -> Fields:
    made = Fields(categorical=("user", "item"), label="liked", group="user", time="day", item="item", past="clicks")  # fmt: skip
    return replace(made, **changes)


def prepared(folder: Path, frame: pl.DataFrame, declared: Fields) -> ClickTable:
    frame.write_parquet(folder / "log.parquet")
    return prepare_clicks(
        ClickTableSource(fields=declared, path=str(folder / "log.parquet")), folder / "cache"
    )


def made(folder: Path, protocol: RowProtocol | None = None, **changes: Any) -> Made:
    declared = fields(**changes)
    table = prepared(folder, log(), declared)
    dealt = (protocol or RandomRows(val=0.2, test=0.2)).assign(table, declared)
    return table, declared, encode(table, declared, dealt, Path(mkdtemp(dir=folder)) / "encoded")


def names(encoded: Encoded, row: int) -> list[str | None]:
    """The history of a row as the ids that the table has."""
    assert encoded.past is not None
    known = encoded.vocabulary.filter(pl.col("field") == encoded.schema.item)
    field = encoded.schema.fields[encoded.schema.place(str(encoded.schema.item))]
    name = dict(zip(known["id"] - field.start - 1, known["value"], strict=True))
    start, end = encoded.past.start[row], encoded.past.end[row]
    return [name[int(code)] for code in encoded.past.items[start:end]]


def parts(encoded: Encoded) -> list[int]:
    found = np.zeros(len(encoded.label), dtype=int)
    found[encoded.val], found[encoded.test] = 1, 2
    return found.tolist()


@pytest.mark.parametrize("past", ["clicks", "rows"])
@pytest.mark.parametrize("protocol", [RandomRows(val=0.2, test=0.2), TemporalRows()])
@pytest.mark.parametrize("min_count", [1, 12])
def test_histories_made_of_the_log_are_those_of_a_loop(
    past: str, protocol: RowProtocol, min_count: int, tmp_path: Path
) -> None:
    table, declared, encoded = made(tmp_path, protocol, past=past, min_count=min_count)
    rows = log().rows(named=True)
    known = set(encoded.vocabulary.filter(pl.col("field") == "item")["value"]) - {None}
    longest = unknown = 0
    part = parts(encoded)
    for number, row in enumerate(rows):
        events = [
            (other["day"], place, other["item"])
            for place, other in enumerate(rows)
            if row["user"] is not None
            and other["user"] == row["user"]
            and other["day"] < row["day"]
            and part[place] <= part[number]
            and (past == "rows" or other["liked"])
        ]
        wanted = [item for _, _, item in sorted(events, key=lambda e: e[:2]) if item in known]
        assert names(encoded, number) == wanted
        longest = max(longest, len(wanted))
        eligible = row["user"] is not None and (past == "rows" or row["liked"])
        unknown += bool(eligible) and row["item"] not in known
    assert longest >= 5
    assert unknown > 0
    assert encoded.counts["longest history"] == longest
    assert encoded.counts["unknown items in histories"] == unknown
    audit_clicks(table, declared, encoded)


GIVEN = {
    "user": ["a", "a", "a", "b", "b"],
    "item": ["p", "q", "r", "q", "p"],
    "seen": ["", "p", "p|zz| q ", None, "q"],
    "liked": [1, 0, 0, 0, 1],
    "day": [1, 2, 3, 1, 2],
}
TWO_PARTS = SplitAssignment(np.array([0, 0, 2, 0, 2], dtype=np.int8))


def test_it_reads_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = fields(past=None, history="seen")
    frame = pl.concat([pl.DataFrame(GIVEN)] * 3).with_columns(day=pl.int_range(15))
    table = prepared(tmp_path, frame, declared)
    dealt = SplitAssignment(np.tile(TWO_PARTS.part, 3))
    whole = encode(table, declared, dealt, tmp_path / "whole")
    for module in (table_module, audit_module):
        monkeypatch.setattr(module, "BLOCK", 4)
    cut = encode(table, declared, dealt, tmp_path / "cut")
    assert whole.past is not None
    assert cut.past is not None
    for one, other in zip(whole.past[:3], cut.past[:3], strict=True):
        np.testing.assert_array_equal(one, other)
    audit_clicks(table, declared, cut)
    late = np.array(cut.past.items)
    late[0] = 0  # row 2 holds q, its own item
    found = audit_clicks(table, declared, with_past(cut, items=late))[1]
    assert re.search("row 2: its history .* holds 'q'", found[0].sentence)


@pytest.mark.parametrize("as_lists", [False, True])
def test_given_histories_keep_their_order_and_what_is_known(as_lists: bool, tmp_path: Path) -> None:
    frame = pl.DataFrame(GIVEN)
    if as_lists:
        frame = frame.with_columns(pl.col("seen").str.split("|"))
    declared = fields(past=None, history="seen")
    table = prepared(tmp_path, frame, declared)
    encoded = encode(table, declared, TWO_PARTS, tmp_path / "one")
    assert [names(encoded, row) for row in range(5)] == [[], ["p"], ["p", "q"], [], ["q"]]
    assert encoded.counts["unknown items in histories"] == 1
    assert encoded.counts["rows without a history"] == 2
    audit_clicks(table, declared, encoded)
    short = encode(table, replace(declared, history_max_len=1), TWO_PARTS, tmp_path / "two")
    assert [names(short, row) for row in range(5)] == [[], ["p"], ["q"], [], ["q"]]


def test_a_given_history_that_holds_the_future_is_refused(tmp_path: Path) -> None:
    declared = fields(past=None, history="seen")
    for row, history in ((1, "q"), (3, "p")):  # the row's own item, and a later one's
        seen = [*GIVEN["seen"]]  # type: ignore[misc]
        seen[row] = history
        table = prepared(tmp_path, pl.DataFrame(GIVEN | {"seen": seen}), declared)
        encoded = encode(table, declared, TWO_PARTS, tmp_path / str(row))
        found = audit_clicks(table, declared, encoded)[1]
        said = rf"row {row + 1}: its history .* '{history}'.*1 such.*accept=\[seen\]"
        with pytest.raises(UserError, match=said):
            judged(found, "warn", ())
        assert judged(found, "error", ("seen", "rows"))["accepted"][0] == found[0].sentence


def with_past(encoded: Encoded, **changes: Any) -> Encoded:
    assert encoded.past is not None
    return replace(encoded, past=encoded.past._replace(**changes))


def own_row(encoded: Encoded) -> Encoded:
    assert encoded.past is not None
    day = log()["day"].to_numpy()
    end = np.array(encoded.past.end)
    row = next(
        r
        for r in range(len(end))
        if end[r] < len(encoded.past.items)
        and log()["user"][r] is not None
        and encoded.past.rows[end[r]] == r
    )
    assert day[encoded.past.rows[end[row]]] == day[row]
    end[row] += 1
    return with_past(encoded, end=end)


def other_group(encoded: Encoded) -> Encoded:
    assert encoded.past is not None
    start, end = np.array(encoded.past.start), np.array(encoded.past.end)
    long = np.flatnonzero(end - start > 3)
    user = log()["user"].to_list()
    one = long[0]
    other = next(r for r in long if user[r] != user[one])
    start[one], end[one] = start[other], start[other] + 1
    return with_past(encoded, start=start, end=end)


def two_groups(encoded: Encoded) -> Encoded:
    assert encoded.past is not None
    start = np.array(encoded.past.start)
    row = int(np.flatnonzero((encoded.past.end > start) & (start > 0))[0])
    start[row] -= 1
    return with_past(encoded, start=start)


def wrong_item(encoded: Encoded) -> Encoded:
    assert encoded.past is not None
    items = np.array(encoded.past.items)
    items[7] = (items[7] + 1) % 5
    return with_past(encoded, items=items)


def not_clicked(encoded: Encoded) -> Encoded:
    label = np.array(encoded.label)
    assert encoded.past is not None
    rows = np.array(encoded.past.rows)
    rows[3] = np.flatnonzero(label == 0)[0]
    return with_past(encoded, rows=rows)


def held_out(encoded: Encoded) -> Encoded:
    """A history of training goes on into that of the whole sequence, kept for the test."""
    assert encoded.past is not None
    start, end = np.array(encoded.past.start), np.array(encoded.past.end)
    user, day, part = log()["user"].to_list(), log()["day"].to_numpy(), parts(encoded)
    row, other = next(
        (row, other)
        for row in encoded.train
        for other in encoded.test
        if user[row] is not None and user[other] == user[row] and day[other] <= day[row]
        and any(part[r] for r in encoded.past.rows[start[other] : end[other]])
    )  # fmt: skip
    start[row], end[row] = start[other], end[other]
    return with_past(encoded, start=start, end=end)


def backwards(encoded: Encoded) -> Encoded:
    assert encoded.past is not None
    length = encoded.past.end - encoded.past.start
    row = int(np.argmax(length))
    first = int(encoded.past.start[row])
    swap = np.arange(len(encoded.past.items))
    day = log()["day"].to_numpy()[encoded.past.rows]
    last = next(i for i in range(first + 1, int(encoded.past.end[row]) - 1) if day[i] > day[first])
    swap[[first, last]] = swap[[last, first]]
    return with_past(encoded, items=encoded.past.items[swap], rows=encoded.past.rows[swap])


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (own_row, "holds its own row or a later one"),
        (other_group, "belongs to another group"),
        (two_groups, "holds two groups"),
        (wrong_item, "not that of its row"),
        (not_clicked, "of no click"),
        (held_out, "the label of a row that is held out"),
        (backwards, "not in the order of time"),
    ],
)
def test_what_is_planted_is_found(
    plant: Callable[[Encoded], Encoded], said: str, tmp_path: Path
) -> None:
    table, declared, encoded = made(tmp_path)
    audit_clicks(table, declared, encoded)
    with pytest.raises(LeakError, match=said):
        audit_clicks(table, declared, plant(encoded))


def test_histories_lie_on_disk(tmp_path: Path) -> None:
    encoded = made(tmp_path)[2]
    assert (encoded.schema.item, encoded.schema.max_len) == ("item", 50)
    assert encoded.past is not None
    assert all(isinstance(array, np.memmap) for array in encoded.past)


def test_batches_hold_the_latest_items_the_longest_history_first(tmp_path: Path) -> None:
    encoded = made(tmp_path, history_max_len=4)[2]
    schema = encoded.schema.history
    assert schema is not None
    assert (schema.num_items, schema.max_len) == (12, 4)
    number = list(range(len(encoded.val)))
    batch = ClickSet(encoded, "val", histories=True).__getitems__(number)
    assert batch.rows.history is not None
    assert sorted(batch.example.tolist()) == number
    lengths = []
    for place, example in enumerate(batch.example.tolist()):
        row = encoded.val[example]
        assert encoded.past is not None
        start, end = encoded.past.start[row], encoded.past.end[row]
        wanted = encoded.past.items[start:end][-4:].tolist()
        shown = batch.rows.history.items[place].tolist()
        assert shown == wanted + [schema.padding] * (len(shown) - len(wanted))
        assert batch.rows.ids[place].tolist() == encoded.ids[row].tolist()
        assert batch.label[place] == encoded.label[row]
        lengths.append(len(wanted))
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == 4
    assert lengths[-1] == 0


def test_who_reads_no_histories_gets_none_and_rows_in_their_order(tmp_path: Path) -> None:
    encoded = made(tmp_path)[2]
    batch = next(iter(ClickData(encoded=encoded, seed=1, eval_batch_size=30).loader("val")))
    assert batch.rows.history is None
    assert batch.example.tolist() == list(range(30))
    batch = next(iter(ClickData(encoded=encoded, seed=1, histories=True).loader("val")))
    assert batch.rows.history is not None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"history": "seen"}, r"history=seen .*past=clicks"),
        ({"item": None}, r"data\.fields\.item=null.*user, item"),
        ({"item": "day"}, r"data\.fields\.item=day.*one of user, item"),
        ({"group": None}, r"set data\.fields\.group=COLUMN\."),
        ({"group": None, "time": None}, r"group=COLUMN and data\.fields\.time=COLUMN"),
        ({"past": None, "history": "user"}, "the column user for two things"),
    ],
)
def test_a_declaration_that_makes_no_history(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        fields(**changes)
