"""Settings that fit a log without a description: form, header, columns, by names and by values."""

import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.config import as_override
from lightning_rec.data.dialect import BLANKS, Dialect
from lightning_rec.data.ids import AROUND
from lightning_rec.data.lists import is_list
from lightning_rec.data.names import of_things, sounding, words
from lightning_rec.data.plain import plain_parts
from lightning_rec.data.readers import first_lines, is_json, reader, typed
from lightning_rec.data.tabular import Table
from lightning_rec.data.times import raw_time

ROLES = ("user", "item", "time", "rating")
_NUMBER = r"[+-]?\d+(\.\d*)?"
_TIMED = (  # names of times, in small letters, words parted by _
    r"(.*_)?(times?|timestamps?|ts|dates?|datetime|created|when)(_(s|ms|us|ns|utc|at|on))?"
    r"|.*_at(_(s|ms|us|ns|utc))?|.*(time|timestamp|date)"
)
_ORDINAL = {"time", "times", "timestamp", "timestamps", "ts"}  # whose numbers may be small
_FIRST_OF_LIST = r"^[\[(]['\" ]*([^,'\"\])]*).*$"
_LABELS = {"click", "clicked", "is_click", "label"}
_YES_NO = ({"0", "1"}, {"yes", "no"}, {"true", "false"}, {"y", "n"}, {"t", "f"})
_QUERIES = {"query", "term", "search", "search_term", "searchterm", "search_query", "keyword"}
_MOMENT = r"\d{9,19}(\.\d*)?|\d{4}-\d\d?-\d\d?.*|\d\d?[/.]\d\d?[/.]\d{2,4}.*"
_PARTED = r"^\s*[^\s|;,]+(\s*[|;,]\s*[^\s|;,]+)+\s*$|^\s*\d+(\s+\d+)+\s*$"
_HEAD = 1000  # cells by which lists are told
_ALIKE = 0.9  # share of rows of one width above which the others are broken
_LEAST_EPOCH = 1e8  # 1973, in seconds
_MOST_STARS = 10
_MOST_COLUMNS = 12  # of a log without a header, in which users and items are told by their place


def described(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of ``data=table`` that a text without a header needs, but for those ``given``."""
    if {"columns", "header", "form"} & set(given) or (rows := _rows(path, given)) is None:
        return {}
    if _is_lines(rows):
        return {"form": "lines"}
    if not (whole := _headless_rows(rows)):
        return {}
    if len(rows[0]) > _MOST_COLUMNS:
        return {"header": False}
    return {"columns": list(_by_position(list(zip(*whole, strict=True))))}


def is_headless(path: Path, given: Mapping[str, Any]) -> bool:
    """Whether a table is text without a header, by its first lines."""
    rows = _rows(path, given)
    return rows is not None and bool(_headless_rows(rows))


def _rows(path: Path, given: Mapping[str, Any]) -> list[list[str]] | None:
    """The fields of the first lines of a text; None for another table."""
    part = plain_parts(path, given.get("encoding", "utf-8"))[0]
    if typed(part) or is_json(part):
        return None
    quoted = given.get("quoted", True)
    dialect = Dialect(given.get("delimiter") or part.separator, quoted=quoted)
    lines = first_lines(part)
    separator = dialect.separator(lines)
    if len(separator) == 1:
        return [row for row in reader(lines, separator, quoted) if row]
    return [line.split(None if separator == BLANKS else separator) for line in lines]


def _headless_rows(rows: list[list[str]]) -> list[list[str]]:
    """The rows as long as the first one if this is no header; else none."""
    whole = [row for row in rows if len(row) == len(rows[0])]
    return whole if _headless([[field.strip() for field in row] for row in whole]) else []


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
    return not value or re.fullmatch(f"{_NUMBER}|{_MOMENT}", value) is not None


def roles(table: Table, given: Mapping[str, Any]) -> dict[str, str]:
    """Columns that seem to hold what no column is named for, by their names."""
    found: dict[str, str] = {}
    for role in (role for role in ROLES if role not in given):
        known = {**given, **found}
        if role == "time":
            owners = [str(known.get(each)) for each in ("user", "item")]
            column = _time(table, known.values(), owners)
        else:
            column = guess(table, role, known.values())
        found |= {} if column is None else {role: column}
    return found


def guess(table: Table, role: str, taken: Collection[Any] = ()) -> str | None:
    """A column whose name sounds like the role: the same word, else with it at an end."""
    return sounding(role, (name for name in table.schema.names() if name not in taken))


def _time(table: Table, taken: Collection[Any], owners: Collection[str]) -> str | None:
    """A column that sounds like times and holds them; else one of dates, not of ``owners``."""
    head = table.collect(table.frame.head(_HEAD))
    free = [name for name in head.columns if name not in taken and not of_things(name)]
    called = {name: words(name) for name in free}
    named = (name for name in free if re.fullmatch(_TIMED, called[name]))
    exact = sorted(named, key=lambda name: called[name] not in _ORDINAL)
    found = (name for name in exact if _timely(head[name], ordinal=called[name] in _ORDINAL))
    dated = (name for name in free if _timely(head[name], ordinal=False, named=False))
    own = (name for name in dated if not any(_owned(head, name, owner) for owner in owners))
    return next(found, next(own, None))


def unlike_events(table: Table, taken: Collection[Any]) -> list[str]:
    """Columns of times that say when a user or an item began, by their names."""
    head = table.collect(table.frame.head(_HEAD))
    free = [name for name in head.columns if name not in taken and of_things(name)]
    return [name for name in free if _timely(head[name], ordinal=False)]


def _owned(head: pl.DataFrame, name: str, owner: str) -> bool:
    """Whether each of the owners with several rows has one value, and not all have the same."""
    if owner not in head.columns or head.schema[owner].is_nested():
        return False
    several = head.filter(pl.len().over(owner) > 1)
    each = several.group_by(owner).agg(pl.col(name).n_unique())
    return len(each) > 1 and each[name].max() == 1 and several[name].n_unique() > 1


def _timely(column: pl.Series, *, ordinal: bool, named: bool = True) -> bool:
    """Whether the values are moments; ``ordinal``: numbers may be small."""
    if isinstance(column.dtype, pl.List | pl.Array):
        column = column.explode()
    if column.dtype.is_nested() or column.dtype in (pl.Boolean, pl.Time, pl.Duration):
        return False
    if column.dtype.is_temporal():
        return True
    values = column.cast(pl.String).str.strip_chars(AROUND).drop_nulls()
    values = values.str.replace(_FIRST_OF_LIST, "$1").filter(values != "")
    if not len(values):
        return False
    numbers = values.cast(pl.Float64, strict=False)
    if numbers.null_count() < len(values) / 2:
        return named and (ordinal or _mostly(numbers >= _LEAST_EPOCH))
    if ordinal or _mostly(values.str.contains(f"^({_MOMENT})$")):
        return True
    read = raw_time("", pl.String(), values[0])
    return named and _mostly(values.to_frame("").select(read).to_series().is_not_null())


def _mostly(found: pl.Series) -> bool:
    return float(found.mean() or 0) > _ALIKE  # type: ignore[arg-type]


def label(table: Table, taken: Collection[Any]) -> str | None:
    """A column of two values, such as 0 and 1, that sounds like clicks."""
    names = [name for name in table.schema if name.lower() in _LABELS and name not in taken]
    head = table.collect(table.frame.select(pl.col(names).cast(pl.String)).head(_HEAD))
    held = {name: set(head[name].drop_nulls().str.to_lowercase()) for name in names}
    return next((name for name in names if held[name] in _YES_NO), None)


def texts(names: Iterable[str]) -> str | None:
    """A column that sounds like what is searched for, as tables of texts to match have one."""
    return next((name for name in names if words(name) in _QUERIES), None)


def protocol(settings: Mapping[str, Any], *, repeated: bool) -> dict[str, Any]:
    """Which protocol suits a log with these settings, by its keys; none for the default."""
    timed = settings.get("time") or "time" in (settings.get("columns") or ())
    in_order = timed or settings.get("history") or settings.get("form", "rows") != "rows"
    keep = {"protocol.seen": "keep"} if repeated else {}
    if settings.get("session") and settings.get("test"):
        return {"protocol": "sessions", "protocol.val_from": None, "protocol.test_from": None}
    if settings.get("test"):
        unseen = {} if settings.get("val") else {"protocol.val_users": 0}
        return {"protocol": "given", **unseen, **keep}
    if not in_order:
        return {"protocol": "random_items", "model": "itemknn"}
    if settings.get("session") and timed:
        return {"protocol": "sessions"}
    return keep


def holds_lists(table: Table, item: str) -> bool:
    """Whether a row holds many items."""
    dtype = table.schema.get(item)
    if dtype != pl.String:
        return isinstance(dtype, pl.List | pl.Array)
    cells = table.collect(table.frame.select(pl.col(item)).drop_nulls().head(_HEAD)).to_series()
    return bool(len(cells)) and (
        is_list(cells[0]) or float(cells.str.contains(_PARTED).mean()) > 0.5  # type: ignore[arg-type]
    )


def command(path: Path, settings: Mapping[str, Any], chosen: Mapping[str, Any]) -> str:
    """The line to type that trains on a log with these settings, and what else is ``chosen``."""
    data = {f"data.{key}": value for key, value in {"path": str(path), **settings}.items()}
    words = (f"{key}={as_override(value)}" for key, value in {**data, **chosen}.items())
    return shlex.join(["lightning-rec", "train", "data=table", *words])


def _by_position(columns: list[tuple[str, ...]]) -> Iterator[str]:
    """Names for columns without a header: the first two that are ids, times and ratings."""
    ids, left = iter(("user", "item")), {"time", "rating"}
    for place, column in enumerate(columns, 1):
        values = [value.strip() for value in column]
        numbers = [float(value) for value in values if re.fullmatch(_NUMBER, value)]
        dated = all(re.fullmatch(_MOMENT, value) for value in values)
        rated = len(numbers) == len(values) and all(abs(n) <= _MOST_STARS for n in numbers)
        if "time" in left and dated and all(number >= _LEAST_EPOCH for number in numbers):
            left.discard("time")
            yield "time"
        elif place > 2 and "rating" in left and rated:
            left.discard("rating")
            yield "rating"
        else:
            yield next(ids, f"column_{place}")
