"""Stochastic weight averaging, of which the average is what is validated, kept and tested."""

from typing import Any

import pytorch_lightning as pl
from pydantic import NonNegativeFloat, PositiveInt
from pytorch_lightning.callbacks import WeightAveraging


class SWA(WeightAveraging):
    """The equally weighted mean of the weights at the end of epochs.

    Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, UAI 2018,
    algorithm 1: w̄ ← (n w̄ + w) / (n + 1). Before the first epoch that counts, weights are
    validated as they are. The learning rate is that of ``schedule=``; the paper's is constant.

    Args:
        swa_epoch_start: the first epoch that counts: its number from 0, or below 1 the share of
            ``trainer.max_epochs`` that comes before it.
        every_n_epochs: epochs from one to the next that counts, c of the paper.
        use_buffers: whether to average buffers too.
    """

    def __init__(
        self,
        swa_epoch_start: NonNegativeFloat = 0.75,
        every_n_epochs: PositiveInt = 1,
        use_buffers: bool = False,
    ) -> None:
        super().__init__(use_buffers=use_buffers)
        self.swa_epoch_start, self.every_n_epochs = swa_epoch_start, every_n_epochs

    def first(self, trainer: pl.Trainer) -> int:
        """The number of the first epoch that counts, from 0."""
        start = self.swa_epoch_start
        return int(start * (trainer.max_epochs or 0)) if start < 1 else int(start)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Never by Lightning, whose end of an epoch comes after its validation."""
        return False

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Take in the weights at the last batch of an epoch, before they are validated."""
        if batch_idx + 1 == trainer.num_training_batches:
            self._follow(trainer, pl_module, ended=True)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate the average; the weights as they are before there is one."""
        if self._average_model is not None:
            self._follow(trainer, pl_module, ended=False)
        super().on_validation_epoch_start(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average in the model; the weights as they are where there is none."""
        self._follow(trainer, pl_module, ended=False)
        super().on_train_end(trainer, pl_module)

    def _follow(self, trainer: pl.Trainer, module: pl.LightningModule, *, ended: bool) -> None:
        """Take the weights in, if they count now; until the first that do, follow them."""
        average = self._average_model
        assert average is not None
        since = trainer.fit_loop.epoch_progress.current.ready - 1 - self.first(trainer)
        if since <= 0:
            average.n_averaged.zero_()  # so that they are copied
        if since <= 0 or (ended and since % self.every_n_epochs == 0):
            average.update_parameters(module)
