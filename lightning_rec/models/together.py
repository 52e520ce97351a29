"""Trained models of sequences that are asked together, each in its own way."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.beside import Beside
from lightning_rec.models.blocks import encode
from lightning_rec.models.clicks.encoded import Ask


class Member(NamedTuple):
    """A model of sequences, how it is asked for the next item, and positions that it encodes at
    once on a CPU.
    """

    model: SequenceModel
    ask: Ask
    tokens: int


class Together(Beside, SequenceModel):
    """Models of sequences over one catalogue, trained no more, that are asked together.

    Their queries stand beside one another; their weights are not among those of this module.
    """

    objectives = ("closed_form",)

    def __init__(self, schema: Schema, members: Any) -> None:
        super().__init__(schema)
        self.members: list[Member] = list(members)
        self.needs_order = any(each.model.needs_order for each in self.members)
        self.reads_times = any(each.model.reads_times for each in self.members)
        self.widths: list[int] = []  # of the members' queries

    @property
    def models(self) -> list[nn.Module]:
        """The members' models."""
        return [member.model for member in self.members]

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The members' queries beside one another: float [M, Q].

        Each is asked in its own way, by the latest items that it can read.
        """
        made = [self.asked(member, histories) for member in self.members]
        self.widths = [queries.shape[1] for queries in made]
        return torch.cat(made, dim=1)

    def asked(self, member: Member, histories: Histories) -> Tensor:
        """The queries of one member, float32 [M, Q]."""
        model, ask, tokens = member
        question = ask(recent(histories, model.schema), model.schema)
        on_cpu = histories.items.device.type == "cpu"
        return encode(model, *question, tokens if on_cpu else None).float()


def recent(histories: Histories, schema: Schema) -> Histories:
    """The latest items of each history, as many as a model can read."""
    items, most = histories.items, schema.max_len
    if items.shape[1] <= most:
        return histories
    length = (items != schema.padding).sum(dim=1, keepdim=True)
    place = (length - most).clamp(min=0) + torch.arange(most + 1, device=items.device)
    times = None if histories.times is None else histories.times.gather(1, place)
    kept = items.gather(1, place[:, :-1]).masked_fill(place[:, :-1] >= length, schema.padding)
    return histories._replace(items=kept, times=times)
