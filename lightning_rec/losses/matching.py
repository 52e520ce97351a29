"""How a model of matching learns: from relevant pairs against all others, or from judgements."""

from typing import ClassVar, NamedTuple

import torch
from pydantic import PositiveFloat
from torch import Tensor
from torch.nn import functional

from lightning_rec.data.matching.pairs import Pairs
from lightning_rec.language.tokens import Tokens
from lightning_rec.losses.base import TorchLoss
from lightning_rec.losses.negatives import is_positive
from lightning_rec.models.text.bi_encoder import BiEncoder
from lightning_rec.models.text.matcher import TextScorer
from lightning_rec.needs import Need

GRADED = Need(
    "data|negatives",
    "graded",
    "learns from judgements, and data.relevance is not set: every pair is a relevant one",
    "say data.relevance=COLUMN, negatives=random, which are judged irrelevant, or "
    "model=bi_encoder, which learns from relevant pairs alone",
)


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


class MatchLoss(TorchLoss):
    """A loss of a model of matching; further items are hard negatives.

    ``positives``: whether it learns from relevant pairs alone.
    """

    kind: ClassVar[str] = "matching"
    positives: ClassVar[bool]

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

    positives = True
    needs: ClassVar[tuple[Need, ...]] = (
        Need("model", "encodes", "compares vectors of queries and items"),
    )
    keys: Tensor

    def __init__(self, pairs: Pairs, temperature: PositiveFloat = 0.05) -> None:
        super().__init__()
        self.temperature, self.num_items = temperature, pairs.num_items
        self.register_buffer("keys", torch.from_numpy(pairs.no_negatives()), persistent=False)

    def compared(self, model: TextScorer, predictions: PairInputs) -> tuple[Tensor, Tensor]:
        """Logits of the batch's items, float [B, C], and each query's own item, int64 [B]."""
        assert isinstance(model, BiEncoder)
        inputs = predictions
        queries, items = model.vectors(inputs.queries), model.vectors(inputs.items)
        logits = queries @ items.T / self.temperature  # [B, C]
        own = torch.arange(len(queries), device=logits.device)
        candidates = inputs.item.expand(len(queries), -1)
        relevant = is_positive(self.keys, candidates, inputs.query, self.num_items)
        left_out = (relevant | (candidates < 0)).scatter(1, own[:, None], False)
        return logits.masked_fill(left_out, -torch.inf), own


class RelevanceLoss(MatchLoss):
    """A loss of each pair alone. A further item counts as irrelevant to the query it is for."""

    positives = False
    needs: ClassVar[tuple[Need, ...]] = (GRADED,)

    def compared(self, model: TextScorer, predictions: PairInputs) -> tuple[Tensor, Tensor]:
        """Scores and relevance of all pairs, further ones behind: float [n], float [n]."""
        inputs = predictions
        pairs, further = len(inputs.query), len(inputs.item) - len(inputs.query)
        row = torch.arange(pairs, device=inputs.item.device)
        row = torch.cat([row, row.repeat_interleave(further // pairs)])
        gain = torch.cat([inputs.gain, inputs.gain.new_zeros(further)])
        mask = inputs.item >= 0
        row, gain = row[mask], gain[mask]
        queries = Tokens(inputs.queries.ids[row], inputs.queries.mask[row])
        items = Tokens(inputs.items.ids[mask], inputs.items.mask[mask])
        return model(queries, items), gain


class RelevanceBCE(RelevanceLoss):
    """Classification: cross-entropy of sigmoid(score) and relevance, a share from 0 to 1."""

    function = staticmethod(functional.binary_cross_entropy_with_logits)
    needs: ClassVar[tuple[Need, ...]] = (
        GRADED,
        Need(
            "model",
            "unbounded",
            "needs logits as scores, and a cosine does not go beyond 1",
            "say model.normalize=false, loss=relevance_mse, or loss=info_nce",
        ),
    )

    def relevance(self, scores: Tensor) -> Tensor | None:
        """sigmoid(score)."""
        return torch.sigmoid(scores)


class RelevanceMSE(RelevanceLoss):
    """Regression: squared distance of score and relevance, the latter from 0 to 1."""

    function = staticmethod(functional.mse_loss)

    def relevance(self, scores: Tensor) -> Tensor | None:
        """The score itself, within the scale."""
        return scores.clamp(0, 1)
