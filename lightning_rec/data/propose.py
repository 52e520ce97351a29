"""Settings that fit a log nobody has described: form, header, columns, by names and by values."""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.data.dialect import BLANKS, UNIT, Dialect
from lightning_rec.data.lists import is_list
from lightning_rec.data.plain import plain_parts
from lightning_rec.data.readers import first_lines, is_json, is_parquet, reader
from lightning_rec.data.tabular import Table

ROLES = ("user", "item", "time", "rating")
_NAMES = {
    "user": (
        "user",
        "uid",
        "visitor",
        "customer",
        "member",
        "reviewer",
        "account",
        "client",
        "buyer",
    ),
    "item": (
        "item",
        "iid",
        "sku",
        "product",
        "movie",
        "article",
        "asin",
        "track",
        "book",
        "song",
        "stock",
        "venue",
    ),
    "time": ("time", "ts", "date", "created", "when"),
    "rating": ("rating", "stars", "score"),
}
_NUMBER = r"[+-]?\d+(\.\d*)?"
_MOMENT = r"\d{9,19}(\.\d*)?|\d{4}-\d\d?-\d\d?.*|\d\d?[/.]\d\d?[/.]\d{2,4}.*"
_LEAST_EPOCH = 1e8  # 1973, in seconds
_MOST_STARS = 10
_MOST_COLUMNS = 12  # of a log without a header, in which users and items are told by their place


def described(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a text file without a header needs to be read, as settings of ``data=table``.

    Args:
        path: file, folder or zip.
        given: settings that the user named; nothing is proposed in their place.

    Raises:
        UserError: if the file cannot be opened.
    """
    if {"columns", "header", "form"} & set(given):
        return {}
    part = plain_parts(path, given.get("encoding", "utf-8"))[0]
    if is_parquet(part) or is_json(part):
        return {}
    lines = first_lines(part)
    told = Dialect(delimiter=given.get("delimiter")).separator(lines)
    separator = told
    if len(told) > 1:
        lines = [UNIT.join(line.split(None if told == BLANKS else told)) for line in lines]
        separator = UNIT
    rows = [row for row in reader(lines, separator) if row]
    widths = {len(row) for row in rows}
    words = [len(line.split()) for line in lines]
    if widths == {1} and min(words) > 1 < len(set(words)):
        return {"form": "lines"}
    if len(widths) > 1 and all(field.isdecimal() for row in rows for field in row):
        return {"form": "lines"}
    values = (each.strip() for each in rows[0])
    if len(widths) > 1 or not any(re.fullmatch(f"{_NUMBER}|{_MOMENT}", each) for each in values):
        return {}
    if len(rows[0]) > _MOST_COLUMNS:
        return {"header": False}
    return {"columns": list(_by_position(list(zip(*rows, strict=True))))}


def roles(table: Table, given: Mapping[str, Any]) -> dict[str, str]:
    """Columns that seem to hold what no column is named for, by their names."""
    found = {role: guess(table, role) for role in ROLES if role not in given}
    return {role: column for role, column in found.items() if column is not None}


def guess(table: Table, role: str) -> str | None:
    """A column whose name sounds like the role: the same word, else with it at an end."""
    for sounds in (str.__eq__, str.startswith, str.endswith):
        for word in _NAMES[role]:
            for name in table.schema.names():
                if sounds(name.lower(), word):
                    return name
    return None


def holds_lists(table: Table, item: str) -> bool:
    """Whether a row holds many items."""
    dtype = table.schema.get(item)
    if dtype != pl.String:
        return isinstance(dtype, pl.List | pl.Array)
    first = table.collect(table.frame.select(pl.col(item)).drop_nulls().head(1))
    return bool(first.height) and is_list(first.item())


def command(path: Path, settings: Mapping[str, Any]) -> str:
    """The line to type that trains on a log with these settings."""
    words = [
        f"data.{key}={_hydra(value)}" for key, value in {"path": str(path), **settings}.items()
    ]
    return shlex.join(["lightning-rec", "train", "data=table", *words])


def _hydra(value: Any) -> str:
    """A value as Hydra reads it."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_hydra, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    plain = re.fullmatch(r"[\w./:%@+-]+( [\w./:%@+-]+)*", text)
    return text if plain else "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _by_position(columns: list[tuple[str, ...]]) -> Iterator[str]:
    """Names for columns without a header: the first two that are ids, times and ratings."""
    ids, left = iter(("user", "item")), {"time", "rating"}
    for place, column in enumerate(columns, 1):
        values = [value.strip() for value in column]
        if "time" in left and all(map(_is_moment, values)):
            left.discard("time")
            yield "time"
        elif place > 2 and "rating" in left and all(map(_is_stars, values)):
            left.discard("rating")
            yield "rating"
        else:
            yield next(ids, f"column_{place}")


def _is_moment(value: str) -> bool:
    number = re.fullmatch(_NUMBER, value) is not None
    return re.fullmatch(_MOMENT, value) is not None and (not number or float(value) >= _LEAST_EPOCH)


def _is_stars(value: str) -> bool:
    return re.fullmatch(_NUMBER, value) is not None and abs(float(value)) <= _MOST_STARS
