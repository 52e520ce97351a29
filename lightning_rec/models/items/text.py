"""Vectors of texts by a language model that is tuned.

Shapes: E = width of the language model, T tokens, n = items asked for at once.
"""

from typing import Protocol

import torch
from torch import Tensor

from lightning_rec.language.blocks import in_blocks
from lightning_rec.language.encoder import TextEncoder
from lightning_rec.language.tokens import Tokenized
from lightning_rec.models.items.vectors import VectorSource


class Lower(Protocol):
    """What the lowest layers of a language model make of every text, computed before."""

    depth: int

    def take(self, which: Tensor) -> Tensor:
        """Of the texts with these numbers, int64 [n]: float [n, T, E], 0 behind the end."""


class ReadTexts(VectorSource):
    """Texts that a language model reads again whenever they are asked for, since it is tuned.

    ``lower``: what its lowest layers make of all texts, where these are not tuned; None to compute
    it.
    """

    def __init__(self, encoder: TextEncoder, tokens: Tokenized, lower: Lower | None) -> None:
        super().__init__()
        self.encoder, self.tokens, self.lower = encoder, tokens, lower
        self.width = encoder.width

    def forward(self, codes: Tensor) -> Tensor:
        """Int64 [n] -> float [n, E], read in blocks of like length."""
        if not len(codes):
            return torch.zeros(0, self.width, device=codes.device)
        which = codes.cpu()
        lengths = torch.from_numpy(self.tokens.lengths[which.numpy()])

        def block(rows: Tensor) -> Tensor:
            tokens = self.tokens.take(which[rows].numpy()).to(codes.device)
            if self.lower is None:
                return torch.as_tensor(self.encoder(tokens))
            lower = self.lower.take(which[rows]).to(codes.device)
            return torch.as_tensor(self.encoder(tokens, lower, self.lower.depth))

        return in_blocks(lengths, block)
