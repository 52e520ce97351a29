"""How a model of matching learns: from relevant pairs against all others, or from judgements."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.data.matching.pairs import Pairs
from lightning_rec.language.tokens import Tokens
from lightning_rec.losses.negatives import owns
from lightning_rec.models.text.bi_encoder import BiEncoder
from lightning_rec.models.text.matcher import TextScorer


class PairInputs(NamedTuple):
    """B pairs, and C - B further items, as many for each pair, in the order of the pairs.

    query: int64 [B], codes.
    item: int64 [C], codes, those of the pairs first; -1 where there is none.
    queries, items: their texts.
    gain: float [B], relevance of the pairs from 0 to 1.
    """

    query: Tensor
    item: Tensor
    queries: Tokens
    items: Tokens
    gain: Tensor


class MatchLoss(nn.Module, ABC):
    """A loss of a model of matching; further items are hard negatives.

    ``positives``: whether it learns from relevant pairs alone. ``takes``: the models it is for.
    """

    positives: ClassVar[bool]
    takes: ClassVar[type] = TextScorer

    @abstractmethod
    def forward(self, model: TextScorer, inputs: PairInputs) -> Tensor:
        """Mean over the B pairs -> scalar."""

    def relevance(self, scores: Tensor) -> Tensor | None:
        """What scores say of relevance, from 0 to 1, like ``scores``; None if they say nothing."""
        return None


class InfoNCE(MatchLoss):
    """Softmax over the items of the batch: each query's own against those of all others.

    van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018,
    arXiv:1807.03748 (equation 4); with texts Karpukhin et al., EMNLP 2020. -log of the share of
    exp(score / temperature) that is the pair's own item's. Items that are relevant to a query are
    never its negatives. Further items, hard negatives, are shared by all queries of the batch.

    Args:
        pairs: all judged pairs, to know what is relevant.
        temperature: scores are divided by it; cosines need a small one.
    """

    positives: ClassVar[bool] = True
    takes: ClassVar[type] = BiEncoder
    owned: Tensor

    def __init__(self, pairs: Pairs, temperature: PositiveFloat = 0.05) -> None:
        super().__init__()
        self.temperature, self.num_items = temperature, pairs.num_items
        self.register_buffer("owned", torch.from_numpy(pairs.keys()), persistent=False)

    def forward(self, model: TextScorer, inputs: PairInputs) -> Tensor:
        """Mean over the B pairs -> scalar."""
        assert isinstance(model, BiEncoder)
        queries, items = model.vectors(inputs.queries), model.vectors(inputs.items)
        logits = queries @ items.T / self.temperature  # [B, C]
        own = torch.arange(len(queries), device=logits.device)
        candidates = inputs.item.expand(len(queries), -1)
        relevant = owns(self.owned, candidates, inputs.query, self.num_items)
        left_out = (relevant | (candidates < 0)).scatter(1, own[:, None], False)
        return functional.cross_entropy(logits.masked_fill(left_out, -torch.inf), own)


class RelevanceLoss(MatchLoss):
    """A loss of each pair alone. A further item counts as irrelevant to the query it is for."""

    positives: ClassVar[bool] = False

    def forward(self, model: TextScorer, inputs: PairInputs) -> Tensor:
        """Mean over the pairs, further ones among them -> scalar."""
        pairs, further = len(inputs.query), len(inputs.item) - len(inputs.query)
        row = torch.arange(pairs, device=inputs.item.device)
        row = torch.cat([row, row.repeat_interleave(further // pairs)])
        gain = torch.cat([inputs.gain, inputs.gain.new_zeros(further)])
        there = inputs.item >= 0
        row, gain = row[there], gain[there]
        queries = Tokens(inputs.queries.ids[row], inputs.queries.there[row])
        items = Tokens(inputs.items.ids[there], inputs.items.there[there])
        return self.distance(model(queries, items), gain)

    @abstractmethod
    def distance(self, scores: Tensor, gain: Tensor) -> Tensor:
        """How far scores, float [n], are from relevance, 0 to 1, on average -> scalar."""


class RelevanceBCE(RelevanceLoss):
    """Classification: cross-entropy of sigmoid(score) and relevance, a share from 0 to 1."""

    def distance(self, scores: Tensor, gain: Tensor) -> Tensor:
        """Mean cross-entropy -> scalar."""
        return functional.binary_cross_entropy_with_logits(scores, gain)

    def relevance(self, scores: Tensor) -> Tensor | None:
        """sigmoid(score)."""
        return torch.sigmoid(scores)


class RelevanceMSE(RelevanceLoss):
    """Regression: squared distance of score and relevance, the latter from 0 to 1."""

    def distance(self, scores: Tensor, gain: Tensor) -> Tensor:
        """Mean square -> scalar."""
        return functional.mse_loss(scores, gain)

    def relevance(self, scores: Tensor) -> Tensor | None:
        """The score itself, within the scale."""
        return scores.clamp(0, 1)
