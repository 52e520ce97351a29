"""Batches of sequences cut into blocks of like length: no result changes, less padding is computed.

A batch of random sequences is padding to a good part. Rows come longest first, so that a block
holds rows of about one length.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_rec.data.batches import Histories
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.layers import round_up


def blocks(lengths: list[int], width: int, tokens: int | None) -> Iterator[tuple[slice, int]]:
    """Rows that are computed at once, and how many positions they need.

    Args:
        lengths: of the rows, the longest first.
        width: positions that there are.
        tokens: positions in a block; None takes all rows as one block, which suits other devices
            than CPUs.
    """
    if tokens is None or width == 1 or not lengths:
        yield slice(0, len(lengths)), width
        return
    start = 0
    while start < len(lengths):
        longest = round_up(max(1, *lengths[start:]), 8)
        rows = slice(start, start + max(1, tokens // longest // 4 * 4))  # few shapes occur
        yield rows, longest
        start = rows.stop


def encode(
    model: SequenceModel, histories: Histories, positions: Tensor, tokens: int | None
) -> Tensor:
    """Make queries of a batch, block by block, each cut to its own longest row.

    Args:
        model: makes the queries.
        histories: int64 [B, L] items, the longest rows first.
        positions: bool [B, L] or int64 [B]; see :meth:`SequenceModel.forward`.
        tokens: positions in a block; None takes the batch as one block.

    Returns:
        float [M, Q], in the order of rows.
    """
    items = histories.items
    lengths = (items != model.schema.padding).sum(dim=1).tolist() if tokens else [0] * len(items)
    queries = []
    for rows, longest in blocks(lengths, items.shape[1], tokens):
        part = Histories(items[rows, :longest], histories.user[rows])
        some = positions[rows, :longest] if positions.dim() == 2 else positions[rows]
        queries.append(model(part, some))
    return torch.cat(queries)
