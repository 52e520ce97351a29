"""The contrastive objective: next items, and views of one sequence alike, those of others not."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from lightning_rec.data.split import Schema
from lightning_rec.models.base import SequenceModel
from lightning_rec.objectives import augmentations
from lightning_rec.objectives.base import Encode, TrainingInputs, latest_queries
from lightning_rec.objectives.next_item import NextItem
from lightning_rec.ranges import UpToOne


@dataclass(eq=False)
class Contrastive(NextItem):
    """Next items and a contrast of two views (CL4SRec; Xie et al., ICDE 2022, arXiv:2010.14395).

    Training and query inputs are those of :class:`NextItem`. To their loss comes :meth:`term`: two
    views of each sequence are made by two different operators out of crop, mask and reorder, and
    each view has to find its other half among all views of the batch. Views are of items alone:
    without times, and without what is known of events and users.

    Args:
        crop: share of a sequence that a crop keeps.
        mask: share of a sequence that is masked.
        reorder: share of a sequence that is shuffled.
        temperature: what inner products of queries are divided by (1 in the paper). Queries that
            a LayerNorm made have length sqrt(dim); dividing by dim makes cosines of the products.
        weight: of the contrast beside the loss of the next items (the paper's lambda).
    """

    name: ClassVar[str] = "contrastive"
    family: ClassVar[str] = "next_item"  # whatever learns by that objective learns by this one
    crop: UpToOne = 0.6
    mask: UpToOne = 0.3
    reorder: UpToOne = 0.6
    temperature: PositiveFloat = 1.0
    weight: NonNegativeFloat = 0.1

    def term(
        self, model: SequenceModel, encode: Encode, inputs: TrainingInputs, queries: Tensor
    ) -> Tensor:
        """The contrast of a batch's inputs, weighted, scalar; see :class:`WithTerm`."""
        items, user = inputs.histories.items, inputs.histories.user
        views = torch.cat(self.views(items, model.schema))
        of_views = latest_queries(encode, views, user.repeat(2), model.schema.padding)
        return self.weight * nt_xent(of_views, self.temperature)

    def views(self, items: Tensor, schema: Schema) -> tuple[Tensor, Tensor]:
        """Two views of each sequence: int64 [B, L] -> the same, twice."""
        first = torch.randint(3, (len(items),), device=items.device)
        other = (first + torch.randint(1, 3, (len(items),), device=items.device)) % 3
        return self._view(items, schema, first), self._view(items, schema, other)

    def _view(self, items: Tensor, schema: Schema, operator: Tensor) -> Tensor:
        """One view by operators 0 to 2, int64 [B]."""
        padding = schema.padding
        cropped = augmentations.crop(items, self.crop, padding)
        masked = augmentations.mask(items, self.mask, padding, schema.mask)
        reordered = augmentations.reorder(items, self.reorder, padding)
        which = operator[:, None]
        return torch.where(which == 0, cropped, torch.where(which == 1, masked, reordered))


def nt_xent(queries: Tensor, temperature: float) -> Tensor:
    """Normalised cross-entropy of pairs (SimCLR; Chen et al., ICML 2020, equation 1).

    Similarity is the inner product, as in CL4SRec (section III-B), not SimCLR's cosine.

    ``queries``: float [2 B, Q], of which rows b and B + b are a pair. Returns a scalar, the mean
    over all 2 B, each compared with all but itself.
    """
    number = len(queries)
    alike = queries @ queries.T / temperature
    itself = torch.eye(number, dtype=torch.bool, device=queries.device)
    partner = torch.arange(number, device=queries.device).roll(number // 2)
    return F.cross_entropy(alike.masked_fill(itself, -torch.inf), partner)
