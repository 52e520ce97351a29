"""A search for good settings: an Optuna study in SQLite, asked and told trial by trial.

What a trial draws depends on the seed, its number and the trials that ended before it, and not on
how often the search was broken off: a search that was killed goes on as if it had not been. With
several workers at once the trials that have ended differ from one time to the next.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import optuna
from filelock import FileLock, Timeout
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_rec.errors import UserError
from lightning_rec.lab.spaces import Space, Value, grid

Kind = Literal["tpe", "random", "grid"]
Pruner = Literal["none", "median", "asha"]
Direction = Literal["minimize", "maximize"]
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
optuna.logging.set_verbosity(optuna.logging.WARNING)
log = logging.getLogger(__name__)


class SeededSampler(BaseSampler):
    """Draws each setting of each trial with a seed of its own.

    Args:
        kind: ``tpe``: the tree-structured Parzen estimator (Bergstra et al., NIPS 2011) after ten
            random trials; ``random``; ``grid``: all combinations, one after the other.
        seed: of all draws.
        space: what is drawn from.
    """

    def __init__(self, kind: Kind, seed: int, space: Space) -> None:
        self.kind, self.seed = kind, seed
        self.grid = grid(space) if kind == "grid" else []

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        """Nothing is drawn jointly."""
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """Nothing is drawn jointly."""
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, distribution: Any) -> Any:
        """A value of one setting."""
        if self.kind == "grid":
            return self.grid[trial.number][param_name]
        text = f"{self.seed} {trial.number} {param_name}".encode()
        seed = int.from_bytes(hashlib.sha256(text).digest()[:4], "big")
        kind = TPESampler if self.kind == "tpe" else RandomSampler
        return kind(seed=seed).sample_independent(study, trial, param_name, distribution)


def open_study(
    folder: Path,
    space: Space,
    directions: Sequence[Direction],
    kind: Kind,
    pruner: Pruner,
    seed: int,
    **said: Any,
) -> optuna.Study:
    """The study of a folder, begun or gone on with.

    ``said``: further settings that its trials have in common, as JSON has them. Raises UserError if
    it was begun with another space, sampler, pruner, seed or other ones of these.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "space": {
            key: each.model_dump(mode="json", exclude_defaults=True) for key, each in space.items()
        },
        "sampler": kind, "pruner": pruner, "seed": seed, "directions": list(directions), **said,
    }  # fmt: skip
    with FileLock(folder / "study.lock"):
        study = optuna.create_study(
            storage=_storage(folder / "study.db"),
            study_name="study",
            sampler=SeededSampler(kind, seed, space),
            pruner=_pruner(pruner),
            directions=list(directions),
            load_if_exists=True,
        )
        begun = study.user_attrs.get("settings")
        if begun is None:
            study.set_user_attr("settings", settings)
        elif begun != settings:
            differing = [key for key in settings if begun.get(key) != settings[key]]
            raise UserError(
                f"{folder} holds a search with other {', '.join(differing)}: say the same as then, "
                "or choose another folder, to=FOLDER."
            )
    return study


@contextmanager
def next_trial(study: optuna.Study, folder: Path, space: Space, most: int) -> Iterator[Any]:
    """A trial that no other worker has: one that was broken off, else a new one; None at the end.

    The trial is held by a lock while the block runs, so that what is killed is seen to be so.
    """
    lock = None
    with FileLock(folder / "study.lock"):
        trial = None
        for old in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            lock = FileLock(folder / f"trial_{old.number}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            if study.get_trials(deepcopy=False)[old.number].state != TrialState.RUNNING:
                lock.release()  # it was told in the meantime
                continue
            trial = optuna.trial.Trial(study, old._trial_id)
            break
        if isinstance(study.sampler, SeededSampler) and study.sampler.grid:
            most = min(most, len(study.sampler.grid))
        if trial is None and len(study.get_trials(deepcopy=False)) < most:
            trial = study.ask()
            lock = FileLock(folder / f"trial_{trial.number}.lock")
            lock.acquire()
        if trial is not None:
            for key, each in space.items():
                each.suggest(trial, key)
    try:
        yield trial
    finally:
        if trial is not None and lock is not None:
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)


def chosen(trial: Any, space: Space) -> dict[str, Value]:
    """The settings of a trial, in the order of the space."""
    return {key: trial.params[key] for key in space}


class Watch(Callback):
    """Tells a trial the monitored figure after each validation, and stops it where it is pruned.

    Args:
        trial: of Optuna.
        monitor: figure of validation; None: nothing is told.
    """

    def __init__(self, trial: Any, monitor: str | None) -> None:
        self.trial, self.monitor = trial, monitor

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called by Lightning."""
        figure = trainer.callback_metrics.get(self.monitor) if self.monitor else None
        if trainer.sanity_checking or trainer.state.fn != "fit" or figure is None:
            return
        self.trial.report(float(figure), trainer.current_epoch)  # one that is told already stays
        if self.trial.should_prune():
            self.trial.set_user_attr("pruned", True)
            trainer.should_stop = True


def _pruner(kind: Pruner) -> optuna.pruners.BasePruner:
    if kind == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
    if kind == "asha":
        return optuna.pruners.SuccessiveHalvingPruner()
    return optuna.pruners.NopPruner()


def _storage(path: Path) -> optuna.storages.RDBStorage:
    """Several workers wait for one another."""
    waiting = {"connect_args": {"timeout": 60}}
    return optuna.storages.RDBStorage(f"sqlite:///{path.absolute()}", engine_kwargs=waiting)
