"""One log in every form that a file may have: the same tables, codes, order and hash."""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.data import plain
from lightning_rec.data.prepare import prepare
from lightning_rec.data.sources.table import TableSource

COLUMNS = ["user", "item", "stars", "when"]
ROLES = {"user": "user", "item": "item", "rating": "stars", "time": "when"}
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
Form = Callable[[pl.DataFrame, Path, np.random.Generator], tuple[Path, dict[str, Any]]]


def table(chance: np.random.Generator) -> pl.DataFrame:
    """A log in the order of its times, of which no two are alike; ids are words or numbers."""
    rows = int(chance.integers(12, 40))
    words = ["007", "7", "Zoë", "a-b", "user_1", "9007199254740993", "é"]
    users = chance.choice(words, rows) if chance.random() < 0.5 else chance.integers(0, 9, rows)
    unit = chance.choice([*PER_SECOND])
    # A few seconds apart at most, so that fractions decide the order.
    ticks = np.sort(chance.choice(9 * PER_SECOND[unit] + rows, rows, replace=False))
    return pl.DataFrame(
        {
            "user": users.astype(str),
            "item": chance.integers(1, 15, rows),
            "stars": chance.integers(1, 50, rows) / 10,
            "when": 1_600_000_000 * PER_SECOND[unit] + ticks,
        }
    )


def delimited(frame: pl.DataFrame, separator: str = ",", header: bool = True) -> bytes:
    if len(separator) == 1:
        return frame.write_csv(separator=separator, include_header=header).encode()
    return (
        frame.write_csv(separator="\x1f", include_header=header).replace("\x1f", separator).encode()
    )


def text(separator: str, name: str, header: bool = True) -> Form:
    def write(frame: pl.DataFrame, folder: Path, chance: np.random.Generator) -> Any:
        (folder / name).write_bytes(delimited(frame, separator, header))
        return folder / name, {} if header else {"columns": COLUMNS}

    return write


def packed(frame: pl.DataFrame, folder: Path, chance: np.random.Generator) -> Any:
    (folder / "log.csv.gz").write_bytes(gzip.compress(delimited(frame)))
    return folder / "log.csv.gz", {}


def zipped(frame: pl.DataFrame, folder: Path, chance: np.random.Generator) -> Any:
    with zipfile.ZipFile(folder / "log.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for place, part in enumerate(parts(frame, 11)):
            archive.writestr(f"in/part-{place}.csv", delimited(part))
        archive.writestr("__MACOSX/._part-0.csv", b"\0")
    return folder / "log.zip", {}


def parts(frame: pl.DataFrame, number: int) -> list[pl.DataFrame]:
    size = -(-len(frame) // number)
    return [frame.slice(start, size) for start in range(0, len(frame), size)]


def folder_of(kind: str) -> Form:
    def write(frame: pl.DataFrame, folder: Path, chance: np.random.Generator) -> Any:
        (folder / "log").mkdir()
        for place, part in enumerate(parts(frame, 12)):
            path = folder / "log" / f"part.{place}.{kind}"
            if kind == "csv":
                path.write_bytes(delimited(part))
            elif kind == "jsonl":
                part.write_ndjson(path)
            else:
                # pandas writes floats where a part has gaps, integers where it has none.
                dtype = pl.Int64 if place % 2 else pl.Float64
                part.with_columns(pl.col("item").cast(dtype)).write_parquet(path)
        return folder / "log", {}

    return write


def parquet(frame: pl.DataFrame, folder: Path, chance: np.random.Generator) -> Any:
    item = chance.choice([pl.Int8, pl.UInt64, pl.Float32, pl.Float64, pl.String])
    stars = chance.choice([pl.Float32, pl.Float64, pl.String])
    frame = frame.with_columns(pl.col("item").cast(item), pl.col("stars").cast(stars))
    frame.write_parquet(folder / "log.parquet")
    return folder / "log.parquet", {}


def lines_of_json(frame: pl.DataFrame, folder: Path, chance: np.random.Generator) -> Any:
    frame.write_ndjson(folder / "log.jsonl")
    return folder / "log.jsonl", {}


def encoded(frame: pl.DataFrame, folder: Path, chance: np.random.Generator) -> Any:
    (folder / "log.csv").write_bytes(delimited(frame).decode().encode("latin-1"))
    return folder / "log.csv", {"encoding": "latin-1"}


def hive(frame: pl.DataFrame, folder: Path, chance: np.random.Generator) -> Any:
    for (item,), part in frame.partition_by("item", as_dict=True).items():
        below = folder / "log" / f"item={item}"
        below.mkdir(parents=True)
        part.drop("item").write_parquet(below / "part.parquet")
    return folder / "log", {}


def arrow(frame: pl.DataFrame, folder: Path, chance: np.random.Generator) -> Any:
    frame.write_ipc(folder / "log.arrow", compression=chance.choice(["lz4", "uncompressed"]))
    return folder / "log.arrow", {}


def old_mac(frame: pl.DataFrame, folder: Path, chance: np.random.Generator) -> Any:
    (folder / "log.csv").write_bytes(delimited(frame).replace(b"\n", b"\r"))
    return folder / "log.csv", {}


def wide(frame: pl.DataFrame, folder: Path, chance: np.random.Generator) -> Any:
    encoding = str(chance.choice(["utf-16", "utf-16-le", "utf-32"]))
    (folder / "log.csv").write_bytes(delimited(frame).decode().encode(encoding))
    return folder / "log.csv", {"encoding": encoding}


def european(frame: pl.DataFrame, folder: Path, chance: np.random.Generator) -> Any:
    stars = pl.col("stars").cast(pl.String).str.replace(".", ",", literal=True)
    (folder / "log.csv").write_bytes(delimited(frame.with_columns(stars), ";"))
    return folder / "log.csv", {"decimal": "comma"}


def broken(frame: pl.DataFrame, folder: Path, chance: np.random.Generator) -> Any:
    lines = delimited(frame).decode().splitlines()
    for at in sorted(chance.integers(1, len(lines), 3))[::-1]:
        lines.insert(at, lines[at] + ",9")
    (folder / "log.csv").write_text("\n".join(lines))
    return folder / "log.csv", {"invalid": "drop"}


def for_excel(frame: pl.DataFrame, folder: Path, chance: np.random.Generator) -> Any:
    (folder / "log.csv").write_bytes(b"sep=^\r\n" + delimited(frame, "^"))
    return folder / "log.csv", {}


def unseen(frame: pl.DataFrame, folder: Path, chance: np.random.Generator) -> Any:
    """Signs without a width around all values; each part begins with a mark of byte order."""
    signs = pl.lit(str(chance.choice(["\u200b", "\u200e", "\ufeff", "\u00a0", "\u2060 "])))
    frame = frame.select(
        pl.concat_str(signs, pl.col(name).cast(pl.String), signs).alias(name) for name in COLUMNS
    )
    head, *rest = [delimited(part, header=not at) for at, part in enumerate(parts(frame, 3))]
    (folder / "log.csv").write_bytes(b"".join(b"\xef\xbb\xbf" + part for part in (head, *rest)))
    return folder / "log.csv", {}


def shuffled(frame: pl.DataFrame, folder: Path, chance: np.random.Generator) -> Any:
    order = chance.permutation(len(frame))
    return text(",", "log.csv")(frame[order.tolist()], folder, chance)


FORMS: dict[str, Form] = {
    "tsv": text("\t", "log.tsv"),
    "semicolons": text(";", "log.csv"),
    "colons without a header": text("::", "log.dat", header=False),
    "blanks without a header": text("  ", "log.txt", header=False),
    "commas without a header": text(",", "log.csv", header=False),
    "gzip": packed,
    "zip": zipped,
    "latin-1": encoded,
    "folder of CSV": folder_of("csv"),
    "folder of JSON lines": folder_of("jsonl"),
    "folder of Parquet": folder_of("parquet"),
    "Hive": hive,
    "JSON lines": lines_of_json,
    "Parquet": parquet,
    "Arrow": arrow,
    "CR": old_mac,
    "UTF-16 and 32": wide,
    "decimal commas": european,
    "lines with too many fields": broken,
    "Excel's first line": for_excel,
    "signs that are not seen": unseen,
    "shuffled": shuffled,
}


def source(path: Path, settings: dict[str, Any]) -> TableSource:
    return TableSource(str(path), **{**ROLES, "name": "log", **settings})


def read(path: Path, settings: dict[str, Any]) -> pl.DataFrame:
    log = source(path, settings)
    return log.read(log.files()).interactions.collect()


def same(seed: int, folder: Path) -> None:
    """All forms are read as what was written; one of them is prepared, as the plain one is."""
    chance = np.random.default_rng(seed)
    frame = table(chance)
    rows, files = None, {}
    for form, write in {"CSV": text(",", "log.csv"), **FORMS}.items():
        below = folder / form
        below.mkdir(parents=True)
        files[form] = write(frame, below, chance)
        found = read(*files[form])
        if rows is None:
            rows = found
            assert found["user"].to_list() == frame["user"].to_list()
            assert found["item"].to_list() == frame["item"].cast(pl.String).to_list()
            assert found["rating"].to_list() == frame["stars"].cast(pl.Float32).to_list()
            length = len(str(frame["when"][0])) - len("1600000000")
            assert found["timestamp"].to_list() == (frame["when"] // 10**length).to_list()
        assert found.equals(rows), (seed, form)
    chosen = str(chance.choice([*FORMS]))
    data = [prepare(source(*files[form]), folder / f"cache {form}") for form in ("CSV", chosen)]
    assert data[0].events.collect().equals(data[1].events.collect()), (seed, chosen)
    assert data[0].info["data_hash"] == data[1].info["data_hash"], (seed, chosen)
    plain.clear()


@pytest.mark.parametrize("seed", range(30))
def test_one_log_in_any_form_is_one_data_set(seed: int, tmp_path: Path) -> None:
    same(seed, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 220))
def test_one_log_in_any_form_is_one_data_set_at_length(seed: int, tmp_path: Path) -> None:
    same(seed, tmp_path)
