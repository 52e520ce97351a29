"""The contrastive objective of DuoRec: sequences that go on with the same item are alike."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from lightning_rec.data.split import Split
from lightning_rec.models.base import SequenceModel
from lightning_rec.objectives.base import Encode, TrainingInputs, latest_queries
from lightning_rec.objectives.contrastive import nt_xent
from lightning_rec.objectives.next_item import NextItem


@dataclass(eq=False)
class DuoRec(NextItem):
    """Next items and a contrast of sequences with the same target (DuoRec; Qiu et al., WSDM 2022,
    arXiv:2110.05730, sections 3.3 and 3.4; ``contrast: us_x`` of the authors' code).

    Training and query inputs are those of :class:`NextItem`. To their loss comes :meth:`term`: of
    each window a target is drawn; what stands before it, encoded once more by another dropout, has
    to find what stands before the same item elsewhere in training, among all of the batch. Each is
    compared with all but itself, by inner products. The authors make an example of each target.

    Args:
        temperature: what inner products of queries are divided by.
        weight: of the contrast beside the loss of the next items (the paper's lambda).
    """

    name: ClassVar[str] = "duorec"
    family: ClassVar[str] = "next_item"  # whatever learns by that objective learns by this one
    temperature: PositiveFloat = 1.0
    weight: NonNegativeFloat = 0.1
    # Training events: items, where those of each user begin, those that stand after another one in
    # the order of their items, and where those of each item begin in that order.
    known: tuple[Tensor, Tensor, Tensor, Tensor] = field(init=False, repr=False)

    def fit(self, split: Split) -> None:
        """Take the training events, of the size of which all is that is kept."""
        items = torch.from_numpy(split.items)
        first, end = (torch.as_tensor(each) for each in (split.offsets, split.train_end))
        event = torch.arange(len(items))
        user = torch.searchsorted(first, event, right=True) - 1
        event = event[(event > first[user]) & (event < end[user])]
        order = event[items[event].argsort(stable=True)]
        count = torch.bincount(items[event], minlength=split.num_items)
        self.known = (items, first, order, torch.cat([count.new_zeros(1), count.cumsum(0)]))

    def term(
        self, model: SequenceModel, encode: Encode, inputs: TrainingInputs, queries: Tensor
    ) -> Tensor:
        """The contrast of a batch's inputs, weighted, scalar; see :class:`WithTerm`."""
        histories, at, targets, _ = inputs
        items, padding = histories.items, model.schema.padding
        chosen = torch.multinomial(at.float(), 1)
        target = items.masked_scatter(at, targets).gather(1, chosen)[:, 0]
        place = torch.arange(items.shape[1], device=items.device)
        own = items.masked_fill(place > chosen, padding)
        other = self.others(target, histories.user, items.shape[1], padding)
        views, user = torch.cat([own, other]), histories.user.repeat(2)
        return self.weight * nt_xent(latest_queries(encode, views, user, padding), self.temperature)

    def others(self, target: Tensor, user: Tensor, width: int, padding: int) -> Tensor:
        """What stands before each target elsewhere: int64 [B] and [B] -> [B, width].

        One of all occurrences, each as likely; where it is of the same user, it is drawn once more
        among all others, if there are any. Draws from torch's global generator.
        """
        if self.known[0].device != target.device:
            self.known = tuple(each.to(target.device) for each in self.known)  # type: ignore[assignment]
        items, first, order, start = self.known
        count = start[target + 1] - start[target]
        drawn, again = torch.rand(2, len(target), device=target.device, dtype=torch.float64)
        step = (drawn * count).long()
        event = order[start[target] + step]
        further = 1 + (again * (count - 1)).long()
        second = order[start[target] + (step + further) % count]
        mine = torch.searchsorted(first, event, right=True) - 1 == user
        event = torch.where(mine, second, event)
        whose = torch.searchsorted(first, event, right=True) - 1
        begin = torch.maximum(first[whose], event - width)
        place = begin[:, None] + torch.arange(width, device=target.device)
        inside = place < event[:, None]
        found = items[place.clamp(max=len(items) - 1)].long()
        return found.masked_fill(~inside, padding)
