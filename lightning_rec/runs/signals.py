"""Signals that stop a run: at once, or, in training, at the end of the step."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

# Ctrl-C; kill; a closed terminal; SLURM, some time before the end of a job.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")


class Taking(Protocol):
    """A sweep, which is asked first."""

    def takes(self, number: int) -> bool:
        """Handle a signal; whether nothing else is to be done."""


class Stop:
    """A signal handler: whether a stop was asked for, and whether it waits for a checkpoint."""

    def __init__(self) -> None:
        self.asked = False
        self.waits = False
        self.heard: set[int] = set()
        self.sweep: Taking | None = None  # whose jobs this process runs or launches

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal. A second Ctrl-C does not wait; in a sweep the first is for that."""
        if self.sweep is not None and self.sweep.takes(number):
            return
        self.heard.add(number)
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
    STOP.heard.clear()
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


def requeue() -> Callable[[], Any] | None:
    """What puts this job of submitit's into its queue again; None if it was not asked to make way.

    To be called when the run has stopped and written its checkpoint: submitit's own handler, which
    ends the process, would not wait for that.
    """
    if _MAKE_WAY not in STOP.heard:
        return None
    handler = signal.getsignal(_MAKE_WAY)
    assert callable(handler)
    return lambda: handler(_MAKE_WAY, None)


# Sent by submitit, or by SLURM on its behalf, before a job's time is over or another one takes its
# place. Its name is submitit's own setting.
_MAKE_WAY = signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]


def _heard() -> list[signal.Signals]:
    """Signals that are not ignored: nohup ignores SIGHUP."""
    numbers = [signal.Signals[name] for name in NAMES if hasattr(signal, name)]
    if "SUBMITIT_EXECUTOR" in os.environ:
        numbers.append(_MAKE_WAY)
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
