"""A first guess at what the columns of a table of clicks mean, to be looked at and edited."""

import re
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from lightning_rec.data.clicks import cells
from lightning_rec.data.clicks.distinct import EXACT, counts, values_of
from lightning_rec.data.clicks.list_columns import (
    chosen_separator,
    hint,
    is_literal,
    is_parted,
    said,
)
from lightning_rec.data.ids import AROUND
from lightning_rec.data.names import of_things, words
from lightning_rec.data.tabular import Table
from lightning_rec.data.times import is_dates, raw_time
from lightning_rec.errors import UserError, listed, nearest

ROLES = ("label", "group", "time", "weight")
_NAMES = {
    "label": r"label|click(ed)?|is_click|target|y|converted|liked|bought|rating|stars",
    "group": r"(user|visitor|customer|member|account|client|session)(_?(id|no|code))?|uid",
    "item": r"(item|product|article|movie|ad|campaign)(_?(id|no|code))?|iid|sku",
    "history": (
        r"(.*_)?(hist|history|past|previous|prev|sequence|seq)(_.*)?|(clicked|liked|bought|seen)_.*"
    ),
    "time": r"time.*|ts|date.*|created.*|when|.*_(at|time|ts|date)",
    "id": r"id|.*_(id|no|code)|zip.*",
}
_HEAD = 100_000  # rows by whose values kinds are guessed
_MANY = 100  # whole numbers with more values than this are amounts, unless they are ids
_HASHED = 1_000_000  # categories beyond which hashing is proposed, and into how many rows
_VECTOR_BYTES = 4 * 4 * 16  # weight, gradient and two moments of a vector of 16 floats


@dataclass(frozen=True)
class Guess:
    """What a column seems to be.

    kind: ``categorical``, ``multi_valued``, ``numeric``, one of ``ROLES``, or ``left out``.
    distinct: values, in all rows; ``exact``: whether they were counted.
    empty: share of rows without one.
    why: what led to it, in a few words.
    group: whether it parts the rows for GAUC, besides what it is.
    hint: what else may be done about it, in a sentence.
    """

    name: str
    dtype: str
    kind: str
    distinct: int
    empty: float
    why: str = ""
    group: bool = False
    exact: bool = True
    hint: str = ""

    @property
    def megabytes(self) -> float:
        """Memory of the vectors that it needs, 16 wide, with gradients and Adam's moments."""
        rows = {"numeric": 1, "categorical": self.distinct, "multi_valued": self.distinct}
        return min(rows.get(self.kind, 0), _HASHED) * _VECTOR_BYTES / 2**20


def guess(table: Table, given: dict[str, str]) -> tuple[list[Guess], str]:
    """Guess every column. Without a header, the first column of 0 and 1 is the label.

    Args:
        table: the table.
        given: columns of roles that the user named: ``label``, ``group``, ``time``, ``weight``.

    Returns:
        A guess for each column, and the separator of values in text with many of them.

    Raises:
        UserError: if a column that is given is not there, or none can be the label.
    """
    schema = table.schema
    for role, column in given.items():
        if column not in schema:
            raise UserError(
                f"{table.path} has no column '{column}' for {role}; it has: "
                f"{listed(schema.names())}.{nearest(column, schema.names())}"
            )
    rows, counted = counts(table)
    head = table.collect(table.frame.head(_HEAD))
    texts = (head[name] for name in head.columns if head.schema[name] == pl.String)
    separator = chosen_separator([t for t in texts if not is_literal(t) and not _timely(t)])
    roles = _labelled(table, head, given)
    taken = {column: role for role, column in roles.items() if role != "group"}
    items = [name for name in schema.names() if name not in taken and _sounds(name, "item")]
    past = [name for name in schema.names() if items and _sounds(name, "history")]
    guesses: list[Guess] = []
    for name, dtype in schema.items():
        distinct, empty = counted[name]
        if name in taken:
            kind, why = taken[name], "as given" if name in given.values() else "its name and values"
        else:
            kind, why = _kind(head[name], rows, distinct, separator)
        if kind == "multi_valued" and name in past and "history" not in {g.kind for g in guesses}:
            kind, why = "history", f"{why}, and its name"
        group = name == roles.get("group")
        told = hint(head[name], separator) if kind == "categorical" else ""
        guesses.append(
            Guess(name, str(dtype), kind, distinct, empty, why, group, rows <= EXACT, told)
        )
    return _of_values(table, guesses, separator, rows), separator


def fields_of(guesses: list[Guess], separator: str, positive_from: float | None) -> dict[str, Any]:
    """The guesses as ``data.fields`` of a config."""
    kinds = ("categorical", "multi_valued", "numeric")
    features = {kind: [each.name for each in guesses if each.kind == kind] for kind in kinds}
    roles: dict[str, Any] = dict.fromkeys(ROLES)
    roles |= {each.kind: each.name for each in guesses if each.kind in ROLES}
    roles["group"] = next((each.name for each in guesses if each.group), None)
    many = (each for each in guesses if each.kind in kinds[:2] and each.distinct > _HASHED)
    large = [each.name for each in many]
    past = [each.name for each in guesses if each.kind == "history"]
    items = [name for name in features["categorical"] if _sounds(name, "item")]
    if past:  # of several the one that the history is called after
        items.sort(key=lambda name: re.split("_|id", words(name))[0] not in words(past[0]))
    return {
        **features,
        "label": roles.pop("label"),
        "positive_from": positive_from,
        **roles,
        "item": items[0] if items else None,
        "history": past[0] if past and items else None,
        "slices": [name for name in features["categorical"] if _sliced(name) and name not in large],
        "hash_size": dict.fromkeys(large, _HASHED),
        "separator": separator,
    }


def _sliced(name: str) -> bool:
    return _sounds(name, "group") or _sounds(name, "item")


def _sounds(name: str, role: str) -> bool:
    return re.fullmatch(_NAMES[role], words(name)) is not None


def _of_values(table: Table, guesses: list[Guess], separator: str, rows: int) -> list[Guess]:
    """The guesses, of lists in text with the number of values in place of that of lists."""
    texts = (each for each in guesses if each.kind in ("multi_valued", "history"))
    lists = {
        each.name: cells.sequences(pl.col(each.name), pl.String(), separator)
        for each in texts
        if table.schema[each.name] == pl.String
    }
    values = values_of(table, lists, rows)
    return [replace(each, distinct=values.get(each.name, each.distinct)) for each in guesses]


def _labelled(table: Table, head: pl.DataFrame, given: dict[str, str]) -> dict[str, str]:
    """Columns of the roles, a label among them. Raises UserError if none can be one."""
    roles = {**_roles(head, given), **given}
    if "label" not in roles and table.is_text and not table.dialect.headed:
        free = (name for name in head.columns if name not in given.values())
        found = next((name for name in free if _binary(head[name])), None)
        roles = {role: name for role, name in roles.items() if name != found}
        roles |= {"label": found} if found else {}
    if "label" not in roles:
        raise UserError(
            f"{table.path} has no column of 0 and 1 that could be the label: say label=COLUMN, and "
            f"for ratings, positive_from=NUMBER; it has: {listed(head.columns)}."
        )
    return roles


def _roles(head: pl.DataFrame, given: dict[str, str]) -> dict[str, str]:
    """Columns of the roles by name and values, for those that are not given."""
    found: dict[str, str] = {}
    for role, test in (("label", _binary), ("group", _whole), ("time", _timely)):
        for name in head.columns:
            free = name not in (*given.values(), *found.values())
            sounds = _sounds(name, role) and not (role == "time" and of_things(name))
            if role not in given and free and sounds and test(head[name]):
                found[role] = name
                break
    return found


def _whole(column: pl.Series) -> bool:
    return not column.dtype.is_nested()


def _binary(column: pl.Series) -> bool:
    if column.dtype.is_nested() or column.dtype.is_temporal():
        return False
    read = column.to_frame().select(cells.labels(pl.col(column.name), column.dtype, column.name))
    there = column.cast(pl.String).fill_null("").str.strip_chars(AROUND) != ""
    labels = read.to_series().filter(there)
    return not labels.null_count() and labels.n_unique() == 2


def _timely(column: pl.Series) -> bool:
    there = column.drop_nulls()
    if column.dtype.is_nested() or not len(there):
        return False
    first = str(there[0]).strip() if column.dtype == pl.String else None
    if column.dtype in (pl.Time, pl.Duration) or not (
        column.dtype.is_temporal() or is_dates(column.dtype, first) or _numbers(column) is not None
    ):
        return False
    # Of dates like 5/6/2024 training asks which is the day, if the rows do not tell it.
    forms = (raw_time(column.name, column.dtype, first, day_first=way) for way in (False, True))
    return any(not there.to_frame().select(form).to_series().null_count() for form in forms)


def _numbers(column: pl.Series) -> pl.Series | None:
    """The column as numbers, null where it is empty; None if it holds something else."""
    if column.dtype == pl.Boolean:
        return column.cast(pl.Float64)
    if column.dtype.is_nested() or column.dtype.is_temporal():
        return None
    words = column.cast(pl.String).str.strip_chars(AROUND)
    found = words.cast(pl.Float64, strict=False)
    there = (words != "") & ~words.str.to_lowercase().is_in(["nan", "null"])
    return None if (there & found.is_null()).any() else found


def _kind(column: pl.Series, rows: int, distinct: int, separator: str) -> tuple[str, str]:
    """Kind of a feature, and why."""
    if isinstance(column.dtype, pl.List | pl.Array):
        return "multi_valued", "lists"
    if isinstance(column.dtype, pl.Struct):
        return "left out", "objects"
    if column.dtype.is_temporal():
        return "left out", "a time"
    if distinct <= 1:
        return "left out", "one value alone"
    numbers = _numbers(column)
    named = any(_sounds(column.name, role) for role in ("id", "group", "item"))
    if numbers is None:
        dated = column.drop_nulls().str.contains(r"\d\d").all()
        if _timely(column) or (dated and _sounds(column.name, "time")):
            return "left out", "a time"
        if is_literal(column):
            return "multi_valued", "lists in brackets"
        if is_parted(column, separator):
            return "multi_valued", f"values parted by {said(separator)}"
        if named:
            return "categorical", "an id, by its name"
        if distinct > 0.8 * rows > _MANY:
            return "left out", "another value in nearly each row"
        return "categorical", "text"
    whole = (numbers.drop_nulls() == numbers.drop_nulls().floor()).all()
    if not whole:
        return "numeric", "fractions"
    if distinct > 0.8 * rows > _MANY and named:
        return "left out", "another value in nearly each row"
    if distinct > _MANY and not named:
        return "numeric", "many whole numbers"
    return "categorical", "an id, by its name" if named else "few whole numbers"
