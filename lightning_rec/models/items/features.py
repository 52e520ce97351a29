"""Items known by features: categories, several of them at once, and numbers.

Shapes: V = num_items, D = dim, n = items asked for at once, C columns of categories, N of numbers,
K frequencies.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.data.split import Schema
from lightning_rec.models.items.base import INIT_STD, DescribedItems

Joined = Literal["sum", "concat"]
FREQUENCIES = 16
SIGMA = 1.0  # standard deviation of the first frequencies, per standard deviation of a number


class ItemFeatures(NamedTuple):
    """Features of the items of a catalogue.

    rows: int64 [S], rows of the embedding table, those of item ``i`` in column ``c`` from
        ``offsets[i * C + c]`` to ``offsets[i * C + c + 1]``; each once.
    offsets: int64 [V * C + 1].
    size: rows of the table; trained: bool [size], whether an item with training events has it.
    numbers: float32 [V, N], of mean 0 and standard deviation 1; NaN where there is none.
    names: of the rows of the table, column and value.
    scales: of the N columns of numbers, by name, the mean and standard deviation as they came.
    cuts: of columns of numbers in bins, by name, where these are cut.
    """

    rows: Tensor
    offsets: Tensor
    size: int
    trained: Tensor
    numbers: Tensor
    names: tuple[str, ...] = ()
    scales: Mapping[str, tuple[float, float]] = MappingProxyType({})
    cuts: Mapping[str, tuple[float, ...]] = MappingProxyType({})


class FeatureItems(DescribedItems):
    """The sum of learnt vectors of an item's features.

    A column of categories gives the mean of the vectors of the item's values. A number gives a
    linear map of sines and cosines of learnt frequencies (Gorishniy et al., On Embeddings for
    Numerical Features in Tabular Deep Learning, NeurIPS 2022, section 3.3). What is missing or
    was not known in training gives nothing.

    Args:
        features: of the catalogue; None for a first look.
        joined: ``sum`` of the columns' vectors, or ``concat``, a linear map of all of them.
    """

    rows: Tensor
    offsets: Tensor
    numbers: Tensor

    def __init__(
        self, schema: Schema, dim: int, features: ItemFeatures | None, joined: Joined = "sum"
    ) -> None:
        super().__init__(schema, dim)
        none = torch.zeros(0, dtype=torch.int64)
        of = features or ItemFeatures(
            none, torch.zeros(1 + schema.num_items, dtype=torch.int64), 1, torch.ones(1).bool(),
            torch.zeros(schema.num_items, 0),
        )  # fmt: skip
        # Made of the catalogue, which a run has beside its weights.
        self.register_buffer("rows", of.rows, persistent=False)
        self.register_buffer("offsets", of.offsets, persistent=False)
        self.register_buffer("numbers", of.numbers, persistent=False)
        self.columns = (len(of.offsets) - 1) // max(1, schema.num_items)
        self.size, self._trained, self.joined = of.size, of.trained, joined

    def make_layers(self) -> None:
        """Make the table of categories, the maps of numbers, and that of all of them."""
        super().make_layers()
        number = self.numbers.shape[1]
        self.categories = nn.Embedding(self.size, self.dim)
        self.frequencies = nn.Parameter(torch.zeros(number, FREQUENCIES))
        self.of_numbers = nn.Parameter(torch.zeros(number, 2 * FREQUENCIES, self.dim))
        width = (self.columns + number) * self.dim
        self.join = nn.Linear(width, self.dim) if self.joined == "concat" else None

    @torch.no_grad()
    def draw_weights(self) -> None:
        """Draw them; categories that no item with training events has are 0."""
        super().draw_weights()
        nn.init.normal_(self.categories.weight, std=INIT_STD)
        self.categories.weight[~self._trained] = 0
        nn.init.normal_(self.frequencies, std=SIGMA)
        nn.init.normal_(self.of_numbers, std=INIT_STD)
        if self.join is not None:
            nn.init.xavier_normal_(self.join.weight)
            nn.init.zeros_(self.join.bias)

    def vectors(self, codes: Tensor) -> Tensor:
        """Vectors of different items, int64 [n] -> float [n, D]."""
        parts = torch.cat([self._of_categories(codes), self._of_numbers(codes)], dim=1)
        return parts.sum(dim=1) if self.join is None else self.join(parts.flatten(1))

    def told_of(self, codes: Tensor) -> Tensor:
        """Whether items have any feature: the bias of a map of all says nothing of one without."""
        parts = torch.cat([self._of_categories(codes), self._of_numbers(codes)], dim=1)
        return parts.flatten(1).any(dim=1)

    def categories_of(self, codes: Tensor) -> Tensor:
        """Which categories items have, int64 [n] -> 0 or 1, float [n, size]."""
        rows, _, owner = self._bags(codes)
        found = torch.zeros(len(codes), self.size, device=codes.device)
        found[owner // self.columns, rows] = 1
        return found

    def described(self, codes: Tensor) -> Tensor:
        """Which categories items have, and their numbers, 0 where missing: int64 [n] -> float
        [n, size + N].
        """
        return torch.cat([self.categories_of(codes), self.numbers[codes].nan_to_num()], dim=1)

    def _of_categories(self, codes: Tensor) -> Tensor:
        """Float [n, C, D]."""
        rows, before, _ = self._bags(codes)
        means = functional.embedding_bag(rows, self.categories.weight, before, mode="mean")
        return means.view(len(codes), self.columns, self.dim)

    def _bags(self, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of the table, int64 [S]; where those of each item and column begin, int64 [n * C];
        and which of these each row belongs to, int64 [S].
        """
        column = torch.arange(self.columns, device=codes.device)
        bags = (codes[:, None] * self.columns + column).flatten()
        start = self.offsets[bags]
        length = self.offsets[bags + 1] - start
        before = length.cumsum(0) - length
        owner = torch.repeat_interleave(length)
        place = torch.arange(len(owner), device=codes.device) + (start - before)[owner]
        return self.rows[place], before, owner

    def _of_numbers(self, codes: Tensor) -> Tensor:
        """Float [n, N, D]."""
        numbers = self.numbers[codes]
        missing = numbers.isnan()
        angle = 2 * torch.pi * numbers.masked_fill(missing, 0)[..., None] * self.frequencies
        waves = torch.cat([angle.sin(), angle.cos()], dim=-1)  # [n, N, 2 K]
        made = torch.einsum("nck,ckd->ncd", waves, self.of_numbers)
        return made.masked_fill(missing[..., None], 0)


def moved_waves(
    frequencies: Tensor, weights: Tensor, then: Tensor, now: Tensor
) -> tuple[Tensor, Tensor]:
    """Frequencies, [N, K], and weights of waves, [N, 2 K, D], by which numbers that are scaled as
    ``now`` have the vectors that these gave them ``then``: float64 [N, 2] of means and deviations.
    """
    (mean, deviation), (moved, spread) = then.T[..., None], now.T[..., None]  # [N, 1] each
    frequency, weight = frequencies.double(), weights.double()
    # What was x is x' spread / deviation + (moved - mean) / deviation: the latter turns the waves.
    turn = (2 * torch.pi * frequency * (moved - mean) / deviation)[..., None]
    sine, cosine = weight.chunk(2, dim=1)
    turned = (sine * turn.cos() - cosine * turn.sin(), sine * turn.sin() + cosine * turn.cos())
    made = torch.cat(turned, dim=1)
    return (frequency * spread / deviation).to(frequencies), made.to(weights)
