"""From a composed config to live parts, everything checked before any data is read."""

from typing import Any

from omegaconf import DictConfig

from lightning_rec import config
from lightning_rec.build.callbacks import check_monitor
from lightning_rec.build.keys import check_keys
from lightning_rec.problems.base import Problem


def problem_of(cfg: DictConfig) -> Problem[Any]:
    """The problem that ``cfg.task`` names, built and checked as far as it needs no data.

    Raises UserError naming the key at fault.
    """
    check_keys(cfg)
    settings = config.plain(cfg.task)
    config.expect("task", settings, Problem)
    kind: Any = config.target("task", settings)
    problem: Problem[Any] = kind(cfg, **config.check("task", settings))
    check_monitor(cfg, problem.known_figures(), validates=problem.protocol.validates)
    return problem
