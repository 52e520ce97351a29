"""Requests that arrive together are computed together, by the one thread that may use torch.

While the thread computes, requests wait; when it is done it takes all that wait and are of one
kind. Nothing waits for others to come: alone, a request is computed at once.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from polars.exceptions import PanicException

from lightning_rec.errors import UserError

Work = Callable[[Any], list[Any]]
"""Answers several questions, one answer each, an exception for one that has none."""

log = logging.getLogger(__name__)


@dataclass
class _Job:
    group: Hashable
    work: Work
    question: Any
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    since: float = field(default_factory=time.perf_counter)


class Compute:
    """A thread that answers questions; ``most`` of one group at once.

    ``told``: is told of each batch, by its size and the seconds that its first waited.
    """

    def __init__(self, most: int, told: Callable[[int, float], None] = lambda size, wait: None):
        self.most, self.told = most, told
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="lightning_rec.compute", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._jobs)

    async def ask(self, group: Hashable, work: Work, question: Any) -> Any:
        """The answer of ``work`` to a question, together with others of its ``group``.

        Raises what the question led to; one that is cancelled is not computed.
        """
        loop = asyncio.get_running_loop()
        job = _Job(group, work, question, loop, loop.create_future())
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        return await job.future

    def end(self) -> None:
        """Let the thread end after what it computes now."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            batch = [job for job in batch if not job.future.cancelled()]
            if not batch:
                continue
            self.told(len(batch), time.perf_counter() - batch[0].since)
            answers = _answers(batch[0].work, [job.question for job in batch])
            batch[0].loop.call_soon_threadsafe(_deliver, batch, answers)

    def _next(self) -> list[_Job] | None:
        """The oldest job, and those of its group; None when it has ended."""
        with self._changed:
            while not self._jobs and not self._ended:
                self._changed.wait()
            if self._ended:
                return None
            group, taken, left = self._jobs[0].group, list[_Job](), deque[_Job]()
            for job in self._jobs:
                same = job.group == group and len(taken) < self.most
                (taken if same else left).append(job)
            self._jobs = left
            return taken


def _answers(work: Work, questions: Sequence[Any]) -> list[Any]:
    """An answer or an exception for each question; where all together fail, each by itself."""
    try:
        return work(questions)
    except (Exception, PanicException) as error:
        if len(questions) == 1:
            if not isinstance(error, UserError):
                log.exception("A request could not be computed.")
            return [error if isinstance(error, Exception) else RuntimeError(str(error))]
    return [_answers(work, [question])[0] for question in questions]


def _deliver(batch: list[_Job], answers: list[Any]) -> None:
    for job, answer in zip(batch, answers, strict=True):
        if job.future.done():
            continue
        if isinstance(answer, Exception):
            job.future.set_exception(answer)
        else:
            job.future.set_result(answer)
