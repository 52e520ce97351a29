"""How a run ends as what it is: refused, interrupted, failed or completed."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_rec.errors import UserError
from lightning_rec.runs import distributed, tracking
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.logs import logging_to

log = logging.getLogger(__name__)


@contextmanager
def withdrawn_if_refused(run: RunFolder) -> Iterator[None]:
    """Withdraw a run that is refused with a UserError: its folder can be used again."""
    try:
        yield
    except UserError:
        run.withdraw()
        raise


@contextmanager
def recorded(run: RunFolder) -> Iterator[None]:
    """Write the log; close the card, the trackers and the processes, however the run ends."""
    status, error = "failed", None
    with logging_to(run.path / "train.log"):
        try:
            yield
        except (KeyboardInterrupt, SystemExit) as stop:  # Lightning turns Ctrl-C into SystemExit
            status = "interrupted"
            told = f"to go on: lightning-rec train resume={run.path}"
            if run.card.get("status") == "completed":
                told = f"{run.path} is completed, and its figures are written."
            raise KeyboardInterrupt(told) from stop
        except BaseException as raised:
            error = raised
            raise
        finally:
            if run.card.get("status") == "running":
                run.finish(status, error)
            completed = run.card.get("status") == "completed"
            distributed.leave()
            with afterwards(run, "closing the trackers"):
                tracking.close(failed=not completed)


@contextmanager
def afterwards(run: RunFolder, what: str) -> Iterator[None]:
    """Log errors of what is done after completion; raise those of runs that are not completed."""
    try:
        yield
    except Exception as error:
        if run.card.get("status") != "completed":
            raise
        reason = f"{type(error).__name__}: {error}"
        log.warning("%s is completed, but %s failed: %s", run.path, what, reason)
