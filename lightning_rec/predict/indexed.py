"""The indexes of a predictor: of its items for histories, and of their directions."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from lightning_rec.errors import UserError, suggest
from lightning_rec.models.base import InnerProduct, SequenceModel
from lightning_rec.models.best import best
from lightning_rec.retrieval.exact import LOWEST, Adjust, ModelRetriever, Retriever
from lightning_rec.retrieval.index.base import Floats, Index
from lightning_rec.retrieval.index.kinds import KINDS, build_index, default_kind
from lightning_rec.retrieval.indexed import IndexRetriever


class Indexed:
    """Indexes of one kind, each built when it is first asked for.

    ``kind``: of :data:`KINDS`; None is exact below a million items. ``made``: makes those that were
    kept, ``items`` and ``similar``, of their vectors. Raises UserError for another kind.
    """

    def __init__(
        self, kind: str | None = None, made: Mapping[str, Callable[[Floats], Index]] | None = None
    ) -> None:
        if kind is not None and kind not in KINDS:
            raise UserError(f"Unknown index '{kind}'.{suggest(kind, KINDS)}")
        self.kind, self.made = kind, made or {}
        self._retriever: IndexRetriever | None = None
        self._similar: Index | None = None

    def retriever(
        self,
        model: SequenceModel,
        adjust: Adjust | None,
        queries: Callable[[], Floats | None] = lambda: None,
    ) -> Retriever:
        """That of a model's items; ``adjust`` changes scores, so that all of them are made.

        ``queries``: float32 [n, Q], such as will come, by which a new index states its recall.
        """
        exact = adjust is not None or self._exact(model.schema.num_items)
        if exact or not isinstance(model, InnerProduct):
            return ModelRetriever(model, floor=LOWEST, adjust=adjust)
        if self._retriever is None:
            made = self.made.get("items")
            asked = queries() if made is None else None
            self._retriever = IndexRetriever(model, self.kind, LOWEST, made, asked)
        return self._retriever

    def similar(self, unit: Tensor) -> Index | None:
        """That of vectors of length 1, float [V, D]; None where every item is scored."""
        if self._exact(len(unit)):
            return None
        if self._similar is None:
            make = self.made.get("similar", partial(build_index, kind=self.kind))
            self._similar = make(unit.cpu().numpy())
        return self._similar

    def _exact(self, number: int) -> bool:
        return (self.kind or default_kind(number)) == "exact"


def nearest_others(index: Index, unit: Tensor, codes: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` items nearest to each of some, int64 [n], and not itself: [n, k] and cosines.

    Where an index finds fewer, others stand for them, with a cosine of -inf.
    """
    found = index.search(unit[codes].numpy(), k + 1)
    ids, scores = torch.from_numpy(found.ids), torch.from_numpy(found.scores)
    scores = scores.masked_fill((ids == codes[:, None]) | (ids < 0), -torch.inf)
    top = best(scores, k, ids)
    return ids.gather(1, top.indices).clamp(min=0), top.values
