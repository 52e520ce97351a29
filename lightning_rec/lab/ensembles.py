"""Ensembles of finished runs: which may be joined, the config of their run, and how they differ."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from omegaconf import DictConfig, OmegaConf

from lightning_rec import config
from lightning_rec.errors import UserError, listed
from lightning_rec.files import write_json
from lightning_rec.lab.examples import of_examples
from lightning_rec.lab.reading import Source, check_comparable, read_runs
from lightning_rec.problems.ensembles import itself
from lightning_rec.runs import checksums
from lightning_rec.runs.folder import RunFolder

log = logging.getLogger(__name__)

NAME = "ensemble.json"
HOUSE = "lightning_rec"
# By the problem of the members: the problem and the model of their ensemble, what the mean is of
# where nothing is said, and what else it may be of.
KINDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "Sequences": ("EnsembledSequences", "SequenceEnsemble", ("scores", "probabilities", "ranks")),
    "Clicks": ("EnsembledClicks", "ClickEnsemble", ("probabilities", "scores")),
}
# Parts of the first member's config that trained it, which what joins it has none of.
NONE = (
    "loss", "item", "adapter", "method", "negatives", "augment", "encoder", "baseline", "callbacks",
)  # fmt: skip


class Asked(NamedTuple):
    """What is asked for: the mean of what, by which weights; None takes what fits the problem."""

    by: str | None = None
    weights: str | list[float] = "equal"
    k: int | None = None

    def said(self) -> list[str]:
        """As the command line says it."""
        values = {"by": self.by, "weights": self.weights, "k": self.k}
        return [
            f"{key}={config.as_override(each)}" for key, each in values.items() if each is not None
        ]


def named(*sources: Source) -> dict[str, Path]:
    """Members by name: run folders, and the completed runs of folders of them, a sweep.

    ``sources``: as of :func:`read_runs`. Without a name of its own a member is called after its
    model; what would be called alike is numbered. Raises UserError for what holds no run, a name
    that cannot be one, or a run that is named twice.
    """
    pairs: list[tuple[str | None, Path]] = []
    for source in sources:
        titled: Any = source.items() if isinstance(source, Mapping) else [(None, source)]
        for title, of in titled:
            each = [of] if isinstance(of, str | Path) else list(of)
            pairs += [(title, Path(run)) for path in each for run in read_runs(path)["run"]]
    found: dict[str, Path] = {}
    for title, path in pairs:
        if path.is_file():
            raise UserError(f"{path} is a record of a run, without its weights: name its folder.")
        if path.absolute() in [other.absolute() for other in found.values()]:
            raise UserError(f"{path} is named twice: say weights=[…] if it is to count for more.")
        if title and not re.fullmatch(r"[A-Za-z_][\w-]*", title, re.ASCII):
            raise UserError(f"{title}={path}: a name is of letters, digits, - and _.")
        found[_free(title or _model_of(path), found)] = path
    if not found:
        raise UserError("No run is named: name the folders of finished runs.")
    return found


def composed(members: Mapping[str, Path], asked: Asked, folder: Path) -> DictConfig:
    """The config of the run of an ensemble: that of the first member, with the members as model.

    Raises UserError where members are not of the same data, catalogue and protocol, are not as
    they were written, or cannot be joined in this way.
    """
    check_members(members)
    cfg = RunFolder.open(next(iter(members.values()))).config
    problem, model, ways = _kind(cfg, next(iter(members.items())))
    by = asked.by or ways[0]
    if by not in ways:
        why = ", for a row is ranked among no others" if by == "ranks" and len(ways) == 2 else ""
        raise UserError(f"by={by}: the mean is of {listed(ways)} here{why}.")
    if asked.k is not None and by != "ranks":
        raise UserError(f"k={asked.k} is of by=ranks alone.")
    node = {
        "_target_": f"{HOUSE}.models.ensembles.{model}",
        "members": {name: str(path.absolute()) for name, path in members.items()},
        "by": by,
        "weights": asked.weights,
        **({"k": 60 if asked.k is None else asked.k} if by == "ranks" else {}),
    }
    changed = {
        **{key: None for key in NONE if key in cfg},
        "model": node,
        "callbacks": {},
        "logger": {},
        "name": f"{cfg.data.name}_ensemble",
        "run_dir": str(folder),
    }
    for key, value in changed.items():
        OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    cfg.task._target_ = f"{HOUSE}.problems.ensembles.{problem}"
    cfg.tracking.name = None
    if "calibrate" in cfg.task:  # a member's own temperature stays with it
        cfg.task.calibrate = "none"
    if problem == "EnsembledSequences":
        OmegaConf.update(
            cfg,
            "objective",
            {"_target_": f"{HOUSE}.objectives.closed_form.ClosedForm"},
            merge=False,
        )
        lengths = [RunFolder.open(path).config.batches.max_len for path in members.values()]
        cfg.batches.max_len = max(lengths)
    return cfg


def conclude(folder: Path) -> None:
    """Write ``ensemble.json`` of a finished run that was gone on with, if it is an ensemble.

    A warning says where it cannot be written, since a member is no longer where it was.
    """
    model = RunFolder.open(folder).config.get("model") or {}
    members = model.get("members")
    if not isinstance(members, DictConfig) or ".ensembles." not in str(model.get("_target_")):
        return
    paths = {str(name): Path(path) for name, path in members.items()}
    if gone := [path for path in paths.values() if not (path / "metrics.json").is_file()]:
        log.warning(
            "%s is not written: the figures of %s are not there any more. The ensemble itself "
            "needs none of its members.", folder / NAME, listed(gone, 3),
        )  # fmt: skip
        return
    concluded(folder, paths)


def concluded(folder: Path, members: Mapping[str, Path]) -> dict[str, Any]:
    """Write what is to be known of a finished ensemble to its folder, and give it back.

    ``weights`` and ``figures`` by member, ``ensemble`` the figures of all together, ``fitted`` what
    weights were fitted to; how alike members are: ``correlation`` of what ``of`` names, over the
    examples of the test, and of sequences ``jaccard`` of their best ``k`` items.
    """
    run = RunFolder.open(folder)
    weights = run.card.get("weights")
    if weights is None:
        given = run.config.model.weights
        weights = [1.0] * len(members) if isinstance(given, str) else list(given)
        weights = [each / sum(weights) for each in weights]
    figure = run.config.monitor.replace("val/", "test/", 1)
    of, correlation = _correlation(members, figure)
    told: dict[str, Any] = {
        "by": run.config.model.by,
        "weights": dict(zip(members, weights, strict=True)),
        "fitted": run.card.get("fitted"),
        "figures": {name: RunFolder.open(path).metrics for name, path in members.items()},
        "ensemble": run.metrics,
        "of": of,
        "correlation": correlation,
    }
    if (folder / "overlap.parquet").is_file():
        table = run.table("overlap")
        told["k"] = int(table["k"][0])
        told["jaccard"] = {
            one: dict(table.filter(pl.col("member") == one).select("other", "jaccard").iter_rows())
            for one in members
        }
    run.save(NAME, lambda path: write_json(path, told))
    return told


def _correlation(
    members: Mapping[str, Path], figure: str
) -> tuple[str, dict[str, dict[str, float | None]]]:
    """Pearson's correlation of two members' values over the examples of the test, by their names.

    Values are the probabilities of rows of clicks; else ``figure`` of each user.
    """
    rows = [path for path in members.values() if (path / "test_rows.parquet").is_file()]
    of = "probability" if len(rows) == len(members) else figure
    columns = {name: _values(path, of) for name, path in members.items()}
    return of, {
        one: {other: _pearson(columns[one], columns[other]) for other in members} for one in members
    }


def _values(path: Path, of: str) -> Any:
    """Float64 [n], in the order of the ids of examples; None where none are kept."""
    if of != "probability":
        found = of_examples(path, of)
        return None if found is None else found.value[np.argsort(found.unit, kind="stable")]
    table = RunFolder.open(path).table("test_rows").sort("row")
    names = [name for name in table.columns if name.startswith("probability")]
    return table.select(names).to_numpy().astype(np.float64).ravel()


def _pearson(one: Any, other: Any) -> float | None:
    """None where it is not defined: there are no values, or they are all the same."""
    if one is None or other is None or len(one) != len(other):
        return None
    known = np.isfinite(one) & np.isfinite(other)
    one, other = one[known], other[known]
    if len(one) < 2 or not one.std() or not other.std():
        return None
    return float(np.corrcoef(one, other)[0, 1])


def check_members(members: Mapping[str, Path]) -> None:
    """Raise UserError where runs are not of the same data, or not as they were written."""
    check_comparable(read_runs(dict(members)), "the members")
    for path in members.values():
        checksums.verify_all(path)


def _kind(cfg: DictConfig, first: tuple[str, Path]) -> tuple[str, str, tuple[str, ...]]:
    target = str(cfg.task._target_)
    for problem, kind in KINDS.items():
        if target == f"{HOUSE}.problems.{problem.lower()}.{problem}":
            return kind
    name, path = first
    found: Any = config.target("task", config.plain(cfg.task))
    joined = any(f".{each}." in target for each in ("ensembles", "pipelines", "listwise", "worded"))
    what = itself(found.__module__) if joined else f"a run of task={found.name}"
    raise UserError(f"{name}={path} is {what}; ensembles are of runs of sequences or of clicks.")


def _model_of(path: Path) -> str:
    target = str(RunFolder.open(path).config.model._target_)
    return target.rpartition(".")[2]


def _free(name: str, taken: Mapping[str, Any]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free
