"""One progress bar for a whole training: epochs done, time left, loss and the best figure."""

import os
import pdb
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import PositiveInt
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from rich import progress as rich_progress
from torch import Tensor

from lightning_rec.screen import Screen

BETWEEN = 0.1  # seconds between two looks of a bar


def tell(trainer: Trainer, figures: Mapping[str, float]) -> None:
    """Hand figures of an evaluation to callbacks and loggers, in float32; faster than log_dict."""
    if trainer.sanity_checking:
        return
    values = {name: torch.tensor(value, dtype=torch.float32) for name, value in figures.items()}
    trainer.callback_metrics.update(values)
    # Private, but Lightning's own count of steps, which a resumed run goes on with, is as well.
    trainer._logger_connector.log_metrics(values)


def epoch_line(trainer: Trainer, loss: Tensor, seconds: float) -> str:
    """A line for logs at the end of an epoch: its mean loss, figures of validation, seconds."""
    validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
    logged = trainer.callback_metrics
    monitored = [getattr(each, "monitor", None) for each in trainer.checkpoint_callbacks]
    known = {"train/loss": loss}
    known |= {name: logged[name] for name in monitored if name and validated and name in logged}
    figures = "".join(f", {name} {float(value):.4f}" for name, value in known.items())
    return f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}{figures}, {seconds:.1f} s"


class Progress(ProgressBar):
    """A bar over all training steps, another over evaluation; nothing where there is no terminal.

    ``refresh_rate``: steps between updates.
    """

    def __init__(self, refresh_rate: PositiveInt = 10) -> None:
        super().__init__()
        self.refresh_rate, self._enabled = refresh_rate, True
        self._bars: rich_progress.Progress | None = None
        self._looked, self._hook = 0.0, sys.breakpointhook

    def enable(self) -> None:
        """Show the bars."""
        self._enabled = True

    def disable(self) -> None:
        """Show nothing (Lightning calls this on every process but the first)."""
        self._enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
        self._open("train", total, trainer.current_epoch, "epochs")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar by a part of an epoch."""
        if batch_idx % self.refresh_rate == 0:
            share = (batch_idx + 1) / max(1.0, float(trainer.num_training_batches))
            self._update(completed=trainer.current_epoch + share, figures=self._figures(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the bar to the end of the epoch."""
        self._update(completed=trainer.current_epoch + 1, figures=self._figures(trainer))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open a bar for a validation outside training."""
        if trainer.state.fn != "fit":
            self._open("validate", sum(map(int, trainer.num_val_batches)), 0, "batches")

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Move the bar of a validation outside training."""
        if trainer.state.fn != "fit":
            self._update(advance=1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar of a validation outside training."""
        if trainer.state.fn != "fit":
            self._close()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open a bar for the test."""
        self._open("test", sum(map(int, trainer.num_test_batches)), 0, "batches")

    def on_test_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Move the bar of the test."""
        self._update(advance=1)

    def _open(self, what: str, total: int | None, done: int, unit: str) -> None:
        if not self._enabled:
            return
        self._bars = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(bar_width=30),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn(unit),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TimeRemainingColumn(),
            rich_progress.TextColumn("{task.fields[figures]}", markup=False),
            auto_refresh=False,  # nothing is drawn while somebody is asked something
            **Screen(stderr=True).transient,
        )
        self._hook, sys.breakpointhook = sys.breakpointhook, self._break
        self._bars.start()
        self._bars.add_task(what, total=total, completed=done, figures="")

    def _update(self, **progress: Any) -> None:
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[0], **progress)
            now = time.monotonic()
            if now - self._looked > BETWEEN:
                self._looked = now
                self._bars.refresh()

    def _close(self, *args: Any, **kwargs: Any) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars, sys.breakpointhook = None, self._hook

    on_train_end = on_test_end = on_exception = _close

    def _break(self, *args: Any, **kwargs: Any) -> Any:
        """Close the bar before a debugger asks, which would be drawn over."""
        self._close()
        if self._hook is sys.__breakpointhook__ and "PYTHONBREAKPOINT" not in os.environ:
            return pdb.Pdb().set_trace(sys._getframe(1))  # where breakpoint() stands, not here
        return self._hook(*args, **kwargs)

    @staticmethod
    def _figures(trainer: Trainer) -> str:
        figures = {"loss": trainer.callback_metrics.get("train/loss")}
        for callback in trainer.checkpoint_callbacks:
            if monitor := getattr(callback, "monitor", None):
                figures[f"best {monitor}"] = getattr(callback, "best_model_score", None)
        known = {name: float(value) for name, value in figures.items() if value is not None}
        return "  ".join(f"{name} {value:.4f}" for name, value in known.items())
