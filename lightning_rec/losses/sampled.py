"""Losses that score the target against some drawn items instead of the whole catalogue."""

from abc import abstractmethod
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from lightning_rec.data.split import Split
from lightning_rec.losses.base import Loss, Predictions
from lightning_rec.losses.negatives import Negatives, Shared
from lightning_rec.models.base import InnerProduct, Penalised, SequenceModel
from lightning_rec.models.kernels import sequence_products
from lightning_rec.ranges import UpToOne


class Sampled(Loss):
    """A loss of the scores of targets and of sampled negatives.

    Args:
        split: whose training events are counted, and avoided.
        negatives: how many are drawn for each query.
        shared: one draw for each query (``none``), the queries of a ``sequence`` or of the
            ``batch``. A shared draw is scored by one matrix product, many times cheaper.
        popularity: power of the training counts that draws follow; 0 draws uniformly.
        positives: let items that the user has in training be drawn too.
    """

    kind = "sequences"
    draws: ClassVar[bool] = True
    log_q: bool = False

    def __init__(
        self,
        split: Split,
        negatives: PositiveInt = 1,
        shared: Shared = "none",
        popularity: NonNegativeFloat = 0.0,
        positives: bool = False,
    ) -> None:
        super().__init__()
        self.sampler = Negatives(split, negatives, shared, popularity, positives)

    def per_target(self, model: SequenceModel, predictions: Predictions) -> Tensor:
        """Float [M]."""
        return self.compare(*self.scored(model, predictions))

    def scored(
        self, model: SequenceModel, predictions: Predictions
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What is compared: the arguments of :meth:`compare`."""
        items, valid = self.sampler.draw(predictions)
        queries = predictions.queries
        target = model.scores(queries, predictions.targets[:, None])[:, 0]
        if self.sampler.shared == "sequence":
            by_sequence, items = items, items[predictions.row]  # [M, n]
        if self.sampler.shared == "sequence" and isinstance(model, InnerProduct):
            scores = scores_by_sequence(model, predictions, by_sequence)
        else:
            scores = model.scores(queries, items)
        if self.log_q:
            scores = scores - self.sampler.log_expected(items, predictions)
        return target, scores, valid

    @abstractmethod
    def compare(self, target: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
        """The loss of each target by its score and those of its negatives: float [M].

        Args:
            target: float [M], of the targets.
            scores: float [M, n], of the negatives.
            valid: bool [M, n], which of them count.
        """


def scores_by_sequence(model: InnerProduct, predictions: Predictions, items: Tensor) -> Tensor:
    """Score each sequence's own items, int64 [B, n], for all its queries: float [M, n].

    Queries of one sequence stand side by side, so each sequence is one product.
    """
    number = torch.bincount(predictions.row, minlength=len(predictions.user)).tolist()
    if isinstance(model, Penalised):  # by how often an item is read
        read, own = items.flatten(), torch.arange(items.numel(), device=items.device)
    else:
        drawn = torch.zeros(model.schema.num_items, dtype=torch.bool, device=items.device)
        drawn[items] = True
        read, own = drawn.nonzero()[:, 0], drawn.cumsum(0)[items] - 1
    weight, bias = model.vectors(read)
    own = own.view(items.shape)
    scores = sequence_products(predictions.queries, weight, own, number)
    return scores if bias is None else scores + bias[own][predictions.row]


class SampledSoftmax(Sampled):
    """Cross-entropy over the target and the drawn items.

    Args:
        log_q: subtract from each negative's score the log of how often it is expected among those
            that count, which makes the sum an estimate of that over the target and all items that
            the user does not have (Bengio and Senécal, 2008, section III).
    """

    def __init__(
        self,
        split: Split,
        negatives: PositiveInt = 256,
        shared: Shared = "sequence",
        popularity: NonNegativeFloat = 0.0,
        positives: bool = False,
        log_q: bool = False,
    ) -> None:
        super().__init__(split, negatives, shared, popularity, positives)
        self.log_q = log_q

    def compare(self, target: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
        """The target is class 0; see :meth:`Sampled.compare`."""
        return F.cross_entropy(*_classes(target, scores, valid), reduction="none")

    def mean(self, model: SequenceModel, predictions: Predictions) -> Tensor:
        """Mean over the M predictions -> scalar."""
        return F.cross_entropy(*_classes(*self.scored(model, predictions)))


class BCE(Sampled):
    """Binary cross-entropy: the target is 1, each negative 0 (SASRec, section 3.5)."""

    power = 1.0  # of the target's probability

    def compare(self, target: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
        """Sum over target and negatives; see :meth:`Sampled.compare`."""
        return F.softplus(-target) * self.power + (F.softplus(scores) * valid).sum(dim=1)


class GBCE(BCE):
    """BCE with the target's probability raised to a power, against overconfidence.

    Petrov and Macdonald, gSASRec, RecSys 2023, arXiv:2308.07192, equations 8 to 11: with the
    sampling rate a = negatives / (num_items - 1), the power is a (t (1 - 1/a) + 1/a). At t = 0 it
    is BCE, at t = 1 the sampled negatives weigh as much as all would.

    Args:
        calibration: the paper's t.
    """

    def __init__(
        self,
        split: Split,
        negatives: PositiveInt = 256,
        shared: Shared = "sequence",
        popularity: NonNegativeFloat = 0.0,
        positives: bool = False,
        calibration: UpToOne = 0.75,
    ) -> None:
        super().__init__(split, negatives, shared, popularity, positives)
        rate = negatives / (split.num_items - 1)
        self.power = rate * (calibration * (1 - 1 / rate) + 1 / rate)


class BPR(Sampled):
    """The target should score above each negative (Rendle et al., UAI 2009, section 4.1)."""

    def compare(self, target: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
        """Mean over the negatives that count; see :meth:`Sampled.compare`."""
        behind = F.softplus(scores - target[:, None]) * valid
        return behind.sum(dim=1) / valid.sum(dim=1).clamp(min=1)


class SigmoidBPR(BPR):
    """BPR of probabilities: the sigmoid of each score is compared (S3-Rec; Zhou et al., CIKM 2020,
    equation 6, by the pairs of the authors' code).
    """

    def compare(self, target: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
        """Mean over the negatives that count; see :meth:`Sampled.compare`."""
        return super().compare(target.sigmoid(), scores.sigmoid(), valid)


def _classes(target: Tensor, scores: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the target and its negatives, float [M, 1 + n], and the right class, all 0."""
    scores = scores.masked_fill(~valid, -torch.inf)
    classes = torch.cat([target[:, None], scores], dim=1)
    return classes, classes.new_zeros(len(classes), dtype=torch.int64)
