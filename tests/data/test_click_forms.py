"""One table of clicks in any form of file gives the same arrays, figures of the audit and hash."""

import gzip
import random
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from omegaconf import OmegaConf

from lightning_rec import cli
from lightning_rec.data.clicks.fields import Fields, Goal
from lightning_rec.data.clicks.infer import fields_of, guess
from lightning_rec.data.clicks.items import items_of
from lightning_rec.data.clicks.pipeline import AuditedClicks, load_clicks
from lightning_rec.data.clicks.splits import GivenRows, RandomRows
from lightning_rec.data.sources.click_table import ClickTableSource
from lightning_rec.data.sources.movielens_clicks import MovieLens100KClicks
from lightning_rec.data.tabular import open_table
from lightning_rec.errors import UserError

ROWS = 40
FIELDS = Fields(
    categorical=("uid", "sku", "city"),
    multi_valued=("tags",),
    numeric=("price", "views"),
    label="y",
    group="uid",
    time="ts",
    weight="worth",
    item="sku",
    history="past",
)


def drawn(seed: int) -> pl.DataFrame:
    """A random table whose ids are whole numbers, with gaps wherever there may be some."""
    chance = random.Random(seed)
    cities = ["Köln", "San Juan", "x-1", "007", "None yet", "1e5"]
    rows = [
        {
            "uid": chance.randrange(5),
            "sku": chance.randrange(6) if row else 5,
            "city": chance.choice([*cities, None]),
            "tags": chance.sample(["Action", "Drama", "12", "Children's", "Sci-Fi"], chance.randrange(4)),
            "price": None if chance.random() < 0.2 else round(chance.lognormvariate(1, 1), 2),
            "views": chance.randrange(100),
            "ts": 1_600_000_000 + 60 * row,
            "y": row % 2 if row < 8 else chance.randrange(2),
            "worth": chance.choice([0.5, 1.0, 2.25]),
            # Of other items than any row's: with times, a history may not hold what comes later.
            "past": [0] if row > ROWS - 3 else [],
            "note": chance.choice(["seen", None, "12.0"]),
        }
        for row in range(ROWS)
    ]  # fmt: skip
    first = [{**each, "sku": 0, "ts": 1_599_999_000} for each in rows[:5]]
    for user, each in enumerate(first):
        each["uid"] = user
    return pl.DataFrame([*first, *rows], infer_schema_length=None)


def text(frame: pl.DataFrame, lists: str = "parted") -> pl.DataFrame:
    """The table with lists as text: parted by ``|``, or literals of Python or JSON."""
    parted = {
        "parted": lambda name: pl.col(name).cast(pl.List(pl.String)).list.join("|"),
        "python": lambda name: pl.col(name).map_elements(lambda x: str(list(x)), pl.String),
        "json": lambda name: (
            (
                pl.lit('["')
                + pl.col(name).cast(pl.List(pl.String)).list.join('", "').replace("", None)
                + pl.lit('"]')
            )
            .fill_null("[]")
            .alias(name)
        ),
    }[lists]
    return frame.with_columns(parted(name) for name in ("tags", "past"))  # type: ignore[no-untyped-call]


def types(frame: pl.DataFrame, chance: random.Random) -> pl.DataFrame:
    """The table with other types of number, and of truth."""
    whole = [pl.Int8, pl.Int16, pl.UInt32, pl.Int64, pl.Float32, pl.Float64, pl.String]
    changed = {name: pl.col(name).cast(chance.choice(whole)) for name in ("uid", "sku", "views")}
    changed["price"] = pl.col("price").cast(chance.choice([pl.Float32, pl.Float64]))
    changed["worth"] = pl.col("worth").cast(chance.choice([pl.Float32, pl.Decimal(8, 2)]))
    changed["y"] = pl.col("y").cast(chance.choice([pl.Boolean, pl.UInt8, pl.Float32]))
    changed["ts"] = pl.col("ts").cast(chance.choice([pl.Int64, pl.Float64]))
    changed["past"] = pl.col("past").cast(pl.List(chance.choice([pl.Float64, pl.String])))
    return frame.with_columns(**changed)


def csv(frame: pl.DataFrame, path: Path) -> Path:
    frame.write_csv(path)
    return path


def as_csv(frame: pl.DataFrame, folder: Path, chance: random.Random) -> Path:
    return csv(text(frame), folder / "log.csv")


def as_tsv(frame: pl.DataFrame, folder: Path, chance: random.Random) -> Path:
    path = folder / "log.tsv"
    text(frame, "python").write_csv(path, separator="\t")
    return path


def as_gzip(frame: pl.DataFrame, folder: Path, chance: random.Random) -> Path:
    path = folder / "log.csv.gz"
    path.write_bytes(gzip.compress(csv(text(frame, "json"), folder / "log.csv").read_bytes()))
    return path


def as_odd_csv(frame: pl.DataFrame, folder: Path, chance: random.Random) -> Path:
    """Blanks around, numbers as 3.0, words for nothing and for labels, blank lines at the end."""
    odd = text(frame).with_columns(
        pl.format("{}.0", "uid").alias("uid"),
        pl.format(" {}\u200b\u00a0", "sku").alias("sku"),
        pl.col("city").fill_null(chance.choice(["NULL", "nan", r"\N", " "])),
        pl.col("price").cast(pl.String).fill_null("NA"),
        pl.col("y").replace_strict({1: "Yes", 0: "no"}, return_dtype=pl.String),
    )
    path = csv(odd, folder / "odd.csv")
    with path.open("a") as end:
        end.write("\n\n")
    return path


def as_parquet(frame: pl.DataFrame, folder: Path, chance: random.Random) -> Path:
    path = folder / "log.parquet"
    types(frame, chance).write_parquet(path)
    return path


def as_folder(frame: pl.DataFrame, folder: Path, chance: random.Random) -> Path:
    for part in range(3):
        (folder / "parts").mkdir(exist_ok=True)
        rows = frame[part * 20 : part * 20 + 20]
        rows.write_parquet(folder / "parts" / f"part.{part}.parquet")
    return folder / "parts"


def as_lines(frame: pl.DataFrame, folder: Path, chance: random.Random) -> Path:
    path = folder / "log.jsonl"
    frame.write_ndjson(path)
    return path


def as_zip(frame: pl.DataFrame, folder: Path, chance: random.Random) -> Path:
    path = folder / "log.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(csv(text(frame), folder / "log.csv"), "log.csv")
    return path


def as_arrow(frame: pl.DataFrame, folder: Path, chance: random.Random) -> Path:
    path = folder / "log.feather"
    types(frame, chance).write_ipc(path)
    return path


def as_old_mac(frame: pl.DataFrame, folder: Path, chance: random.Random) -> Path:
    """Lines that end in CR, blanks around numbers."""
    path = csv(text(frame.with_columns(pl.format(" {} ", "price").alias("price"))), folder / "log.csv")  # fmt: skip
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r"))
    return path


FORMS: list[Callable[[pl.DataFrame, Path, random.Random], Path]] = [
    as_csv, as_tsv, as_gzip, as_odd_csv, as_parquet, as_parquet, as_folder, as_lines, as_zip, as_arrow, as_old_mac,
]  # fmt: skip


def load(path: Path, folder: Path, fields: Fields = FIELDS, **settings: Any) -> AuditedClicks:
    source = ClickTableSource(fields=fields, path=str(path), name="log", **settings)
    return load_clicks(source, RandomRows(0.2, 0.2), folder / "cache")


def agree(one: AuditedClicks, other: AuditedClicks) -> None:
    assert one.data_hash == other.data_hash
    assert (one.counts, one.facts) == (other.counts, other.facts)
    assert one.data.encoded.vocabulary.equals(other.data.encoded.vocabulary)
    for name in ("ids", "values", "label", "weight", "group", "train", "val", "test"):
        assert np.array_equal(getattr(one.data.encoded, name), getattr(other.data.encoded, name)), (
            name
        )
    assert one.data.encoded.past is not None
    assert other.data.encoded.past is not None
    assert np.array_equal(one.data.encoded.past.items, other.data.encoded.past.items)


def read(path: Path) -> pl.DataFrame:
    """The rows in the one form that their hash is taken of."""
    source = ClickTableSource(fields=FIELDS, path=str(path), name="log")
    rows = source.canonical(source.read(source.files())).collect()
    return rows.select(sorted(rows.columns))


def same(seed: int, folder: Path) -> AuditedClicks:
    """All forms of a random table are read alike; two of them are encoded and audited."""
    frame, chance = drawn(seed), random.Random(seed)
    paths: list[Path] = []
    found: list[pl.DataFrame] = []
    for place, form in enumerate(FORMS):
        below = folder / str(place)
        below.mkdir()
        paths.append(form(frame, below, chance))
        found.append(read(paths[-1]))
        assert found[-1].equals(found[0]), (seed, form)
    rows = found[0]
    assert rows["uid"].to_list() == frame["uid"].cast(pl.String).to_list()
    assert rows["y"].to_list() == frame["y"].cast(pl.Float64).to_list()
    assert rows["price"].to_list() == frame["price"].to_list()
    assert rows["past"].to_list() == frame["past"].cast(pl.List(pl.String)).to_list()
    place = chance.randrange(1, len(paths))
    first, other = (load(paths[at], folder / str(at)) for at in (0, place))
    agree(first, other)
    return first


@pytest.mark.parametrize("seed", range(12))
def test_one_table_in_any_form_is_one_table(seed: int, tmp_path: Path) -> None:
    first = same(seed, tmp_path)
    frame = drawn(seed)
    changed = frame.with_columns(pl.when(pl.int_range(pl.len()) == 30).then(1 - pl.col("y")).otherwise("y").alias("y"))  # fmt: skip
    other = load(csv(text(changed), tmp_path / "changed.csv"), tmp_path)
    assert other.data_hash != first.data_hash


def test_each_column_of_lists_may_have_a_separator_of_its_own(tmp_path: Path) -> None:
    frame = drawn(3).with_columns(pl.col("tags", "past").list.eval(pl.element().cast(pl.String)))
    parted = frame.with_columns(pl.col("tags").list.join("|"), pl.col("past").list.join(","))
    fields = replace(FIELDS, separator={"tags": "|", "past": ","})
    parted.write_csv(tmp_path / "log.csv")
    frame.write_parquet(tmp_path / "log.parquet")
    made = [load(tmp_path / name, tmp_path / name[4:], fields) for name in ("log.csv", "log.parquet")]  # fmt: skip
    agree(*made)
    with pytest.raises(UserError, match=r"data\.fields\.separator speaks of 'tag', .*Did you mean 'tags'"):  # fmt: skip
        replace(FIELDS, separator={"tag": "|"})


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 220))
def test_one_table_in_any_form_is_one_table_at_length(seed: int, tmp_path: Path) -> None:
    same(seed, tmp_path)


def small(path: Path, columns: dict[str, Any], schema: dict[str, Any] | None = None) -> Path:
    frame = pl.DataFrame(columns, schema_overrides=schema)
    frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(path)
    return path


def test_the_least_that_counts_is_the_same_number_in_any_file(tmp_path: Path) -> None:
    columns = {"a": list("xyz") * 20, "y": [0.3, 0.7, 1.0] * 20}
    fields = Fields(categorical=("a",), label="y", positive_from=0.7)
    paths = [tmp_path / "log.csv", tmp_path / "log32.parquet", tmp_path / "log64.parquet"]
    types = [None, {"y": pl.Float32}, None]
    made = [load(small(path, columns, dtype), tmp_path, fields) for path, dtype in zip(paths, types, strict=True)]  # fmt: skip
    assert [each.data.encoded.label.sum() for each in made] == [40, 40, 40]
    assert len({each.data_hash for each in made}) == 1
    strict = replace(fields, positive_from=0.8)
    assert load(paths[0], tmp_path, strict).data_hash != made[0].data_hash
    goals = {"good": Goal("y", 0.7), "best": Goal("y", 1)}
    several = replace(fields, label=None, positive_from=None, goals=goals)
    assert load(paths[0], tmp_path, several).data_hash != made[0].data_hash


def test_published_labels_keep_the_published_hash_and_others_do_not() -> None:
    def settings(**fields: Any) -> dict[str, Any]:
        return MovieLens100KClicks(Fields(categorical=("user",), **fields)).settings()

    assert settings(label="rating", positive_from=4.0) == {}
    assert settings(label="rating", positive_from=5.0) != {}


@pytest.mark.parametrize(
    ("yes", "no"),
    [("yes", "no"), ("True", "False"), ("1.0", "0.0"), ("T", "f"), ("click", "no click"), (" 1", "0 ")],
)  # fmt: skip
def test_labels_may_be_words(yes: str, no: str, tmp_path: Path) -> None:
    path = small(tmp_path / "log.csv", {"a": list("xy") * 20, "y": [yes, no] * 20})
    made = load(path, tmp_path, Fields(categorical=("a",), label="y"))
    assert made.data.encoded.label.tolist() == [1, 0] * 20


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"y": "maybe"}, r"log.csv, line 5, row 4: the label in column 'y' is maybe; it must be 0 or 1, true or "),
        ({"price": "cheap"}, r"line 5, row 4: 'cheap' in column 'price' is no number"),
        ({"worth": "-1"}, r"line 5, row 4: the weight in column 'worth' is -1"),
        ({"ts": "soon"}, r"line 5, row 4: 'soon' in column 'ts' is no time"),
    ],
)  # fmt: skip
def test_a_faulty_row_is_named_with_file_line_column_and_value_or_left_out(
    fault: dict[str, str], said: str, tmp_path: Path
) -> None:
    frame = text(drawn(5)).with_columns(pl.all().cast(pl.String))
    (name, value), = fault.items()  # fmt: skip
    broken = frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(pl.lit(value)).otherwise(name).alias(name)
    )
    path = csv(broken, tmp_path / "log.csv")
    fields = replace(FIELDS, history=None, past="clicks")
    with pytest.raises(UserError, match=said):
        load(path, tmp_path, fields)
    made = load(path, tmp_path, fields, invalid="drop")
    assert made.facts["faulty rows left out"] == 1
    assert made.data.table.info["dropped"] == {"rows": 1, name: 1}
    rest = frame.filter(pl.int_range(pl.len()) != 3)
    rest.write_csv(tmp_path / "rest.csv")
    assert made.data_hash == load(tmp_path / "rest.csv", tmp_path, fields).data_hash
    with pytest.raises(UserError, match="every row is faulty"):
        load(csv(frame.with_columns(y=pl.lit("x")), path), tmp_path, fields, invalid="drop")


def test_ids_of_several_files_meet_in_whatever_form_they_are(tmp_path: Path) -> None:
    fields = Fields(categorical=("uid",), label="y")
    ids = [str(user) for user in range(5)] * 10
    train = small(tmp_path / "train.csv", {"uid": ids, "y": [0, 1] * 25})
    others = {
        "text.csv": {"uid": [f"{user}.0" for user in ids], "y": [0, 1] * 25},
        "blanks.csv": {"uid": [f" {user} " for user in ids], "y": [0, 1] * 25},
        "float.parquet": {"uid": [float(user) for user in ids], "y": [0, 1] * 25},
        "whole.parquet": {"uid": [int(user) for user in ids], "y": [False, True] * 25},
    }
    for name, columns in others.items():
        source = ClickTableSource(fields=fields, path=str(train), test=str(small(tmp_path / name, columns)), name="given")  # fmt: skip
        made = load_clicks(source, GivenRows(), tmp_path / "cache")
        assert made.facts["test rows with an unknown category"] == 0, name
        assert "training does not know" not in "".join(made.facts["told"])


def test_dates_with_slashes_are_read_by_the_day_that_the_rows_or_the_user_tell(
    tmp_path: Path,
) -> None:
    fields = Fields(categorical=("a",), label="y", time="day")
    days = [f"2024-{1 + number % 12:02d}-{1 + number % 28:02d}" for number in range(40)]
    columns = {"a": list("xy") * 20, "y": [0, 1] * 20}
    plain = load(small(tmp_path / "iso.csv", columns | {"day": days}), tmp_path, fields)
    turned = ["/".join(reversed(day.split("-"))) for day in days]
    slashes = load(small(tmp_path / "slash.csv", columns | {"day": turned}), tmp_path, fields)
    assert slashes.data_hash == plain.data_hash
    path = small(tmp_path / "unclear.csv", columns | {"day": ["05/06/2024", "07/08/2024"] * 20})
    with pytest.raises(UserError, match=r"say data\.day_first=true"):
        load(path, tmp_path, fields)
    made = [load(path, tmp_path, fields, day_first=first).data_hash for first in (True, False)]
    assert made[0] != made[1]
    own = load(path, tmp_path, fields, time_format="%d/%m/%Y")
    assert own.data_hash == made[0]
    soon = small(tmp_path / "soon.csv", columns | {"day": [*turned[:-1], "soon"]})
    with pytest.raises(
        UserError, match=r"soon.csv, line 41, row 40: 'soon' in column 'day' is no time"
    ):
        load(soon, tmp_path, fields)


def test_a_file_without_a_header_is_read_by_the_names_that_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"{number % 5}::{number % 7}::{number // 2 % 2}\n" for number in range(60))
    (tmp_path / "log.dat").write_text(rows)
    settings = {"columns": ["uid", "sku", "clicked"]}
    made = load(tmp_path / "log.dat", tmp_path, Fields(categorical=("uid", "sku"), label="clicked"), **settings)  # fmt: skip
    assert made.counts["rows"] == 60
    words = [
        "data",
        "schema",
        str(tmp_path / "log.dat"),
        "columns=[uid,sku,clicked]",
        f"out={tmp_path}",
    ]
    assert cli.run(words) == 0
    written = OmegaConf.load(tmp_path / "data" / "log.yaml")
    assert written.columns == settings["columns"]
    assert written.fields.label == "clicked"
    assert written.fields.categorical == ["uid", "sku"]
    capsys.readouterr()


def test_what_a_model_reads_is_in_the_hash(tmp_path: Path) -> None:
    columns = {
        "uid": [1, 2] * 20,
        "sku": [3, 4] * 20,
        "title": ["a", "b"] * 20,
        "y": [0, 1, 1, 0] * 10,
    }
    fields = Fields(categorical=("uid", "sku"), label="y", item="sku")
    one = load(small(tmp_path / "one.csv", columns), tmp_path, fields)
    other = load(
        small(tmp_path / "two.csv", columns | {"title": ["a", "c"] * 20}), tmp_path, fields
    )
    assert one.data_hash != other.data_hash
    about = items_of(other.data.table, fields, other.data.encoded, "{title}").about
    assert set(about["title"]) == {"a", "c"}
    parts = []
    for value in (1, 2):
        test = small(tmp_path / f"test{value}.csv", columns | {"uid": [1, value] * 20})
        source = ClickTableSource(
            fields=fields, path=str(tmp_path / "one.csv"), test=str(test), name="given"
        )
        parts.append(load_clicks(source, GivenRows(), tmp_path / "cache").data_hash)
    assert len({*parts, one.data_hash}) == 3


def test_lists_in_brackets_are_proposed_as_lists(tmp_path: Path) -> None:
    chance = random.Random(1)
    columns = {
        "user_id": [chance.randrange(9) for _ in range(60)],
        "item_id": [chance.randrange(9) for _ in range(60)],
        "genres": [str(chance.sample(["Action", "Drama", "War"], 2)) for _ in range(60)],
        "click_history": [str(chance.sample(range(9), 3)) for _ in range(60)],
        "clicked": [chance.choice(["yes", "no"]) for _ in range(60)],
    }
    path = small(tmp_path / "log.csv", columns)
    guesses = guess(open_table(path), {})
    fields = fields_of(guesses, None)
    assert (fields["multi_valued"], fields["history"], fields["item"]) == (["genres"], "click_history", "item_id")  # fmt: skip
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}  # fmt: skip
    made = load(path, tmp_path, Fields(**fields))
    known = made.data.encoded.vocabulary.filter(field="genres")["value"]
    assert set(known) == {"Action", "Drama", "War"}
    assert made.data.encoded.past is not None
    length = np.diff(
        np.append(np.asarray(made.data.encoded.past.start), len(made.data.encoded.past.items))
    )
    assert length.tolist() == [3] * 60
