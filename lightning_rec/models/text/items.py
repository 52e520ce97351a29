"""Items known by their texts, where a model of sequences has its table of items.

Shapes: V = num_items, E = width of the language model, D = dim of the model of sequences, n = items
asked for at once.
"""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.data.split import Schema
from lightning_rec.language.blocks import in_blocks
from lightning_rec.language.encoder import TextEncoder
from lightning_rec.language.tokens import Tokenized
from lightning_rec.models.layers import CachedInEvaluation

INIT_STD = 0.02  # of a text of length 1 once projected, as of tables of items
BLOCK_ITEMS = 2**16  # whose vectors of width E are there at once
TINY = 1e-12  # a spread of nothing, for vectors of length 1


class Lower(Protocol):
    """What the lowest layers of a language model make of every text, computed before."""

    depth: int

    def take(self, which: Tensor) -> Tensor:
        """Of the texts with these numbers, int64 [n]: float [n, T, E], 0 behind the end."""
        ...


class KnownTexts(nn.Module):
    """Vectors of all texts, made once by a language model that is not tuned.

    Args:
        vectors: float [V, E]; they belong to no state, since they can be made again.
    """

    vectors: Tensor

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors, persistent=False)

    @property
    def width(self) -> int:
        """E."""
        return self.vectors.shape[1]

    def forward(self, items: Tensor) -> Tensor:
        """Int64 [n] -> float [n, E]."""
        return functional.embedding(items, self.vectors)


class ReadTexts(nn.Module):
    """Texts that a language model reads again whenever they are asked for, since it is tuned.

    Args:
        encoder: the language model.
        tokens: of all texts.
        lower: what its lowest layers make of them, where these are not tuned; None to compute it.
    """

    def __init__(self, encoder: TextEncoder, tokens: Tokenized, lower: Lower | None) -> None:
        super().__init__()
        self.encoder, self.tokens, self.lower = encoder, tokens, lower

    @property
    def width(self) -> int:
        """E."""
        return self.encoder.width

    def forward(self, items: Tensor) -> Tensor:
        """Int64 [n] -> float [n, E], read in blocks of like length."""
        if not len(items):
            return torch.zeros(0, self.width, device=items.device)
        which = items.cpu()
        lengths = torch.from_numpy(self.tokens.lengths[which.numpy()])
        return in_blocks(lengths, lambda rows: self._block(which[rows], items.device))

    def _block(self, which: Tensor, device: torch.device) -> Tensor:
        tokens = self.tokens.take(which.numpy()).to(device)
        if self.lower is None:
            made: Tensor = self.encoder(tokens)
        else:
            made = self.encoder(tokens, self.lower.take(which).to(device), self.lower.depth)
        return made


class Whitened(nn.Module):
    """Vectors of texts, each direction of which counts alike, hardly used ones as well.

    Huang et al., WhitenedCSE; Zhang et al., Are ID Embeddings Necessary?, 2024, arXiv:2402.10602.

    Args:
        texts: vectors as a language model makes them.
        mean: float [E], is subtracted; see :func:`whitening`.
        basis: float [E, E], is applied then.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, texts: KnownTexts | ReadTexts, mean: Tensor, basis: Tensor) -> None:
        super().__init__()
        self.texts = texts
        self.register_buffer("mean", mean)
        self.register_buffer("basis", basis)

    @property
    def width(self) -> int:
        """E."""
        return self.texts.width

    def forward(self, items: Tensor) -> Tensor:
        """Int64 [n] -> float [n, E]."""
        white: Tensor = (self.texts(items) - self.mean) @ self.basis
        return white


ItemTexts = KnownTexts | ReadTexts | Whitened  # numbers of items, int64 [n] -> float [n, E]


class TextItems(CachedInEvaluation):
    """Vectors of items read off their texts, projected; used as if it were an ``nn.Embedding``.

    Args:
        schema: number of items, codes of padding and mask, which have vectors of their own.
        dim: D, width of the result.
        texts: vectors of texts.
        ids: add a vector of each item's own.
        trained: number of items that training has, which are the first; the own vectors of others
            are 0, and stay so, since no gradient reaches them. None for all.
        id_dropout: probability that an item goes without its own vector for a step of training, so
            that its text learns to do without (DropoutNet: Volkovs et al., NeurIPS 2017, section
            4.1).
    """

    def __init__(
        self,
        schema: Schema,
        dim: int,
        texts: ItemTexts,
        ids: bool = False,
        *,
        trained: int | None = None,
        id_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_items, self.embedding_dim = schema.num_items, dim
        self.texts, self.id_dropout = texts, id_dropout
        self.project = nn.Linear(texts.width, dim)
        self.special = nn.Embedding(2, dim, padding_idx=0)
        self.ids = nn.Embedding(schema.num_items, dim) if ids else None
        for weight in (self.project.weight, self.special.weight):
            nn.init.normal_(weight, std=INIT_STD)
        if self.ids is not None:
            nn.init.zeros_(self.ids.weight)
            nn.init.normal_(self.ids.weight[:trained], std=INIT_STD)
        nn.init.zeros_(self.project.bias)
        with torch.no_grad():
            self.special.weight[0].zero_()
        self._step: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def settle(self) -> None:
        """From now on texts are what they are: what reads them is let go, and is tuned no more."""
        self.texts.eval()
        everything = torch.arange(self.num_items, device=self.project.weight.device)
        self.texts = KnownTexts(self.texts(everything))

    def begin(self, items: Tensor) -> None:
        """A step of training begins that reads these items, int64 of any shape: each text once."""
        codes = torch.unique(items)
        special = torch.arange(self.num_items, self.num_items + 2, device=items.device)
        codes = torch.cat([codes[codes < self.num_items], special])
        self._step = codes, self._vectors(codes)

    def forward(self, items: Tensor) -> Tensor:
        """Int64 [...] -> float [..., D]."""
        if not torch.is_grad_enabled():
            return functional.embedding(items, self.weight)
        codes, vectors = self._step or (items.new_zeros(0), None)
        place = torch.searchsorted(codes, items.contiguous()).clamp(max=max(0, len(codes) - 1))
        if vectors is None or not torch.equal(codes[place], items):
            codes, place = torch.unique(items, return_inverse=True)
            vectors = self._vectors(codes)
        return functional.embedding(place, vectors)

    @property
    def weight(self) -> Tensor:
        """All vectors, float [V + 2, D]; without gradients they are made once, until they move."""
        everything = torch.arange(self.num_items + 2, device=self.project.weight.device)
        if torch.is_grad_enabled():
            return self._vectors(everything)
        return self.cached(lambda: self._vectors(everything))

    def _vectors(self, codes: Tensor) -> Tensor:
        """Sorted codes, int64 [n] -> float [n, D]."""
        real = codes[codes < self.num_items]
        # E is wider than D: of a whole catalogue at once it would take the most memory there is.
        parts = (real,) if torch.is_grad_enabled() else torch.split(real, BLOCK_ITEMS)
        made = [self.project(self.texts(part)) for part in parts]
        if self.ids is not None:
            made = [vectors + self._own(part) for vectors, part in zip(made, parts, strict=True)]
        return torch.cat([*made, self.special(codes[len(real) :] - self.num_items)])

    def _own(self, codes: Tensor) -> Tensor:
        """Vectors of the items' own, float [n, D]; in training some are 0."""
        assert self.ids is not None
        vectors: Tensor = self.ids(codes)
        if not (self.training and self.id_dropout):
            return vectors
        # The others are not scaled up: an item has its own vector or none, never half of it.
        gone = torch.rand(len(codes), 1, device=codes.device) < self.id_dropout
        return vectors.masked_fill(gone, 0)


def whitening(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """What makes vectors uncorrelated, of equal spread, and of length 1 on average (PCA).

    The covariance is shrunk towards equal spread as far as so few vectors leave it open (Ledoit and
    Wolf, A well-conditioned estimator for large-dimensional covariance matrices, 2004, section
    3.2): directions that hardly vary among them may do so in others, which would be blown up.

    Args:
        vectors: float [n, E], perhaps memory-mapped.

    Returns:
        mean, float [E], and the map to apply after it is subtracted, float [E, E].
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
