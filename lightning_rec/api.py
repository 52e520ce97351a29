"""What a notebook needs: load_data, train, evaluate, load_run, sweep, ensemble, pipeline, forecast.

Each does what the command line does; those that compose a config take its overrides.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec import training
from lightning_rec.build import load_run, problem_of
from lightning_rec.commands import ensemble as joining
from lightning_rec.commands import forecast as demand
from lightning_rec.commands import sweeping
from lightning_rec.commands import train as command
from lightning_rec.config import compose
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.fetch import cache_dir
from lightning_rec.demand.study import Asked as Wanted
from lightning_rec.demand.study import Study
from lightning_rec.lab import read_runs
from lightning_rec.lab.ensembles import Asked
from lightning_rec.lab.pipelines import Asked as Piped
from lightning_rec.lab.reading import Source
from lightning_rec.passwords import take_passwords
from lightning_rec.runs.folder import RunFolder
from lightning_rec.trust import trusting

__all__ = [
    "ensemble",
    "evaluate",
    "forecast",
    "load_data",
    "load_run",
    "pipeline",
    "sweep",
    "train",
]

Folder = str | Path


def load_data(*overrides: str, config_dir: Folder | None = None) -> Audited[Any]:
    """The data of a config: prepared, split and audited, as a training reads it.

    Args:
        overrides: as of the command line, such as ``data=table``, ``data.path=log.csv``.
        config_dir: a folder of further configs.

    Raises UserError where the config or the data cannot be used.
    """
    problem = problem_of(compose(overrides, _folders(config_dir)))
    return problem.load(cache_dir())


def train(*overrides: str, config_dir: Folder | None = None) -> RunFolder:
    """Train, evaluate and record a run.

    Args:
        overrides: see :func:`load_data`.
        config_dir: see :func:`load_data`.

    Returns:
        The run: its ``path``, and ``metrics``, its figures by name. :func:`load_run` of the path is
        the trained model, to be asked.

    Raises UserError on bad input, before any training.
    """
    cfg = compose(overrides, _folders(config_dir))
    folder = Path(cfg.run_dir)
    training.train(command.frozen(cfg), folder, list(overrides))
    return RunFolder.open(folder)


def evaluate(run: Folder, *overrides: str, trust: str | Iterable[str] = ()) -> dict[str, float]:
    """Figures of a finished run computed again; ``trust``: see :func:`load_run`.

    Raises UserError if its files or data changed.
    """
    with trusting(trust):
        return training.evaluate(Path(run), list(overrides))[1]


def sweep(*overrides: str, config_dir: Folder | None = None) -> pl.DataFrame:
    """Train a run for each combination of values, as ``lightning-rec train -m`` does.

    Args:
        overrides: some with several values, such as ``model.dim=32,64``, ``seed=1,2,3``.
        config_dir: see :func:`load_data`.

    Returns:
        A row for each finished run: its folder, the settings that differ, its figures; see
        :func:`lightning_rec.lab.read_runs`.

    Raises UserError on bad input. A run that fails does not stop the others.
    """
    named = [each.partition("=")[2] for each in overrides if each.startswith("run_dir=")]
    folder = Path(named[-1] if named else sweeping.sweep_folder())
    flags = [f"--config-dir={each}" for each in _folders(config_dir)]
    command.run(["-m", *flags, *take_passwords(overrides), f"run_dir={folder}"])
    return read_runs(folder)


def ensemble(
    *runs: Source,
    by: str | None = None,
    weights: str | Sequence[float] = "equal",
    k: int | None = None,
    to: Folder | None = None,
) -> RunFolder:
    """Let finished runs answer together, as ``lightning-rec ensemble`` does.

    Args:
        runs: run folders, or sweeps, of which the completed jobs are taken; or such by name.
        by: what the mean is of: ``scores``, ``probabilities`` or ``ranks``; None takes scores of
            sequences, probabilities of clicks.
        weights: ``equal``, ``fitted`` on validation, or one for each member.
        k: of ``by="ranks"``, 1 / (k + rank); None takes 60.
        to: the folder of the ensemble; None makes one below ``runs``.

    Returns:
        The run, as of :func:`train`. Its folder has ``ensemble.json`` with the weights, the figures
        of each member, and how alike they are.

    Raises UserError where the members cannot be joined, before anything is written.
    """
    said = weights if isinstance(weights, str) else [float(each) for each in weights]
    return joining.make([*runs], Asked(by, said, k), to)[0]


def pipeline(
    *runs: Source,
    quotas: int | Sequence[int] = 100,
    ranker: Sequence[str] | Folder | None = ("model=lightgbm",),
    negatives: int = 100,
    seed: int = 1,
    held: float = 0.2,
    stages: Folder | None = None,
    to: Folder | None = None,
) -> RunFolder:
    """Let finished runs retrieve and a model of clicks rank, as ``lightning-rec pipeline`` does.

    Args:
        runs: run folders, or such by name.
        quotas: how many items each gives, one number for all or one for each.
        ranker: overrides of the run of clicks that ranks, or of queries the folder of a run of a
            cross-encoder; None ranks by reciprocal rank fusion.
        negatives: candidates of a query that the ranker learns from, beside the target; 0: all.
        seed: of what is drawn.
        held: of matching, the share of the training queries that the ranker learns from.
        stages: where stages are kept; None: ``runs/stages``.
        to: the folder of the pipeline; None makes one below ``runs``.

    Returns:
        The run, as of :func:`train`. Its folder has ``pipeline.json``, what each stage finds and
        loses.

    Raises UserError where the runs cannot be joined, before anything is written.
    """
    from lightning_rec.commands import stages as staged

    each = [quotas] if isinstance(quotas, int) else [*quotas]
    by = Path(ranker) if isinstance(ranker, str | Path) else ranker
    asked = Piped(each, by, negatives, seed, held)
    return staged.make([*runs], asked, stages, to)[0]


def forecast(
    *overrides: str,
    config_dir: Folder | None = None,
    to: Folder | None = None,
    overwrite: bool = False,
    **asked: Any,
) -> Study:
    """Forecast how much of each item will be asked for, as ``lightning-rec forecast`` does.

    Args:
        overrides: those of data, see :func:`load_data`.
        config_dir: see :func:`load_data`.
        to: a folder for what is found; None writes nothing.
        overwrite: over what an earlier forecast wrote there.
        asked: keys of the verb, such as ``every="week"``, ``horizon=4``, ``models=["ses"]``;
            ``stock`` may be a frame.

    Returns:
        ``figures`` of the backtest, ``forecasts`` and ``stock`` as Polars frames, and what they are
        made of.

    Raises UserError on bad input.
    """
    if to is not None:
        demand.check(Path(to), overwrite=overwrite)
    made = demand.make(list(overrides), Wanted.of(**asked), _folders(config_dir))
    if to is not None:
        demand.write(made, list(overrides), Path(to))
    return made


def _folders(config_dir: Folder | None) -> list[Path]:
    return [Path(config_dir)] if config_dir is not None else []
