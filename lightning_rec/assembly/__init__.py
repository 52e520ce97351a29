"""From a composed config to live parts, everything checked before any data is read."""

from typing import Any

from omegaconf import DictConfig

from lightning_rec import config
from lightning_rec.assembly.clicks import Clicks
from lightning_rec.assembly.matching import Matching
from lightning_rec.assembly.pretraining import Pretraining
from lightning_rec.assembly.problem import Problem
from lightning_rec.assembly.prompts import PromptedClicks
from lightning_rec.assembly.sequences import Sequences
from lightning_rec.assembly.spine import check_spine
from lightning_rec.assembly.trainer import make_trainer, partial, recorded_hash
from lightning_rec.errors import UserError, listed
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.click import ClickTask
from lightning_rec.tasks.match import MatchTask
from lightning_rec.tasks.mlm import MaskedWords
from lightning_rec.tasks.sequence import SequenceTask

__all__ = [
    "Clicks",
    "Matching",
    "Pretraining",
    "Problem",
    "PromptedClicks",
    "Sequences",
    "assemble",
    "make_trainer",
    "partial",
    "recorded_hash",
]

PROBLEMS: dict[type[Task], type[Problem[Any]]] = {
    SequenceTask: Sequences,
    ClickTask: Clicks,
    MaskedWords: Pretraining,
    MatchTask: Matching,
}


def assemble(cfg: DictConfig) -> Problem[Any]:
    """The problem that ``cfg.task`` is about, built and checked as far as it needs no data.

    Raises UserError naming the key at fault.
    """
    check_spine(cfg)
    wanted = _class("task", cfg)
    for task, problem in PROBLEMS.items():
        if issubclass(wanted, task):
            asked = problem is Clicks and issubclass(_class("model", cfg), PromptedClicks.kind)
            return PromptedClicks(cfg) if asked else problem(cfg)
    raise UserError(
        f"task._target_={cfg.task._target_} is none of the tasks there are: "
        f"task={listed(config.choices('task'))}."
    )


def _class(node: str, cfg: DictConfig) -> type:
    """What a node names, if it is a class."""
    found = config.target(node, config.plain(cfg[node]))
    return found if isinstance(found, type) else object
