"""Whether a training takes steps, and enough of them, validates and keeps its best weights."""

import logging
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import nn

from lightning_rec import config
from lightning_rec.data.core.batches import BatchData, Part
from lightning_rec.errors import UserError
from lightning_rec.runs.resuming import Start
from lightning_rec.tasks.base import Task

log = logging.getLogger(__name__)

FEW, AN_EPOCH = 200, 50  # steps: a training of fewer learns little; an epoch had better have these
SMALLEST = 16  # batches that are advised


def check_course(cfg: DictConfig, task: Task, data: BatchData, *, validates: bool) -> None:
    """Raises UserError if no step would be taken, or an average of weights would be a wrong one;
    warns of few steps and of no best weights.
    """
    _check_limits(cfg, task, data, validates=validates)
    _check_average(cfg, task)
    trainer = cfg.trainer
    if not task.trains:
        return
    if trainer.max_epochs == 0:
        log.warning(
            "trainer.max_epochs=0: nothing is trained. The figures are of the weights as they are "
            "at the start."
        )
        return
    if trainer.get("limit_train_batches") == 0:
        raise UserError(
            f"trainer.limit_train_batches={trainer.limit_train_batches} leaves nothing to train "
            "on. To measure what nothing has trained, say trainer.max_epochs=0."
        )
    if validates and (why := _never_validates(trainer, data)):
        log.warning(
            "No validation takes place during training (%s): the last weights are taken, not the "
            "best ones.",
            ", ".join(f"trainer.{key}={trainer.get(key)}" for key in why),
        )
    elif validates and not ((cfg.get("callbacks") or {}).get("best") or {}).get("monitor"):
        log.warning(
            "No callbacks.best watches a figure: the last weights are taken, not the best ones."
        )
    _tell_few_steps(cfg, data.loader("train"), validates=validates)


def training_warnings(cfg: DictConfig, trainer: Trainer, data: BatchData) -> list[str]:
    """Sentences where patience ended a training of few steps, or an average is of few."""
    stopping, steps = trainer.early_stopping_callback, trainer.global_step
    told = _initial_share(cfg, steps)
    if (
        stopping is None
        or not stopping.stopped_epoch
        or stopping.wait_count < stopping.patience  # it was stopped by a threshold
        or steps >= FEW
    ):
        return told
    said = (
        f"Training ended after {steps} steps, since {stopping.patience} validations brought no "
        f"better {stopping.monitor}: there may be more to learn. "
        f"{_advice(cfg, data.loader('train', trainer), 'patience')}"
    )
    log.warning(said)
    return [*told, said]


def _initial_share(cfg: DictConfig, steps: int) -> list[str]:
    """A sentence where an exponential average still has much of the weights at the start."""
    for name, node in (cfg.get("callbacks") or {}).items():
        if not str((node or {}).get("_target_")).endswith(".EMAWeightAveraging"):
            continue
        updates = steps // (node.get("update_every_n_steps") or 1)
        share = node.get("decay", 0.999) ** updates
        if updates and share > 0.05 and not node.get("update_starting_at_step"):
            said = (
                f"callbacks.{name}: after {updates} updates {share:.0%} of the average is the "
                f"weights as they were at the start. Say callbacks.{name}.decay="
                f"{round(0.01 ** (1 / updates), 3)} or less, or train longer."
            )
            log.warning(said)
            return [said]
    return []


def _check_average(cfg: DictConfig, task: Task) -> None:
    """Raise UserError where batch norm would keep statistics of other weights than the average."""
    nodes = [(name, node) for name, node in (cfg.get("callbacks") or {}).items() if node]
    normed = any(isinstance(each, nn.BatchNorm1d) for each in task.model.modules())
    for name, node in nodes if normed else ():
        target = config.target(f"callbacks.{name}", config.plain(node))
        if isinstance(target, type) and issubclass(target, WeightAveraging):
            raise UserError(
                f"callbacks.{name}: batch norm keeps statistics of other weights than the average: "
                "say model.batch_norm=false, or leave it out."
            )


def _tell_few_steps(cfg: DictConfig, loader: Any, *, validates: bool) -> None:
    """Warn where a training may be over before it has taken the steps that learning takes."""
    trainer, steps = cfg.trainer, len(loader) // cfg.trainer.get("accumulate_grad_batches", 1)
    epochs, more = trainer.max_epochs, "trainer.max_epochs"
    stops = validates and (cfg.get("callbacks") or {}).get("early_stopping")
    if stops and (every := trainer.get("check_val_every_n_epoch")):
        soonest = (stops.patience + 1) * every
        if epochs is None or not 0 <= epochs <= soonest:
            epochs, more = soonest, "patience"
    if epochs is None or epochs < 0 or steps * epochs >= FEW or not _smaller(cfg, loader):
        return
    told = "An epoch has only %d step%s, and training may end after %d steps. %s"
    log.warning(told, steps, "s" * (steps != 1), steps * epochs, _advice(cfg, loader, more))


def _advice(cfg: DictConfig, loader: Any, more: str) -> str:
    smaller = _smaller(cfg, loader)
    return f"Say {f'batches.batch_size={smaller}, or ' * bool(smaller)}a larger {more}."


def _smaller(cfg: DictConfig, loader: Any) -> int | None:
    """A batch size, a power of two, by which an epoch has enough steps; None if it has."""
    size = cfg.batches.get("batch_size")
    if not isinstance(size, int) or len(loader) >= AN_EPOCH:
        return None
    largest = max(SMALLEST, min(size * len(loader), len(loader.dataset)) // AN_EPOCH)
    smaller: int = 2 ** (largest.bit_length() - 1)
    return smaller if smaller < size else None


def tell_untrained(trainer: Trainer, start: Start | None) -> None:
    """Warn if a training ended at the step at which it began, or if its steps had no length."""
    why = ""
    if trainer.global_step == (start.step if start is not None else 0):
        why = "No step of training was taken"
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    if groups and not any(group.get("initial_lr", group["lr"]) for group in groups):
        why = "With optimizer.lr=0 nothing is trained"
    if why:
        log.warning("%s: the figures are of the weights as they were.", why)


def _never_validates(trainer: DictConfig, data: BatchData) -> tuple[str, ...]:
    """The settings by which a training ends before its first validation; none if it does not."""
    if trainer.get("limit_val_batches") == 0:
        return ("limit_val_batches",)
    every, steps = trainer.get("check_val_every_n_epoch"), trainer.get("max_steps") or -1
    if every is None or trainer.get("fast_dev_run"):
        return ()
    if 0 < (trainer.max_epochs or 0) < every:
        return ("max_epochs", "check_val_every_n_epoch")
    shares = (trainer.get(key, 1.0) for key in ("val_check_interval", "limit_train_batches"))
    whole = all(each is None or (isinstance(each, float) and each == 1.0) for each in shares)
    batches = steps * trainer.get("accumulate_grad_batches", 1)
    if whole and 0 < batches < every * len(data.loader("train")):
        return ("max_steps", "check_val_every_n_epoch")
    return ()


def _check_limits(cfg: DictConfig, task: Task, data: BatchData, *, validates: bool) -> None:
    """Refuse limits that leave no batch, which Lightning finds out when batches are read."""
    asked: dict[Part, bool] = {"test": True, "val": validates, "train": task.trains}
    for part in (part for part, is_asked in asked.items() if is_asked):
        key = "overfit_batches" if cfg.trainer.get("overfit_batches") else f"limit_{part}_batches"
        share = cfg.trainer.get(key)
        if not isinstance(share, float) or not 0 < share < 1:
            continue
        if share * (number := len(data.loader(part))) < 1:
            raise UserError(
                f"trainer.{key}={share} of {number} batches is none: say {1 / number:.2g} or more, "
                "or a number of batches."
            )
    every = cfg.trainer.get("val_check_interval")
    by_epoch = cfg.trainer.get("check_val_every_n_epoch") is not None
    if task.trains and validates and isinstance(every, int) and by_epoch:
        number = len(data.loader("train"))
        if every > number:
            raise UserError(
                f"trainer.val_check_interval={every}, but an epoch has {number} batches: say "
                f"{number} or fewer, or 1.0 for the end of an epoch."
            )
