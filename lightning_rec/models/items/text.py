"""Vectors of texts by a language model that is tuned.

Shapes: E = width of the language model, T tokens, n = items asked for at once.
"""

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lightning_rec.language.blocks import in_blocks
from lightning_rec.language.encoder import TextEncoder
from lightning_rec.language.tokens import Tokenized
from lightning_rec.models.items.vectors import VectorSource


class Lower(Protocol):
    """What the lowest layers of a language model make of every text, computed before."""

    depth: int

    def take(self, which: Tensor) -> Tensor:
        """Of the texts with these numbers, int64 [n]: float [n, T, E], 0 behind the end."""


FLOATS = 18  # that a layer keeps for its gradient, for each token and place of its width


class Latest(NamedTuple):
    """Texts that a training step reads at most, and what was made of each text the last time.

    most: drawn at random among those of a step.
    vectors: float [V, E], of the language model as it came.
    """

    most: int
    vectors: Tensor


class ReadTexts(VectorSource):
    """Texts that a language model reads again whenever they are asked for, since it is tuned.

    Args:
        lower: what its lowest layers make of all texts, where these are not tuned; None to compute
            it.
        memory: bytes of what layers make that a step keeps for its gradient. What goes beyond is
            computed again when the gradient is (Chen et al., Training Deep Nets with Sublinear
            Memory Cost, 2016, arXiv:1604.06174), by which no result changes. None keeps all.
        latest: the texts of a step that are not read have the vectors made of them last, without a
            gradient. None reads all of them.
    """

    kept: Tensor | None

    def __init__(
        self,
        encoder: TextEncoder,
        tokens: Tokenized,
        lower: Lower | None,
        memory: float | None = None,
        latest: Latest | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.tokens, self.lower = encoder, tokens, lower
        self.width, self.most = encoder.width, latest and latest.most
        layers = len(encoder.layers) - (lower.depth if lower else 0)
        self.spared = math.inf if memory is None else memory / (4 * FLOATS * self.width * layers)
        vectors = torch.tensor(latest.vectors.numpy()) if latest else None  # no file is written to
        self.register_buffer("kept", vectors, persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        """Different codes, int64 [n] -> float [n, E], read in blocks of like length."""
        if not len(codes):
            return torch.zeros(0, self.width, device=codes.device)
        if self.kept is None or not torch.is_grad_enabled():  # an evaluation changes nothing
            return self._read(codes)
        drawn = torch.randperm(len(codes))[: self.most].to(codes.device)
        made = self._read(codes[drawn])
        vectors = functional.embedding(codes, self.kept).to(made.dtype)
        self.kept[codes[drawn]] = made.detach().to(self.kept.dtype)
        return vectors.index_copy(0, drawn, made)

    def _read(self, codes: Tensor) -> Tensor:
        which = codes.cpu()
        lengths = torch.from_numpy(self.tokens.lengths[which.numpy()])
        left = self.spared  # tokens whose states may be kept

        def block(rows: Tensor) -> Tensor:
            nonlocal left
            left -= len(rows) * int(lengths[rows].max())
            tokens = self.tokens.take(which[rows].numpy()).to(codes.device)
            given: tuple[object, ...] = (tokens,)
            if self.lower is not None:
                given = tokens, self.lower.take(which[rows]).to(codes.device), self.lower.depth
            if left >= 0 or not torch.is_grad_enabled():
                return torch.as_tensor(self.encoder(*given))
            return torch.as_tensor(checkpoint(self.encoder, *given, use_reentrant=False))

        return in_blocks(lengths, block)
