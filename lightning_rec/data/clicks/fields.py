"""What the columns of a table of clicks mean: declared by the user, and as models see it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from pydantic import PositiveInt

from lightning_rec.errors import UserError, listed, nearest

Kind = Literal["categorical", "multi_valued", "numeric"]


@dataclass(frozen=True)
class Fields:
    """Which columns are features, of what kind, and what the others are for.

    Args:
        categorical: columns with one of many values.
        multi_valued: columns with any number of values: lists, or text parted by ``separator``.
        numeric: columns of numbers.
        label: column of what is predicted, 0 or 1.
        positive_from: where the label is a number such as a rating, the least that counts as 1.
        weight: column of what each row counts for in the loss; None counts each once.
        group: column whose values part the rows for GAUC, mostly the user; None measures no GAUC.
        time: column of times, for a temporal split.
        min_count: a category seen fewer times in training is unknown.
        missing: where an empty category goes: to a category of its ``own``, if it is seen in
            training, or to the ``unknown`` one, where unseen and rare ones go. An empty list of
            values has no vector. A number that is missing or infinite becomes the mean of train.
        scale: what is done to numbers: ``standard`` (mean 0, deviation 1 in training), ``log``
            (sign(x) log(1 + |x|), then standard), or ``none``.
        separator: parts the values of a text column that is multi-valued.
        max_values: of a row's values in a multi-valued column, the first so many are read.

    Raises:
        UserError: if no feature is named, or a column has two parts to play.
    """

    categorical: tuple[str, ...] = ()
    multi_valued: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    label: str | None = None
    positive_from: float | None = None
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    min_count: PositiveInt = 1
    missing: Literal["own", "unknown"] = "own"
    scale: Literal["standard", "log", "none"] = "standard"
    separator: str = "|"
    max_values: PositiveInt = 10

    def __post_init__(self) -> None:
        if self.label is None:
            raise UserError("data.fields.label is not set: say data.fields.label=COLUMN.")
        if not self.features:
            raise UserError(
                "data.fields names no feature: say data.fields.categorical=[COLUMN,…], "
                "data.fields.multi_valued=[…] or data.fields.numeric=[…]."
            )
        used = [*self.features, self.label, *([self.weight] if self.weight else [])]
        if doubled := sorted({name for name in used if used.count(name) > 1}):
            raise UserError(
                f"data.fields uses the column {listed(doubled)} for two things: a column is one "
                "kind of feature, or the label, or the weight."
            )

    @property
    def features(self) -> tuple[str, ...]:
        """All columns that are features, in the order in which models see them."""
        return self.categorical + self.multi_valued + self.numeric

    def roles(self) -> dict[str, str]:
        """Column of each role that is no feature, for the roles that have one."""
        roles = {name: getattr(self, name) for name in ("label", "weight", "group", "time")}
        return {role: column for role, column in roles.items() if column is not None}

    def settings(self) -> dict[str, Any]:
        """All settings, for the record."""
        return asdict(self)

    def check(self, name: str, columns: list[str]) -> None:
        """Raise UserError if a column that is named is not among ``columns`` of the data."""
        kinds = ("categorical", "multi_valued", "numeric")
        named = [(kind, column) for kind in kinds for column in getattr(self, kind)]
        for key, column in [*named, *self.roles().items()]:
            if column not in columns:
                raise UserError(
                    f"{name} has no column '{column}' for data.fields.{key}; it has: "
                    f"{listed(columns)}.{nearest(column, columns)}"
                )


class Field(NamedTuple):
    """A feature as models see it.

    name: of the column.  kind: which kind.
    start, size: it owns the rows ``start`` to ``start + size - 1`` of the embedding table: the
        first for unknown values and then one per category; a number has one row.
    width: columns of ``ids`` it has: 1 for a category, more for many, 0 for a number.
    """

    name: str
    kind: Kind
    start: int
    size: int
    width: int


class ClickSchema(NamedTuple):
    """The runtime facts that a model of clicks needs: its fields, categories first, numbers last.

    Row 0 of the embedding table belongs to no field: it fills short lists of values.
    """

    fields: tuple[Field, ...]

    @property
    def num_fields(self) -> int:
        """How many features there are, each one vector."""
        return len(self.fields)

    @property
    def num_rows(self) -> int:
        """Rows of the embedding table."""
        return 1 + sum(field.size for field in self.fields)

    def of(self, kind: Kind) -> tuple[Field, ...]:
        """The fields of one kind."""
        return tuple(field for field in self.fields if field.kind == kind)

    def place(self, name: str) -> int:
        """Where the field ``name`` stands. Raises ValueError, with the names there are."""
        names = [field.name for field in self.fields]
        if name not in names:
            raise ValueError(f"there is no field '{name}'.{nearest(name, names)} {listed(names)}.")
        return names.index(name)
