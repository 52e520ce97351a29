"""Top-k retrieval of a model of inner products by an index, in place of scoring every item."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lightning_rec.models.base import InnerProduct
from lightning_rec.models.best import best
from lightning_rec.retrieval.exact import Found, ModelRetriever, Pairs
from lightning_rec.retrieval.index.base import Floats, Index
from lightning_rec.retrieval.index.kinds import build_index

FURTHER = 2000  # items beyond ``k`` that an index is asked for, at most


class IndexRetriever:
    """Finds items for queries, float [B, Q], by an index of their vectors; a bias is one more.

    ``made``: makes the index of these vectors; None builds one of ``kind``, whose recall is of
    ``queries``, float32 [n, Q], or of items where there are none.

    What is left out of a query is asked for besides, and passed over. Where that is very much, the
    index finds fewer than there are, or ranks are asked for, every item is scored.
    """

    def __init__(
        self,
        model: InnerProduct,
        kind: str | None,
        floor: float = -torch.inf,
        made: Callable[[Floats], Index] | None = None,
        queries: Floats | None = None,
    ) -> None:
        self.exact, self.longest = ModelRetriever(model, floor), model.schema.num_items
        weight, bias = model.vectors()
        self.biased = bias is not None
        vectors = weight if bias is None else torch.cat([weight, bias[:, None]], dim=1)
        found = vectors.detach().float().cpu().numpy()
        self.index: Index = (
            build_index(found, kind, queries=queries) if made is None else made(found)
        )

    def top(
        self, queries: Tensor, k: int, ask: Pairs | None = None, left_out: Pairs | None = None
    ) -> Found:
        """See :class:`lightning_rec.retrieval.exact.Retriever`."""
        size, out = len(queries), left_out or Pairs.none(queries.device)
        further = int(torch.bincount(out.row, minlength=1).max())
        if (ask is not None and len(ask.item)) or further > FURTHER or self.index.kind == "exact":
            return self.exact.top(queries, k, ask, left_out)
        given = queries.float()
        if self.biased:
            given = torch.cat([given, torch.ones_like(given[:, :1])], dim=1)
        number = min(k + further, self.longest)
        found = self.index.search(given.cpu().numpy(), number)
        ids, scores = torch.from_numpy(found.ids), torch.from_numpy(found.scores)
        passed = np.isin(
            found.ids + np.arange(size)[:, None] * self.longest,
            (out.row * self.longest + out.item).numpy(),
        )
        scores = scores.masked_fill(torch.from_numpy(passed) | (ids < 0), -torch.inf)
        top = best(scores, k, ids)
        items = ids.gather(1, top.indices).masked_fill(top.values == -torch.inf, -1)
        none = Pairs.none(queries.device)
        candidates = self.longest - torch.bincount(out.row, minlength=size)
        missed = ((items >= 0).sum(1) < candidates.clamp(max=k)).nonzero()[:, 0]
        if len(missed):
            again = self.exact.top(queries[missed], k, left_out=out.only(missed))
            items[missed], top.values[missed] = again.items, again.scores.to(top.values.dtype)
        return Found(items, top.values, none.row, none.row.float(), candidates)
