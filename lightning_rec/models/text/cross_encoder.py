"""Cross-encoder: query and item are read together, as one text, and a linear head scores the pair.

Nogueira and Cho, Passage Re-ranking with BERT, 2019, arXiv:1901.04085; Reimers and Gurevych,
Sentence-BERT, EMNLP 2019. Too slow to score a whole catalogue, it re-ranks what another one finds.
Shapes: S pairs.
"""

from typing import Any, ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.language.blocks import encode, in_blocks
from lightning_rec.language.encoder import Pooling, check_length
from lightning_rec.language.joined import Joint
from lightning_rec.language.tokens import Tokens
from lightning_rec.models.text.matcher import CatalogueScorer, LanguageScorer, Load, Texts

INIT_STD = 0.02


class CrossEncoder(LanguageScorer):
    """A language model over ``[CLS] query [SEP] item [SEP]``, pooled, and a linear head.

    Args:
        first: finds the items that are re-ranked. In a config ``bm25``, or the folder of a run of
            BM25 or of a bi-encoder on the same data and protocol.
        rerank: how many of its best are re-ranked.
    """

    unbounded: ClassVar[bool] = True  # scores are logits
    special = False  # they come when two texts are joined

    def __init__(
        self,
        load: Load,
        first: Any = "bm25",
        rerank: PositiveInt = 50,
        encoder: str = "all-MiniLM-L6-v2",
        pooling: Pooling | None = None,
        max_query_tokens: PositiveInt = 16,
        max_item_tokens: PositiveInt = 32,
    ) -> None:
        super().__init__(load(encoder, pooling, False), max_query_tokens, max_item_tokens)
        assert isinstance(first, CatalogueScorer)
        config: Any = self.text.model.config
        told_apart = getattr(config, "type_vocab_size", 0) > 1
        joint = Joint.of(self.tokenizer)
        self.joint = joint._replace(kinds=joint.kinds and told_apart)
        key = f"model.max_query_tokens + model.max_item_tokens + {joint.size} special tokens"
        check_length(self.text, key, max_query_tokens + max_item_tokens + joint.size)
        self.head = nn.Linear(self.text.width, 1)
        nn.init.normal_(self.head.weight, std=INIT_STD)
        nn.init.zeros_(self.head.bias)
        self.first, self.rerank = first.requires_grad_(False), rerank

    def forward(self, queries: Tokens, items: Tokens) -> Tensor:
        """Score S pairs, one after the other: float [S]."""
        read = encode(self.text, self.joint.write(queries, items)).to(self.head.weight.dtype)
        # In half precision, many pairs would have one and the same score.
        with torch.autocast(read.device.type, enabled=False):
            scores: Tensor = self.head(read)[:, 0]
        return scores

    def pairs(self, texts: Texts, query: Tensor, item: Tensor) -> Tensor:
        """Score pairs, in blocks of like length: float [S]."""
        if not len(query):
            return query.new_zeros(0, dtype=torch.float32)
        one, other = query.cpu().numpy(), item.cpu().numpy()

        def scored(rows: Tensor) -> Tensor:
            which = rows.numpy()
            queries, items = texts.queries.take(one[which]), texts.items.take(other[which])
            return self(queries.to(query.device), items.to(query.device)).float()

        lengths = texts.queries.lengths[one] + texts.items.lengths[other] + self.joint.size
        return in_blocks(torch.from_numpy(lengths), scored)
