"""Leaks that lie in the table itself are told by their effect, and what was known beforehand is not."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.clicks import table as table_module
from lightning_rec.data.clicks.audit import audit_clicks
from lightning_rec.data.clicks.audit_effects import area
from lightning_rec.data.clicks.encode import encode
from lightning_rec.data.clicks.fields import Fields, Goal
from lightning_rec.data.clicks.pipeline import load_clicks
from lightning_rec.data.clicks.splits import GivenRows, RandomRows, RowProtocol, TemporalRows
from lightning_rec.data.clicks.table import prepare_clicks
from lightning_rec.data.sources.click_table import ClickTableSource
from lightning_rec.errors import UserError

Columns = dict[str, Any]
ROWS, ITEMS = 3_000, 90


def log(seed: int = 1) -> Columns:
    """Rows of 150 users and 90 items, whose rates of clicks differ, in the order of time."""
    chance = np.random.default_rng(seed)
    user, item = chance.integers(0, 150, ROWS), chance.integers(0, ITEMS, ROWS)
    liked = chance.beta(2, 2, ITEMS)
    label = (chance.random(ROWS) < liked[item]).astype(int)
    return {"uid": user, "sku": item, "ts": np.arange(ROWS), "y": label, "_liked": liked[item]}


def told(
    folder: Path, columns: Columns, protocol: RowProtocol | None = None, **fields: Any
) -> tuple[list[str], dict[str, Any]]:
    """What the audit says of a table, and counts."""
    path = folder / "log.parquet"
    pl.DataFrame({name: column for name, column in columns.items() if name[0] != "_"}).write_parquet(path)  # fmt: skip
    settings = {"categorical": ("uid", "sku"), "label": "y", "group": "uid", "time": "ts"} | fields
    declared = Fields(**settings)
    table = prepare_clicks(ClickTableSource(fields=declared, path=str(path)), folder / "cache")
    dealt = (protocol or RandomRows()).assign(table, declared)
    encoded = encode(table, declared, dealt, folder / "encoded")
    facts, found = audit_clicks(table, declared, encoded)
    return [each.sentence for each in found], facts


def counted(columns: Columns, rows: Any, a: float = 0, b: float = 0) -> tuple[Any, Any, Any]:
    """Rate (c + a) / (n + b), clicks and rows of each item among some rows, for every row."""
    item, label = columns["sku"], columns["y"]
    clicks = np.bincount(item[rows], weights=label[rows], minlength=ITEMS)
    number = np.bincount(item[rows], minlength=ITEMS)
    rate = (clicks + a) / np.maximum(number + b, 1e-9)
    return rate[item], clicks[item], number[item].astype(float)


def test_a_clean_log_is_not_spoken_of(tmp_path: Path) -> None:
    said, facts = told(tmp_path, log())
    assert said == []
    assert facts["doubled rows"] == facts["held-out rows that training has too"] == 0


def test_the_area_is_that_of_all_pairs() -> None:
    chance = np.random.default_rng(3)
    score, label = chance.integers(0, 6, 80).astype(float), chance.random(80) < 0.4
    apart = score[label][:, None] - score[~label][None]
    assert area(score, label) == pytest.approx(((apart > 0) + (apart == 0) / 2).mean())


@pytest.mark.parametrize("kind", ["categorical", "numeric", "multi_valued", "buckets"])
def test_a_copy_of_the_label_is_told(kind: str, tmp_path: Path) -> None:
    columns = log()
    copy = [{0: "no", 1: "yes"}[label] for label in columns["y"]]
    if kind in ("numeric", "buckets"):
        copy = 7.5 - 2 * columns["y"]
    fields = {kind: (*(("uid", "sku") if kind == "categorical" else ()), "bought")}
    if kind == "buckets":
        fields = {"numeric": ("bought",), "buckets": {"bought": 4}}  # type: ignore[dict-item]
    said, _ = told(tmp_path, columns | {"bought": copy}, **fields)
    named = "numeric" if kind == "buckets" else kind
    assert len(said) == 1
    assert "'bought' alone tells the label of held-out rows with an AUC of 1.0000" in said[0]
    assert f"take it out of data.fields.{named}" in said[0]


def test_a_number_that_is_there_in_clicks_alone_is_told(tmp_path: Path) -> None:
    columns, chance = log(), np.random.default_rng(2)
    dwelt = [float(time) if label else None for time, label in zip(chance.random(ROWS), columns["y"], strict=True)]  # fmt: skip
    said, _ = told(tmp_path, columns | {"dwelt": dwelt}, numeric=("dwelt",))
    assert "'dwelt' alone tells the label" in said[0]


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_a_copy_that_half_of_the_rows_have_is_told(kind: str, tmp_path: Path) -> None:
    columns, chance = log(), np.random.default_rng(2)
    there = chance.random(ROWS) < 0.5
    columns["copy"] = [int(y) if has else None for y, has in zip(columns["y"], there, strict=True)]
    named = ("copy",) if kind == "numeric" else ("uid", "sku", "copy")
    (said,), _ = told(tmp_path, columns, RandomRows(test=0.5), **{kind: named})
    assert "'copy' alone tells the label of the held-out rows that have it with an AUC of 1" in said


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_what_comes_of_some_clicks_alone_is_told(kind: str, tmp_path: Path) -> None:
    """A purchase tells the label of few rows, so that its AUC is not beyond belief."""
    columns, chance = log(), np.random.default_rng(2)
    columns["y"] = [int(chance.random() < 0.3) for _ in range(ROWS)]
    columns["bought"] = [int(y and chance.random() < 0.4) for y in columns["y"]]
    columns["skipped"] = [int(not y and chance.random() < 0.1) for y in columns["y"]]
    named = ("bought", "skipped")
    (said,), _ = told(tmp_path, columns, RandomRows(test=0.5), **{kind: named})
    assert "'bought' has values that tell the label: it is 1 in all of" in said
    nearly = [b or int(chance.random() < 0.05) for b in columns["bought"]]
    (tmp_path / "nearly").mkdir()
    assert told(tmp_path / "nearly", columns | {"bought": nearly}, **{kind: named})[0] == []


def test_a_strong_field_below_the_bound_is_not_told_and_goals_are_named(tmp_path: Path) -> None:
    columns, chance = log(), np.random.default_rng(2)
    columns["hint"] = columns["y"] ^ (chance.random(ROWS) < 0.08)  # AUC .92
    columns["late"] = columns["y"] * (chance.random(ROWS) < 0.5)
    goals = {"click": Goal("y"), "buy": Goal("late")}
    assert told(tmp_path, columns, numeric=("hint",))[0] == []
    (tmp_path / "two").mkdir()
    paid = columns | {"paid": columns["late"]}
    said, _ = told(tmp_path / "two", paid, numeric=("paid",), label=None, goals=goals)
    assert len(said) == 1
    assert "'paid' alone tells the label 'buy'" in said[0]


PROTOCOLS: list[RowProtocol] = [RandomRows(seed=3), TemporalRows()]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=["random", "temporal"])
def test_what_was_counted_over_held_out_rows_is_told(protocol: RowProtocol, tmp_path: Path) -> None:
    columns = log()
    rate, clicks, rows = counted(columns, slice(None))
    (tmp_path / "plain").mkdir()
    part = parts(tmp_path / "plain", columns, protocol)
    leaks = {
        "rate": rate,
        "rounded": rate.round(2),
        "smoothed": counted(columns, slice(None), 2, 5)[0],
        "scaled": 3 - 2 * rate,
        "clicks": clicks,
        "rows": rows,
        "less_own": (clicks - columns["y"]) / np.maximum(1, rows - 1),
        "of_test": counted(columns, part == 2)[0],
        "not_of_val": counted(columns, part != 1)[0],
    }
    known = {
        "trained": counted(columns, part == 0, 1, 2)[0],
        "trained_rows": counted(columns, part == 0)[2],
        "quality": columns["_liked"],
        "votes": np.random.default_rng(5).binomial(50, columns["_liked"]) / 50,
        "noise": np.random.default_rng(6).random(ITEMS)[columns["sku"]],
        "age": columns["uid"] % 50 + 10,
    }
    numbers = leaks | known
    said, _ = told(tmp_path, columns | numbers, protocol, numeric=tuple(numbers))
    assert [name for name in numbers if f"the number '{name}'" in "".join(said)] == list(leaks)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=["random", "temporal"])
@pytest.mark.parametrize("without", [False, True], ids=["field", "no_field"])
def test_what_was_counted_is_told_in_other_forms(
    protocol: RowProtocol, without: bool, tmp_path: Path
) -> None:
    columns = log()
    rate, clicks, _ = counted(columns, slice(None))
    share = counted(columns, slice(None), 1, 2)[0]
    numbers = {"rate": rate, "log": np.log(rate + 0.01), "odds": np.log(share / (1 - share))}
    many = numbers if without else numbers | {"log_clicks": np.log1p(clicks)}
    texts = {"text": [f"{each:.6f}" for each in rate]}
    fields = {"numeric": tuple(many), "categorical": ("uid", *([] if without else ["sku"]), "text")}
    said, _ = told(tmp_path, columns | many | texts, protocol, **fields)
    both = "".join(said)
    assert [name for name in (*many, "text") if f"the number '{name}'" in both] == [*many, "text"]
    assert "take 'text' out of data.fields.categorical" in both
    assert ("of each value of it" in both) == without


def parts(folder: Path, columns: Columns, protocol: RowProtocol) -> Any:
    path = folder / "plain.parquet"
    pl.DataFrame({name: columns[name] for name in ("uid", "sku", "ts", "y")}).write_parquet(path)
    fields = Fields(categorical=("uid", "sku"), label="y", time="ts")
    return protocol.assign(
        prepare_clicks(ClickTableSource(fields=fields, path=str(path)), folder), fields
    ).part


def with_doubles(columns: Columns) -> Columns:
    """Each user's last event twice, at one time."""
    last = pl.DataFrame({name: columns[name] for name in ("uid", "sku", "ts", "y")})
    doubled = last.group_by("uid", maintain_order=True).last().select(last.columns)
    return pl.concat([last, doubled]).with_row_index("number").to_dict()


def test_events_that_stand_twice_are_counted_and_told(tmp_path: Path) -> None:
    said, facts = told(tmp_path, with_doubles(log()))
    users = len(set(log()["uid"]))
    assert facts["doubled rows"] == users
    assert 0 < facts["held-out rows that training has too"] <= users
    assert len(said) == 1
    assert f"{users} of {ROWS + users:,} rows are exact copies of another row" in said[0]


def test_copies_that_write_their_ids_in_another_way_are_copies(tmp_path: Path) -> None:
    columns, twice = with_doubles(log()), len(set(log()["uid"]))
    ids = [str(uid) for uid in columns["uid"]]
    columns["uid"] = [*ids[:ROWS], *(f" {uid}.0" for uid in ids[ROWS:])]
    _, facts = told(tmp_path, columns)
    assert facts["doubled rows"] == twice


@pytest.mark.parametrize("numbered", [False, True])
def test_doubled_rows_are_found_behind_an_index_but_not_behind_ids(
    numbered: bool, tmp_path: Path
) -> None:
    columns = with_doubles(log())
    if not numbered:
        columns["number"] = columns["number"] * 7  # ids of events that differ
    said, facts = told(tmp_path, columns, time=None, group=None)
    assert (facts["doubled rows"] > 0) == numbered
    assert len(said) == numbered


@pytest.mark.parametrize("used", [False, True])
def test_a_text_that_names_each_row_hides_no_doubled_ones(used: bool, tmp_path: Path) -> None:
    columns = with_doubles(log())
    columns["number"] = [f"{row:x}-{row * 7919 % 104729:x}" for row in columns["number"]]
    named = ("uid", "sku", *(["number"] if used else []))
    said, facts = told(tmp_path, columns, categorical=named)
    assert facts["doubled rows"] == len(set(log()["uid"]))
    assert "exact copies of another row" in "".join(said)


def test_few_counts_are_looked_at_as_categories_too(tmp_path: Path) -> None:
    columns = log()
    columns["clicks"] = np.bincount(columns["uid"], weights=columns["y"]).astype(int)[
        columns["uid"]
    ]
    said, _ = told(tmp_path, columns, categorical=("uid", "sku", "clicks"))
    assert "the number 'clicks' follows from the held-out rows of each 'uid'" in "".join(said)


@pytest.mark.parametrize("coarse", [False, True])
def test_a_click_beside_its_impression_is_told_where_times_are_fine(
    coarse: bool, tmp_path: Path
) -> None:
    columns = log()
    frame = pl.DataFrame({name: columns[name] for name in ("uid", "sku", "ts", "y")})
    frame = frame.with_columns(pl.col("sku") % 5, pl.col("ts") // (100 if coarse else 1))
    clicks = frame.filter(pl.col("y") == 1).with_columns(y=pl.lit(0, pl.Int64))
    both = frame if coarse else pl.concat([frame, clicks])
    said, _ = told(tmp_path, both.to_dict())
    assert len(said) == (not coarse)
    if not coarse:
        assert (
            f"{len(clicks):,} of {len(both):,} rows are copies of another row in all but" in said[0]
        )


@pytest.mark.parametrize("times", [1, 2])
def test_rows_alike_by_chance_are_not_told_but_a_doubled_file_is(
    times: int, tmp_path: Path
) -> None:
    columns = log()
    coarse = pl.DataFrame({name: columns[name] for name in ("uid", "sku", "y")})
    doubled = pl.concat([coarse] * times).to_dict()
    said, facts = told(tmp_path, doubled, time=None)
    assert facts["doubled rows"] > 0.03 * ROWS
    assert len(said) == times - 1


def shown(columns: Columns, where: str, only: str = "clicks") -> list[list[int]]:
    """Histories of ten random items, and the row's own item first, last or nowhere."""
    chance = np.random.default_rng(4)
    histories = chance.integers(ITEMS, ITEMS + 20, (ROWS, 10)).tolist()
    for history, item, label in zip(histories, columns["sku"].tolist(), columns["y"], strict=True):
        if only == "rows" or label:
            history.insert({"first": 0, "last": 10}.get(where, 0), item) if where else None
    return histories


@pytest.mark.parametrize("where", ["first", "last", ""])
def test_a_history_that_holds_the_target_is_told_without_times(where: str, tmp_path: Path) -> None:
    columns = log()
    columns["sku"] = np.where(np.arange(ROWS) % 7, columns["sku"], columns["sku"] % 20 + ITEMS)
    columns |= {"past": shown(columns, where)}
    said, facts = told(tmp_path, columns, item="sku", history="past", time=None, group=None)
    if not where:
        assert said == []
        return
    assert [part for part in ("train", "val", "test") if f"of the clicks of {part}" in "".join(said)] == ["train", "val", "test"]  # fmt: skip
    assert facts["test clicks with their item in the history"] == 1
    assert ("of all rows as the last of it" in said[0]) == (where == "last")


def test_histories_that_end_with_the_own_item_whatever_the_label_are_told(tmp_path: Path) -> None:
    columns = log()
    columns |= {"past": shown(columns, "last", "rows")}
    said, _ = told(tmp_path, columns, item="sku", history="past", time=None, group=None)
    assert "in 100% of all rows as the last of it" in said[0]


@pytest.mark.parametrize("where", ["first", "middle"])
def test_histories_that_hold_the_own_item_everywhere_are_told(where: str, tmp_path: Path) -> None:
    columns = log()
    columns["sku"] = np.where(np.arange(ROWS) % 7, columns["sku"], columns["sku"] % 20 + ITEMS)
    histories = shown(columns, "first", "rows")
    if where == "middle":
        histories = [[*history[1:6], history[0], *history[6:]] for history in histories]
    said, _ = told(tmp_path, columns | {"past": histories}, item="sku", history="past", time=None, group=None)  # fmt: skip
    assert "in 100.0% of the clicks of test and in 100.0% of its other rows" in "".join(said)
    assert ("in 100% of all rows as the first of it" in "".join(said)) == (where == "first")


@pytest.mark.parametrize("leaks", [True, False])
def test_a_list_that_holds_what_the_row_shows_in_clicks_is_told(
    leaks: bool, tmp_path: Path
) -> None:
    columns = log()
    seen = shown(columns, "last" if leaks else "")
    seen = [[*history, history[0] % ITEMS, 5] for history in seen]
    settings = {"multi_valued": ("seen",), "max_values": 20, "time": None, "group": None}
    said, _ = told(tmp_path, columns | {"seen": seen}, **settings)
    assert len(said) == (3 if leaks else 0)
    assert all("the row's own 'sku' stands in its 'seen' in 100.0% of the clicks" in each for each in said)  # fmt: skip


def test_histories_of_other_items_are_told(tmp_path: Path) -> None:
    columns = log()
    histories = [[f"i{item}" for item in history[:4]] + [1] for history in shown(columns, "")]
    columns["past"] = [[str(item) for item in history] for history in histories]
    said, _ = told(tmp_path, columns, item="sku", history="past", time=None, group=None)
    (only,) = said
    assert f"{4 * ROWS:,} of the {5 * ROWS:,} items in 'past' are none that 'sku' has" in only


def test_people_who_come_back_a_little_are_not_told(tmp_path: Path) -> None:
    said, facts = told(tmp_path, log(), item="sku", past="rows")
    assert said == []
    assert 0 < facts["train clicks with their item in the history"] < 0.2


@pytest.mark.parametrize("share", [1, 4, 40])
def test_values_that_training_does_not_know_are_told_by_column(share: int, tmp_path: Path) -> None:
    columns = log()
    frame = pl.DataFrame({name: columns[name] for name in ("uid", "sku", "y")})
    other = (
        pl.when(pl.int_range(pl.len()) % share == 0).then(pl.format("U{}", "uid")).otherwise("uid")
    )
    paths = {"path": tmp_path / "train.csv", "test": tmp_path / "test.csv"}
    frame.head(2_500).write_csv(paths["path"])
    frame.tail(500).with_columns(other.alias("uid")).write_csv(paths["test"])
    fields = Fields(categorical=("uid", "sku"), label="y")
    source = ClickTableSource(fields=fields, **{key: str(path) for key, path in paths.items()})
    said = load_clicks(source, GivenRows(), tmp_path / "cache").facts["told"]
    if share > 10:
        assert said == []
        return
    (only,) = said
    assert f"in {500 // share} of 500 rows of test the value of 'uid' is one that training" in only


def test_who_is_new_by_the_protocol_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    columns = log()
    pl.DataFrame({name: columns[name] for name in ("uid", "sku", "y")}).write_parquet(path)
    fields = Fields(categorical=("uid", "sku"), label="y", group="uid")
    loaded = load_clicks(
        ClickTableSource(fields=fields, path=str(path)), RandomRows(whole_groups=True), tmp_path
    )
    assert loaded.facts["told"] == []
    assert loaded.facts["test rows with an unknown category"] == loaded.counts["test rows"]


def test_what_is_found_is_told_refused_or_accepted_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, columns = tmp_path / "log.parquet", log()
    columns["copy"], columns["again"] = columns["y"], 1 - columns["y"]
    used = ("uid", "sku", "ts", "y", "copy", "again")
    pl.DataFrame({name: columns[name] for name in used}).write_parquet(path)
    fields = Fields(
        categorical=("uid", "sku"), numeric=("copy", "again"), label="y", group="uid", time="ts"
    )

    def load(**settings: Any) -> dict[str, Any]:
        caplog.clear()
        source = ClickTableSource(fields=fields, path=str(path))
        return load_clicks(source, RandomRows(**settings), tmp_path / "cache").facts

    both = load()
    assert len(both["told"]) == 2
    assert "accepted" not in both
    assert all(each in caplog.text for each in both["told"])
    some = load(accept=("copy",))
    assert [*some["accepted"], *some["told"]] == both["told"]
    assert some["accepted"][0] not in caplog.text
    said = r"'copy' alone.*'again' alone.*say 'protocol.accept=\[copy,again\]'"
    with pytest.raises(UserError, match=said):
        load(audit="error")
    with pytest.raises(UserError, match=r"accept=\[copy,again\]"):
        load(audit="error", accept=("copy",))
    assert load(audit="error", accept=("copy", "again"))["told"] == []
    with pytest.raises(UserError, match=r"protocol.accept names 'copi'.* Did you mean 'copy'"):
        load(accept=("copi",))
    assert RandomRows(audit="error", accept=("a",)).hash() == RandomRows().hash()


def test_keys_that_are_new_in_every_row_are_not_told(tmp_path: Path) -> None:
    columns = log() | {"session": np.arange(ROWS)}
    assert told(tmp_path, columns, categorical=("uid", "sku", "session"))[0] == []


def test_what_is_told_does_not_depend_on_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = log()
    columns |= {"rate": counted(columns, slice(None))[0], "past": shown(columns, "first")}
    settings = {"numeric": ("rate",), "item": "sku", "history": "past", "time": None}
    whole = told(tmp_path, columns, **settings)
    monkeypatch.setattr(table_module, "BLOCK", 901)
    (tmp_path / "again").mkdir()
    assert told(tmp_path / "again", columns, **settings) == whole
    assert len(whole[0]) == 5
