"""Signals that stop a run: at once, or, in training, at the end of the step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Ctrl-C; kill; a closed terminal; SLURM, some time before the end of a job.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")


class Stop:
    """A signal handler: whether a stop was asked for, and whether it waits for a checkpoint."""

    def __init__(self) -> None:
        self.asked = False
        self.waits = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal. A second Ctrl-C does not wait."""
        impatient = self.asked and number == signal.SIGINT
        self.asked = True
        if impatient or not self.waits:
            raise KeyboardInterrupt

    def wait(self) -> None:
        """From now on a stop waits. Installs the handlers again, where others replaced them."""
        self.waits = True
        if threading.current_thread() is threading.main_thread():
            for number in _heard():
                signal.signal(number, self)

    def end_wait(self) -> None:
        """From now on a stop is at once. Raises KeyboardInterrupt if one was waiting."""
        self.waits = False
        if self.asked:
            raise KeyboardInterrupt


STOP = Stop()


@contextmanager
def stoppable() -> Iterator[None]:
    """Let every signal that asks to stop raise KeyboardInterrupt, at once or after a checkpoint."""
    STOP.asked = STOP.waits = False
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _heard()}
    try:
        for number in before:
            signal.signal(number, STOP)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heard() -> list[signal.Signals]:
    """Signals that are not ignored: nohup ignores SIGHUP."""
    numbers = [signal.Signals[name] for name in NAMES if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
