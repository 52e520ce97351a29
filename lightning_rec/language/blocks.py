"""Texts read in blocks of like length: no result changes, less padding is computed.

Shapes: n texts, or pairs of texts.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_rec.language.tokens import Tokens

BLOCK_TOKENS = 4096  # that a language model reads at once
EVEN = 8  # texts in a block are a multiple of it, so that few shapes occur
BLOCK_ROWS = 16  # of a batch that are read at once on a CPU, where padding costs more than calls

Cut = Callable[[list[int]], list[int]]  # lengths, the shortest first -> ends of blocks


def cuts(lengths: list[int], tokens: int | None = None) -> list[int]:
    """Where to cut texts into blocks of few ``tokens``, given their lengths, the shortest first."""
    ends, start = [], 0
    for stop, following in enumerate([*lengths[1:], None], 1):
        if following is None:
            ends.append(stop)
            break
        while stop > start and (stop + 1 - start) * following > (tokens or BLOCK_TOKENS):
            start += (stop - start) // EVEN * EVEN or stop - start
            ends.append(start)
    return ends


def in_blocks(lengths: Tensor, compute: Callable[[Tensor], Tensor], cut: Cut = cuts) -> Tensor:
    """Compute rows, texts or the like, in blocks of like length.

    ``lengths`` int64 [n], n > 0, are in tokens; ``compute`` takes numbers of some rows, int64 [m],
    and gives [m, ...]; ``cut`` says where a block ends. Returns [n, ...], in the order of the rows.
    """
    order = lengths.argsort(stable=True)
    ends = cut(lengths[order].tolist())
    made = torch.cat([compute(rows) for rows in order.tensor_split(ends[:-1])])
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
    return made[back.to(made.device)]


def encode(read: Callable[[Tokens], Tensor], tokens: Tokens) -> Tensor:
    """What ``read`` makes of n texts, float [n, ...]; a CPU reads few at once."""
    if tokens.ids.device.type != "cpu" or len(tokens.ids) <= BLOCK_ROWS:
        return read(tokens)

    ends = [*range(BLOCK_ROWS, len(tokens.ids), BLOCK_ROWS), len(tokens.ids)]
    lengths = tokens.mask.sum(dim=1)
    return in_blocks(lengths, lambda rows: read(tokens.some(rows)), lambda _: ends)
