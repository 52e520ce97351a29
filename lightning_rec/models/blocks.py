"""Batches of sequences cut into blocks of like length: no result changes, less padding is computed.

A batch of random sequences is padding to a good part. Rows come longest first, so that a block
holds rows of about one length.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_rec.data.split import Histories
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.layers import round_up


def blocks(lengths: list[int], width: int, tokens: int | None) -> Iterator[tuple[slice, int]]:
    """Rows that are computed at once, and how many of the ``width`` positions they need.

    ``lengths`` are those of the rows, the longest first; ``tokens`` the positions in a block, None
    for all rows as one block, which suits other devices than CPUs.
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
    """Queries of a batch, the longest rows first, block by block: float [M, Q].

    See :meth:`SequenceModel.forward` and :func:`blocks`.
    """
    items = histories.items
    lengths = (items != model.schema.padding).sum(dim=1).tolist() if tokens else [0] * len(items)
    queries = []
    for rows, longest in blocks(lengths, items.shape[1], tokens):
        inside = positions[rows, :longest] if positions.dim() == 2 else positions[rows]
        queries.append(model(_part(histories, rows, longest), inside))
    return torch.cat(queries)


def _part(histories: Histories, rows: slice, longest: int) -> Histories:
    """Some rows, cut to the longest of them."""
    items, user, times, events, about, _ = histories
    return Histories(
        items[rows, :longest],
        user[rows],
        None if times is None else times[rows, : longest + 1],
        None if events is None else events[rows, :longest],
        None if about is None else about[rows],
    )
