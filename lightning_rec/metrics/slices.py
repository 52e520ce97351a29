"""Slices of the examples: by length of history, popularity of the target, cold or warm, and more.

Where an example belongs is known before anything is predicted, so nothing is collected for it:
slices, bool [n] by name, are cut from the results at the end, in the order of the examples.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from lightning_rec.figures import EXAMPLES
from lightning_rec.metrics.lists import head_items

CUTOFF = 10  # the k of what is told of slices of rankings
HISTORY_FROM = (1, 5, 10, 20, 50)  # where the slices by length of history begin
PAST_FROM = (0, *HISTORY_FROM)  # the same for clicks, whose histories may be empty
SEEN_FROM = (1, 10, 100)  # where those by training rows of a category begin

Slices = Mapping[str, Tensor]


def cut(name: str, number: Tensor, starts: tuple[int, ...]) -> dict[str, Tensor]:
    """Slices by a number, int64 [n], from one start to the next: ``age_5_9``, ``age_50_up``."""
    slices = {}
    for start, after in zip(starts, (*starts[1:], None), strict=True):
        inside = number >= start if after is None else (number >= start) & (number < after)
        last = "_up" if after is None else f"_{after - 1}" if after - 1 > start else ""
        slices[f"{name}_{start}{last}"] = inside
    return slices


def slices_of_targets(
    history: Tensor, target: Tensor, seen: Tensor, train_counts: Tensor, keep_seen: bool = False
) -> dict[str, Tensor]:
    """The slices of examples with a target each, by name.

    ``history_1_4``, ``history_5_9``, …, ``history_50_up``: events before the target. ``head`` and
    ``tail``: whether a warm target is among the 20 % of items with most training events. ``cold``
    and ``warm``: targets without and with training events. Where any target is in its own history,
    ``seen`` and ``unseen``; one that is no candidate for being seen is in none of the four.

    Args:
        history: int64 [n], number of events before each example's target, at least 1.
        target: int64 [n], item codes; -1 for an item that is no candidate.
        seen: bool [n], whether the target is in its history.
        train_counts: int64 [num_items].
        keep_seen: whether seen items are candidates.
    """
    item = target.clamp(min=0)
    warm = (target >= 0) & (train_counts[item] > 0)
    head = warm & head_items(train_counts)[item]
    cold = ~warm & ((target >= 0) | ~seen | keep_seen)
    slices = cut("history", history, HISTORY_FROM)
    slices |= {"head": head, "tail": warm & ~head, "cold": cold, "warm": warm}
    return slices | ({"seen": seen, "unseen": ~seen} if seen.any() else {})


def slices_of_field(name: str, seen: Tensor) -> dict[str, Tensor]:
    """The slices of rows of clicks by one field.

    ``user_cold`` and ``user_warm``: whether the model knows the row's category of the field
    ``user``, one that training has, ``min_count`` times or more. ``user_1_9``, ``user_10_99``,
    ``user_100_up``: rows of training that have it, ``seen``, int64 [n], 0 for an unknown one.
    """
    return {f"{name}_cold": seen == 0, f"{name}_warm": seen > 0, **cut(name, seen, SEEN_FROM)}


def sliced(
    example: Tensor, slices: Slices, measure: Callable[[Tensor], Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Figures of each slice and its number of examples, ``head/ndcg@10``, ``head/examples``, ….

    A slice without examples has its number, 0, alone.

    ``example``: int64 [n], their numbers. ``slices``: bool [number of all examples] by name.
    ``measure``: gives figures of some of the n examples, bool [n].
    """
    figures = {}
    for name, members in slices.items():
        inside = members.to(example.device)[example]
        figures[f"{name}/{EXAMPLES}"] = inside.sum().double()
        if inside.any():
            figures |= {f"{name}/{each}": value for each, value in measure(inside).items()}
    return figures
