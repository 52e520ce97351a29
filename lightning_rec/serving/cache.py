"""Answers that are kept for a while: the least used goes first."""

import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class Cache:
    """At most ``size`` answers, each for ``seconds``.

    A key has all that an answer is made of: the version of the model, the user and the items of
    his session, ``k`` and so on. So an event, or another model, needs no clearing: it makes
    another key, and the old answer is never found again.
    """

    def __init__(self, size: int, seconds: float) -> None:
        self.size, self.seconds = size, seconds
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> Any | None:
        """The answer to a key, None if there is none."""
        found = self._kept.get(key)
        if found is None:
            return None
        if time.monotonic() - found[0] > self.seconds:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return found[1]

    def put(self, key: Hashable, answer: Any) -> None:
        """Keep an answer."""
        if not self.size:
            return
        self._kept[key] = (time.monotonic(), answer)
        self._kept.move_to_end(key)
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)
