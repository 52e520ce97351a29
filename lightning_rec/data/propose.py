"""Settings that fit a log nobody has described: form, header, columns, by names and by values."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.data.dialect import BLANKS, Dialect
from lightning_rec.data.lists import is_list
from lightning_rec.data.plain import plain_parts
from lightning_rec.data.readers import first_lines, is_json, reader, typed
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
_PARTED = r"^\s*[^\s|;,]+(\s*[|;,]\s*[^\s|;,]+)+\s*$|^\s*\d+(\s+\d+)+\s*$"
_HEAD = 1000  # cells by which lists are told
_ALIKE = 0.9  # share of rows of one width above which the others are broken
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
    if typed(part) or is_json(part):
        return {}
    rows = _rows(
        first_lines(part), Dialect(given.get("delimiter"), quoted=given.get("quoted", True))
    )
    if _is_lines(rows):
        return {"form": "lines"}
    whole = [row for row in rows if len(row) == len(rows[0])]
    if not _headless([[field.strip() for field in row] for row in whole]):
        return {}
    if len(rows[0]) > _MOST_COLUMNS:
        return {"header": False}
    return {"columns": list(_by_position(list(zip(*whole, strict=True))))}


def _rows(lines: list[str], dialect: Dialect) -> list[list[str]]:
    """The fields of some lines, of which one may stand on several."""
    separator = dialect.separator(lines)
    if len(separator) == 1:
        return [row for row in reader(lines, separator, dialect.quoted) if row]
    return [line.split(None if separator == BLANKS else separator) for line in lines]


def _is_lines(rows: list[list[str]]) -> bool:
    """Whether each row is a user and all his items: of many widths, by blanks or of numbers."""
    if all(len(row) == 1 for row in rows):
        rows = [row[0].split() for row in rows]
    elif not all(field.strip().isdecimal() for row in rows for field in row):
        return False
    widths = Counter(map(len, rows))
    # A table with a few broken lines has one width that nearly all rows have.
    return min(widths) > 1 < len(widths) and max(widths.values()) <= _ALIKE * len(rows)


def _headless(rows: list[list[str]]) -> bool:
    """Whether the first row is no header: it has numbers, or dates, where all others have them."""
    first, *rest = rows
    if not rest:
        return any(field and _is_plain(field) for field in first)
    columns = enumerate(zip(*rest, strict=True))
    plain = [place for place, column in columns if any(column) and all(map(_is_plain, column))]
    return any(first[place] for place in plain) and all(_is_plain(first[place]) for place in plain)


def _is_plain(value: str) -> bool:
    """Whether a field, stripped, is a number, a date, or empty."""
    return not value or re.fullmatch(f"{_NUMBER}|{_MOMENT}", value) is not None


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
    cells = table.collect(table.frame.select(pl.col(item)).drop_nulls().head(_HEAD)).to_series()
    return bool(len(cells)) and (
        is_list(cells[0]) or float(cells.str.contains(_PARTED).mean()) > 0.5  # type: ignore[arg-type]
    )


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
