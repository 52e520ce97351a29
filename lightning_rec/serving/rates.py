"""How many requests a second a caller may make."""

import time
from collections import OrderedDict

_CALLERS = 100_000


class Rates:
    """A bucket of tokens for each caller: ``rate`` a second, ``2 * rate`` at once; 0 for all."""

    def __init__(self, rate: float) -> None:
        self.rate, self.most = rate, max(1.0, 2 * rate)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, caller: str) -> float:
        """Take a token: 0, or, where there is none, the seconds until there is one."""
        if not self.rate:
            return 0.0
        now = time.monotonic()
        left, since = self._left.get(caller, (self.most, now))
        left = min(self.most, left + (now - since) * self.rate)
        allowed = left >= 1
        self._left[caller] = (left - allowed, now)
        self._left.move_to_end(caller)
        if len(self._left) > _CALLERS:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self.rate
