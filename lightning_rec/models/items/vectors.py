"""Items known by vectors: those of their texts, or given ones, projected by a learnt map.

Shapes: V = num_items, E = width of the vectors, D = dim, n = items asked for at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.data.split import Schema
from lightning_rec.models.items.adaptors import Adaptor, LinearMap, MakeAdaptor
from lightning_rec.models.items.base import BLOCK_ITEMS, ComputedItems, DescribedItems

TINY = 1e-12  # a spread of nothing, for vectors of length 1


class VectorSource(nn.Module, ABC):
    """Where vectors that describe items come from. ``width`` is E."""

    width: int
    __call__: Callable[..., Tensor]

    @abstractmethod
    def forward(self, codes: Tensor) -> Tensor:
        """Codes of items, int64 [n] -> float [n, E]."""


class KnownVectors(VectorSource):
    """Fixed vectors, float [V, E]: given ones, or those of texts by a language model as it came.

    ``saved``: whether they belong to the state; those of texts can be made again.
    """

    vectors: Tensor

    def __init__(self, vectors: Tensor, saved: bool = False) -> None:
        super().__init__()
        self.width = vectors.shape[1]
        self.register_buffer("vectors", vectors, persistent=saved)

    def forward(self, codes: Tensor) -> Tensor:
        """Codes of items, int64 [n] -> float [n, E]."""
        return functional.embedding(codes, self.vectors)


class Whitened(VectorSource):
    """Vectors each direction of which counts alike, hardly used ones as well.

    Huang et al., WhitenedCSE; Zhang et al., Are ID Embeddings Necessary?, 2024, arXiv:2402.10602.

    ``mean``, float [E], is subtracted, then ``basis``, float [E, E], applied: :func:`whitening`.
    """

    statistics: ClassVar[tuple[str, ...]] = ("mean", "basis")  # which a map of them was learnt for
    mean: Tensor
    basis: Tensor

    def __init__(self, source: VectorSource, mean: Tensor, basis: Tensor) -> None:
        super().__init__()
        self.source, self.width = source, source.width
        self.register_buffer("mean", mean)
        self.register_buffer("basis", basis)

    def forward(self, codes: Tensor) -> Tensor:
        """Codes of items, int64 [n] -> float [n, E]."""
        return (self.source(codes) - self.mean) @ self.basis


class EncodedVectors(VectorSource):
    """What an encoder makes of items, as vectors that describe them."""

    def __init__(self, encoder: ComputedItems) -> None:
        super().__init__()
        self.encoder, self.width = encoder, encoder.dim

    def forward(self, codes: Tensor) -> Tensor:
        """Different codes of items in rising order, int64 [n] -> float [n, E]."""
        return self.encoder.of_codes(codes)


class Projected(DescribedItems):
    """A learnt map of the vectors that describe the items.

    Args:
        read: makes the source of vectors when the model around the encoder is complete, since a
            language model that is tuned draws weights of its own; None if it comes with weights
            that are loaded next.
        adaptor: makes the map.
    """

    project: Adaptor

    def __init__(
        self,
        schema: Schema,
        dim: int,
        read: Callable[[], VectorSource | None],
        adaptor: MakeAdaptor = LinearMap,
    ) -> None:
        super().__init__(schema, dim)
        self.read_source, self.adaptor = read, adaptor
        self.source: VectorSource | None = None

    def make_layers(self) -> None:
        """Read the vectors, and make a map of their width."""
        if (source := self.read_source()) is not None:
            self._take(source)
        super().make_layers()

    def draw_weights(self) -> None:
        """Draw the map, and the vector of the mask."""
        if self.source is not None:
            self.project.draw()
        super().draw_weights()

    def vectors(self, codes: Tensor) -> Tensor:
        """Vectors of different items, int64 [n] -> float [n, D]."""
        assert self.source is not None, "read() comes first"
        return self.project(self.source(codes))

    def told_of(self, codes: Tensor) -> Tensor:
        """Whether items have a vector: the map's bias alone says nothing of one without."""
        assert self.source is not None
        return self.source(codes).any(dim=1)

    @torch.no_grad()
    def freeze_source(self) -> None:
        """Keep the vectors as they are now: what makes them is let go, and is tuned no more."""
        assert self.source is not None
        codes = torch.arange(self.num_items, device=self.device)
        self.source = KnownVectors(self.source.eval()(codes))

    def _take(self, source: VectorSource) -> None:
        self.source, self.project = source, self.adaptor(source.width, self.dim)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Given vectors come with the weights of a run."""
        saved = state_dict.get(f"{prefix}source.vectors")
        if saved is not None and self.source is None:
            self._take(KnownVectors(saved.new_empty(saved.shape), saved=True))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def whitening(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the map, float [E, E], that make vectors uncorrelated, of equal spread (PCA).

    The covariance is shrunk towards equal spread as far as so few vectors leave it open (Ledoit and
    Wolf, A well-conditioned estimator for large-dimensional covariance matrices, 2004, section
    3.2): directions that hardly vary among them may do so in others, which would be blown up.

    ``vectors``: float [n, E], perhaps memory-mapped. The map is applied after the mean is
    subtracted; lengths are then 1 on average.
    """
    number, width = vectors.shape
    parts = torch.split(vectors, BLOCK_ITEMS)
    mean = torch.stack([part.double().sum(dim=0) for part in parts]).sum(dim=0) / number
    covariance = vectors.new_zeros(width, width, dtype=torch.float64)
    fourth = vectors.new_zeros((), dtype=torch.float64)  # sum of the lengths, each to the fourth
    for part in parts:
        centred = part.double() - mean
        covariance.addmm_(centred.T, centred, alpha=1 / number)
        fourth += centred.square().sum(dim=1).square().sum()
    spread, directions = torch.linalg.eigh(covariance)
    even, squares = spread.mean(), spread.square().sum()
    uncertain = (fourth / number - squares) / number
    shrinkage = (uncertain / (squares - width * even**2).clamp(min=TINY)).clamp(0, 1)
    spread = (1 - shrinkage) * spread.clamp(min=0) + shrinkage * even
    scale = spread.clamp(min=TINY).rsqrt() / width**0.5
    return mean.float(), (directions * scale).float()
