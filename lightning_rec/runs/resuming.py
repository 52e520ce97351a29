"""Whether a run can go on from its checkpoint under the settings that are asked for."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_rec import config
from lightning_rec.errors import UserError, listed
from lightning_rec.runs.folder import RunFolder
from lightning_rec.tasks.base import Task

log = logging.getLogger(__name__)

# What makes the batches of an epoch, and the steps that are taken on them.
_EPOCH = (
    "seed",
    "batches",
    "objective",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.accumulate_grad_batches",
    "trainer.limit_train_batches",
)
_APART = ("eval_batch_size", "num_workers")  # of the batches


def changed(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """Apply ``key.key=value`` overrides to a saved config.

    Raises:
        UserError: on an unknown key, or where a whole part would be chosen anew.
    """
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or OmegaConf.is_dict(OmegaConf.select(cfg, key)):
            raise UserError(
                f"'{override}' cannot be applied to a run that is there: only values can be "
                "changed, by their dotted key, as in trainer.max_epochs=80."
            )
        if "${" in override:
            raise UserError(f"{override}: ${{…}} is not resolved here: write the value itself.")
    OmegaConf.set_struct(cfg, True)
    try:
        merged = OmegaConf.merge(cfg, OmegaConf.from_dotlist(overrides))
    except OmegaConfBaseException as error:
        raise config.unknown_key(error) from error
    assert isinstance(merged, DictConfig)
    return merged


def check_not_over(run: RunFolder, cfg: DictConfig) -> None:
    """Raises UserError if a run is completed, and nothing is to be changed."""
    if run.card.get("status") != "completed":
        return
    if not run.can_resume:
        raise UserError(f"{run.path} is completed, and nothing of it can be trained further.")
    if cfg == run.config:
        raise UserError(f"{run.path} is completed: raise trainer.max_epochs to go on training.")


class Start(NamedTuple):
    """Where a training goes on: the checkpoint, and the optimizer steps that were taken before."""

    checkpoint: Path
    step: int


def start_of(run: RunFolder, cfg: DictConfig, task: Task, checkpoint: Path) -> Start:
    """Check ``cfg`` and what was built of it against a checkpoint of ``run``.

    Raises:
        UserError: naming the settings that do not fit. Nothing was written then.
    """
    saved: dict[str, Any] = torch.load(checkpoint, "cpu", weights_only=True, mmap=True)
    _check_weights(run, task, saved["state_dict"])
    epochs = saved["loops"]["fit_loop"]["epoch_progress"]["current"]
    done, limit = epochs["processed"], cfg.trainer.max_epochs
    if limit is not None and 0 <= limit < done:
        raise UserError(
            f"trainer.max_epochs={limit}, but {run.path} has been trained for {done} epochs: say "
            f"{done} or more."
        )
    if run.card.get("status") == "completed" and limit == done:
        raise UserError(
            f"{run.path} is completed, after {done} epochs: raise trainer.max_epochs above that to "
            "go on training."
        )
    _check_unchanged(run, cfg, ("optimizer",), "the optimizer's state is kept in the checkpoint")
    if epochs["ready"] > done:
        reason = f"the run stopped in the middle of epoch {done}, and goes on at that batch"
        _check_unchanged(run, cfg, _EPOCH, reason)
    return Start(checkpoint, saved["global_step"])


def check_course(cfg: DictConfig, task: Task, *, validates: bool) -> None:
    """See that a training trains, and say so where it keeps no best weights.

    Raises:
        UserError: if it would take no step.
    """
    trainer = cfg.trainer
    if not task.trains or trainer.max_epochs == 0:
        return
    if trainer.get("limit_train_batches") == 0:
        raise UserError(
            f"trainer.limit_train_batches={trainer.limit_train_batches} leaves nothing to train "
            "on. To measure what nothing has trained, say trainer.max_epochs=0."
        )
    epochs, every = trainer.max_epochs, trainer.get("check_val_every_n_epoch")
    late = epochs is not None and every is not None and 0 < epochs < every
    if validates and (late or trainer.get("limit_val_batches") == 0):
        log.warning(
            "No validation takes place during training (trainer.max_epochs=%s, "
            "trainer.check_val_every_n_epoch=%s, trainer.limit_val_batches=%s): the last weights "
            "are taken, not the best ones.",
            epochs,
            every,
            trainer.get("limit_val_batches"),
        )


def _check_weights(run: RunFolder, task: Task, saved: dict[str, torch.Tensor]) -> None:
    shapes = [{n: [*v.shape] for n, v in of.items()} for of in (saved, task.state_dict())]
    then, now = shapes
    differing = [name for name in then | now if then.get(name) != now.get(name)]
    if differing:
        first = differing[0]
        raise UserError(
            f"The checkpoint of {run.path} does not fit these settings: {first} is "
            f"{then.get(first, 'missing')} there and {now.get(first, 'missing')} here. Settings "
            "that change the weights belong to another run."
        )


def _check_unchanged(run: RunFolder, cfg: DictConfig, nodes: tuple[str, ...], why: str) -> None:
    before = run.config
    changed = [
        key
        for node in nodes
        for key, value in _values(node, cfg).items()
        if _values(node, before).get(key) != value
    ]
    if changed:
        raise UserError(f"{listed(changed)} cannot be changed with resume=: {why}.")


def _values(node: str, cfg: DictConfig) -> dict[str, Any]:
    """What a node holds, by dotted key."""
    value = OmegaConf.select(cfg, node)
    if not isinstance(value, DictConfig):
        return {node: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value}
    settings = OmegaConf.to_container(value, resolve=True)
    assert isinstance(settings, dict)
    return {f"{node}.{key!s}": each for key, each in settings.items() if key not in _APART}
