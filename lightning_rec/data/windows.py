"""Windows of training sequences, worked out when they are asked for."""

import numpy as np

from lightning_rec.data.split import Split
from lightning_rec.data.types import Ints, Mask


class Windows:
    """Cuts of the training sequences into windows of at most ``width`` items, latest first.

    A window is worked out when it is asked for; what is kept is of the size of the users.
    ``stride`` is how far a window moves back, as a share of ``width`` (``prop_sliding_window`` of
    BERT4Rec's code); None takes each user's latest window alone. It moves until a window begins
    with the first event, and on, if ``shortest`` is below ``width``, until it has no more items
    than that. Of width 1, each event is a window; else a user with a single event has none.
    """

    def __init__(
        self, split: Split, width: int, stride: float | None, shortest: int | None = None
    ) -> None:
        self.start, self.end, self.width = split.offsets, split.train_end, width
        self.step = None if stride is None else max(1, round(stride * width))
        self.shortest = width if shortest is None else min(shortest, width)
        length = self.end - self.start[:-1]
        number = (length >= min(2, width)).astype(np.int64)
        if self.step is not None:
            number *= 1 + np.maximum(0, -(-(length - self.shortest) // self.step))
        self.before = np.cumsum(number)  # windows of this user and all before

    def __len__(self) -> int:
        return int(self.before[-1]) if len(self.before) else 0

    def __getitem__(self, number: Ints) -> tuple[Ints, Ints, Ints]:
        """The windows of these numbers, int64 [W]: user codes, begin and end in ``items``."""
        user = np.searchsorted(self.before, number, side="right")
        first, end = self.start[user], self.end[user]
        back = np.where(user > 0, number - self.before[user - 1], number)
        earliest = np.minimum(first + self.shortest, end)
        latest = np.maximum(end - back * (self.step or 0), earliest)
        return user, np.maximum(first, latest - self.width), latest

    def having(self, learnt: Mask, numbers: Ints | None = None) -> Ints:
        """Of windows, all or those of these numbers, int64 [W], those with a target among the
        ``learnt`` events, bool [N]. What a window begins with is none, unless it is all of it.
        """
        asked = np.arange(len(self)) if numbers is None else numbers
        met = np.append(0, np.cumsum(learnt))
        _, start, end = self[asked]
        return asked[met[end] > met[np.minimum(start + 1, end - 1)]]
