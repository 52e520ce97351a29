"""Figures of slices of rows: by how often training has what a row is about, by its history.

As for rankings, where a row belongs is known before anything is predicted.
"""

import torch
from torch import Tensor

from lightning_rec.metrics import classification as F
from lightning_rec.metrics.order import in_order
from lightning_rec.metrics.slices import Slices

SEEN_FROM = (1, 10, 100)  # where the slices by training rows begin
PAST_FROM = (0, 1, 5, 10, 20, 50)  # where those by length of history begin


def slices_of(name: str, seen: Tensor) -> dict[str, Tensor]:
    """The slices of all rows by one field.

    ``user_cold`` and ``user_warm``: whether the model knows the row's category of the field
    ``user``, one that training has, ``min_count`` times or more. ``user_1_9``, ``user_10_99``,
    ``user_100_up``: rows of training that have it.

    Args:
        name: of the field.
        seen: int64 [n], rows of training that have the row's category; 0 for an unknown one.

    Returns:
        bool [n] for each slice.
    """
    return {f"{name}_cold": seen == 0, f"{name}_warm": seen > 0, **_cut(name, seen, SEEN_FROM)}


def history_slices(length: Tensor) -> dict[str, Tensor]:
    """The slices of all rows by histories: ``history_0``, ``history_1_4`` … ``history_50_up``.

    Args:
        length: int64 [n], items before the row that a model may read.

    Returns:
        bool [n] for each slice.
    """
    return _cut("history", length, PAST_FROM)


def _cut(name: str, number: Tensor, starts: tuple[int, ...]) -> dict[str, Tensor]:
    """Slices from one start to the next, named after both ends."""
    slices = {}
    for start, after in zip(starts, (*starts[1:], None), strict=True):
        inside = number >= start if after is None else (number >= start) & (number < after)
        last = "_up" if after is None else f"_{after - 1}" if after - 1 > start else ""
        slices[f"{name}_{start}{last}"] = inside
    return slices


def sliced(example: Tensor, logit: Tensor, label: Tensor, slices: Slices) -> dict[str, Tensor]:
    """AUC, logloss and rate of each slice, and how many rows it has.

    Args:
        example: int64 [n], numbers of the rows, rising.
        logit: float [n].
        label: 0 or 1, [n].
        slices: bool [number of all rows] by name.

    Returns:
        ``user_cold/auc``, ``user_cold/logloss``, ``user_cold/rate``, ``user_cold/examples`` and so
        on: float64 scalars. A slice without rows has its number, 0, alone; the area of one with a
        single class is NaN.
    """
    figures = {}
    for name, members in slices.items():
        inside = members.to(example.device)[example]
        z, y = logit[inside], label[inside]
        figures[f"{name}/examples"] = torch.tensor(float(len(z)), dtype=torch.float64)
        if len(z):
            figures[f"{name}/auc"] = F.auc(in_order(z, y))
            figures[f"{name}/logloss"] = F.logloss(z, y)
            figures[f"{name}/rate"] = y.double().mean()
    return figures
