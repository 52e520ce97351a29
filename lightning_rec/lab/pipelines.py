"""Pipelines of finished runs: the configs of their stages, and what each stage loses."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from omegaconf import DictConfig, OmegaConf

from lightning_rec import config
from lightning_rec.build import load_run
from lightning_rec.errors import UserError, listed
from lightning_rec.files import sha256_file, sha256_json, write_json
from lightning_rec.lab.ensembles import HOUSE, NONE, check_members
from lightning_rec.problems.sequences import Sequences
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.parts import with_parts
from lightning_rec.runs.resuming import best_epoch

log = logging.getLogger(__name__)

NAME = "pipeline.json"
VERSION = 1  # of the features of candidates: raise it when they mean something else
QUOTA = 100
ASKED = 100  # histories that are asked one by one, to time the stages
SUSPICIOUS = 1.5  # times the recall of validation, for what may have been trained on its targets
# What changes no figure, so that a kept stage fits without it.
_BESIDE = ("run_dir", "name", "logger", "tracking", "examples", "callbacks", "baseline")


class Asked(NamedTuple):
    """What is asked for.

    quotas: how many items each retriever gives, one for all or one for each.
    ranker: overrides of the run of clicks that ranks; None: nothing does, but the ranks of the
        retrievers.
    negatives: candidates of a query that the ranker learns from, beside the target; 0 takes all.
    seed: of what is drawn.
    """

    quotas: Sequence[int] = (QUOTA,)
    ranker: Sequence[str] | None = ("model=lightgbm",)
    negatives: int = 100
    seed: int = 1

    def said(self) -> list[str]:
        """As the command line says it."""
        ranker = "none" if self.ranker is None else " ".join(self.ranker)
        return [
            f"quotas={config.as_override([*self.quotas])}",
            f"ranker={config.as_override(ranker)}",
            f"negatives={self.negatives}",
            f"seed={self.seed}",
        ]


def quotas_of(members: Mapping[str, Path], asked: Asked) -> dict[str, int]:
    """The quota of each retriever. Raises UserError where they are not one for each."""
    said = [*asked.quotas]
    if len(said) == 1:
        said *= len(members)
    if len(said) != len(members) or min(said) < 1:
        raise UserError(
            f"quotas={config.as_override([*asked.quotas])}: say how many items each of "
            f"{listed(members)} gives, 1 or more, or one number for all."
        )
    return dict(zip(members, said, strict=True))


def check_retrievers(members: Mapping[str, Path]) -> None:
    """Raise UserError where runs are of other data or protocols, not as they were written, or no
    runs of sequences.
    """
    check_members(members)
    for name, path in members.items():
        cfg = RunFolder.open(path).config
        found: Any = config.target("task", config.plain(cfg.task))
        if found is not Sequences:
            raise UserError(
                f"{name}={path} is a run of {found.__name__}; retrievers are runs of task=sequence."
            )


def earlier(run: RunFolder) -> DictConfig:
    """The config of a retriever that is trained on what was before the ranker's targets.

    Nothing validates there: as many epochs are trained as gave the best weights of ``run``.
    """
    cfg = with_parts(run, run.config)
    changed: dict[str, Any] = {
        "callbacks": {},
        "logger": {},
        "baseline": None,
        "examples": 0,
        "protocol.earlier": True,
    }
    for key, value in changed.items():
        OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    if (epochs := best_epoch(run)) is not None:
        cfg.trainer.max_epochs = epochs
    return cfg


def composed(
    members: Mapping[str, Path], quotas: Mapping[str, int], ranker: Path | None, folder: Path
) -> DictConfig:
    """The config of the run of a pipeline: that of the first retriever, with all as its model."""
    cfg = RunFolder.open(next(iter(members.values()))).config
    changed = {
        **{key: None for key in NONE if key in cfg},
        "model": {
            "_target_": f"{HOUSE}.models.pipelines.Pipeline",
            "members": {name: str(path.absolute()) for name, path in members.items()},
            "quotas": dict(quotas),
            "ranker": None if ranker is None else str(ranker.absolute()),
        },
        "objective": {"_target_": f"{HOUSE}.objectives.closed_form.ClosedForm"},
        "callbacks": {},
        "logger": {},
        "name": f"{cfg.data.name}_pipeline",
        "run_dir": str(folder),
    }
    for key, value in changed.items():
        OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    cfg.task._target_ = f"{HOUSE}.problems.pipelines.PipelinedSequences"
    cfg.tracking.name = None
    lengths = [RunFolder.open(path).config.batches.max_len for path in members.values()]
    cfg.batches.max_len = max(lengths)
    return cfg


def key_of_run(cfg: DictConfig, run: RunFolder) -> str:
    """The name of a stage that is a run: of its config, and the data of ``run``."""
    settings = {key: value for key, value in config.plain(cfg).items() if key not in _BESIDE}
    hashes = [run.card.get(name) for name in ("data_hash", "catalogue_hash")]
    return sha256_json([settings, hashes])[:12]


def key_of_candidates(members: Mapping[str, Path], quotas: Mapping[str, int], asked: Asked) -> str:
    """The name of the candidates that retrievers give: of their weights, and what is drawn."""
    weights = {name: sha256_file(path / "weights.safetensors") for name, path in members.items()}
    data = [RunFolder.open(path).card["data_hash"] for path in members.values()]
    drawn = [asked.negatives, asked.seed]
    return sha256_json([VERSION, [*weights.items()], data, [*quotas.items()], drawn])[:12]


def key_of_table(table: Path, cfg: DictConfig) -> str:
    """The name of a ranker: of its config, and the candidates of a ``table``."""
    settings = {key: value for key, value in config.plain(cfg).items() if key not in _BESIDE}
    settings["data"] = settings["data"] | {"path": table.parent.name}
    return sha256_json(settings)[:12]


def ranker_overrides(table: Path, features: Sequence[str], asked: Asked) -> list[str]:
    """What composes the run of clicks that ranks candidates of a table."""
    assert asked.ranker is not None
    return [
        "data=click_table",
        f"data.path={config.as_override(str(table))}",
        "data.name=candidates",
        *asked.ranker,
        f"data.fields.numeric={config.as_override([*features])}",
        "data.fields.label=label",
        "data.fields.group=query",
        "protocol=random_rows",
        "protocol.whole_groups=true",
        "logger=[]",
        "callbacks=[checkpoint,early_stopping]",
        f"seed={asked.seed}",
    ]


def suspicions(before: Mapping[str, float], now: Mapping[str, float], number: int) -> list[str]:
    """Sentences on retrievers that found the ranker's targets far more often than validation's.

    ``before``, ``now``: shares of targets found, by retriever. ``number``: targets of ``before``.
    A retriever that was trained on the ranker's targets teaches it to trust what it will not find.
    """
    told = []
    for name, share in before.items():
        own = now[name]
        noise = np.sqrt(max(own * (1 - own), 1e-9) / max(1, number))
        if share > SUSPICIOUS * own and share > own + 5 * noise:
            told.append(
                f"{name} finds {share:.1%} of the ranker's targets and {own:.1%} of validation's: "
                "it may have been trained on them, or its features hold them."
            )
    return told


def conclude(folder: Path) -> None:
    """Write ``pipeline.json`` of a finished run that was gone on with, if it is a pipeline."""
    model = RunFolder.open(folder).config.get("model") or {}
    if ".pipelines." in str(model.get("_target_")):
        concluded(folder, {})


def concluded(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write what is to be known of a finished pipeline to ``pipeline.json``, and give it back.

    ``facts``: of its stages, as they were made; none where they are not known any more.
    """
    run = RunFolder.open(folder)
    quotas, k = dict(run.config.model.quotas), max(run.config.protocol.cutoffs)
    table, tested = run.table("origins"), run.table("test_users")
    now = {
        stage: recalls(table.filter(pl.col("stage") == stage), [*quotas])
        for stage in table["stage"].unique(maintain_order=True)
    }
    told = dict(facts) | {
        "quotas": quotas,
        "recall": now,
        "lost": losses(table.filter(pl.col("stage") == "test"), tested, k),
        "pipeline": run.metrics,
        "milliseconds": timed(folder),
    }
    before = facts.get("before")
    if before is not None and "val" in now:
        told["suspicions"] = suspicions(before["found"], now["val"]["found"], before["targets"])
        for sentence in told["suspicions"]:
            log.warning(sentence)
    run.save(NAME, lambda path: write_json(path, told))
    return told


def recalls(origins: pl.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """Of targets that are candidates of the catalogue: the share that each retriever ``found``,
    that it ``only`` found, and that ``any`` of them did; ``candidates`` of a query, in the mean.
    """
    found = origins.select(names).to_numpy().astype(bool).reshape(-1, len(names))
    alone = found & (found.sum(axis=1, keepdims=True) == 1)
    size = max(1, len(found))
    return {
        "targets": len(found),
        "found": dict(zip(names, (found.sum(axis=0) / size).tolist(), strict=True)),
        "only": dict(zip(names, (alone.sum(axis=0) / size).tolist(), strict=True)),
        "any": float(found.any(axis=1).sum() / size),
        "candidates": float(origins["candidates"].sum() / size),
    }


def losses(origins: pl.DataFrame, tested: pl.DataFrame, k: int) -> dict[str, float]:
    """Where targets of the test end, as shares that sum up to 1.

    ``unknown``: no candidate of the catalogue; ``not retrieved``; ``ranked below``: a candidate,
    but not among the best ``k``; ``shown``.
    """
    size = max(1, len(tested))
    ranks = tested["rank"].drop_nulls()
    shown = int((ranks <= k).sum())
    counts = {
        "unknown": len(tested) - len(origins),
        "not retrieved": len(origins) - len(ranks),
        "ranked below": len(ranks) - shown,
        "shown": shown,
    }
    return {"k": k} | {name: number / size for name, number in counts.items()}


def timed(folder: Path) -> dict[str, float]:
    """Milliseconds of each stage for a single history, in the mean, and of the whole, the median
    of a hundred users of the log.
    """
    predictor: Any = load_run(folder)
    model = predictor.model
    users = predictor.users["user"].head(ASKED).to_list()
    predictor.recommend(users=users[:1])  # what is built when it is first asked
    model.seconds.update(dict.fromkeys(model.seconds, 0.0))
    seconds = []
    for user in users:
        started = time.perf_counter()
        predictor.recommend(users=[user])
        seconds.append(time.perf_counter() - started)
    stages = {name: 1000 * each / len(users) for name, each in model.seconds.items()}
    return stages | {"all, median": 1000 * float(np.median(seconds))}
