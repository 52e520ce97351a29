"""What every item encoder is: item codes in, vectors out.

Codes are those of a :class:`~lightning_rec.data.split.Schema`: 0 to V - 1 for items, V for padding,
whose vector is 0, and V + 1 for the mask. Shapes: V = num_items, D = dim, n = different items.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.data.split import Schema
from lightning_rec.models.layers import CachedInEvaluation

INIT_STD = 0.02  # of the vectors of padding and mask, and of what is learnt of items
BLOCK_ITEMS = 2**16  # whose vectors are made at once without gradients

Init = Callable[[Tensor], object]  # draws the initial weights of a table, in place


class ItemEncoder(CachedInEvaluation, ABC):
    """Vectors of items, where a sequence model has its item embedding table.

    Constructors take ``schema``, of which ``num_items`` is V, and ``dim``, D, first. ``by_id`` says
    whether each item has weights of its own.
    An encoder that reads the catalogue has ``read_catalogue(catalogue)``, one that reads the
    training events ``fit(split)``, as models have; see :mod:`lightning_rec.models.base`.
    """

    kind: ClassVar[str] = "items"
    num_items: int
    dim: int
    by_id: bool = False
    sparse: bool = False

    @abstractmethod
    def forward(self, codes: Tensor) -> Tensor:
        """Item codes, int64 [...] -> their vectors, float [..., D]."""

    @abstractmethod
    def table(self) -> Tensor:
        """Vectors of all items, float [V, D]; in evaluation they are made once."""

    @abstractmethod
    def initialise(self, init: Init) -> None:
        """Start as the paper of a model has its table of items start, if this is such a table."""

    def told_of(self, codes: Tensor) -> Tensor:
        """Whether anything describes items, int64 [n] -> bool [n]."""
        return self(codes).any(dim=1)

    def new_bias(self) -> nn.Parameter:
        """A bias for each item's score, float [V]: 0, and learnt only if items have own weights."""
        return nn.Parameter(torch.zeros(self.num_items), requires_grad=self.by_id)

    def sparse_gradients(self) -> None:
        """Give tables of ids, if there are any, sparse gradients: of the rows that a step reads."""
        self.sparse = True

    def read(self) -> None:
        """Read what items are known by; called once, when the model around it is complete."""

    def begin_step(self, codes: Tensor) -> None:
        """Begin a training step that reads these items, int64 of any shape."""

    def freeze_source(self) -> None:
        """Keep what was read of items as it is now; maps of it may still be trained."""


class ComputedItems(ItemEncoder):
    """Vectors that are computed: those of all items of a training step at once, each once."""

    def __init__(self, schema: Schema, dim: int) -> None:
        super().__init__()
        self.num_items, self.dim = schema.num_items, dim
        self._step: tuple[Tensor, Tensor] | None = None  # codes of this step, and their vectors

    @abstractmethod
    def of_codes(self, codes: Tensor) -> Tensor:
        """Vectors of different codes in rising order, int64 [n] -> float [n, D]."""

    def initialise(self, init: Init) -> None:
        """Draw a table and throw it away: all else of a model then starts as it does with ids."""
        init(torch.empty(self.num_items + 2, self.dim))

    def read(self) -> None:
        """Make what depends on what is read, then draw the initial weights."""
        self.make_layers()
        self.draw_weights()

    def make_layers(self) -> None:
        """Make the layers whose width is known only when everything is read."""

    def draw_weights(self) -> None:
        """Draw the initial weights of what :meth:`make_layers` made."""

    def begin_step(self, codes: Tensor) -> None:
        """Compute the vectors of all items of a step, int64 of any shape, at once."""
        items = torch.unique(codes)
        special = torch.arange(self.num_items, self.num_items + 2, device=codes.device)
        items = torch.cat([items[items < self.num_items], special])
        self._step = items, self.of_codes(items)

    def forward(self, codes: Tensor) -> Tensor:
        """Item codes, int64 [...] -> their vectors, float [..., D]."""
        if not torch.is_grad_enabled():
            return functional.embedding(codes, self._all())
        known, vectors = self._step or (codes.new_zeros(0), None)
        rows = torch.searchsorted(known, codes.contiguous()).clamp(max=max(0, len(known) - 1))
        if vectors is None or not torch.equal(known[rows], codes):
            known, rows = torch.unique(codes, return_inverse=True)
            vectors = self.of_codes(known)
        return functional.embedding(rows, vectors)

    def table(self) -> Tensor:
        """Vectors of all items, float [V, D]; in evaluation they are made once."""
        return self._all()[: self.num_items]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def train(self, mode: bool = True) -> Self:
        """Forget the latest step: its weights may have moved."""
        self._step = None
        return super().train(mode)

    def _all(self) -> Tensor:
        """Vectors of all codes, float [V + 2, D]; without gradients cached until weights change."""
        codes = torch.arange(self.num_items + 2, device=self.device)
        if torch.is_grad_enabled():
            return self.of_codes(codes)
        return self.cached(lambda: self.of_codes(codes))


class DescribedItems(ComputedItems):
    """Items known by something that describes them: a sub-class writes :meth:`vectors`.

    Padding and mask are described by nothing: their vectors are learnt here.
    """

    special: nn.Embedding

    @abstractmethod
    def vectors(self, codes: Tensor) -> Tensor:
        """Vectors of different items in rising order, int64 [n] -> float [n, D]."""

    def make_layers(self) -> None:
        """Give padding and mask their vectors."""
        self.special = nn.Embedding(2, self.dim, padding_idx=0)

    @torch.no_grad()
    def draw_weights(self) -> None:
        """Draw the vector of the mask."""
        nn.init.normal_(self.special.weight, std=INIT_STD)
        self.special.weight[0].zero_()

    def of_codes(self, codes: Tensor) -> Tensor:
        """Vectors of different codes in rising order, int64 [n] -> float [n, D]."""
        real = codes[codes < self.num_items]
        # What vectors are made of may be wider than D: of a whole catalogue it is not had at once.
        blocks = (real,) if torch.is_grad_enabled() else torch.split(real, BLOCK_ITEMS)
        made = [self.vectors(block) for block in blocks]
        return torch.cat([*made, self.special(codes[len(real) :] - self.num_items)])


def item_encoders(module: nn.Module) -> Iterator[ItemEncoder]:
    """The encoders of a model; one that is made of several counts once."""
    if isinstance(module, ItemEncoder):
        yield module
        return
    for child in module.children():
        yield from item_encoders(child)


def modules_beside_items(module: nn.Module) -> Iterator[nn.Module]:
    """A model and its modules, in their order, but for its item encoders."""
    if isinstance(module, ItemEncoder):
        return
    yield module
    for child in module.children():
        yield from modules_beside_items(child)
