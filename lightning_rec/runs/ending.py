"""How a sweep ends early: what Ctrl-C asks of it, and how jobs in other processes hear of it."""

import _thread
import os
import platform
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_rec.errors import UserError
from lightning_rec.files import write_text
from lightning_rec.runs.launchers import Launched
from lightning_rec.runs.processes import Command, alive
from lightning_rec.runs.signals import STOP

_EVERY = 0.5  # seconds between two looks of a job at its sweep
_AFTER, _NOW = "after", "now"


class Sweep:
    """The command that runs a sweep. A copy of it goes along with each job to another process."""

    def __init__(self, *, check_memory: bool = True, command: str = "") -> None:
        self.host, self.pid = platform.node(), os.getpid()
        self.command = command  # that goes on with it
        self.check_memory = check_memory
        self.folder: Path | None = None
        self.how = Launched("BasicLauncher", 1, "")
        self.asked = 0  # to end: once after the running jobs, twice at once
        self.refusal: UserError | None = None  # why no job was launched
        self._passed_on = False  # a Ctrl-C that the listener took already
        self.jobs = self.left = 0  # how many there are, and how many have not ended
        self.shown = False  # its table

    def begin(self, folder: Path, how: Launched) -> None:
        """Its jobs are launched next. Where they run elsewhere, they are stopped with this."""
        self.folder, self.how = folder.absolute(), how
        self.end()  # of a process of the same id, which was killed before it could do so
        self.hear()

    def hear(self) -> None:
        """Handle what asks to end; again, where a launcher has put its own handlers in place."""
        how = self.how
        if threading.current_thread() is not threading.main_thread():
            return
        block()
        for number in (signal.SIGTERM, signal.SIGHUP) if not (how.here or how.outlive) else ():
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, STOP)

    @property
    def is_here(self) -> bool:
        """Whether this is the process of the command."""
        return (self.host, self.pid) == (platform.node(), os.getpid())

    @property
    def _order(self) -> Path:
        assert self.folder is not None
        return self.folder / f".stop.{self.host}.{self.pid}"

    def ordered(self) -> str:
        """What the command asks of jobs in other processes: nothing, ``after`` or ``now``."""
        try:
            return self._order.read_text(encoding="utf-8")
        except OSError:
            return ""

    def takes(self, number: int) -> bool:
        """Handle a signal to the command; whether nothing else is to be done."""
        if self._passed_on and number == signal.SIGINT:
            self._passed_on = False
            return False
        if self.folder is None or (number != signal.SIGINT and self.how.here):
            return False
        self.asked = max(self.asked + 1, 1 if number == signal.SIGINT else 2)
        running = "The running job is" if self.how.here else "Running jobs are"
        if self.asked == 1:
            self._tell(_AFTER, f"{running} finished, then the sweep ends. Ctrl-C again: at once.")
        elif self.asked == 2 and not self.how.here:
            self._tell(_NOW, "Running jobs are stopped, with a checkpoint. Ctrl-C again: killed.")
        else:
            return False
        return True

    def pass_on(self) -> None:
        """Let the main thread handle a Ctrl-C, which was not taken."""
        self._passed_on = True
        _thread.interrupt_main(signal.SIGINT)

    def _tell(self, order: str, said: str) -> None:
        if not self.how.here:
            write_text(self._order, order)
        os.write(2, f"\n{said}\n".encode())  # print is not to be called within a signal handler

    def end(self) -> None:
        """Take the order back."""
        if self.folder is not None:
            self._order.unlink(missing_ok=True)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let this command decide what signals mean.

        Ctrl-C reaches every process of a terminal, while here the command alone decides. So it is
        blocked, which whatever the command starts inherits, and a thread passes it on.
        """
        before, STOP.sweep = STOP.sweep, self
        if threading.current_thread() is not threading.main_thread():
            yield
            STOP.sweep = before
            return
        numbers = [signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP")]
        handlers = {each: signal.getsignal(each) for each in numbers}
        signal.signal(signal.SIGINT, STOP)
        blocked = block()
        listener = _Listener(self)
        listener.start()
        try:
            yield
        finally:
            listener.end()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            STOP.sweep = before
            self.end()

    @contextmanager
    def obeyed(self) -> Iterator[None]:
        """Run a job in another process: it stops if asked to, and ends where the command does.

        Jobs of a scheduler outlive the command.
        """
        watcher = _Watcher(self)
        block()  # for good: what waits now would be delivered where it is let through again
        Command.pid = None if self.how.outlive or self.host != platform.node() else self.pid
        watcher.start()
        try:
            yield
        finally:
            watcher.ended.set()
            watcher.join()
            Command.pid = None


def block() -> set[signal.Signals | int]:
    """Block Ctrl-C in this thread, and in what it starts. Returns what was blocked already.

    Python's own trackers of resources let it through again when they start.
    """
    before: set[signal.Signals | int] = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    return before


class _Listener(threading.Thread):
    """Waits for Ctrl-C, which the main thread blocks; what the sweep does not take, that handles.

    Two in a row would be one for the main thread, where a launcher lets it sleep.
    """

    def __init__(self, sweep: Sweep) -> None:
        super().__init__(name="lightning_rec.ending", daemon=True)
        self.sweep, self.ended = sweep, False

    def run(self) -> None:
        """Wait for one after the other."""
        while signal.sigwait({signal.SIGINT}) and not self.ended:
            if not self.sweep.takes(signal.SIGINT):
                self.sweep.pass_on()

    def end(self) -> None:
        """End it by a signal that means nothing else."""
        self.ended = True
        assert self.ident is not None
        signal.pthread_kill(self.ident, signal.SIGINT)
        self.join()


class _Watcher(threading.Thread):
    """Looks from a job's process whether its sweep goes on."""

    def __init__(self, sweep: Sweep) -> None:
        super().__init__(name="lightning_rec.ending", daemon=True)
        self.sweep, self.ended = sweep, threading.Event()

    def run(self) -> None:
        """Look twice a second, until the job ends."""
        while not self.ended.wait(_EVERY):
            if Command.pid is not None and not alive(self.sweep.host, str(Command.pid)):
                # Files are written whole or not at all; whoever goes on with the job may begin.
                os.kill(os.getpid(), signal.SIGKILL)
            if self.sweep.ordered() == _NOW and not STOP.asked:
                _thread.interrupt_main(signal.SIGUSR1)  # nothing happens unless a run handles it
