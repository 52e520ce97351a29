"""Next items, and sequences that lack some items alike, those of others not."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from lightning_rec.models.base import SequenceModel
from lightning_rec.objectives import augmentations
from lightning_rec.objectives.base import Encode, TrainingInputs, latest_queries
from lightning_rec.objectives.next_item import NextItem
from lightning_rec.ranges import BelowOne


@dataclass(eq=False)
class ItemDrop(NextItem):
    """Next items and a contrast of sequences with views that lack some items (UniSRec; Hou et al.,
    KDD 2022, arXiv:2206.05941, section 2.2.2).

    Training and query inputs are those of :class:`NextItem`. To their loss comes :meth:`term`: each
    sequence has to find its own view among those of the batch, by cosines; sequences that have the
    same next item do not count against one another. With ``model=unisrec`` and ``loss=in_batch
    loss.log_q=false loss.distinct=false`` the sum is the authors' loss but for three things. Views
    that lack words of the texts are left out, since each text would be read anew. Of sequences with
    the same next item the authors count 1 in the denominator, and here nothing. And where an item
    is dropped, their code puts it in the place of the item before.

    Args:
        drop: chance of each item but the first to be missing from the view.
        temperature: what cosines are divided by.
        weight: of the contrast beside the loss of the next items (the paper's lambda).
    """

    name: ClassVar[str] = "item_drop"
    family: ClassVar[str] = "next_item"  # whatever learns by that objective learns by this one
    drop: BelowOne = 0.2
    temperature: PositiveFloat = 0.07
    weight: NonNegativeFloat = 0.001

    def term(
        self, model: SequenceModel, encode: Encode, inputs: TrainingInputs, queries: Tensor
    ) -> Tensor:
        """The contrast of a batch's sequences, each up to the latest item that it is asked about,
        weighted, scalar; see :class:`WithTerm`.
        """
        padding, histories = model.schema.padding, inputs.histories
        row, place = inputs.positions.nonzero().unbind(dim=1)
        latest = row != F.pad(row[1:], (0, 1), value=-1)  # the last query of each row
        rows, ends = row[latest], place[latest]
        index = torch.arange(histories.items.shape[1], device=row.device)
        items = histories.items[rows].masked_fill(index > ends[:, None], padding)
        views = augmentations.drop(items, self.drop, padding)
        others = latest_queries(encode, views, histories.user[rows], padding)
        target = inputs.targets[latest]
        return self.weight * contrast(queries[latest], others, target, self.temperature)


def contrast(queries: Tensor, views: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each query's own view among all, by cosines: float [B, Q] twice -> scalar.

    ``targets``: int64 [B]; views of other sequences that have the same one are left out.
    """
    alike = F.normalize(queries, dim=1) @ F.normalize(views, dim=1).T / temperature
    own = torch.arange(len(queries), device=queries.device)
    same = (targets[:, None] == targets) & (own[:, None] != own)
    return F.cross_entropy(alike.masked_fill(same, -torch.inf), own)
