"""What the LightningModules of all problems share: steps, rates, seeds, clipping, bad losses."""

import logging
import math
import os
import shutil
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_rec.adapters.base import AdaptedModule
from lightning_rec.errors import UserError
from lightning_rec.models import kernels
from lightning_rec.tasks.clipping import clip_norm, is_sparse
from lightning_rec.tasks.progress import epoch_line
from lightning_rec.tasks.schedules import Plateau

log = logging.getLogger("lightning_rec.epochs")

Arithmetic = Literal["fast", "plain", "compiled"]
"""How a model computes: ``fast`` by :mod:`lightning_rec.models.kernels`, ``plain`` by torch's own
functions alone, ``compiled`` by what torch.compile makes of these, which takes some seconds of the
first step."""


class Task(pl.LightningModule):
    """Trains a model by whatever loss its problem has. There is one sub-class per problem.

    Args:
        model: what is trained.
        trains: whether there is anything to train.
        optimizer: makes an optimizer of parameters.
        schedule: makes a learning-rate schedule of an optimizer and the number of steps.
        seed: reseeds torch at each epoch, together with the epoch and the process.
        tuned_lr: learning rate of a part that was trained before; None takes the optimizer's.
        arithmetic: see :data:`Arithmetic`.
    """

    def __init__(
        self,
        model: nn.Module,
        trains: bool,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        schedule: Callable[[Optimizer, int], Any],
        seed: int,
        tuned_lr: float | None,
        arithmetic: Arithmetic,
    ) -> None:
        super().__init__()
        self.model, self.trains = model, trains
        self.make_optimizer, self.make_schedule, self.seed = optimizer, schedule, seed
        self.tuned_lr = tuned_lr
        self.arithmetic = arithmetic
        self.epoch_start, self.first_step = time.perf_counter(), 0
        self.bad_loss, self.bad_batch = torch.zeros(()), torch.tensor(-1)  # the first of an epoch
        self.mean_loss = torch.zeros(())  # over the batches of the epoch so far
        self.plateau: Plateau | None = None
        self.remembered: dict[str, Any] = {}
        self.tuned: AdaptedModule | None = None  # a part that was trained before
        self.epoch_seconds: list[float] = []  # of this process, validation included
        self.figures: dict[str, float] = {}  # Lightning keeps float32, the record float64

    def setup(self, stage: str) -> None:
        """Let the whole stage compute fast, unless it should be plain."""
        # oneDNN compiles a product for each shape of blocks, and looks here at its first one.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")
        kernels.use(self.arithmetic == "fast")
        if self.arithmetic == "compiled" and stage == "fit":
            self._compile()

    def teardown(self, stage: str) -> None:
        """Leave torch as it was."""
        kernels.use(fast=False)

    def _compile(self) -> None:
        """Let torch compile the model, for whatever shapes, when it is first called."""
        compilers = [os.environ.get("CXX", "c++"), "g++", "clang++"]
        if self.device.type == "cpu" and not any(map(shutil.which, compilers)):
            raise UserError(
                "task.arithmetic=compiled needs a C++ compiler, and there is none (g++, clang++, "
                "or what CXX names): install one, or say task.arithmetic=fast."
            )
        self.model.compile(dynamic=True)

    @abstractmethod
    def loss_of(self, batch: Any) -> Tensor:
        """The loss of a training batch, float scalar."""

    def check_weights(self) -> None:
        """Raises UserError if a weight is no number: the loss of the last step came before it."""
        for name, weight in self.model.named_parameters():
            if weight.requires_grad and not weight.isfinite().all():
                raise UserError(
                    f"After training the weights '{name}' hold values that are no numbers: lower "
                    "optimizer.lr, or clip harder with trainer.gradient_clip_val."
                )

    def cost(self) -> dict[str, float]:
        """What is trained, and how long an epoch of this process took, validation included."""
        seconds = self.epoch_seconds
        return {
            "trained_parameters": sum(
                p.numel() for p in self.model.parameters() if p.requires_grad
            ),
            "epochs": len(seconds),
            "epoch_seconds": round(sum(seconds) / max(1, len(seconds)), 3),
        }

    def calibrate(self) -> dict[str, float]:
        """Fit what makes probabilities honest to what was last validated; by name."""
        return {}

    @property
    def title(self) -> str:
        """What the model is called in tables."""
        return type(self.model).__name__

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of a batch, logged when the loggers listen."""
        loss = self.loss_of(batch)
        if self.tuned is not None:
            loss = loss + self.tuned.hook.penalty()
        seen = loss.detach().float()
        self.mean_loss = torch.lerp(self.mean_loss, seen, 1 / (batch_idx + 1))
        first = ~seen.isfinite() & (self.bad_batch < 0)
        self.bad_batch = torch.where(first, batch_idx, self.bad_batch)
        self.bad_loss = torch.where(first, seen, self.bad_loss)
        if self._logs_now():
            self.log("train/loss", seen)
        return loss

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Log the learning rate; reseed at the start of an epoch.

        Lightning skips ``on_train_epoch_start`` when it resumes, hence here.
        """
        if batch_idx == 0:
            sequence = np.random.SeedSequence([self.seed, self.current_epoch, self.global_rank])
            torch.manual_seed(int(sequence.generate_state(1)[0]))
            self.epoch_start, self.first_step = time.perf_counter(), self.global_step
            self.bad_loss = torch.zeros((), device=self.device)
            self.bad_batch = torch.tensor(-1, device=self.device)
            self.mean_loss = torch.zeros((), device=self.device)
        if self._logs_now():
            optimizer = self.optimizers(use_pl_optimizer=False)
            assert isinstance(optimizer, Optimizer)
            self.log("train/lr", optimizer.param_groups[0]["lr"])

    def on_train_epoch_end(self) -> None:
        """Log how long the epoch took, validation included; stop where a loss was no number.

        The checkpoint of the epoch is written after this, so the last good one stays.

        Raises:
            UserError: naming the first step and batch of the epoch whose loss is not finite.
        """
        batch = int(self.bad_batch)  # once an epoch: each look waits for the device
        if batch >= 0:
            step = self.first_step + batch // self.trainer.accumulate_grad_batches
            raise UserError(
                f"train/loss is {self.bad_loss.item()} at step {step}, batch {batch} of epoch "
                f"{self.current_epoch}: lower optimizer.lr, or clip harder with "
                "trainer.gradient_clip_val. Checkpoints of earlier epochs are kept."
            )
        self.epoch_seconds.append(time.perf_counter() - self.epoch_start)
        self.log("train/epoch_seconds", self.epoch_seconds[-1])
        log.info(epoch_line(self.trainer, self.mean_loss, self.epoch_seconds[-1]))

    def configure_optimizers(self) -> Any:
        """One optimizer; a schedule that moves with each step, or one that watches a figure.

        The latter is moved and saved here: Lightning would move it after the checkpoint of the
        epoch is written, and a resumed run would miss that.
        """
        optimizer = self.make_optimizer(self._groups())
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = self.make_schedule(optimizer, steps)
        if self.tuned is not None:
            self.tuned.begin(steps)
        if isinstance(schedule, Plateau):
            self.plateau = schedule
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _groups(self) -> Any:
        """What moves; of a part that was trained before it is a group of its own."""
        moving = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if self.tuned is None or self.tuned_lr is None:
            return moving
        before = {id(parameter) for parameter in self.tuned.module.parameters()}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in moving if id(p) not in before]},
            {"params": [p for p in moving if id(p) in before], "lr": self.tuned_lr},
        ]
        return [group for group in groups if group["params"]]

    def progress(self) -> dict[str, Any]:
        """What is known of the epochs so far, the one under way included: tensors and numbers."""
        return {
            "first_step": self.first_step,
            "bad_loss": self.bad_loss,
            "bad_batch": self.bad_batch,
            "mean_loss": self.mean_loss,
            "seconds": time.perf_counter() - self.epoch_start,
            "epoch_seconds": self.epoch_seconds,
        }

    def load_progress(self, found: dict[str, Any]) -> None:
        """Go on from what :meth:`progress` gave."""
        self.first_step, self.epoch_seconds = found["first_step"], found["epoch_seconds"]
        self.bad_loss = found["bad_loss"].to(self.device)
        self.bad_batch = found["bad_batch"].to(self.device)
        mean = found.get("mean_loss", self.mean_loss)  # early runs kept none
        self.mean_loss = mean.to(self.device)
        self.epoch_start = time.perf_counter() - found["seconds"]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save how far the epoch is, and what a watching schedule and an adapter remember."""
        if "optimizer_states" in checkpoint:  # not of the best weights alone
            checkpoint["progress"] = self.progress()
        if self.plateau is not None:
            checkpoint["plateau"] = self.plateau.state_dict()
        if self.tuned is not None:
            checkpoint["course"] = self.tuned.hook.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep it until there is somebody to hand it to."""
        self.remembered = {key: checkpoint.get(key) for key in ("plateau", "course", "progress")}

    def on_fit_start(self) -> None:
        """Hand out what was remembered, if the training is resumed."""
        plateau, course = self.remembered.get("plateau"), self.remembered.get("course")
        if (progress := self.remembered.get("progress")) is not None:
            self.load_progress(progress)
        if self.plateau is not None and plateau is not None:
            self.plateau.load_state_dict(plateau)
        if self.tuned is not None and course is not None:
            self.tuned.hook.load_state_dict(course)

    def on_fit_end(self) -> None:
        """See that nothing has moved that should stay."""
        if self.tuned is not None:
            self.tuned.check()

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step, then let an adapter do what follows a step: here gradients are still there."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if self.tuned is not None:
            self.tuned.after_step(self.global_step + 1)  # Lightning counts it later

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as asked, sparse gradients too, which torch does not.

        Lightning also refuses a fused optimizer under bf16, which needs no scaler.
        """
        if gradient_clip_val and any(is_sparse(p) for p in self.model.parameters()):
            if gradient_clip_algorithm not in (None, "norm"):
                raise UserError(
                    f"trainer.gradient_clip_algorithm={gradient_clip_algorithm} is not for sparse "
                    "gradients: use norm."
                )
            clip_norm(self.model.parameters(), gradient_clip_val)
        elif gradient_clip_val and str(self.trainer.precision).startswith("bf16"):
            nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _record(self, stage: str, values: dict[str, Tensor]) -> None:
        """Log the figures of a stage, and keep those that are defined on it."""
        figures = {f"{stage}/{name}": float(value) for name, value in values.items()}
        self.figures |= {name: value for name, value in figures.items() if math.isfinite(value)}
        self.log_dict(figures)
        if self.plateau is not None and stage == "val" and self.trainer.state.fn == "fit":
            self.plateau.step(figures[self.plateau.monitor])

    def _logs_now(self) -> bool:
        """Whether the loggers take figures at this step: a call of ``log`` is not free."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return (self.global_step + 1) % every == 0
