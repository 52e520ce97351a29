"""Rows of a history and a target become sequences: nothing is learnt from what is only shown."""

from pathlib import Path

import polars as pl
import pytest

from lightning_rec.data.audit import audit
from lightning_rec.data.given import Given
from lightning_rec.data.histories import sequences
from lightning_rec.data.prepare import prepare
from lightning_rec.data.sources.table import TableSource
from lightning_rec.errors import UserError


def rows(*given: tuple[str, list[str], str]) -> pl.LazyFrame:
    schema = {"user": pl.String, "history": pl.List(pl.String), "item": pl.String}
    return pl.LazyFrame(given, schema=schema, orient="row")


def told(frame: pl.LazyFrame) -> list[tuple[str, str, str]]:
    events = frame.collect()
    marks = {-1: "-", 0: "t", 1: "v", 2: "x"}
    found = events.group_by("user", maintain_order=True).agg("item", "part")
    return [(u, "".join(i), "".join(marks[p] for p in ps)) for u, i, ps in found.iter_rows()]


def test_histories_of_training_train_and_others_are_shown() -> None:
    parts = {
        "train": rows(("a", ["x", "y"], "z"), ("b", [], "x")),
        "val": rows(("c", ["y"], "x")),
        "test": rows(("d", ["x", "y", "z"], "y"), ("e", [], "x")),
    }
    wanted = [
        ("a", "xyz", "ttt"),
        ("b", "x", "t"),
        ("c", "yx", "-v"),
        ("d", "xyzy", "---x"),
        ("e", "x", "x"),
    ]
    assert told(sequences(parts)) == wanted


def test_the_beginnings_of_a_longer_row_train_once(caplog: pytest.LogCaptureFixture) -> None:
    train = rows(
        ("a", ["x"], "y"),
        ("a", ["x", "y"], "z"),
        ("a", ["x"], "yy"),
        ("b", ["x"], "y"),
        ("b", ["x"], "y"),
    )
    found = told(sequences({"train": train, "test": rows(("a", ["x", "y", "z"], "x"))}))
    assert found == [
        ("a / 1", "xyz", "ttt"),
        ("a / 2", "xyy", "tt"),
        ("b / 1", "xy", "tt"),
        ("a / 3", "xyzx", "---x"),
    ]
    assert "2 of 5 rows to train on are how a longer one" in caplog.text


def test_one_file_is_a_log_of_sequences() -> None:
    events = sequences({"train": rows(("a/b", ["x"], "y"), ("a/b", ["z"], "y"))}).collect()
    assert events.columns == ["user", "item"]
    assert events["user"].to_list() == ["a//b / 1"] * 2 + ["a//b / 2"] * 2


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_files_with_a_column_of_histories_are_split_as_given(form: str, tmp_path: Path) -> None:
    parts = {
        "path": [("a", ["i1", "i2"], "i3"), ("b", ["i2"], "i1")],
        "val": [("c", ["i3", "i1"], "i2")],
        "test": [("d", ["i1", "i2", "i3"], "i2"), ("e", ["i1", "nobody"], "i3")],
    }
    files = {}
    for name, given in parts.items():
        frame = rows(*given).collect()
        files[name] = str(tmp_path / f"{name}.{form}")
        if form == "csv":
            text = [str(history) for history in frame["history"].to_list()]
            frame.with_columns(history=pl.Series(text)).write_csv(files[name])
        else:
            frame.write_parquet(files[name])
    source = TableSource(user="user", item="item", history="history", **files)
    data = prepare(source, tmp_path / "cache")
    split = Given(cutoffs=(1,), seen="keep").split(data)
    audit(data, split)
    assert split.train_counts.sum() == split.counts["train events"] == 5
    items = [data.items["item"][int(code)] for code in split.vocabulary]
    users = data.users["user"]
    for examples, wanted in ((split.val, parts["val"]), (split.test, parts["test"])):
        found = [
            (users[int(u)], [items[i] for i in split.items[split.offsets[u] : end]], items[t])
            for u, end, t in zip(examples.user, examples.end, examples.target, strict=True)
        ]
        known = [(u, [i for i in history if i != "nobody"], item) for u, history, item in wanted]
        assert sorted(found) == known
    with pytest.raises(UserError, match=r"no column 'histori' for the history.*'history'"):
        prepare(TableSource(user="user", item="item", history="histori", **files), tmp_path)


@pytest.mark.parametrize("cut", ["[i1, i2", "array([1, 2])", "[[1], [2]]", "[1 2 ... 8]"])
def test_a_history_that_is_cut_off_is_refused_or_dropped(cut: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    lines = [f"u{n}\t['i{n}', 'i2']\ti3" for n in range(9)] + [f"v\t{cut}\ti3", "w\tNULL\ti4"]
    path.write_text("\n".join(["user\thistory\titem", *lines]))
    source = TableSource(str(path), "user", "item", history="history")
    with pytest.raises(UserError, match=r"log\.csv, line 11: '.*' in column 'history' is no whole"):
        source.read([path])
    tables = TableSource(str(path), "user", "item", history="history", invalid="drop").read([path])
    assert tables.dropped == {"rows": 1, "history": 1}
    found = tables.interactions.collect().filter(pl.col("user") == "w")
    assert found["item"].to_list() == ["i4"]
