"""Conditions on the columns of a catalogue, ``price < 20 and category == 'shoes'``, run no code.

The text is read as Python's grammar has it, and only what is listed here is understood: columns,
numbers, texts, lists, ``and or not``, comparisons, ``in``, ``is None``. What is not known of an
item makes no condition true, as in SQL.
"""

import ast
import datetime
import operator
from collections.abc import Callable
from typing import Any

import polars as pl

from lightning_rec.data.numbers import odd_text
from lightning_rec.data.types import Mask
from lightning_rec.errors import UserError, suggest

LONGEST = 10_000  # characters of a condition
DEEPEST = 100  # brackets and negations within one another
FORMS = (
    "say for instance where=\"price < 20 and category in ['shoes', 'bags']\"; a column whose name "
    "is not one word is col('unit price')"
)

_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_TURNED: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Lt: ast.Gt(),
    ast.LtE: ast.GtE(),
    ast.Gt: ast.Lt(),
    ast.GtE: ast.LtE(),
    ast.Eq: ast.Eq(),
    ast.NotEq: ast.NotEq(),
}


def holds(text: str, items: pl.DataFrame, name: str = "where") -> Mask:
    """Of which rows of ``items`` the condition ``text`` is true: bool [V].

    Text columns are read as numbers where they are compared with one, and dates are written as
    texts. ``'x' in column`` asks whether a list holds ``x``, or a text contains it.

    Raises:
        UserError: naming ``name``, and the column where that is the matter: no condition, an
            unknown column, a column of another type.
    """
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{name}={text!r} is no condition: {FORMS}.")
    if len(text) > LONGEST:
        raise UserError(f"{name}= has {len(text):,} characters, more than {LONGEST:,}.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        told = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        at = f" at character {error.offset}" if isinstance(error, SyntaxError) else ""
        raise UserError(f"{name}={text!r} cannot be read ({told}{at}): {FORMS}.") from None
    found = _Condition(text, items, name).true(tree)
    try:
        return items.with_columns(found.fill_null(False).alias("\0"))["\0"].to_numpy()
    except pl.exceptions.PolarsError as error:  # of types that nothing is compared with
        told = str(error).splitlines()[0]
        raise UserError(f"{name}={text!r} cannot be asked of these columns: {told}.") from None


class UnknownColumn(UserError):
    """Rules ask of a column that the catalogue has not."""


class _Condition:
    """One condition over one table."""

    def __init__(self, text: str, items: pl.DataFrame, name: str) -> None:
        self.text, self.items, self.name = text, items, name
        self.deep = 0

    def true(self, node: ast.expr) -> pl.Expr:
        """Whether a part of the condition is true; null where that is not known."""
        self.deep += 1
        if self.deep > DEEPEST:
            raise self._error(f"its parts lie more than {DEEPEST} deep")
        try:
            return self._true(node)
        finally:
            self.deep -= 1

    def _true(self, node: ast.expr) -> pl.Expr:
        if isinstance(node, ast.BoolOp):
            parts = [self.true(each) for each in node.values]
            joined = operator.and_ if isinstance(node.op, ast.And) else operator.or_
            whole = parts[0]
            for part in parts[1:]:
                whole = joined(whole, part)
            return whole
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.true(node.operand)
        if isinstance(node, ast.Compare):
            left, whole = node.left, pl.lit(True)
            for sign, right in zip(node.ops, node.comparators, strict=True):
                whole, left = whole & self._compared(left, sign, right), right
            return whole
        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            return pl.lit(node.value)
        if (column := self._column(node)) is not None:
            if self.items.schema[column] != pl.Boolean:
                kind = self.items.schema[column]
                raise self._error(f"the column '{column}' holds {kind}, and is to be compared")
            return pl.col(column)
        raise self._error(f"'{self._quoted(node)}' is neither true nor false")

    def _compared(self, left: ast.expr, sign: ast.cmpop, right: ast.expr) -> pl.Expr:
        if isinstance(sign, ast.In | ast.NotIn):
            inside = self._inside(left, right)
            return ~inside if isinstance(sign, ast.NotIn) else inside
        if isinstance(sign, ast.Is | ast.IsNot):
            name = self._column(left)
            if name is None or not (isinstance(right, ast.Constant) and right.value is None):
                raise self._error("'is' asks of a column whether it is None")
            empty = self._known(name).is_null()
            return ~empty if isinstance(sign, ast.IsNot) else empty
        name, other = self._column(left), right
        if name is None:
            name, other, sign = self._column(right), left, _TURNED[type(sign)]
        if name is None:
            why = f"{self._quoted(left)} is compared with no column"
            raise self._error(why, self._meant(left) or self._meant(right))
        compare = _COMPARED[type(sign)]
        if (second := self._column(other)) is not None:
            return compare(*self._alike(name, second))
        value = self._value(other)
        return compare(self._as(name, value), self._literal(name, value))

    def _inside(self, left: ast.expr, right: ast.expr) -> pl.Expr:
        """``column in [values]``, or ``value in column``."""
        if isinstance(right, ast.List | ast.Tuple | ast.Set):
            if (name := self._column(left)) is None:
                why = f"{self._quoted(left)} is no column, and is looked for in a list"
                raise self._error(why, self._meant(left))
            values = [self._value(each) for each in right.elts]
            found = pl.lit(False) & self._known(name).is_not_null()
            for value in values:
                found = found | (self._as(name, value) == self._literal(name, value))
            return found
        if (name := self._column(right)) is None:
            why = f"{self._quoted(right)} is neither a list nor a column"
            raise self._error(why, self._meant(right))
        value, kind = self._value(left), self.items.schema[name]
        if isinstance(kind, pl.List | pl.Array):
            try:
                wanted = pl.Series([value]).cast(kind.inner, strict=True)[0]
            except pl.exceptions.PolarsError:
                raise self._error(f"the column '{name}' holds {kind}, never {value!r}") from None
            return pl.col(name).cast(pl.List(kind.inner)).list.contains(wanted)
        if kind == pl.String and isinstance(value, str):
            return pl.col(name).str.contains(value, literal=True)
        raise self._error(f"the column '{name}' holds {kind}, in which {value!r} cannot be")

    def _as(self, name: str, value: Any) -> pl.Expr:
        """A column as what it is compared with: ``value``."""
        kind, column = self.items.schema[name], self._known(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = kind.is_numeric() if number else isinstance(value, str) and kind == pl.String
        fits = fits or (isinstance(value, bool) and kind == pl.Boolean)
        fits = fits or (isinstance(value, str) and kind.is_temporal())
        if number and kind == pl.String:
            if (odd := odd_text(self.items[name])).len():
                raise self._error(
                    f"the column '{name}' holds text such as {odd[0]!r}, which cannot be compared "
                    f"with the number {value}"
                )
            return column.str.strip_chars().cast(pl.Float64, strict=False).fill_nan(None)
        if not fits:
            hint = f"; for one of its values say {value!r} in {name}" * kind.is_nested()
            raise self._error(
                f"the column '{name}' holds {kind}, which cannot be compared with {value!r}{hint}"
            )
        return column.cast(pl.Datetime("us")) if kind.is_temporal() else column

    def _literal(self, name: str, value: Any) -> pl.Expr:
        if not self.items.schema[name].is_temporal():
            return pl.lit(value)
        try:
            moment = datetime.datetime.fromisoformat(value)
        except ValueError:
            raise self._error(
                f"the column '{name}' holds dates, and {value!r} is none: write 2026-11-28"
            ) from None
        if moment.tzinfo is not None:  # columns are compared as times of UTC
            moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
        return pl.lit(moment)

    def _alike(self, one: str, other: str) -> tuple[pl.Expr, pl.Expr]:
        kinds = [self.items.schema[name] for name in (one, other)]
        if kinds[0] != kinds[1] and not all(kind.is_numeric() for kind in kinds):
            raise self._error(
                f"the columns '{one}' ({kinds[0]}) and '{other}' ({kinds[1]}) cannot be compared"
            )
        return self._known(one), self._known(other)

    def _known(self, name: str) -> pl.Expr:
        column = pl.col(name)
        return column.fill_nan(None) if self.items.schema[name].is_float() else column

    def _column(self, node: ast.expr) -> str | None:
        """The column that ``name``, or ``col("a name")``, names. Raises UserError if unknown."""
        if isinstance(node, ast.Name):
            name = node.id
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "col"
            and not node.keywords
            and len(node.args) == 1
            and isinstance(node.args[0], ast.Constant)
        ):
            name = str(node.args[0].value)
        else:
            return None
        if name not in self.items.columns:
            told = suggest(name, self.items.columns, "The catalogue's columns are")
            error = self._error(f"the catalogue has no column '{name}'", told)
            raise UnknownColumn(str(error))
        return name

    def _value(self, node: ast.expr) -> Any:
        """A number, a text, True or False. Raises UserError for anything else."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            value = self._value(node.operand)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return -value if isinstance(node.op, ast.USub) else value
        elif isinstance(node, ast.Constant) and isinstance(node.value, str | int | float):
            if not isinstance(node.value, str) and abs(node.value) >= 2**63:
                raise self._error(f"{self._quoted(node)} is too large a number")
            return node.value
        raise self._error(
            f"'{self._quoted(node)}' is not understood: there are columns, numbers, texts, lists, "
            "and, or, not, comparisons, in, is None"
        )

    def _meant(self, node: ast.expr) -> str:
        """How the column is named whose name was given as a text."""
        if isinstance(node, ast.Constant) and node.value in self.items.columns:
            return f" The column of this name is col({node.value!r})."
        return ""

    def _quoted(self, node: ast.expr) -> str:
        return (ast.get_source_segment(self.text.strip(), node) or type(node).__name__)[:80]

    def _error(self, why: str, more: str = "") -> UserError:
        shown = self.text if len(self.text) <= 120 else f"{self.text[:120]}…"
        return UserError(f"{self.name}={shown!r}: {why}.{more}")
