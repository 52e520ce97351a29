"""Checkpoints: written whole, with their hash, two generations of them, at any step of an epoch."""

import logging
import os
from pathlib import Path
from typing import Any

from pydantic import PositiveInt
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lightning_rec.data.core.batches import BatchLoader
from lightning_rec.files import atomic_path
from lightning_rec.runs import checksums, generators, weights
from lightning_rec.runs.signals import STOP

log = logging.getLogger(__name__)

LAST, PREVIOUS, BEST = (f"checkpoints/{name}.ckpt" for name in ("last", "previous", "best"))


class CheckpointFiles(TorchCheckpointIO):
    """Writes checkpoints of a run folder whole, with their hash; keeps the last but one.

    What a checkpoint says of files in the ``folder`` stays true when that is moved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.realpath(folder))  # as Lightning's callbacks name it
        self._written: set[Path] = set()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; the last one becomes the previous one."""
        target, name = self._located(path)
        self._written.add(target)
        with atomic_path(target) as temporary:
            weights.write_checkpoint(checkpoint | {"run_folder": str(self.folder)}, temporary)
            if name is not None:
                if name == LAST and target.exists():
                    checksums.moved(self.folder, LAST, PREVIOUS)
                    target.replace(self.folder / PREVIOUS)
                checksums.record(self.folder, temporary, name)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint that is no longer the best.

        Which one that is, Lightning takes from the checkpoint that a run goes on from, and whatever
        is named there it would remove with all that lies below it.
        """
        target, name = self._located(path)
        if target in self._written or (target.suffix == ".ckpt" and name is not None):
            super().remove_checkpoint(target)
            if name is not None:
                checksums.forget(self.folder, name)
        else:
            log.warning("%s is no checkpoint of %s, and is not removed.", path, self.folder)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint. Raises UserError if it is not as it was written."""
        if (name := self._located(path)[1]) is not None:
            checksums.verify(self.folder, name)
        # Everything stays on the CPU, wherever it was saved.
        found: dict[str, Any] = super().load_checkpoint(
            path, lambda each, _: each, weights_only=True
        )
        if before := found.get("run_folder"):
            found["callbacks"] = _rooted(found.get("callbacks", {}), before, str(self.folder))
        return found

    def _located(self, path: str | Path) -> tuple[Path, str | None]:
        """The real path, and its name within the run folder; None if it lies elsewhere."""
        target = Path(os.path.realpath(path))
        inside = target.is_relative_to(self.folder)
        return target, target.relative_to(self.folder).as_posix() if inside else None


def _rooted(value: Any, before: str, now: str) -> Any:
    """A value with every path below one folder moved below another."""
    if isinstance(value, str):
        inside = value == before or value.startswith(before + os.sep)
        return now + value[len(before) :] if inside else value
    if isinstance(value, dict):
        return dict(_rooted(item, before, now) for item in value.items())
    if isinstance(value, list | tuple):
        return type(value)(_rooted(each, before, now) for each in value)
    return value


class LastCheckpoint(Checkpoint):
    """Saves all that a training needs to go on as if it had never stopped, as ``last.ckpt``.

    At the ends of epochs, every so many steps within them, and when a signal asks to stop
    (:mod:`lightning_rec.runs.signals`), in which case it raises KeyboardInterrupt before the next
    step. Where a step ends an epoch or a validation follows it, the checkpoint waits for that, but
    for a signal on a single process: the validation at the end of an epoch is begun anew.

    Args:
        dirpath: the folder; None is filled in with the run folder's ``checkpoints/``.
        every_n_epochs: epochs between checkpoints.
        every_n_train_steps: optimizer steps between checkpoints within an epoch; None saves none.
    """

    def __init__(
        self,
        dirpath: Path | None = None,
        every_n_epochs: PositiveInt = 1,
        every_n_train_steps: PositiveInt | None = None,
    ) -> None:
        self.dirpath = Path(dirpath) if dirpath is not None else Path("checkpoints")
        self.every_n_epochs, self.every_n_train_steps = every_n_epochs, every_n_train_steps
        self._due, self._stops = False, False
        self._before_validation: dict[str, Any] | None = None
        self._found: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on a stop waits for a checkpoint. A training that was over stays so."""
        STOP.wait()
        if self._found is not None:
            if is_over(self._found["stopped"], _patience(trainer)):
                trainer.should_stop = True
            if isinstance(trainer.train_dataloader, BatchLoader):
                # Lightning would, had not the number of steps been asked for before.
                trainer.train_dataloader.load_state_dict({"dealt": self._found["dealt"]})

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Restore the random generators of a resumed training."""
        self._stop_if_asked()
        self._restore(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save, if it is time or a stop was asked for."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # gradients are not saved
        every = self.every_n_train_steps
        self._due |= every is not None and trainer.global_step % every == 0
        if not _more_follows(trainer, batch_idx):
            self._save(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the generators as they are: the validation may have to be begun anew."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._restore(trainer, pl_module)
            self._before_validation = generators.states(pl_module.device)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Save before a validation that is not to be awaited, that at the end of an epoch."""
        ends = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if self._before_validation is not None and ends and trainer.world_size == 1:
            self._save(trainer, unasked=False)
            self._stop_if_asked()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop the states of the generators."""
        self._before_validation = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save at the end of an epoch."""
        self._due |= (trainer.current_epoch + 1) % self.every_n_epochs == 0
        self._save(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop between two epochs."""
        self._stop_if_asked()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on a stop waits for nothing."""
        self._stop_if_asked()
        STOP.end_wait()

    def on_exception(self, *args: Any, **kwargs: Any) -> None:
        """From here on a stop waits for nothing."""
        STOP.waits = False

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what Lightning does not save: generators, and whether training was stopped early."""
        if self._before_validation is not None:
            own = self._before_validation
            _begin_anew(checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"])
        else:
            own = generators.states(pl_module.device)
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
        dealt = trainer.fit_loop.batch_idx + 1
        unfinished = epochs["ready"] > epochs["processed"] and dealt < trainer.num_training_batches
        checkpoint["resume"] = {
            "generators": generators.of_all_processes(own),
            "stopped": _patience(trainer) if trainer.should_stop else None,
            "dealt": dealt if unfinished else 0,
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take it up again. A patience that was changed holds, not the one in the checkpoint."""
        self._found = checkpoint.get("resume")
        for callback in trainer.early_stopping_callbacks:
            checkpoint["callbacks"].get(callback.state_key, {})["patience"] = callback.patience

    def _restore(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found, self._found = self._found, None
        if found is not None and len(found["generators"]) == trainer.world_size:
            generators.restore(found["generators"][trainer.global_rank], pl_module.device)

    def _save(self, trainer: Trainer, *, unasked: bool = True) -> None:
        """Save if it is due, or if any process was asked to stop."""
        self._stops = STOP.asked
        if trainer.world_size > 1:
            self._stops = trainer.strategy.reduce_boolean_decision(self._stops, all=False)
        if (self._stops or (self._due and unasked)) and not getattr(trainer, "fast_dev_run", 0):
            self._due = False
            trainer.save_checkpoint(self.dirpath / Path(LAST).name)

    def _stop_if_asked(self) -> None:
        """Stop after the save: trackers log a step only after the hooks at its end."""
        if self._stops:
            raise KeyboardInterrupt


def _patience(trainer: Trainer) -> list[Any]:
    """What decides when training is over."""
    return [trainer.max_epochs, *(each.patience for each in trainer.early_stopping_callbacks)]


def is_over(stopped: list[Any] | None, now: list[Any]) -> bool:
    """Whether a training that was stopped early stays so: nothing that decides it was raised.

    ``stopped``: most epochs and each patience under which it was; None if it was not. ``now``:
    those under which it would go on. None and -1 are any number of epochs.
    """

    def number(limit: int | None) -> float:
        return float("inf") if limit in (None, -1) else limit

    return stopped is not None and not any(
        number(new) > number(old) for old, new in zip(stopped, now, strict=False)
    )


def _more_follows(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a validation or the end of an epoch belongs to this step."""
    if batch_idx + 1 >= trainer.num_training_batches:
        return True
    every = trainer.val_check_batch
    steps = (batch_idx + 1, trainer.fit_loop.total_batch_idx + 1)
    return every not in (None, float("inf")) and any(step % every == 0 for step in steps)


def _begin_anew(progress: dict[str, Any]) -> None:
    """Reset the progress of a validation, so that it restarts; Lightning would skip batches."""
    for count, done in (("total", progress["total"]["completed"]), ("current", 0)):
        progress[count] = dict.fromkeys(("ready", "started"), done + 1)
        progress[count] |= dict.fromkeys(("processed", "completed"), done)
    progress["is_last_batch"] = False
