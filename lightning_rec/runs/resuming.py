"""Whether a run can go on from its checkpoint under the settings that are asked for."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import is_zipfile

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_rec import config
from lightning_rec.documents import leaves
from lightning_rec.errors import UserError, listed
from lightning_rec.runs import card
from lightning_rec.runs.checkpoints import BEST, is_over
from lightning_rec.runs.folder import RunFolder
from lightning_rec.tasks.base import Task

# What makes the batches of an epoch, and the steps that are taken on them.
_COUNTED = ("devices", "num_nodes", "accumulate_grad_batches", "limit_train_batches")
_EPOCH = ("seed", "batches", "objective", *(f"trainer.{key}" for key in _COUNTED))
_READ = ("data.fields", "item")  # what a model reads; which data it is, hashes tell
_CHOSEN = ("monitor", "monitor_mode", "callbacks.best")  # the best weights, until now
# Of these parts: what changes no batch, and where a language model lies.
_APART = (
    "batches.eval_batch_size",
    "batches.num_workers",
    "item.encoder",
    "item.cache_gb",
    "item.step_gb",
)
# What changes no figure, or changes the hash of the data.
_BESIDE = ("run_dir", "name", "logger", "tracking", "examples", "callbacks", "data")


def changed(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """Apply ``key.key=value`` overrides to a saved config. Raises UserError if one does not fit."""
    overrides = list(overrides)
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or OmegaConf.is_dict(OmegaConf.select(cfg, key)):
            raise UserError(
                f"'{override}' cannot be applied to a run that is there: only values can be "
                "changed, by their dotted key, as in trainer.max_epochs=80."
            )
        if "${" in override:
            raise UserError(f"{override}: ${{…}} is not resolved here: write the value itself.")
        if key == "run_dir":
            raise UserError(f"{override}: a run stays in its folder; move the folder itself.")
        if key == "patience" and OmegaConf.select(cfg, "callbacks.early_stopping"):
            overrides.append(f"callbacks.early_stopping.{override}")  # composed of it
    OmegaConf.set_struct(cfg, True)
    OmegaConf.set_struct(cfg.trainer, False)  # earlier runs say fewer keys; the trainer knows all
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
        raise UserError(
            f"{run.path} is completed: raise trainer.max_epochs to go on training, or patience "
            "where it stopped early."
        )


class Start(NamedTuple):
    """Where a training is resumed: the checkpoint, whole epochs and optimizer steps until then."""

    checkpoint: Path
    epochs: int
    step: int


def start_of(run: RunFolder, cfg: DictConfig, task: Task, checkpoint: Path) -> Start:
    """Where to go on from a checkpoint. Raises UserError naming settings that do not fit it."""
    saved = _read(checkpoint)
    _check_weights(run, task, saved.state_dict)
    done, limit = saved.processed, cfg.trainer.max_epochs
    if limit is not None and 0 <= limit < done:
        raise UserError(
            f"trainer.max_epochs={limit}, but {run.path} has been trained for {done} epochs: say "
            f"{done} or more."
        )
    _check_goes_on(run, cfg, saved)
    _check_unchanged(run, cfg, ("optimizer",), "the optimizer's state is kept in the checkpoint")
    _check_unchanged(run, cfg, _READ, "the model has learnt what they make of the data")
    _check_unchanged(run, cfg, _CHOSEN, "the best weights until now were chosen by it")
    _check_best(run, cfg, saved.global_step)
    if saved.ready > done:
        reason = f"the run stopped in the middle of epoch {done}, and goes on at that batch"
        _check_unchanged(run, cfg, _EPOCH, reason)
    return Start(checkpoint, done, saved.global_step)


def best_epoch(run: RunFolder) -> int | None:
    """After how many epochs the weights of a finished run were taken; None where none is kept."""
    if (run.path / BEST).is_file():
        return _read(run.path / BEST).ready
    epochs: int | None = run.card.get("cost", {}).get("epochs")
    return epochs


def until(run: RunFolder, cfg: DictConfig, start: Start | None) -> dict[str, Any]:
    """How far a run went under its settings, and those of them that ``cfg`` changes."""
    now = dict(leaves(config.plain(cfg)))
    before = leaves(config.plain(run.config))
    settings = {
        # JSON has no number that is not finite.
        key: str(old) if isinstance(old, float) and not math.isfinite(old) else old
        for key, old in before
        if now.get(key) != old
    }
    epochs, step = (start.epochs, start.step) if start is not None else (0, 0)
    return {"epochs": epochs, "step": step, "settings": settings}


def _check_goes_on(run: RunFolder, cfg: DictConfig, saved: card.Checkpoint) -> None:
    """Refuse a training that takes no further step: its card would claim settings of no step."""
    done, step = saved.processed, saved.global_step
    steps, limit = cfg.trainer.get("max_steps"), cfg.trainer.max_epochs
    callbacks = (cfg.get("callbacks") or {}).values()
    patience = [each["patience"] for each in callbacks if each and "patience" in each]
    if limit == done:
        further = f"after {done} epochs: raise trainer.max_epochs above that to go on training"
    elif steps is not None and 0 <= steps <= step:
        further = f"after {step} steps: raise trainer.max_steps above that to go on training"
    elif is_over(saved.stopped, [limit, *patience]):
        further = f"stopped early after {done} epochs: raise patience to go on training"
    else:
        return
    if run.card.get("status") == "completed":
        raise UserError(f"{run.path} is completed, {further}.")
    nodes = [str(node) for node in cfg if node not in (*_BESIDE, "trainer", "patience")]
    _check_unchanged(run, cfg, nodes, f"all of its training is done, {further}")


def _check_best(run: RunFolder, cfg: DictConfig, step: int) -> None:
    """The best weights may be of steps that are taken again: only equal settings make them so."""
    if not (run.path / BEST).is_file() or _read(run.path / BEST).global_step <= step:
        return
    reason = (
        f"{BEST} is of a later step than the {step} after which the run goes on. Go on without "
        "changes first, and stop it where they are to begin"
    )
    _check_unchanged(run, cfg, [str(node) for node in cfg if node not in _BESIDE], reason)


def _read(checkpoint: Path) -> card.Checkpoint:
    if not is_zipfile(checkpoint):
        raise UserError(f"{checkpoint} cannot be read: it is no checkpoint, or a broken one.")
    saved = torch.load(checkpoint, "cpu", weights_only=True, mmap=True)
    return card.check(checkpoint, saved, card.Checkpoint)


def _check_weights(run: RunFolder, task: Task, saved: dict[str, torch.Tensor]) -> None:
    then, now = ({n: [*v.shape] for n, v in of.items()} for of in (saved, task.state_dict()))
    if first := next((name for name in then | now if then.get(name) != now.get(name)), None):
        raise UserError(
            f"The checkpoint of {run.path} does not fit these settings: {first} is "
            f"{then.get(first, 'missing')} there and {now.get(first, 'missing')} here. Settings "
            "that change the weights belong to another run."
        )


def _check_unchanged(run: RunFolder, cfg: DictConfig, nodes: Iterable[str], why: str) -> None:
    before, changed = run.config, []
    for node in nodes:
        then, now = _values(node, before), _values(node, cfg)
        changed += [key for key, value in now.items() if then.get(key) != value]
    if changed:
        raise UserError(f"{listed(changed)} cannot be changed with resume=: {why}.")


def _values(node: str, cfg: DictConfig) -> dict[str, Any]:
    """What a node holds, by dotted key."""
    value = config.plain(OmegaConf.select(cfg, node))
    if not isinstance(value, dict):
        return {node: value}
    named = {f"{node}.{key}": each for key, each in value.items()}
    return {key: each for key, each in named.items() if key not in _APART}
