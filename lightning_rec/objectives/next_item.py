"""The next-item objective of causal models."""

from typing import ClassVar

from pydantic import PositiveInt

from lightning_rec.data.split import Histories, Schema
from lightning_rec.objectives.base import Objective, TrainingInputs


class NextItem(Objective):
    """At each position, predict the item that follows (SASRec, section 3.5).

    Args:
        latest: how many positions of a window, its latest ones, are learnt; None: all.
    """

    name: ClassVar[str] = "next_item"
    latest: PositiveInt | None = None

    def __init__(self, latest: PositiveInt | None = None) -> None:
        self.latest = latest

    def window(self, max_len: int) -> int:
        """The last item of a window is a target only."""
        return max_len + 1

    def training_inputs(self, histories: Histories, schema: Schema) -> TrainingInputs:
        """Inputs are all items but the last, targets all but the first."""
        following = histories.items[:, 1:]
        positions = following != schema.padding
        shown = histories.items[:, :-1].masked_fill(~positions, schema.padding)
        times = None if histories.times is None else histories.times[:, :-1]
        events = histories.events
        if events is not None:
            events = events[:, :-1].masked_fill(~positions[..., None], 0)
        if histories.learnt is not None:
            positions = positions & histories.learnt[:, 1:]
        if self.latest is not None:
            positions = positions & (positions.flip(1).cumsum(1).flip(1) <= self.latest)
        inputs = histories._replace(items=shown, times=times, events=events, learnt=None)
        return TrainingInputs(inputs, positions, following[positions])
