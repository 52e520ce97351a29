"""From a composed config, or a run folder, to live parts: all is checked before data is read."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lightning_rec import config, threads
from lightning_rec.build.callbacks import check_monitor
from lightning_rec.build.keys import check_keys
from lightning_rec.errors import UserError
from lightning_rec.predict.asking import Frame
from lightning_rec.predict.base import Predictor
from lightning_rec.problems.base import Problem
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.foreign import unquoted
from lightning_rec.runs.parts import with_parts
from lightning_rec.runs.resuming import changed
from lightning_rec.trust import trusting


def problem_of(cfg: DictConfig) -> Problem[Any]:
    """The problem of ``cfg.task``, checked without data. Raises UserError naming a wrong key."""
    check_keys(cfg)
    settings = config.plain(cfg.task)
    config.expect("task", settings, Problem)
    kind: Any = config.target("task", settings)
    problem: Problem[Any] = kind(cfg, **config.check("task", settings))
    check_monitor(cfg, problem.known_figures(), validates=problem.protocol.validates)
    return problem


def load_run(
    folder: str | Path,
    *overrides: str,
    new_items: Frame | None = None,
    trust: str | Iterable[str] = (),
) -> Predictor:
    """Load a completed run, without its data: the folder, and its language model if it has one.

    ``overrides`` change values of its config, as ``item.encoder=FOLDER`` where that has moved.
    ``new_items``, a frame of ``item`` and what the run knows items by (``title``), are items that
    training did not have, for a run that reads texts: it then answers with them and for them.
    ``trust`` names modules of your own, one or several, whose classes the run may build.

    Raises UserError if it is no completed run, is not as the run wrote it, builds what is not
    trusted, or is of a problem that cannot be asked yet.
    """
    threads.watch()
    run = RunFolder.open(Path(folder))
    with trusting(trust), unquoted(run, overrides, "model"):
        problem = problem_of(with_parts(run, changed(run.config, list(overrides))))
        run.check_completed("run")
        if problem.predictor is None:
            raise UserError(
                f"{run.path} is a run of task={problem.name}, which cannot be asked from Python."
            )
        return problem.predictor.of(run, problem, new_items)
