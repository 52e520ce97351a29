"""Augmentations: other views of the same sequences, whole batches at once.

The three operators of CL4SRec (Xie et al., ICDE 2022, arXiv:2010.14395, section III-C), and the
item drop of UniSRec (Hou et al., KDD 2022, arXiv:2206.05941, section 2.2.2). Each takes item codes
int64 [B, L], padded on the right, gives new ones of the same shape, and draws from torch's global
generator. ``share`` is that of a sequence's items, rounded down to whole ones as in the paper;
``padding`` is the code that fills short sequences.
"""

import torch
from torch import Tensor


def crop(items: Tensor, share: float, padding: int) -> Tensor:
    """Keep one stretch of each sequence, at least one item, moved to the front (share: eta)."""
    number = _lengths(items, padding)
    size = (number * share).long().clamp(min=1)
    start = start_of(number, size)
    index = torch.arange(items.shape[1], device=items.device)
    moved = items.gather(1, (start + index).clamp(max=items.shape[1] - 1))
    return moved.masked_fill(index >= size, padding)


def mask(items: Tensor, share: float, padding: int, mask: int) -> Tensor:
    """Put the code ``mask`` in place of some items of each sequence (share: gamma)."""
    number = (_lengths(items, padding) * share).long()
    order = torch.rand(items.shape, device=items.device).masked_fill(items == padding, 2.0)
    rank = order.argsort(dim=1).argsort(dim=1)
    return items.masked_fill(rank < number, mask)


def drop(items: Tensor, chance: float, padding: int) -> Tensor:
    """Leave out each item but the first by chance; the others move up."""
    kept = torch.rand(items.shape, device=items.device) >= chance
    kept[:, 0] = True
    kept &= items != padding
    order = torch.argsort(~kept, dim=1, stable=True)
    return items.masked_fill(~kept, padding).gather(1, order)


def reorder(items: Tensor, share: float, padding: int) -> Tensor:
    """Shuffle one stretch of each sequence (share: beta)."""
    number = _lengths(items, padding)
    size = (number * share).long()
    start = start_of(number, size)
    index = torch.arange(items.shape[1], device=items.device).expand_as(items)
    inside = (index >= start) & (index < start + size)
    # Within the stretch, sorted by chance; its keys stay between those before and after it.
    drawn = start + torch.rand(items.shape, device=items.device, dtype=torch.float64) * size
    order = torch.where(inside, drawn, index.double()).argsort(dim=1, stable=True)
    return items.gather(1, order)


def _lengths(items: Tensor, padding: int) -> Tensor:
    """Number of items of each sequence: int64 [B, 1]."""
    return (items != padding).sum(dim=1, keepdim=True)


def start_of(number: Tensor, size: Tensor) -> Tensor:
    """A random position where ``size`` of ``number`` items may start: int64 [B, 1]."""
    chance = torch.rand(number.shape, device=number.device, dtype=torch.float64)
    return (chance * (number - size + 1)).long()
