"""Retrieve, then rank, for queries: candidates of several models of matching, in one order.

Each retriever gives its best items of a query, as many as its quota; their union are the candidates
of the query. A ranker scores each by what retrievers and words say of it, or by reading query and
item. What no retriever found is not shown at all. Shapes: P candidates, F features.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.models.beside import Beside
from lightning_rec.models.candidates import (
    Candidates,
    Ranker,
    check_features,
    check_quotas,
    fused,
)
from lightning_rec.models.text.bm25 import stemmer_of
from lightning_rec.models.text.cross_encoder import CrossEncoder
from lightning_rec.models.text.matcher import TextModel
from lightning_rec.needs import ABSENT, Need

WORDS = ("query_words", "item_words", "query_share", "item_share")  # features of both texts


class TextPipeline(Beside, TextModel):
    """Candidates of several models of matching, ranked by a model of clicks.

    Args:
        members: the retrievers; in a config the folders of their runs by name.
        quotas: by name, how many of its best items a retriever gives.
        ranker: puts candidates in order, a model of clicks over features or a cross-encoder over
            texts; in a config the folder of its run. None takes reciprocal rank fusion, the sum of
            1 / (60 + rank) over the retrievers that found an item.
        stemmer: language of Snowball's stemmer, by which words of query and item are the same;
            None keeps words.

    Attributes:
        seconds: what each stage took until now, by name.
    """

    needs = (
        Need("loss", ABSENT, "is made of finished runs and takes no loss"),
        Need("negatives", ABSENT, "is made of finished runs and takes no negatives"),
    )

    def __init__(
        self,
        members: Any,
        quotas: Mapping[str, PositiveInt],
        ranker: Any = None,
        stemmer: str | None = "english",
    ) -> None:
        super().__init__()
        self.members = list(members)
        check_quotas(quotas, len(self.members))
        self.quotas, self.stemmer = dict(quotas), stemmer_of(stemmer)
        self.ranker: Ranker | CrossEncoder | None = ranker
        self.seconds: dict[str, float] = dict.fromkeys([*quotas, "features", "ranker"], 0.0)
        if isinstance(ranker, Ranker):
            check_features(ranker, self.features)
        self.freeze()

    @property
    def models(self) -> list[nn.Module]:
        """The retrievers, and the ranker."""
        return super().models + ([] if self.ranker is None else [self.ranker])

    @property
    def features(self) -> list[str]:
        """Names of the features of a candidate.

        Of each retriever: ``score``, (s - mean) / sd over what it finds for the query; ``gap`` to
        the best of them, in the same unit; ``place``, the logarithm of the rank, of one more than
        the quota for what is not among its best. ``found_by``, how many found it; ``query_words``
        and ``item_words``, how many different words each text has; ``query_share`` and
        ``item_share``, the share of them that are in the other text.
        """
        own = [f"{name}_{what}" for name in self.quotas for what in ("score", "gap", "place")]
        return [*own, "found_by", *WORDS]

    def ranked(self, found: Candidates) -> Tensor:
        """The score of each candidate by its features, float32 [P]."""
        if not isinstance(self.ranker, Ranker):
            return fused(found.origin, found.features, len(self.members))
        made: Tensor = self.ranker(found.features)
        return made
