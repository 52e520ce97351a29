"""The LightningModule of every problem: steps, rates, seeds, clipping, non-finite losses."""

import logging
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_rec.adapters.base import AdaptedModule
from lightning_rec.errors import UserError
from lightning_rec.losses.base import Loss
from lightning_rec.methods.base import Method
from lightning_rec.models import kernels
from lightning_rec.tasks.clipping import clipped
from lightning_rec.tasks.epoch import Epochs
from lightning_rec.tasks.phases import after_step
from lightning_rec.tasks.progress import epoch_line, tell
from lightning_rec.tasks.schedules import Plateau
from lightning_rec.tasks.steps import Stage, Steps

log = logging.getLogger("lightning_rec.epochs")

Arithmetic = Literal["fast", "plain", "compiled"]
"""How a model computes: ``fast`` by :mod:`lightning_rec.models.kernels`, ``plain`` by torch's own
functions alone, ``compiled`` by what torch.compile makes of these, which takes some seconds of the
first step."""


class Training(NamedTuple):
    """How a model is trained.

    optimizer: makes an optimizer of parameters.
    schedule: makes a learning-rate schedule of an optimizer, its steps, and those of an epoch.
    seed: reseeds torch at each epoch, together with the epoch and the process.
    adapted: the pretrained part under its adapter; None where there is none.
    tuned_lr: learning rate of that part; None takes the optimizer's.
    """

    optimizer: Callable[[Iterable[Any]], Optimizer]
    schedule: Callable[[Optimizer, int, int], Any]
    seed: int = 1
    adapted: AdaptedModule | None = None
    tuned_lr: float | None = None
    arithmetic: Arithmetic = "fast"


class Task(pl.LightningModule):
    """Trains a model and measures it, whatever the problem.

    Args:
        steps: of the problem: the loss of a batch, predictions, figures.
        objective: makes inputs and targets of a batch, in problems that have such; else None.
        loss: of the model's predictions; None if nothing is trained.
        method: makes a training step of the loss.
    """

    def __init__(
        self,
        steps: Steps,
        model: nn.Module,
        objective: Any,
        loss: Loss | None,
        method: Method,
        training: Training,
    ) -> None:
        super().__init__()
        self.steps, self.model, self.loss = steps, model, loss
        self.objective, self.method = objective, method
        self.make_optimizer, self.make_schedule, self.seed = training[:3]
        self.adapted, self.tuned_lr, self.arithmetic = training[3:]
        self.automatic_optimization = method.automatic
        self.epochs = Epochs()
        self.plateau: Plateau | None = None
        self.restored: dict[str, Any] = {}  # of a checkpoint, until training starts
        self.figures: dict[str, float] = {}  # Lightning keeps float32, the record float64

    @property
    def trains(self) -> bool:
        """Whether there is anything to train."""
        return self.loss is not None and any(p.requires_grad for p in self.model.parameters())

    def setup(self, stage: str) -> None:
        """Let the whole stage compute fast, unless it should be plain."""
        # oneDNN compiles a product for each shape of blocks, and looks here at its first one.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")
        kernels.use(self.arithmetic == "fast", products=self.device.type == "cpu")
        if self.arithmetic != "compiled" or stage != "fit":
            return
        compilers = [os.environ.get("CXX", "c++"), "g++", "clang++"]
        if self.device.type == "cpu" and not any(map(shutil.which, compilers)):
            raise UserError(
                "task.arithmetic=compiled needs a C++ compiler, and there is none (g++, clang++, "
                "or what CXX names): install one, or say task.arithmetic=fast."
            )
        self.model.compile(dynamic=True)  # for whatever shapes, when it is first called

    def teardown(self, stage: str) -> None:
        """Leave torch as it was."""
        kernels.use(fast=False)

    def training_loss(self, batch: Any) -> Tensor:
        """The loss of a training batch, with the penalty of an adapter: float scalar."""
        loss = self.steps.loss_of(self, batch)
        return loss if self.adapted is None else loss + self.adapted.hook.penalty()

    def check_weights(self) -> None:
        """Raises UserError if a weight is no number: the loss of the last step came before it."""
        for name, weight in self.model.named_parameters():
            if weight.requires_grad and not weight.isfinite().all():
                raise UserError(
                    f"After training the weights '{name}' hold values that are no numbers: lower "
                    "optimizer.lr, or clip harder with trainer.gradient_clip_val."
                )

    def cost(self) -> dict[str, float]:
        """How many parameters are trained, and how long an epoch of this process took."""
        trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        return {"trained_parameters": trained} | self.epochs.cost()

    @property
    def title(self) -> str:
        """The name of the model in tables."""
        return str(getattr(self.model, "title", type(self.model).__name__))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of a batch, logged when the loggers listen."""
        loss = self.method.step(self, batch, batch_idx)
        self.epochs.update(seen := loss.detach().float(), batch_idx)
        if not self.automatic_optimization:  # Lightning leaves to us what follows a step
            for schedule in self.trainer.lr_scheduler_configs:
                schedule.scheduler.step()  # type: ignore[call-arg]
            if self.adapted is not None:
                self.adapted.after_step(self.global_step)
        if self._logs_now():
            self.log("train/loss", seen)
        return loss

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Log the rate; reseed at an epoch's start, whose hook Lightning skips when it resumes."""
        self.steps.before_training_batch(self, batch_idx)
        if batch_idx == 0:
            sequence = np.random.SeedSequence([self.seed, self.current_epoch, self.global_rank])
            torch.manual_seed(int(sequence.generate_state(1)[0]))
            self.epochs.begin(self.global_step, self.device)
        if self._logs_now():
            self.log("train/lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Let the method change gradients."""
        self.method.before_optimizer_step(self, optimizer)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Predict a batch of validation."""
        self.steps.evaluate(self, batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Predict a batch of the test."""
        self.steps.evaluate(self, batch, "test")

    def on_validation_epoch_start(self) -> None:
        """Prepare for validation."""
        self.steps.before_stage(self, "val")

    def on_test_epoch_start(self) -> None:
        """Prepare for the test."""
        self.steps.before_stage(self, "test")

    def on_validation_epoch_end(self) -> None:
        """Log the figures of validation."""
        self._record("val", self.steps.figures(self, "val"))

    def on_test_epoch_end(self) -> None:
        """Log the figures of the test."""
        self._record("test", self.steps.figures(self, "test"))

    def on_train_epoch_end(self) -> None:
        """Log how long the epoch took, validation included; stop where a loss was no number.

        The checkpoint of the epoch is written after this, so the last good one stays. Raises
        UserError naming the first step and batch of the epoch whose loss is not finite.
        """
        self.epochs.end(self.current_epoch, self.trainer.accumulate_grad_batches)
        seconds = self.epochs.seconds[-1]
        self.log("train/epoch_seconds", seconds)
        log.info(epoch_line(self.trainer, self.epochs.mean_loss, seconds))

    def configure_optimizers(self) -> Any:
        """The method's optimizers; a schedule that moves with each step, or watches a figure.

        The latter is moved and saved here: Lightning moves it too late for the epoch's checkpoint.
        """
        optimizers = self.method.optimizers(self)
        steps = int(self.trainer.estimated_stepping_batches)
        self.trainer.fit_loop.setup_data()  # with max_steps alone batches are not counted yet
        epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        schedules = [self.make_schedule(optimizer, steps, epoch) for optimizer in optimizers]
        if self.adapted is not None:
            self.adapted.begin(steps)
        if isinstance(schedules[0], Plateau):
            self.plateau = schedules[0]
            return optimizers
        return optimizers, [{"scheduler": each, "interval": "step"} for each in schedules]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters that are trained; those of an adapted part in a group if it has a rate."""
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if self.adapted is None or self.tuned_lr is None:
            return [{"params": trained}]
        before = {id(parameter) for parameter in self.adapted.module.parameters()}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if id(p) not in before]},
            {"params": [p for p in trained if id(p) in before], "lr": self.tuned_lr},
        ]
        return [group for group in groups if group["params"]]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the progress of the epoch, and the states of a plateau schedule and an adapter."""
        if "optimizer_states" in checkpoint:  # not of the best weights alone
            checkpoint["progress"] = self.epochs.state_dict() | self.steps.progress()
            checkpoint["kept"] = dict(self._kept())
        if self.plateau is not None:
            checkpoint["plateau"] = self.plateau.state_dict()
        if self.adapted is not None:
            checkpoint["course"] = self.adapted.hook.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of schedule, adapter and epoch until training starts."""
        kept = ("plateau", "course", "progress", "kept")
        self.restored = {key: checkpoint[key] for key in kept if key in checkpoint}

    def on_fit_start(self) -> None:
        """Restore schedule, adapter and epoch of a resumed training."""
        found = self.restored
        if "progress" in found:
            self.epochs.load_state_dict(found["progress"], self.device)
            self.steps.load_progress(found["progress"])
        for name, kept in self._kept():
            if name in found.get("kept", {}):
                kept.copy_(found["kept"][name])
        if self.plateau is not None and "plateau" in found:
            self.plateau.load_state_dict(found["plateau"])
        if self.adapted is not None and "course" in found:
            self.adapted.hook.load_state_dict(found["course"])

    def _kept(self) -> Iterator[tuple[str, Tensor]]:
        """What modules keep of earlier steps, which is no weight: of a resumed training it is."""
        for name, module in self.model.named_modules():
            if isinstance(kept := getattr(module, "kept", None), Tensor):
                yield name, kept

    def on_fit_end(self) -> None:
        """Check that no frozen weight has moved."""
        if self.adapted is not None:
            self.adapted.check()

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step, then do what follows a step: here gradients are still there."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        after_step(self, optimizer)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as asked, sparse gradients too, which torch does not.

        Lightning also refuses a fused optimizer under bf16, which needs no scaler.
        """
        half = str(self.trainer.precision).startswith("bf16")
        if not clipped(self.model, gradient_clip_val, gradient_clip_algorithm, half=half):
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _record(self, stage: Stage, values: dict[str, Tensor]) -> None:
        """Log the figures of a stage, and keep those that are defined on it."""
        figures = {f"{stage}/{name}": float(value) for name, value in values.items()}
        self.figures |= {name: value for name, value in figures.items() if math.isfinite(value)}
        tell(self.trainer, figures)
        if self.plateau is not None and stage == "val" and self.trainer.state.fn == "fit":
            self.plateau.step(figures[self.plateau.monitor])

    def _logs_now(self) -> bool:
        """Whether the loggers take figures at this step: a call of ``log`` is not free."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return (self.global_step + 1) % every == 0
