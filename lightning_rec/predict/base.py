"""What every trained run can be asked, in raw ids; each answer is a Polars frame."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import polars as pl

from lightning_rec.errors import UserError
from lightning_rec.runs.folder import RunFolder

Frame = Any  # a Polars or pandas frame, or a mapping of columns
Histories = Sequence[Sequence[Any]] | Frame


class Predictor:
    """A trained model with its vocabulary. What a model cannot answer is refused in a sentence.

    Attributes:
        name: of the model.
        answers: why it cannot answer what it is not able to, for a refusal.
    """

    name: str
    answers: ClassVar[str] = "it has nothing to do so with"

    @classmethod
    def of(cls, run: RunFolder, problem: Any) -> Self:
        """That of a completed run. Raises UserError where the run does not hold what it needs."""
        raise NotImplementedError

    def recommend(self, *args: Any, **kwargs: Any) -> pl.DataFrame:
        """The ``k`` best items for each history, user or query."""
        raise self._cannot("recommend")

    def score(self, rows: Frame) -> pl.DataFrame:
        """The rows with a column ``score``."""
        raise self._cannot("score")

    def similar(self, items: Sequence[Any], k: int = 10) -> pl.DataFrame:
        """The ``k`` items most like each of ``items``."""
        raise self._cannot("similar")

    def user_vectors(self, *args: Any, **kwargs: Any) -> pl.DataFrame:
        """The vector of each history, user or query."""
        raise self._cannot("user_vectors")

    def item_vectors(self, *args: Any, **kwargs: Any) -> pl.DataFrame:
        """The vector of each item."""
        raise self._cannot("item_vectors")

    def _cannot(self, what: str) -> UserError:
        return UserError(f"{self.name} cannot answer {what}(): {self.answers}.")


def frame(rows: Frame, *required: str) -> pl.DataFrame:
    """A Polars or pandas frame, or a mapping of columns, as a Polars frame; NaN of pandas is null.

    Raises UserError if it is none of these, or a column is missing or of another length.
    """
    if isinstance(rows, pl.LazyFrame):
        rows = rows.collect()
    if not (hasattr(rows, "columns") or hasattr(rows, "keys")):
        raise UserError(
            "Rows are a frame of Polars or pandas, or a mapping of columns, and no "
            f"{type(rows).__name__}."
        )
    columns = list(rows.columns) if hasattr(rows, "columns") else list(rows)
    if missing := [name for name in required if name not in columns]:
        names = ", ".join(map(str, columns))
        raise UserError(f"A column {missing[0]!r} is missing: there are {names}.")
    if isinstance(rows, pl.DataFrame):
        return rows
    lists = {str(name): _values(rows[name]) for name in columns}
    if len({len(values) for values in lists.values()}) > 1:
        lengths = ", ".join(f"{name} {len(values):,}" for name, values in lists.items())
        raise UserError(f"The columns of the rows differ in length: {lengths}.")
    return pl.DataFrame(lists, strict=False)


def _values(column: Any) -> list[Any]:
    """The values of a column, None where one of pandas has none."""
    if hasattr(column, "notna"):
        column = column.astype(object).where(column.notna(), None)
    return list(column)
