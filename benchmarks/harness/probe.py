"""What watches a library train: windows of steps, a curve over training time, ways to stop it."""

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from benchmarks.harness import record


class Step(Protocol):
    """Takes note of a finished step of training."""

    def __call__(self, rows: int, targets: int = 0) -> bool:
        """Whether to stop."""
        ...


class EnoughError(Exception):
    """Leaves a fit that knows no other way to stop."""


class SpeedProbe:
    """Counts rows and targets over windows of consecutive steps."""

    def __init__(self, warmup: int, steps: int, windows: int) -> None:
        self.warmup, self.steps, self.wanted = warmup, steps, windows
        self.count = self.rows = self.targets = 0
        self.first_step_seconds = self.opened = 0.0
        self.windows: list[dict[str, float]] = []

    def step(self, rows: int, targets: int = 0) -> bool:
        """Take note of a finished step; True once all windows are full."""
        if self.count < self.warmup or (self.count + 1 - self.warmup) % self.steps == 0:
            _settle()
        now = time.perf_counter()
        self.count += 1
        if self.count == 1:
            self.first_step_seconds = record.process_age()
        if self.count <= self.warmup:
            self.opened = now
            return False
        self.rows += rows
        self.targets += targets
        if (self.count - self.warmup) % self.steps == 0:
            self._close(now)
        return len(self.windows) >= self.wanted

    def _close(self, now: float) -> None:
        window = {"seconds": now - self.opened, "rows": self.rows, "targets": self.targets}
        self.windows.append(window)
        self.opened, self.rows, self.targets = now, 0, 0

    def per_second(self, name: str) -> list[float]:
        """Rows or targets per second of each window."""
        return [round(window[name] / window["seconds"], 1) for window in self.windows]


def _settle() -> None:
    """Wait for a GPU, which is asked ahead of time, before the clock is read."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()


class CurveProbe:
    """Scores at marks of training time; the clock stands still meanwhile.

    Args:
        seconds: of training, until it stops.
        every: seconds of training between two scores.
        epoch_rows: rows of an epoch.
        score: what is measured, by name.
        enough: whether a point of the curve ends it before the time is over.
    """

    def __init__(
        self,
        seconds: float,
        every: float,
        epoch_rows: int,
        score: Callable[[], dict[str, float]],
        enough: Callable[[dict[str, float]], bool] = lambda point: False,
    ) -> None:
        self.limit, self.every, self.epoch_rows = seconds, every, epoch_rows
        self.score, self.enough = score, enough
        self.mark, self.rows, self.paused = every, 0, 0.0
        self.curve: list[dict[str, float]] = []
        self.began = time.perf_counter()

    def step(self, rows: int, targets: int = 0) -> bool:
        """Take note of a finished step; True once the time is over or it is enough."""
        now = time.perf_counter()
        trained = now - self.began - self.paused
        self.rows += rows
        if trained < min(self.mark, self.limit):
            return False
        point = {
            "train_seconds": round(trained, 2),
            "epoch": round(self.rows / self.epoch_rows, 3),
        }
        self.curve.append(point | self.score())
        print(self.curve[-1], flush=True)
        self.paused += time.perf_counter() - now
        self.mark = (trained // self.every + 1) * self.every
        return trained >= self.limit or self.enough(self.curve[-1])


def lightning_callback(base: Any, step: Step, count: Callable[[Any], tuple[int, ...]]) -> Any:
    """A callback of the ``base`` of one Lightning that reports each step and can stop the fit."""

    class Steps(base):  # type: ignore[misc]
        def __deepcopy__(self, memo: dict[int, Any]) -> "Steps":
            return self  # RecTools trains with a deep copy of its trainer

        def on_train_batch_end(
            self, trainer: Any, module: Any, out: Any, batch: Any, i: int
        ) -> None:
            trainer.should_stop = step(*count(batch))

    return Steps()
