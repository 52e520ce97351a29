"""Several data sets joined are what a hand-made table of all of them is."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from omegaconf import OmegaConf

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.data.pipeline import load
from lightning_rec.data.prepare import prepare
from lightning_rec.data.schema import Interactions
from lightning_rec.data.sessions import Sessions
from lightning_rec.data.sources.joined import JoinedSource
from lightning_rec.data.sources.table import TableSource
from lightning_rec.data.splits import LeaveOneOut, Temporal
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.lab.slices import parts_of
from lightning_rec.runs.foreign import _named

TABLE = "lightning_rec.data.sources.table.TableSource"
BOOKS = pl.DataFrame({
    "user": ["u1", "u2", "u1", "u2", "u1"], "item": ["a", "b", "b", "a", "c"],
    "time": [10, 11, 12, 13, 9], "rating": [1.0, 2.0, 3.0, 4.0, 5.0],
})  # fmt: skip
GAMES = pl.DataFrame({
    "user": ["u1", "u3", "u1"], "item": ["a", "x", "y"], "time": [12.5, 8.0, 11.0],
    "device": ["tv", "pc", "pc"],
})  # fmt: skip
ABOUT_BOOKS = pl.DataFrame(
    {"item": ["a", "b", "c", "d"], "title": list("ABCD"), "pages": [1, 2, 3, 4]}
)
ABOUT_GAMES = pl.DataFrame({"item": ["a", "x", "y"], "title": list("AXY"), "genre": list("rst")})


def node(path: Path, **settings: Any) -> dict[str, Any]:
    return {"_target_": TABLE, "path": str(path), "user": "user", "item": "item", **settings}


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, dict[str, Any]]:
    for name, table in {"books": BOOKS, "games": GAMES, "of_books": ABOUT_BOOKS, "of_games": ABOUT_GAMES}.items():  # fmt: skip
        table.write_csv(tmp_path / f"{name}.csv")
    return {
        "books": node(tmp_path / "books.csv", time="time", rating="rating",
                      catalogue=str(tmp_path / "of_books.csv"), catalogue_title="title"),
        "games": node(tmp_path / "games.csv", time="time", features=["device"],
                      catalogue=str(tmp_path / "of_games.csv"), catalogue_title="title"),
    }  # fmt: skip


def joined(parts: dict[str, dict[str, Any]], cache: Path) -> Interactions:
    return prepare(JoinedSource(parts=parts), cache)


def by_hand(*names: str) -> pl.DataFrame:
    """Rows of both below one another, ids behind the names of the sets."""
    frames = [
        frame.with_columns(pl.format(f"{part}:{{}}", each).alias(each) for each in ("user", "item"))
        for part, frame in (("books", BOOKS), ("games", GAMES))
    ]
    return pl.concat([frame.cast({"time": pl.Float64}) for frame in frames], how="diagonal").select(
        "user", "item", *names
    )


def test_it_is_the_table_of_all_rows(parts: dict[str, Any], tmp_path: Path) -> None:
    both = joined(parts, tmp_path / "cache")
    by_hand("time", "device").write_csv(tmp_path / "both.csv")
    ids = [*(f"books:{item}" for item in "abcd"), *(f"games:{item}" for item in "axy")]
    pl.DataFrame({"item": ids}).write_csv(tmp_path / "ids.csv")
    source = TableSource(str(tmp_path / "both.csv"), user="user", item="item", time="time",
                         features=["device"], catalogue=str(tmp_path / "ids.csv"))  # fmt: skip
    hand = prepare(source, tmp_path / "cache")
    assert both.info["data_hash"] == hand.info["data_hash"]
    assert both.events.collect().equals(hand.events.collect())
    assert both.info["name"] == "books+games"
    assert (both.info["users"], both.info["items"], both.info["events"]) == (4, 7, 8)
    items = both.items
    assert set(items.columns) == {"item", "title", "pages", "genre", "data"}
    row = items.row(by_predicate=pl.col("item") == "games:a", named=True)
    assert row == {"item": "games:a", "title": "A", "pages": None, "genre": "r", "data": "games"}
    assert items["item"].to_list()[-1] == "books:d"  # of which there is no event
    assert dict(both.users.rows()) == {
        "books:u1": "books", "books:u2": "books", "games:u1": "games", "games:u3": "games"
    }  # fmt: skip
    other = joined(dict(reversed(parts.items())), tmp_path / "cache")
    assert other.info["data_hash"] != both.info["data_hash"]


def test_where_one_has_no_times_all_are_in_the_order_of_their_own(
    parts: dict[str, Any], tmp_path: Path
) -> None:
    del parts["games"]["time"]
    source = JoinedSource(parts=parts)
    assert not source.timed
    assert not source.in_order  # of the games nobody knows
    both = prepare(source, tmp_path / "cache")
    assert "timestamp" not in both.events.collect_schema()
    raw = both.described(both.events).collect()
    assert raw.filter(user="books:u1")["item"].to_list() == ["books:c", "books:a", "books:b"]
    assert raw.filter(user="games:u1")["item"].to_list() == ["games:a", "games:y"]


def test_ratings_stay_where_all_have_them(parts: dict[str, Any], tmp_path: Path) -> None:
    assert "rating" not in joined(parts, tmp_path / "cache").events.collect_schema()
    GAMES.with_columns(rating=pl.lit(2.0)).write_csv(tmp_path / "games.csv")
    parts["games"]["rating"] = "rating"
    ratings = joined(parts, tmp_path / "cache").events.select("rating").collect()["rating"]
    assert sorted(ratings) == [1, 2, 2, 2, 2, 3, 4, 5]


def test_what_cannot_be_joined_is_refused(parts: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two data sets or more"):
        JoinedSource(parts={"books": parts["books"]})
    with pytest.raises(UserError, match=r"data.parts.games: data.item is not set"):
        JoinedSource(parts={**parts, "games": {**parts["games"], "item": None}})
    with pytest.raises(UserError, match=r"data.parts.ads has kind 'pairs'"):
        JoinedSource(parts={**parts, "ads": {"_target_": "lightning_rec.data.sources.home_depot.HomeDepot"}})  # fmt: skip
    with pytest.raises(UserError, match="colon"):
        JoinedSource(parts={"a": parts["books"], "a:b": parts["games"]})
    ABOUT_GAMES.rename({"genre": "data"}).write_csv(tmp_path / "of_games.csv")
    with pytest.raises(
        UserError, match=r"data.parts.games: its table of items has a column 'data'"
    ):
        joined(parts, tmp_path / "cache")
    tags = ABOUT_GAMES.with_columns(pages=pl.lit([["x"], ["y"], ["z"]]).explode())
    tags.write_parquet(tmp_path / "of_games.parquet")
    parts["games"]["catalogue"] = str(tmp_path / "of_games.parquet")
    with pytest.raises(UserError, match="'pages' is plain in books, a list in games"):
        joined(parts, tmp_path / "cache")


def test_a_column_means_one_thing(parts: dict[str, Any], tmp_path: Path) -> None:
    """A column of items may be called user; dates are no years."""
    for name, about in (("books", ABOUT_BOOKS), ("games", ABOUT_GAMES)):
        about.with_columns(user=pl.lit(7)).write_parquet(tmp_path / f"{name}.parquet")
        parts[name]["catalogue"] = str(tmp_path / f"{name}.parquet")
    assert set(joined(parts, tmp_path / "cache").items["user"]) == {7}
    day = pl.lit("2020-01-01").str.to_date()
    parts["games"]["catalogue"] = str(tmp_path / "of_games.parquet")
    for kind, told in (
        (day, "times without a zone"),
        (day.cast(pl.Datetime).dt.replace_time_zone("UTC"), "times with a zone"),
    ):
        ABOUT_GAMES.with_columns(pages=kind).write_parquet(tmp_path / "of_games.parquet")
        with pytest.raises(UserError, match=f"'pages' is plain in books, {told} in games"):
            joined(parts, tmp_path / "cache")


def test_sessions_that_all_parts_name_are_sessions(tmp_path: Path) -> None:
    rows = [(f"u{n % 3}", f"i{n % 5}", 100 * n, n // 12) for n in range(120)]
    log = pl.DataFrame(rows, ["user", "item", "time", "visit"], orient="row")
    log.write_csv(tmp_path / "log.csv")
    both = {n: node(tmp_path / "log.csv", time="time", session="visit") for n in ("a", "b")}
    split = load(JoinedSource(parts=both), Sessions(item_core=0, cutoffs=[3]), tmp_path / "cache")
    assert split.counts["sessions"] == 2 * 3 * 10
    with pytest.raises(UserError, match=r"data.session=visit names the sessions and protocol.gap"):
        load(JoinedSource(parts=both), Sessions(cutoffs=[3], gap="1h"), tmp_path / "cache")


def test_a_run_of_joined_data(
    log_csv: Path, catalogue_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Composed of two choices, found again from any folder; metrics are of all items."""
    monkeypatch.chdir(log_csv.parent)
    of = [
        f"data.parts.{name}.{key}={value}"
        for name in ("one", "two")
        for key, value in {"path": log_csv.name, "user": "uid", "item": "sku", "time": "ts"}.items()
    ]
    of += [f"data.parts.one.catalogue={catalogue_csv}", "data.parts.one.catalogue_item=sku"]
    run = tmp_path / "run"
    both = ["data=joined", "+data@data.parts.one=table", "+data@data.parts.two=table"]
    small = ["model=popularity", "logger=none", "trainer=cpu", "baseline=null"]
    assert cli.run(["train", *both, *of, *small, f"run_dir={run}"]) == 0
    card = read_json(run / "run.json")
    assert card["data"] == "one+two"
    predictor: Any = load_run(run)
    assert len(predictor.items) == 80
    assert {part.name for part in parts_of([run], ["data"])} == {"one", "two"}
    monkeypatch.chdir(tmp_path)
    assert cli.run(["evaluate", f"run={run}"]) == 0


def test_a_part_that_no_target_is_of_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, first in (("early", 0), ("late", 1000)):
        rows = [(f"u{n % 5}", f"i{n % 7}", first + n) for n in range(60)]
        pl.DataFrame(rows, ["user", "item", "time"], orient="row").write_csv(tmp_path / name)
    parts = {name: node(tmp_path / name, time="time") for name in ("early", "late")}
    told = "has no target of early: its figures are those of the other data alone"
    load(JoinedSource(parts=parts), LeaveOneOut(seen="keep", cutoffs=[5]), tmp_path / "cache")
    assert told not in caplog.text
    load(JoinedSource(parts=parts), Temporal(seen="keep", cutoffs=[5]), tmp_path / "cache")
    assert f"The test {told}" in caplog.text


def test_a_list_of_sets_is_joined(refused: Callable[..., str]) -> None:
    assert "stands there twice" in refused("show", "data=[beauty,beauty]")
    assert "name the data sets" in refused("show", "data=[]")
    assert "two data sets or more" in refused("show", "data=joined")
    assert "Unknown choice" in refused("show", "data=[beauty,toyz]")
    assert cli.run(["show", "data=[beauty,toys_p5]", "model=sasrec"]) == 0


@pytest.fixture
def refused() -> Callable[..., str]:
    """``refused("train", …)``: the sentence with which a command is refused."""

    def refuse(*arguments: str) -> str:
        with pytest.raises(UserError) as error:
            cli.run(list(arguments))
        return cli.explain(error.value)

    return refuse


def test_files_of_parts_are_known_to_be_files() -> None:
    """Of a stranger's run they are not quoted."""
    tree = {"data": {"parts": {"a": {"path": "a.csv", "user": "u", "graph": {"links": "b"}}}}}
    run: Any = SimpleNamespace(config=OmegaConf.create(tree))
    assert _named(run, "data") == {"data.parts.a.path": "a.csv", "data.parts.a.graph.links": "b"}
