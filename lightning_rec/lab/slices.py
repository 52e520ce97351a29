"""Slices of the test by any column: of the test's own table, the catalogue, or a user's tables."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.features import COLUMNS, SEPARATORS
from lightning_rec.data.ids import ids_of
from lightning_rec.data.numbers import only_numbers
from lightning_rec.data.tabular import open_table
from lightning_rec.errors import UserError, listed, nearest
from lightning_rec.lab.examples import TABLES

_DATE = r"^\d{4}-\d\d-\d\d"  # as ISO 8601 begins
log = logging.getLogger(__name__)

IDS = (*TABLES.values(), "item")  # a column that says whose a row of a table is
OWN = ("history", "popularity", "seen")  # of test_users.parquet
SMALLEST = 10  # examples; a slice of fewer is left out
VALUES = 8  # the most frequent ones that are slices of their own
QUANTILES = 4
UNKNOWN = "not known"

Described = str | Path | pl.DataFrame


class Part(NamedTuple):
    """A slice: the column it is cut by, its name, and bool [n], which examples are inside."""

    column: str
    name: str
    inside: NDArray[np.bool_]


def parts_of(
    folders: Sequence[Path], columns: Sequence[str], tables: Sequence[Described] = ()
) -> tuple[Part, ...]:
    """The slices of a test by columns.

    A number is cut into quarters of the examples, the length of the history as the figures of
    slices are; of other columns the most frequent values are a slice each, and the rest is "other".
    A list is in the slice of each of its values; so is text of genres, tags and the like that
    ``|``, ``;`` or ``,`` parts.

    Args:
        folders: run folders, of which one is read that says what the target of each example is.
        columns: of the test's own table (``history``, ``popularity``, ``seen``), the catalogue, or
            ``tables``.
        tables: files or frames with a column ``user``, ``item``, ``query``, ``row`` or ``text`` of
            raw ids.

    Raises UserError if nobody has a column, several have it, or ids do not match.
    """
    tested, key = _tested(folders)
    known = {"the test": tested.select(each for each in OWN if each in tested.columns)}
    if "item" in tested.columns and key != "item":
        known["the catalogue"] = _joined(tested, _catalogue(folders[0]), "item", "the catalogue")
    for number, table in enumerate(tables, 1):
        name = f"table {number}" if isinstance(table, pl.DataFrame) else str(table)
        described = table if isinstance(table, pl.DataFrame) else _read(Path(table))
        known[name] = _joined(tested, described, _id(described, tested, name), name)
    found: list[Part] = []
    for column in dict.fromkeys(columns):
        where = [name for name, of in known.items() if column in of.columns]
        if len(where) > 1:
            raise UserError(f"slices={column} is in {listed(where)}: rename it in one of them.")
        if not where:
            _refuse(column, [each for of in known.values() for each in of.columns], tested)
        if (kind := known[where[0]][column].dtype).is_nested() and (
            not isinstance(kind, pl.List) or kind.inner.is_nested()
        ):
            raise UserError(f"slices={column}: it holds {kind}, by which nothing can be cut.")
        cut = [Part(column, *each) for each in _cut(_typed(known[where[0]][column]))]
        kept = [each for each in cut if SMALLEST <= each.inside.sum() < tested.height]
        if all(each.name in ("other", UNKNOWN) for each in kept):
            raise UserError(
                f"slices={column} parts nothing: no value of it has {SMALLEST} examples of the "
                "test, or one has all of them."
            )
        found += kept
    return tuple(found)


def _tested(folders: Sequence[Path]) -> tuple[pl.DataFrame, str]:
    """The table of examples of a run, if possible of one that knows targets; and its key."""
    from lightning_rec.runs.folder import RunFolder  # imports torch

    found: pl.DataFrame | None = None
    for folder in folders:
        for name, key in TABLES.items():
            if (folder / f"{name}.parquet").is_file():
                table = RunFolder(folder).table(name)
                if key != "user" or "item" in table.columns:
                    return table, key
                found = table if found is None else found
    if found is None:
        raise UserError(
            "slices= reads the tables that run folders keep of their test, and what the baseline "
            "is of has none: name run folders, not JSON that was recorded of them."
        )
    return found, "user"


def _catalogue(folder: Path) -> pl.DataFrame:
    from lightning_rec.runs.folder import RunFolder

    found = folder / "items.parquet"
    return RunFolder(folder).table("items").drop("code", strict=False) if found.is_file() else (
        pl.DataFrame({"item": []}, schema={"item": pl.String})
    )  # fmt: skip


def _read(path: Path) -> pl.DataFrame:
    table = open_table(path)
    return table.collect(table.frame)


def _typed(values: pl.Series) -> pl.Series:
    """Of a text table: numbers or dates if all are, lists of genres and the like."""
    if values.dtype != pl.String:
        return values
    if (number := only_numbers(values)) is not None:
        return number
    values = values.replace("", None)
    if values.str.contains(_DATE).all():
        with suppress(pl.exceptions.ComputeError):  # they only begin as dates do
            date = values.str.to_datetime(strict=False)
            if date.null_count() == values.null_count():
                return date
    found = (sign for sign in SEPARATORS if values.str.contains(sign, literal=True).any())
    if values.name.lower() in COLUMNS and (sign := next(found, None)):
        return values.str.split(sign).list.eval(pl.element().str.strip_chars())
    return values


def _id(table: pl.DataFrame, tested: pl.DataFrame, name: str) -> str:
    """The column of ids that a table and the test have both."""
    known = [each for each in IDS if each in tested.columns]
    found = [each for each in known if each in table.columns]
    if len(found) != 1:
        has = "none" if not found else f"{len(found)} of them"
        raise UserError(
            f"{name} is joined by a column of raw ids named {' or '.join(known)}, and has {has} "
            f"among {listed(table.columns)}: rename its columns."
        )
    return found[0]


def _joined(tested: pl.DataFrame, described: pl.DataFrame, key: str, name: str) -> pl.DataFrame:
    """What a table says of each example, a row each; null where it does not know the id.

    Ids are equal by the one rule of :func:`~lightning_rec.data.ids.ids`.
    """
    described = described.with_columns(ids_of(described[key])).filter(pl.col(key).is_not_null())
    ids, own = described[key], ids_of(tested[key])
    if (twice := ids.filter(ids.is_duplicated())).len():
        raise UserError(f"{name} has two rows or more of the {key} '{twice[0]}': leave one.")
    inside = own.is_in(ids.implode())
    if described.height and not inside.any():
        has = [each.drop_nulls().head(1).to_list() for each in (own, ids)]
        raise UserError(
            f"No {key} of the test is in {name}: the test has {has[0]}, it has {has[1]}. It has to "
            "hold raw ids, as the data was read."
        )
    if described.height and not inside.all():
        missing = own.filter(~inside & own.is_not_null()).unique()
        if missing.len():
            log.warning("%s does not know %s %ss of the test.", name, f"{missing.len():,}", key)
    return own.to_frame().join(described, key, "left", maintain_order="left").drop(key)


def _refuse(column: str, known: Sequence[str], tested: pl.DataFrame) -> None:
    if "user" in tested.columns and "item" not in tested.columns:
        more = " These runs are of an earlier version, which did not keep the target of each "
        more += "example; by a column of items they cannot be cut."
    elif not known:
        more = " Name a table that has it, tables=[FILE]."
    else:
        more = nearest(column, known) or f" Known: {', '.join(sorted(known))}."
    raise UserError(f"slices={column} is no column of the test, the catalogue or a table.{more}")


def _cut(values: pl.Series) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Slices of a column by name, bool [n] each."""
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if values.dtype == pl.List:
        values = values.list.drop_nulls()
        values = values.set(values.list.len() == 0, None)
        each = values.drop_nulls().list.unique().explode()
    else:
        values = values.set(values.is_nan(), None) if values.dtype.is_float() else values
        each = values
    known = values.is_not_null()
    if values.name == "history":
        yield from _histories(values)
    elif (values.dtype.is_numeric() or values.dtype.is_temporal()) and each.n_unique() > VALUES:
        yield from _quarters(values)
    else:
        yield from _frequent(values, each.drop_nulls())
    if not known.all():
        yield UNKNOWN, (~known).to_numpy()


def _histories(values: pl.Series) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """As the figures of slices cut them."""
    from lightning_rec.metrics.slices import HISTORY_FROM  # imports torch

    for start, after in zip(HISTORY_FROM, [*HISTORY_FROM[1:], None], strict=True):
        inside = values >= start if after is None else values.is_between(start, after - 1)
        yield (
            f"{start} or more" if after is None else f"{start}\u2013{after - 1}",
            inside.to_numpy(),
        )


def _quarters(values: pl.Series) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """A number or a time by its quantiles over the examples, named by what is there."""
    number = values.to_physical()
    shares = np.linspace(0, 1, QUANTILES + 1)[:-1]
    starts = sorted({number.quantile(share, "higher") for share in shares})
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        inside = number >= start if end is None else (number >= start) & (number < end)
        inside = inside.fill_null(value=False)
        ends = values.filter(inside).sort()
        yield "\u2013".join(dict.fromkeys(map(_shown, (ends[0], ends[-1])))), inside.to_numpy()


def _frequent(values: pl.Series, each: pl.Series) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The most frequent values, in their order, and what has another one."""
    counts = each.value_counts().sort("count", each.name, descending=[True, False])
    common = counts.filter(pl.col("count") >= SMALLEST).head(VALUES)[each.name]
    rare = each.filter(~each.is_in(common.implode())).unique()
    lists = values.dtype == pl.List
    for value in common.sort():
        inside = values.list.contains(value) if lists else values == value
        yield _shown(value), inside.fill_null(value=False).to_numpy()
    if rare.len():
        sets = rare.implode()
        inside = values.list.set_intersection(sets).list.len() > 0 if lists else values.is_in(sets)
        yield "other", inside.fill_null(value=False).to_numpy()


def _shown(value: object) -> str:
    """A value on one line; a whole number without a point."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
    return " ".join(str(value).split())
