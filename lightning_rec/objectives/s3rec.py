"""The pretraining of S3-Rec: masked items, attributes of items, and segments of sequences."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.sequential.s3rec import S3RecPretraining
from lightning_rec.objectives.augmentations import start_of
from lightning_rec.objectives.base import (
    Encode,
    Objective,
    QueryInputs,
    TrainingInputs,
    latest,
    latest_queries,
)
from lightning_rec.objectives.masked_item import append_mask, hide


@dataclass(eq=False)
class MutualInformation(Objective):
    """Four objectives at once (S3-Rec; Zhou et al., CIKM 2020, section 4.3), as the authors' code.

    Items are masked by chance, the last one always. The loss of the config is of masked items
    (MIP; ``loss=sigmoid_bpr`` in the paper) and weighs 1; :meth:`term` has the others. The authors
    sum each over a batch; here all four sums are divided by the number of masked items.

    Args:
        mask_prob: chance of each item but the last to be masked.
        aap: weight of the attributes of items that are shown.
        map: weight of the attributes of masked items.
        sp: weight of segments. Of each sequence up to half is a segment: where it is masked, the
            model is to tell it from another one of the same length, out of the sequences of the
            batch, one after another.
    """

    name: ClassVar[str] = "s3rec"
    mask_prob: Annotated[float, Field(gt=0, lt=1)] = 0.2
    aap: NonNegativeFloat = 0.2
    map: NonNegativeFloat = 1.0
    sp: NonNegativeFloat = 0.5

    def training_inputs(self, histories: Histories, schema: Schema) -> TrainingInputs:
        """All items are asked about, and those that are masked count as targets. Draws from torch's
        global generator.
        """
        items = histories.items
        real = items != schema.padding
        place = torch.arange(items.shape[1], device=items.device)
        hidden = torch.rand(items.shape, device=items.device) < self.mask_prob
        hidden = (hidden & real) | (place == latest(items, schema.padding)[:, None])
        targets = hidden if histories.learnt is None else hidden & histories.learnt
        shown = hide(histories, hidden, schema)
        return TrainingInputs(shown, real, items[real], targets[real].float())

    def query_inputs(self, histories: Histories, schema: Schema) -> QueryInputs:
        """Append the mask, and drop the oldest item where the window is full."""
        return append_mask(histories, schema)

    def term(
        self, model: SequenceModel, encode: Encode, inputs: TrainingInputs, queries: Tensor
    ) -> Tensor:
        """Attributes and segments, weighted, scalar; see :class:`WithTerm`."""
        assert isinstance(model, S3RecPretraining)
        shown, at, targets, weights = inputs
        assert weights is not None
        masked = shown.items[at] == model.schema.mask
        attributes = model.attribute_loss(queries, targets, masked)
        term = (attributes * torch.where(masked, self.map, self.aap)).sum()
        if self.sp:
            items = shown.items.masked_scatter(at, targets)
            drawn = self.segments(items, model.schema)
            term = term + self.sp * _segment_loss(model, encode, drawn, shown.user)
        return term / weights.sum().clamp(min=1)

    def segments(self, items: Tensor, schema: Schema) -> tuple[Tensor, Tensor, Tensor]:
        """Sequences with a segment masked; that segment alone; another in its place: int64 [B, L]
        three times. Draws from torch's global generator.
        """
        real = items != schema.padding
        number = real.sum(dim=1, keepdim=True)
        size = 1 + start_of(number // 2, torch.ones_like(number))
        start = start_of(number, size)
        place = torch.arange(items.shape[1], device=items.device)
        inside = (place >= start) & (place < start + size)
        others = items[real]  # of all sequences, one after another
        first = start_of(torch.full_like(number, len(others)), size)
        other = others[(first + place - start).clamp(0, len(others) - 1)]
        nothing = items.masked_fill(real, schema.mask)
        return (
            items.masked_fill(inside, schema.mask),
            torch.where(inside, items, nothing),
            torch.where(inside, other, nothing),
        )


def _segment_loss(
    model: S3RecPretraining, encode: Encode, drawn: tuple[Tensor, Tensor, Tensor], user: Tensor
) -> Tensor:
    """The sum over a batch of what tells its segments from others, scalar."""
    queries = latest_queries(encode, torch.cat(drawn), user.repeat(3), model.schema.padding)
    context, own, other = queries.chunk(3)
    right, wrong = (model.segment_scores(context, each).sigmoid() for each in (own, other))
    return F.softplus(wrong - right).sum()
