"""What every trained run can be asked, in raw ids; each answer is a Polars frame."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lightning_rec.errors import UserError
from lightning_rec.predict.asking import Catalogue, Frame, arrays
from lightning_rec.predict.indexed import Indexed
from lightning_rec.retrieval.index.base import TRIED, Floats

if TYPE_CHECKING:
    from lightning_rec.runs.folder import RunFolder


class Predictor:
    """A trained model with its vocabulary. What a model cannot answer is refused in a sentence.

    Attributes:
        name: of the model.
        answers: why it cannot answer what it is not able to, for a refusal.
        catalogue: the items that it knows.
    """

    name: str
    catalogue: Catalogue
    answers: ClassVar[str] = (
        "it scores without vectors of items; sasrec, bprmf and bi_encoder have them"
    )

    def __repr__(self) -> str:
        known = f", {len(self.catalogue):,} items" if hasattr(self, "catalogue") else ""
        return f"{type(self).__name__}({self.name}{known})"

    @classmethod
    def of(cls, run: "RunFolder", problem: Any, new_items: Any = None) -> Self:
        """That of a completed run, with ``new_items`` that training did not have.

        Raises UserError where the run does not hold what it needs.
        """
        raise NotImplementedError

    def recommend(self, *args: Any, **kwargs: Any) -> pl.DataFrame:
        """The ``k`` best items for each history, user or query."""
        raise self._cannot("recommend")

    def score(self, rows: Frame) -> pl.DataFrame:
        """The rows with a column ``score``."""
        raise self._cannot("score")

    @torch.no_grad()
    def similar(self, items: Sequence[Any], k: int = 10) -> pl.DataFrame:
        """The ``k`` items whose vectors point most in the direction of that of each of ``items``.

        Returns ``item``, ``rank`` from 1, ``similar``, ``title`` where there are any, and the
        cosine as ``score``. Raises UserError for an item that the run does not know.
        """
        return self.catalogue.similar(self._pointing("similar"), items, k, self.indexed.similar)

    @cached_property
    def indexed(self) -> Indexed:
        """How items are looked up: exactly below a million of them, unless :meth:`use_index`."""
        return Indexed()

    def use_index(self, kind: str | None) -> None:
        """Look items up by an index, ``exact``, ``faiss``, ``usearch`` or ``pq``; None: as before.

        ``similar`` asks it, and ``recommend`` of models of sequences whose scores are inner
        products. It is built when it is first asked, and logs the recall that it has, of users
        that the run keeps, or of items for ``similar`` and where it keeps none. Raises
        UserError for another name, or later where its library is not installed.
        """
        self.indexed = Indexed(kind)

    def some_queries(self) -> Floats | None:
        """Vectors of users that a run keeps, by which an index is measured; None without any."""
        users: pl.DataFrame | None = getattr(self, "known_users", None)
        if users is None or users.is_empty():
            return None
        made = self.user_vectors(users=users["user"].head(TRIED).to_list())["vector"].to_numpy()
        return np.ascontiguousarray(made, dtype=np.float32)

    @torch.no_grad()
    def directions(self) -> Tensor:
        """The vectors of all items by their codes, of length 1: float [V, D].

        Inner products are the cosines of :meth:`similar`. Raises UserError for a model without.
        """
        return torch.nn.functional.normalize(self._pointing("similar"), dim=1)

    def user_vectors(self, *args: Any, **kwargs: Any) -> pl.DataFrame:
        """The vector of each history, user or query."""
        raise self._cannot("user_vectors")

    def item_vectors(self, *args: Any, **kwargs: Any) -> pl.DataFrame:
        """The vector of each item: ``item``, ``vector``; a bias is its last element."""
        vectors = self._vectors("item_vectors", *args, biased=True, **kwargs)  # which takes none
        return self.catalogue.items.select("item").with_columns(vector=arrays(vectors.numpy()))

    def _pointing(self, what: str) -> Tensor:
        """Vectors of all items whose cosines tell something. Raises UserError where none does."""
        vectors = self._vectors(what)
        if vectors.shape[1] == 1:
            raise UserError(
                f"{self.name} cannot answer {what}(): its vectors of items are one number each."
            )
        return vectors

    def _vectors(self, what: str, *, biased: bool = False) -> Tensor:
        """Vectors of all items, float [V, D]; if ``biased`` their biases are one more column."""
        raise self._cannot(what)

    def _cannot(self, what: str) -> UserError:
        return UserError(f"{self.name} cannot answer {what}(): {self.answers}.")
