"""A first guess at what the columns of a table of clicks mean, to be looked at and edited."""

import re
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from lightning_rec.data.clicks import cells, kinds
from lightning_rec.data.ids import ids, stripped
from lightning_rec.data.names import no_column, of_things, words
from lightning_rec.data.tabular import Table
from lightning_rec.errors import UserError, listed

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
EXACT = 1_000_000  # rows beyond which the number of distinct values is about right
_HASHED = 1_000_000  # categories beyond which hashing is proposed, and into how many rows
_VECTOR_BYTES = 4 * 4 * 16  # weight, gradient and two moments of a vector of 16 floats


@dataclass(frozen=True)
class Guess:
    """What a column seems to be.

    kind: ``categorical``, ``multi_valued``, ``numeric``, one of ``ROLES``, or ``left out``.
    distinct: values, in all rows; ``exact``: whether they were counted.
    empty: share of rows without one.
    why: what led to it; hint: what else may be done about it, in a sentence.
    group: whether it parts the rows for GAUC, besides what it is.
    separator: what parts its values, where they are lists in text.
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
    separator: str | None = None

    @property
    def megabytes(self) -> float:
        """Memory of the vectors that it needs, 16 wide, with gradients and Adam's moments."""
        rows = {"numeric": 1, "categorical": self.distinct, "multi_valued": self.distinct}
        return min(rows.get(self.kind, 0), _HASHED) * _VECTOR_BYTES / 2**20


def guess(table: Table, given: dict[str, str], positive_from: float | None = None) -> list[Guess]:
    """Guess every column; ``given`` are columns by role. Raises UserError if one is not there, or
    none can be the label: by its name, or, without a header, the first of 0 and 1; or if a given
    one holds words for neither.
    """
    schema = table.schema
    for role, column in given.items():
        if column not in schema:
            raise UserError(no_column(table.path, column, role, schema))
    rows, counted = _counts(table)
    head = table.collect(table.frame.head(kinds.HEAD))
    roles = _roles(table, head, given)
    label, decimal = head[roles["label"]], table.dialect.decimal
    clicked = kinds.clicked(label, positive_from, decimal, table.path)
    taken = {column: role for role, column in roles.items() if role != "group"}
    guesses = []
    for name, dtype in schema.items():
        distinct, empty = counted[name]
        plain = Guess(name, str(dtype), "", distinct, empty, exact=rows <= EXACT)
        if name in taken:
            why = "as given" if name in given.values() else "its name and values"
            each = replace(plain, kind=taken[name], why=why)
            if taken[name] == "label" and clicked is None:
                hint = (
                    f"The label '{name}' is more than 0 and 1: set positive_from to the least that "
                    "counts as a click."
                )
                each = replace(each, hint=hint)
        else:
            each = _feature(plain, table, head, rows)
            if told := kinds.of_the_label(head[name], clicked):
                hint = (
                    f"Column '{name}' has {told}: does it come of the click? It is left out of the "
                    "features; to predict it as well, make it one of data.fields.goals."
                )
                why = "comes of the click?"
                each = replace(plain, kind="left out", why=why, hint=hint)
        guesses.append(replace(each, group=name == roles.get("group")))
    items = [name for name in schema.names() if name not in taken and _sounds(name, "item")]
    lists = (each for each in guesses if each.kind == "multi_valued")
    past = next((each for each in lists if _sounds(each.name, "history")), None)
    if items and past:
        guesses = _with_role(guesses, past.name, "history", f"{past.why}, and its name")
    times = [each.name for each in guesses if each.why == kinds.A_TIME and not of_things(each.name)]
    if "time" not in roles and len(times) == 1:
        guesses = _with_role(guesses, times[0], "time", "the only column of times")
    return _with_values_of_lists(table, guesses, rows)


def fields_of(guesses: list[Guess], positive_from: float | None) -> dict[str, Any]:
    """The guesses as ``data.fields`` of a config."""
    forms = ("categorical", "multi_valued", "numeric")
    features = {kind: [each.name for each in guesses if each.kind == kind] for kind in forms}
    roles: dict[str, Any] = dict.fromkeys(ROLES)
    roles |= {each.kind: each.name for each in guesses if each.kind in ROLES}
    roles["group"] = next((each.name for each in guesses if each.group), None)
    many = (each for each in guesses if each.kind in forms[:2] and each.distinct > _HASHED)
    large = [each.name for each in many]
    signs = {each.name: each.separator for each in guesses if each.separator is not None}
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
        "slices": [
            name
            for name in features["categorical"]
            if (_sounds(name, "group") or _sounds(name, "item")) and name not in large
        ],
        "hash_size": dict.fromkeys(large, _HASHED),
        "separator": signs if len(set(signs.values())) > 1 else next(iter(signs.values()), "|"),
    }


def _feature(plain: Guess, table: Table, head: pl.DataFrame, rows: int) -> Guess:
    column, decimal = head[plain.name], table.dialect.decimal
    named = "id" if any(_sounds(plain.name, role) for role in ("id", "group", "item")) else ""
    named = named or ("time" if _sounds(plain.name, "time") else "")
    separator = kinds.separator_of(column)
    found, why = kinds.kind(column, rows, plain.distinct, separator, decimal, named)
    lists = separator if found == "multi_valued" else None
    hint = ""
    if decimal == "point" and (value := kinds.with_commas(column)):
        hint = (
            f"Column '{plain.name}' has values like {value}: where the comma parts off a fraction, "
            f"say decimal=comma{' and write thousands without a point' * ('.' in value)}."
        )
    return replace(plain, kind=found, why=why, separator=lists, hint=hint)


def _with_role(guesses: list[Guess], name: str, kind: str, why: str) -> list[Guess]:
    return [replace(each, kind=kind, why=why) if each.name == name else each for each in guesses]


def _with_values_of_lists(table: Table, guesses: list[Guess], rows: int) -> list[Guess]:
    """The guesses, of lists in text how many values are in them."""
    parted = {
        each.name: cells.sequences(pl.col(each.name), pl.String(), each.separator or "|")
        for each in guesses
        if each.kind in ("multi_valued", "history") and table.schema[each.name] == pl.String
    }
    values: dict[str, int] = {}
    if parted:
        count = pl.Expr.n_unique if rows <= EXACT else pl.Expr.approx_n_unique
        chosen = [count(each.explode().drop_nulls()).alias(name) for name, each in parted.items()]
        values = table.collect(table.frame.select(chosen)).row(0, named=True)
    return [replace(each, distinct=values.get(each.name, each.distinct)) for each in guesses]


def _sounds(name: str, role: str) -> bool:
    return re.fullmatch(_NAMES[role], words(name)) is not None


def _roles(table: Table, head: pl.DataFrame, given: dict[str, str]) -> dict[str, str]:
    """Columns of the roles by name and values, a label among them. Raises UserError if none is."""
    found = dict(given)
    for role, test in (
        ("label", kinds.is_binary),
        ("group", lambda column: not column.dtype.is_nested()),
        ("time", kinds.is_timely),
    ):
        free = [name for name in head.columns if name not in found.values()]
        named = [name for name in free if _sounds(name, role)]
        if role == "time":
            named = [name for name in named if not of_things(name)]
        name = next((name for name in named if role not in given and test(head[name])), None)
        found |= {role: name} if name else {}
    if "label" not in found and table.is_text and not table.dialect.headed:
        free = [name for name in head.columns if name not in given.values()]
        if label := next((name for name in free if kinds.is_binary(head[name])), None):
            found = {role: name for role, name in found.items() if name != label}
            found["label"] = label
    if "label" not in found:
        raise UserError(
            f"{table.path} has no column of 0 and 1 that could be the label: say label=COLUMN, and "
            f"for ratings, positive_from=NUMBER; it has: {listed(head.columns)}."
        )
    return found


def _counts(table: Table) -> tuple[int, dict[str, tuple[int, float]]]:
    """Rows, and for each column its distinct values and the share of empty rows."""
    rows = table.collect(table.frame.select(pl.len())).item()
    if not rows:
        raise UserError(f"{table.path} holds no rows.")
    chosen = []
    for name, dtype in table.schema.items():
        column = pl.col(name)
        blank = (stripped(column) == "").fill_null(True)
        empty = blank if dtype == pl.String else column.is_null()
        chosen += [empty.mean().alias(name), _distinct(column, dtype, rows).alias(f"{name}\x00n")]
    found = table.collect(table.frame.select(chosen)).row(0, named=True)
    return rows, {name: (found[f"{name}\x00n"], found[name]) for name in table.schema.names()}


def _distinct(column: pl.Expr, dtype: pl.DataType, rows: int) -> pl.Expr:
    """How many values a column has, empty ones apart."""
    if isinstance(dtype, pl.List | pl.Array):
        column, dtype = column.explode(), dtype.inner  # type: ignore[assignment]
    if dtype.is_nested():
        return pl.lit(0)
    if rows > EXACT:
        return column.approx_n_unique()
    return ids(column, dtype).drop_nulls().n_unique()
