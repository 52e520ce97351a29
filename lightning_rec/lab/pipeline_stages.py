"""What the stages of a pipeline find and lose, and how long they take."""

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lightning_rec.build import load_run
from lightning_rec.files import write_json
from lightning_rec.lab.pipelines import KINDS
from lightning_rec.runs.folder import RunFolder

log = logging.getLogger(__name__)

NAME = "pipeline.json"
ASKED = 100  # histories or queries that are asked one by one, to time the stages
SHOWN = 10  # items that are asked for, or as many as there may be candidates
SUSPICIOUS = 1.5  # times the recall of validation, for what may have been trained on its targets


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
    if str(model.get("_target_")) in KINDS:
        concluded(folder, {})


def concluded(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write what is to be known of a finished pipeline to ``pipeline.json``, and give it back.

    ``facts``: of its stages, as they were made; none where they are not known any more.
    """
    run = RunFolder.open(folder)
    quotas, k = dict(run.config.model.quotas), max(run.config.protocol.cutoffs)
    table = run.table("origins")
    tested = table.filter(pl.col("stage") == "test")
    now = {
        stage: recalls(table.filter(pl.col("stage") == stage), [*quotas])
        for stage in table["stage"].unique(maintain_order=True)
    }
    told = dict(facts) | {
        "quotas": quotas,
        "recall": now,
        "lost": losses(tested, tested if "rank" in tested else run.table("test_users"), k),
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
    """Where targets of the test end, as shares that sum up to 1: of a query its relevant items.

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
    """Milliseconds of each stage for a single history or query, in the mean, and of the whole, the
    median of a hundred users of the log or queries of the test.
    """
    predictor: Any = load_run(folder)
    run, model = RunFolder.open(folder), predictor.model
    if (folder / "test_queries.parquet").is_file():
        asked = run.table("test_queries")["query"].head(ASKED).to_list()
        k = min(SHOWN, predictor.retriever.longest)
        answers = [partial(predictor.recommend, [query], k) for query in asked]
    else:
        asked = predictor.users["user"].head(ASKED).to_list()
        answers = [partial(predictor.recommend, users=[user]) for user in asked]
    answers[0]()  # what is built when it is first asked
    model.seconds.update(dict.fromkeys(model.seconds, 0.0))
    seconds = []
    for answer in answers:
        started = time.perf_counter()
        answer()
        seconds.append(time.perf_counter() - started)
    stages = {name: 1000 * each / len(asked) for name, each in model.seconds.items()}
    return stages | {"all, median": 1000 * float(np.median(seconds))}
