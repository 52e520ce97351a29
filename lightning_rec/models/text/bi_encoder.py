"""Bi-encoder: query and item become a vector each, by one language model; how near they are counts.

Reimers and Gurevych, Sentence-BERT, EMNLP 2019, arXiv:1908.10084; Karpukhin et al., Dense Passage
Retrieval, EMNLP 2020, arXiv:2004.04906. Shapes: B queries, S pairs, N items, E = width.
"""

from collections.abc import Callable

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional

from lightning_rec.language.blocks import encode
from lightning_rec.language.encoder import Pooling, TextEncoder, check_length
from lightning_rec.language.tokens import Tokenized, Tokens
from lightning_rec.models.items.text import ReadTexts
from lightning_rec.models.text.matcher import CatalogueScorer, LanguageScorer, Load, Texts


class BiEncoder(LanguageScorer, CatalogueScorer):
    """The score of a pair is the inner product of both vectors, their cosine if normalised.

    ``normalize``: make each vector of length 1.
    """

    encodes = True

    def __init__(
        self,
        load: Load,
        encoder: str = "all-MiniLM-L6-v2",
        pooling: Pooling | None = None,
        normalize: bool = True,
        max_query_tokens: PositiveInt = 16,
        max_item_tokens: PositiveInt = 32,
    ) -> None:
        super().__init__(load(encoder, pooling, normalize), max_query_tokens, max_item_tokens)
        self.unbounded = not normalize  # whether scores are logits
        check_length(self.text, "model.max_query_tokens", max_query_tokens)
        check_length(self.text, "model.max_item_tokens", max_item_tokens)

    def vectors(self, tokens: Tokens) -> Tensor:
        """The vector of each text: float [B, E]."""
        return encode(self.text, tokens)

    def forward(self, queries: Tokens, items: Tokens) -> Tensor:
        """Score B pairs, one after the other: float [B]."""
        return torch.linalg.vecdot(self.vectors(queries), self.vectors(items))

    def pairs(self, texts: Texts, query: Tensor, item: Tensor) -> Tensor:
        """Score pairs, each text read once: float [S]."""
        vectors = []
        for tokens, codes in zip(texts, (query, item), strict=True):
            distinct, index = torch.unique(codes, return_inverse=True)
            vectors.append(ReadTexts(self.text, tokens, None)(distinct)[index])
        return torch.linalg.vecdot(*vectors)

    def index(
        self, items: Tokenized, make: Callable[[TextEncoder, Tokenized], Tensor]
    ) -> Tensor | None:
        """The vector of each item: float [N, E]."""
        device = next(self.text.parameters()).device
        return make(self.text, items).to(device)

    def against(self, queries: Tokens, index: Tensor | None) -> Tensor:
        """Score the whole catalogue: float [B, N]."""
        assert index is not None
        vectors = self.vectors(queries).float()
        # In half precision, many items would have one and the same score.
        with torch.autocast(vectors.device.type, enabled=False):
            return functional.linear(vectors, index.float())
