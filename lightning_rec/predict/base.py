"""What every trained run can be asked, in raw ids; each answer is a Polars frame."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from lightning_rec.errors import UserError

Frame = Any  # a Polars or pandas frame, or a mapping of columns
Histories = Sequence[Sequence[Any]] | Frame


class Predictor:
    """A trained model with its vocabulary. What a model cannot answer is refused in a sentence.

    Attributes:
        name: of the model.
    """

    name: str

    def recommend(
        self,
        histories: Histories | None = None,
        *,
        users: Sequence[Any] | None = None,
        k: int = 10,
        seen: str | None = None,
    ) -> pl.DataFrame:
        """The ``k`` best items for each history or user."""
        raise self._cannot("recommend")

    def score(self, rows: Frame) -> pl.DataFrame:
        """The rows with a column ``score``."""
        raise self._cannot("score")

    def similar(self, items: Sequence[Any], k: int = 10) -> pl.DataFrame:
        """The ``k`` items most like each of ``items``."""
        raise self._cannot("similar")

    def user_vectors(
        self, histories: Histories | None = None, *, users: Sequence[Any] | None = None
    ) -> pl.DataFrame:
        """The vector of each history or user."""
        raise self._cannot("user_vectors")

    def item_vectors(self) -> pl.DataFrame:
        """The vector of each item."""
        raise self._cannot("item_vectors")

    def _cannot(self, what: str) -> UserError:
        return UserError(f"{self.name} cannot answer {what}(): it has nothing to do so with.")


def frame(rows: Frame, *wanted: str) -> pl.DataFrame:
    """A frame of whatever library, or a mapping of columns, as a Polars frame.

    Raises UserError if a column is missing.
    """
    columns = list(rows.columns) if hasattr(rows, "columns") else list(rows)
    if missing := [name for name in wanted if name not in columns]:
        raise UserError(f"A column {missing[0]!r} is missing: there are {', '.join(columns)}.")
    if isinstance(rows, pl.DataFrame):
        return rows
    return pl.DataFrame({name: list(rows[name]) for name in columns}, strict=False)
