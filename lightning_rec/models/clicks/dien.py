"""DIEN: how interests followed each other, as far as they have to do with the item shown.

Zhou et al., Deep Interest Evolution Network for Click-Through Rate Prediction, AAAI 2019,
arXiv:1809.03672. Shapes: B rows, F fields, D = dim, L longest history of the batch, S positions of
all histories, packed: those of a step after those of the step before.
"""

from functools import partial

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lightning_rec.data.clicks.schema import BatchItems, ClickSchema, Rows
from lightning_rec.models.clicks.din import Dice
from lightning_rec.models.clicks.parts import MLP, FieldVectors, HistoryModel
from lightning_rec.ranges import BelowOne, Widths

BLOCK_STEPS = 4096  # told apart at once on a CPU, whose cache keeps them


class AUGRU(nn.Module):
    """A GRU whose update gate u is scaled by attention a (section "Interest Evolving Layer").

    h_t = (1 - a_t u_t) ⊙ h_{t-1} + a_t u_t ⊙ c_t, with c_t the candidate: a GRU where a = 1; where
    a = 0 a state stays as it was. The authors' code has a + (1 - a) u in place of a u, by which a
    state moves on even where nothing attends to it.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.read, self.carry = nn.Linear(dim, 3 * dim), nn.Linear(dim, 3 * dim)

    def forward(self, x: Tensor, attention: Tensor, sizes: list[int]) -> Tensor:
        """The last state of each row, float [B, D], of packed x, float [S, D], and a, float [S].

        ``sizes``: how many rows have each step; never more than the step before.
        """
        ended: list[Tensor] = []
        state, parts = attention.new_zeros(sizes[0], self.dim), [2 * self.dim, self.dim]
        for read, share in zip(
            self.read(x).split(sizes), attention[:, None].split(sizes), strict=True
        ):
            ended.append(state[len(read) :])
            state = state[: len(read)]
            (gates, new), (carried, old) = (
                each.split(parts, dim=1) for each in (read, self.carry(state))
            )
            update, reset = (gates + carried).sigmoid().chunk(2, dim=1)
            candidate = torch.addcmul(new, reset, old).tanh()
            state = torch.lerp(state, candidate.to(state.dtype), update * share)
        return torch.cat([state, *reversed(ended)])


class DIEN(HistoryModel):
    """z = MLP([fields, h']), h' the last state of an AUGRU over the states of a GRU over the items.

    Its attention is a_t = softmax_t(h_t W e_A), e_A the vector of the item shown; h' is zeros where
    there is no history. This is the paper's form and FuxiCTR's (at 58e2696); in the authors' code a
    network over [e_A, h_t, e_A - h_t, e_A ⊙ h_t] stands for h_t W e_A, and the sum of the history
    joins the fields. States are as wide as vectors.

    In training a network over [h_t, e] also tells the next item of the history from another one
    (section "Interest Extractor Layer"): to the loss comes ``auxiliary`` times the mean of
    -log σ(h_t, e_{t+1}) - log(1 - σ(h_t, ê)) over the steps of all histories. ê is any other item
    of the training rows, each as likely (where vectors describe items, any other of the batch); the
    authors draw from all reviews, the test's too, so that popular items come more often. Their code
    halves the loss of clicks, by which their 1 is 2 here, and takes the mean over padding as well.

    Args:
        auxiliary: weight of that loss; 0 leaves it out.
        discriminator: widths of its network, with sigmoids between, as the authors'.
        mlp: widths of the network on top, with Dice.
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        auxiliary: NonNegativeFloat = 1.0,
        discriminator: Widths = (100, 50),
        mlp: Widths = (200, 80),
        dropout: BelowOne = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(schema)
        self.fields = FieldVectors(schema, dim)
        self.interests, self.evolution = nn.GRU(dim, dim), AUGRU(dim)
        self.query = nn.Linear(dim, dim, bias=False)
        self.auxiliary, self.discriminator = auxiliary, None
        if auxiliary:
            self.discriminator = MLP(
                2 * dim, discriminator, 0.0, batch_norm=False, activation=lambda _: nn.Sigmoid()
            )
        self.deep = MLP((schema.num_fields + 1) * dim, mlp, dropout, batch_norm, activation=Dice)
        self.initialise()
        nn.init.eye_(self.query.weight)
        self._term: Tensor | float = 0.0  # of the loss, until it is asked for

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        vectors = self.fields(rows)  # [B, F, D]
        interest = self.interest(self.history(rows), vectors[:, self.item], rows.items)
        return self.deep(torch.cat([vectors.flatten(1), interest], dim=1))[:, 0]

    def penalty(self) -> Tensor | float:
        """The auxiliary loss of the latest training ``forward``, scalar."""
        term, self._term = self._term, 0.0
        return term

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # it cannot keep packed sequences
    def interest(self, items: Tensor, shown: Tensor, described: BatchItems | None = None) -> Tensor:
        """h', float [B, D], of histories, int64 [B, L], and vectors of the items shown, [B, D]."""
        there = items != self.padding
        # A history without items is a step of padding, which no attention reaches.
        length = there.sum(dim=1).clamp(min=1).cpu()
        pack = partial(pack_padded_sequence, lengths=length, batch_first=True, enforce_sorted=False)
        packed = pack(items)
        sizes: list[int] = packed.batch_sizes.tolist()
        following = packed.data[sizes[0] :]  # items that a state comes before
        learns = self.training and self.discriminator is not None
        others = self.others(following, described) if learns else following[:0]
        # One look-up for both: each would bring a gradient of the size of the table.
        vectors = self.fields.items(torch.cat([packed.data, others]), described)
        past, other = vectors.split([len(packed.data), len(others)])
        states = self.interests(packed._replace(data=past))[0]
        if learns:
            self._term = self.auxiliary * self.told_apart(states.data, past, other, sizes)
        by_row, _ = pad_packed_sequence(states, batch_first=True, total_length=items.shape[1])
        score = (by_row @ self.query(shown)[:, :, None])[:, :, 0]  # [B, L]
        score = score.masked_fill(~there, torch.finfo(score.dtype).min)
        attention = pack(score.softmax(dim=1) * there).data
        evolved: Tensor = self.evolution(states.data, attention, sizes)
        return evolved[packed.unsorted_indices]

    def told_apart(self, states: Tensor, past: Tensor, other: Tensor, sizes: list[int]) -> Tensor:
        """How badly states, float [S, D], tell the items that follow them from others, scalar.

        ``past``: float [S, D], items; ``other``: float [S - B, D], one for each that follows.
        """
        steps = zip(states.split(sizes), sizes[1:], strict=False)
        before = torch.cat([states[:0], *(state[:size] for state, size in steps)])
        block = BLOCK_STEPS if states.device.type == "cpu" else max(1, len(before))
        cost = states.new_zeros(())
        for state, *pair in zip(
            *(each.split(block) for each in (before, past[sizes[0] :], other)), strict=True
        ):
            assert self.discriminator is not None
            read = torch.cat([state.repeat(2, 1), torch.cat(pair)], dim=1)
            following, others = self.discriminator(read)[:, 0].chunk(2)
            cost = cost + functional.softplus(-following).sum() + functional.softplus(others).sum()
        return cost / max(1, len(before))

    def others(self, items: Tensor, described: BatchItems | None = None) -> Tensor:
        """For each item, int64 [n], another one that is known, each as likely: int64 [n]."""
        number = self.padding if described is None else len(described.codes)
        place = items if described is None else torch.searchsorted(described.codes, items)
        drawn = torch.randint(max(1, number - 1), items.shape, device=items.device)
        drawn = (drawn + (drawn >= place)).clamp(max=number - 1)  # of a lone item itself
        return drawn if described is None else described.codes[drawn]
