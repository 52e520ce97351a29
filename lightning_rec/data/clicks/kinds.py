"""What one column of clicks seems to hold: numbers, times, labels, lists or categories."""

import math
from collections.abc import Callable, Collection

import polars as pl

from lightning_rec.data import numbers as read
from lightning_rec.data.clicks import cells
from lightning_rec.data.dialect import Decimal
from lightning_rec.data.ids import AROUND, MISSING, ids_of
from lightning_rec.data.tabular import Table
from lightning_rec.data.times import is_dates, raw_time
from lightning_rec.errors import UserError

HEAD = 100_000  # rows by whose values kinds are guessed
MANY = 100  # whole numbers with more values than this are amounts, unless they are ids
A_TIME = "a time"  # why a column is no feature
_EPOCHS = (1e9, 2.1e9)  # 2001 to 2036, in seconds
_CHANCE = 1e-6  # rows at random would all have label 1 so seldom
_MARKS = "|;, "  # what may part values; a blank last, as words have them too
_NUMBER = r"^[+-]?\d+(,\d+)?$"


def is_binary(column: pl.Series) -> bool:
    """Whether the values are labels of two kinds, 0 and 1 or words for them."""
    return (labels := _labels(column)) is not None and labels.drop_nulls().n_unique() == 2


def is_timely(column: pl.Series) -> bool:
    """Whether all values can be read as times, numbers of any size among them."""
    values = column.drop_nulls()
    if column.dtype.is_nested() or not len(values):
        return False
    first = str(values[0]).strip() if column.dtype == pl.String else None
    if column.dtype in (pl.Time, pl.Duration) or not (
        column.dtype.is_temporal() or is_dates(column.dtype, first) or _numbers(column) is not None
    ):
        return False
    # Of dates like 5/6/2024 training asks which is the day, if the rows do not tell it.
    forms = (raw_time(column.name, column.dtype, first, day_first=way) for way in (False, True))
    return any(not values.to_frame().select(form).to_series().null_count() for form in forms)


def kind(
    column: pl.Series, rows: int, distinct: int, separator: str | None, decimal: Decimal, named: str
) -> tuple[str, str]:
    """Kind of a feature, and why. ``column`` is the first of its ``rows``, ``distinct`` counts all
    their values, ``separator`` parts lists in text, and ``named`` is ``id`` or ``time`` by its
    name, or empty.
    """
    if isinstance(column.dtype, pl.List | pl.Array):
        return "multi_valued", "lists"
    if isinstance(column.dtype, pl.Struct):
        return "left out", "objects"
    if column.dtype.is_temporal():
        return "left out", A_TIME if is_timely(column) else "a time of day, or a span"
    if distinct <= 1:
        return "left out", "one value alone"
    unique = distinct > 0.8 * rows > MANY
    numbers = _numbers(column, decimal)
    if numbers is None:
        return _kind_of_text(column, separator, named, unique=unique)
    if not (numbers.drop_nulls() == numbers.drop_nulls().floor()).all():
        return "numeric", "fractions"
    zeros = column.dtype == pl.String and _filled(column).str.contains(r"^0\d+$").any()  # 007
    coded = named == "id" or zeros
    if coded and unique:
        return "left out", "another value in nearly each row"
    if coded:
        why = "an id, by its name" if named == "id" else "codes: they have leading zeros"
        return "categorical", why
    if distinct > MANY:
        least, most = float(numbers.min() or 0), float(numbers.max() or 0)  # type: ignore[arg-type]
        first, last = _EPOCHS
        epochs = (first * unit <= least and most <= last * unit for unit in (1, 1e3, 1e6, 1e9))
        return ("left out", A_TIME) if any(epochs) else ("numeric", "many whole numbers")
    return "categorical", "few whole numbers"


def clicked(
    label: pl.Series, least: float | None, decimal: Decimal, table: object
) -> pl.Series | None:
    """Labels, 0, 1, null where empty; None of numbers where no ``least`` is said that counts as 1.
    Raises UserError if the column holds something else.
    """
    name, dtype = label.name, label.dtype
    cells.numbers(pl.col(name), dtype, name)  # refuses lists and times
    numbers = _numbers(label, decimal)
    if numbers is not None and least is not None:
        return (numbers >= least).cast(pl.Float64)
    if (found := _labels(label)) is not None or numbers is not None:
        return found
    words = label.cast(pl.String).drop_nulls().str.strip_chars(AROUND)
    words = words.filter(words != "")
    known = words.to_frame().select(cells.labels(pl.col(name), pl.String(), name)).to_series()
    bad = words.filter(known.is_null())[0]
    raise UserError(
        f"{table}: the label in column '{name}' is {bad}; it must be {cells.LABELS}. "
        f"{cells.labels_instead(words, bad, 'data.fields')}"
    )


def of_the_label(column: pl.Series, clicked: pl.Series | None) -> str:
    """Why a column seems to come of the click, such as a purchase: it has one value at most in rows
    with label 0, and others in more rows with label 1 than by chance. Empty if it does not.
    """
    if column.dtype.is_nested() or clicked is None:
        return ""
    values = ids_of(column)
    usual = values.filter(clicked == 0).drop_nulls().unique()
    if len(usual) > 1:
        return ""
    others = values.drop_nulls()
    count = int((others != usual[0]).sum()) if len(usual) else len(others)
    rate = float(clicked.mean() or 0)  # type: ignore[arg-type]
    if not 0 < rate < 1 or count * math.log(rate) > math.log(_CHANCE):
        return ""
    than = f"another value than {usual[0]}" if len(usual) else "a value"
    return f"{than} in rows with label 1 alone ({count:,} of them)"


def decimal_comma(table: Table) -> list[str]:
    """Columns of text whose numbers have decimal commas, if none has a point."""
    head = table.collect(table.frame.head(HEAD))
    texts = {column.name: _filled(column) for column in head if column.dtype == pl.String}
    for name, values in texts.items():
        # pandas writes whole numbers with gaps as 30.0
        if values.str.contains(r"\.\d*[1-9]").any() and _numbers(head[name]) is not None:
            return []
    return [
        name
        for name, values in texts.items()
        if values.str.contains(_NUMBER).all() and values.str.contains(read.COMMA).any()
    ]


def with_commas(column: pl.Series) -> str:
    """One of the values that may have decimal commas, if all are numbers then; else empty."""
    values = _filled(column) if column.dtype == pl.String else pl.Series(dtype=pl.String)
    commas = values.filter(values.str.contains(",", literal=True))
    return (
        str(commas[0]) if len(commas) and values.str.contains(r"^[+-]?[\d.]+(,\d+)?$").all() else ""
    )


def _filled(column: pl.Series) -> pl.Series:
    """The values of text without blanks around them, empty ones left out."""
    values = column.str.strip_chars(AROUND)
    return values.filter(~values.is_in(MISSING)).drop_nulls()


def _kind_of_text(
    column: pl.Series, separator: str | None, named: str, *, unique: bool
) -> tuple[str, str]:
    dated = column.drop_nulls().str.contains(r"\d\d").all()
    if is_timely(column):
        return "left out", A_TIME
    if dated and named == "time":
        return "left out", "a time, in a form that is not read"
    if is_literal(column):
        return "multi_valued", "lists in brackets"
    if separator is not None:
        return "multi_valued", f"values parted by {'blanks' if separator == ' ' else separator}"
    if named == "id":
        return "categorical", "an id, by its name"
    if unique:
        return "left out", "another value in nearly each row"
    return "categorical", "text"


def _labels(column: pl.Series) -> pl.Series | None:
    """The column as labels, Float64, null where it is empty; None if it holds something else."""
    return _read(column, lambda: cells.labels(pl.col(column.name), column.dtype, ""), ("",))


def _numbers(column: pl.Series, decimal: Decimal = "point") -> pl.Series | None:
    """The column as numbers, null where it is empty; None if it holds something else."""
    name, dtype = column.name, column.dtype
    return _read(column, lambda: read.numbers(pl.col(name), dtype, decimal), MISSING)


def _read(
    column: pl.Series, reader: Callable[[], pl.Expr], empty: Collection[str]
) -> pl.Series | None:
    if column.dtype.is_nested() or column.dtype.is_temporal():
        return None
    found = column.to_frame().select(reader()).to_series()
    words = column.cast(pl.String).fill_null("").str.strip_chars(AROUND)
    return None if found.filter(~words.is_in(empty)).null_count() else found


def separator_of(column: pl.Series) -> str | None:
    """What parts the values of a column of lists in text; None if it holds none."""
    if column.dtype != pl.String or is_literal(column):
        return None
    return next((mark for mark in _MARKS if is_parted(column, mark)), None)


def is_literal(column: pl.Series) -> bool:
    """Whether all values are lists in brackets."""
    filled = column.cast(pl.String).drop_nulls().str.strip_chars()
    filled = filled.filter(filled != "")
    return len(filled) > 0 and bool((filled.str.starts_with("[") & filled.str.ends_with("]")).all())


def is_parted(column: pl.Series, separator: str) -> bool:
    """Whether many values are lists: parted, of parts that come back in other values."""
    filled = column.cast(pl.String).drop_nulls().str.strip_chars(AROUND)
    filled = filled.filter(filled != "").unique()
    blanks = separator == " "
    parts = filled.str.extract_all(r"\S+") if blanks else filled.str.split(separator)
    width, known = parts.list.len(), parts.explode().unique()
    if not len(filled) or (width > 1).mean() < 0.1 or len(known) >= width.sum() / 2:  # type: ignore[operator]
        return False
    # Words of titles and names are parted by blanks as well: lists are of ids, or of a few words
    # of which most stand alone in some row.
    if not blanks or known.str.contains(r"^[A-Za-z_-]{0,8}\d+$").all():
        return not blanks or width.n_unique() > 1
    alone = known.is_in(filled.filter(width == 1).implode()).mean()
    return 2 * len(known) <= len(filled) and float(alone or 0) >= 0.5  # type: ignore[arg-type]
