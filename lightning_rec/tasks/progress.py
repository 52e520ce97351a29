"""One progress bar for a whole training: epochs done, time left, loss and the best figure."""

from typing import Any

import pytorch_lightning as pl
from pydantic import PositiveInt
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress


class Progress(ProgressBar):
    """A bar over all training steps, another over evaluation; nothing where there is no terminal.

    Args:
        refresh_rate: steps between updates.
    """

    def __init__(self, refresh_rate: PositiveInt = 10) -> None:
        super().__init__()
        self.refresh_rate = refresh_rate
        self._enabled = True
        self._bars: RichProgress | None = None

    def enable(self) -> None:
        """Show the bars."""
        self._enabled = True

    def disable(self) -> None:
        """Show nothing (Lightning calls this on every process but the first)."""
        self._enabled = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
        self._open("train", total, trainer.current_epoch, "epochs")

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the bar by a part of an epoch."""
        if batch_idx % self.refresh_rate == 0:
            share = (batch_idx + 1) / max(1.0, float(trainer.num_training_batches))
            self._move(trainer.current_epoch + share, self._figures(trainer))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move the bar to the end of the epoch."""
        self._move(trainer.current_epoch + 1, self._figures(trainer))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Close the bar, so that the message below it can be read."""
        self._close()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open a bar for a validation outside training."""
        if trainer.state.fn != "fit":
            self._open("validate", sum(map(int, trainer.num_val_batches)), 0, "batches")

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Move the bar of a validation outside training."""
        if trainer.state.fn != "fit":
            self._advance()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar of a validation outside training."""
        if trainer.state.fn != "fit":
            self._close()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open a bar for the test."""
        self._open("test", sum(map(int, trainer.num_test_batches)), 0, "batches")

    def on_test_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Move the bar of the test."""
        self._advance()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar of the test."""
        self._close()

    def _open(self, what: str, total: int | None, done: int, unit: str) -> None:
        if not self._enabled:
            return
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._bars.start()
        self._bars.add_task(what, total=total, completed=done, figures="")

    def _move(self, completed: float, figures: str) -> None:
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[0], completed=completed, figures=figures)

    def _advance(self) -> None:
        if self._bars is not None:
            self._bars.advance(self._bars.task_ids[0])

    def _close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    @staticmethod
    def _figures(trainer: pl.Trainer) -> str:
        figures = {"loss": trainer.callback_metrics.get("train/loss")}
        for callback in trainer.checkpoint_callbacks:
            if monitor := getattr(callback, "monitor", None):
                figures[f"best {monitor}"] = getattr(callback, "best_model_score", None)
        return "  ".join(
            f"{name} {float(value):.4f}" for name, value in figures.items() if value is not None
        )
