"""What columns of clicks seem to be, on a table where each kind is known."""

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lightning_rec.commands.schema import schema
from lightning_rec.data.clicks import infer
from lightning_rec.data.clicks.infer import fields_of, guess
from lightning_rec.data.clicks.kinds import decimal_comma
from lightning_rec.data.dialect import Dialect
from lightning_rec.data.tabular import open_table
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen

ROWS = 400
CHANCE = random.Random(5)
COLUMNS: dict[str, list[Any]] = {
    "row_id": list(range(1000, 1000 + ROWS)),
    "user_id": [CHANCE.randrange(150) for _ in range(ROWS)],
    "device": [CHANCE.choice(["phone", "desk", None]) for _ in range(ROWS)],
    "tags": ["|".join(CHANCE.sample("abcd", CHANCE.randint(0, 3))) for _ in range(ROWS)],
    "price": [CHANCE.random() for _ in range(ROWS)],
    "views": [CHANCE.randrange(100_000) for _ in range(ROWS)],
    "hour": [CHANCE.randrange(24) for _ in range(ROWS)],
    "shop": ["only"] * ROWS,
    "created": [1_600_000_000 + 60 * row for row in range(ROWS)],
    "clicked": [CHANCE.randrange(2) for _ in range(ROWS)],
}
KINDS = {
    "row_id": "left out", "user_id": "categorical", "device": "categorical", "tags": "multi_valued",
    "price": "numeric", "views": "numeric", "hour": "categorical", "shop": "left out",
    "created": "time", "clicked": "label",
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_each_column_is_seen_for_what_it_is(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clicks.{suffix}"
    frame = pl.DataFrame(COLUMNS)
    frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path)
    guesses = guess(open_table(path), {})
    assert {each.name: each.kind for each in guesses} == KINDS
    assert fields_of(guesses, None)["separator"] == "|"
    by_name = {each.name: each for each in guesses}
    assert by_name["user_id"].distinct == len(set(COLUMNS["user_id"]))
    empty = COLUMNS["device"].count(None) / ROWS
    assert by_name["device"].empty == pytest.approx(empty)
    assert by_name["hour"].megabytes == pytest.approx(24 * 256 / 2**20, rel=0.05)
    fields = fields_of(guesses, None)
    assert fields["categorical"] == ["user_id", "device", "hour"]
    assert (fields["label"], fields["group"], fields["time"]) == ("clicked", "user_id", "created")
    assert fields["weight"] is None


def test_what_the_user_says_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clicks.parquet"
    pl.DataFrame(COLUMNS).write_parquet(path)
    monkeypatch.setattr(infer, "_HASHED", 100)
    guesses = guess(open_table(path), {"label": "hour", "group": "device"})
    fields = fields_of(guesses, 12.0)
    assert (fields["label"], fields["group"], fields["positive_from"]) == ("hour", "device", 12.0)
    assert fields["hash_size"] == {"user_id": 100}
    assert "clicked" in fields["categorical"]


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "clicks.parquet"
    pl.DataFrame(COLUMNS).drop("clicked").write_parquet(path)
    with pytest.raises(UserError, match="say label=COLUMN"):
        guess(open_table(path), {})
    with pytest.raises(UserError, match=r"no column 'hours' for label.*Did you mean 'hour'"):
        guess(open_table(path), {"label": "hours"})
    pl.DataFrame(COLUMNS).clear().write_parquet(path)
    with pytest.raises(UserError, match="holds no rows"):
        guess(open_table(path), {})


def test_lists_and_dates_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "typed.parquet"
    frame = pl.DataFrame(COLUMNS).with_columns(
        pl.col("tags").str.split("|"), seen=pl.from_epoch("created")
    )
    frame.write_parquet(path)
    kinds = {each.name: each.kind for each in guess(open_table(path), {})}
    assert (kinds["tags"], kinds["seen"]) == ("multi_valued", "left out")


def drafted(folder: Path, **columns: list[Any]) -> tuple[dict[str, infer.Guess], dict[str, Any]]:
    """What is guessed of a CSV of these columns beside users, items, times and clicks."""
    path = folder / "clicks.csv"
    plain = {
        "user_id": COLUMNS["user_id"], "item_id": [view % 60 for view in COLUMNS["views"]], "clicked": COLUMNS["clicked"]
    }  # fmt: skip
    pl.DataFrame({**plain, **columns}).write_csv(path)
    guesses = guess(open_table(path), {})
    return {each.name: each for each in guesses}, fields_of(guesses, None)


GENRES = ["Action", "Drama", "Comedy", "War"]
LISTS = {
    "hist_item_id": [" ".join(str(CHANCE.randrange(50)) for _ in range(row % 6)) for row in range(ROWS)],
    "genres": [" ".join(CHANCE.sample(GENRES, 1 + row % 3)) for row in range(ROWS)],
}  # fmt: skip
TITLES = [
    f"The {a} {b} ({1950 + CHANCE.randrange(50)})" for a in ("Old", "Red") for b in GENRES * 9
]
WORDS = {
    "title": [TITLES[row % 72] for row in range(ROWS)],
    "city": [CHANCE.choice(["New York", "San Juan", "Paris", "York"]) for _ in range(ROWS)],
    "screen": [f"{CHANCE.randrange(9)} {CHANCE.randrange(9)}" for _ in range(ROWS)],
}


def test_lists_parted_by_blanks_are_lists_and_titles_are_none(tmp_path: Path) -> None:
    found, fields = drafted(tmp_path, **LISTS, **WORDS)
    assert (found["genres"].distinct, found["hist_item_id"].distinct) == (4, 50)
    assert (fields["separator"], fields["multi_valued"]) == (" ", ["genres"])
    assert (fields["item"], fields["history"]) == ("item_id", "hist_item_id")
    assert set(WORDS) <= set(fields["categorical"])


def test_each_column_of_lists_has_its_own_separator(tmp_path: Path) -> None:
    fields = drafted(tmp_path, **LISTS, tags=COLUMNS["tags"])[1]
    assert fields["separator"] == {"hist_item_id": " ", "genres": " ", "tags": "|"}


def test_codes_with_leading_zeros_are_categories(tmp_path: Path) -> None:
    codes = [f"{row % 150:05}" for row in range(ROWS)]
    found = drafted(tmp_path, artikel=codes, anzahl=[row % 150 for row in range(ROWS)])[0]
    assert (found["artikel"].kind, found["anzahl"].kind) == ("categorical", "numeric")


@pytest.mark.parametrize(
    "times",
    [
        [1_717_200_000 + 60 * row for row in range(ROWS)],
        [(1_717_200_000 + 60 * row) * 1000 for row in range(ROWS)],
        [f"{1 + row % 28:02}.06.2024 10:{row % 60:02}" for row in range(ROWS)],
    ],
    ids=["seconds", "milliseconds", "dates"],
)
def test_the_only_times_are_those_of_the_rows_whatever_they_are_called(
    tmp_path: Path, times: list[Any]
) -> None:
    assert drafted(tmp_path, zeit=times)[1]["time"] == "zeit"
    found, fields = drafted(tmp_path, zeit=times, ende=times)
    assert fields["time"] is None
    assert {found["zeit"].kind, found["ende"].kind} == {"left out"}


CLICKED = COLUMNS["clicked"]
BOUGHT = [int(click and row % 5 < 3) for row, click in enumerate(CLICKED)]


@pytest.mark.parametrize(
    "values",
    [
        BOUGHT,
        ["ja" if buy else "nein" for buy in BOUGHT],
        [f"{row % 37}.5" if buy else "" for row, buy in enumerate(BOUGHT)],
        [row + 1 if buy else 0 for row, buy in enumerate(BOUGHT)],
    ],
    ids=["labels", "words", "amounts or empty", "amounts or 0"],
)
def test_what_comes_of_the_click_is_no_feature(tmp_path: Path, values: list[Any]) -> None:
    found, fields = drafted(tmp_path, gekauft=values, zufall=BOUGHT[::-1])
    assert (found["gekauft"].kind, found["gekauft"].why) == ("left out", "comes of the click?")
    assert f"({sum(BOUGHT)} of them)" in found["gekauft"].hint
    assert "gekauft" not in fields["categorical"] + fields["numeric"]
    assert found["zufall"].kind == "categorical"


def test_a_rare_value_that_chance_gave_to_clicks_alone_stays_a_feature(tmp_path: Path) -> None:
    few = [int(bool(click) and sum(CLICKED[:row]) < 6) for row, click in enumerate(CLICKED)]
    assert drafted(tmp_path, seldom=few)[0]["seldom"].kind == "categorical"


def test_numbers_with_decimal_commas_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    frame = pl.DataFrame({
        "preis": [f"{row % 60},{row % 90 + 10}" for row in range(ROWS)],
        "tags": COLUMNS["tags"], "clicked": CLICKED,
    })  # fmt: skip
    frame.write_csv(path, separator=";")
    assert decimal_comma(open_table(path)) == ["preis"]
    kinds = {each.name: each.kind for each in guess(open_table(path, Dialect(decimal="comma")), {})}
    assert kinds == {"preis": "numeric", "tags": "multi_valued", "clicked": "label"}
    assert schema([str(path), f"out={tmp_path}"], [], Screen()) == 0
    assert "decimal: comma" in (tmp_path / "data" / "clicks.yaml").read_text()
    frame.with_columns(rabatt=pl.lit("1.5")).write_csv(path, separator=";")
    assert decimal_comma(open_table(path)) == []


def test_each_column_of_numbers_has_its_decimal_sign(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "käufe.csv"

    def drafted(**columns: list[str]) -> tuple[str, str]:
        pl.DataFrame(columns | {"clicked": CLICKED}).write_csv(path, separator=";")
        assert schema([str(path), f"out={tmp_path}", "name=ü"], [], Screen()) == 0
        written = tmp_path / "data" / "ü.yaml"
        text = written.read_text()
        written.unlink()
        return text, capsys.readouterr().out

    ages = [f"{row % 70}.0" for row in range(ROWS)]
    for preis in ("{}3,51", "0,{}651"):  # a thousand has no 0 before it
        values = [preis.format(row % 20) for row in range(ROWS)]
        written, told = drafted(preis=values, alter=ages)
        assert "decimal: comma" in written
        assert "numeric: [preis]" in written
    assert """data='"'"'"'""" not in told
    assert "'data=\"ü\"'" in told
    thousands = [f"{row % 20 + 10},{row % 30 + 345}" for row in range(ROWS)]
    told = drafted(preis=thousands)[1]
    assert (
        "'preis' has values like 10,345: where the comma parts off a fraction, say decimal" in told
    )
    told = drafted(preis=[f"9.{value}" for value in values])[1].replace("\n", " ")
    assert "decimal=comma and write thousands without a point" in told


def test_a_label_that_training_refuses_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    frame = pl.DataFrame({"Klick?": CLICKED, "gekauft": BOUGHT, "hour": COLUMNS["hour"]})
    frame.with_columns(
        pl.col("Klick?").replace_strict({1: "ja", 0: "nein"}, return_dtype=pl.String)
    ).write_csv(path)
    with pytest.raises(UserError, match=r"the label in column 'Klick\?' is .*There are ja, nein: "):
        schema([str(path), "label=Klick?", f"out={tmp_path}"], [], Screen())
    assert not (tmp_path / "data").exists()
    frame.with_columns(pl.col("Klick?") + 1).write_csv(path)
    assert "more than 0 and 1" in guess(open_table(path), {"label": "Klick?"})[0].hint
    guesses = guess(open_table(path), {"label": "Klick?"}, 2.0)
    assert [each.kind for each in guesses] == ["label", "left out", "categorical"]
    assert "more than" not in guesses[0].hint


def test_an_item_is_drafted_and_a_history_is_of_the_item_that_it_is_called_after(
    tmp_path: Path,
) -> None:
    assert drafted(tmp_path)[1]["item"] == "item_id"
    fields = drafted(tmp_path, movie_id=COLUMNS["hour"], movie_history=["[1, 2]", "[2]"] * 200)[1]
    assert (fields["item"], fields["history"]) == ("movie_id", "movie_history")


def test_distinct_values_are_counted_and_beyond_a_million_rows_told_as_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = [f" {row % 321}.0" if row % 2 else str(row % 321) for row in range(ROWS)]
    found = drafted(tmp_path, code_id=codes)[0]
    assert (found["code_id"].distinct, found["code_id"].exact) == (321, True)
    monkeypatch.setattr(infer, "EXACT", 100)
    found = drafted(tmp_path, code_id=codes)[0]
    assert not found["code_id"].exact


@pytest.mark.parametrize("name", ["birth_date", "signupDate", "release_date", "date_joined"])
def test_dates_of_users_and_items_are_no_times_of_rows(name: str, tmp_path: Path) -> None:
    dates = [f"20{row % 20:02}-01-02" for row in range(ROWS)]
    assert drafted(tmp_path, **{name: dates})[1]["time"] is None
