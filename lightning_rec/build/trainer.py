"""The trainer of any problem, with its callbacks and trackers."""

import functools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint, WeightAveraging
from pytorch_lightning.profilers import PassThroughProfiler

from lightning_rec import config, threads
from lightning_rec.files import sha256_json
from lightning_rec.runs import tracking
from lightning_rec.runs.checkpoints import CheckpointFiles

SHORT = ("fast_dev_run", "overfit_batches")  # trial runs of Lightning


def make_trainer(
    cfg: DictConfig,
    folder: Path,
    *,
    training: bool = True,
    validates: bool = True,
    step: int | None = None,
    run_ids: Mapping[str, str] | None = None,
) -> pl.Trainer:
    """The trainer. Without ``training`` it has no loggers and no callback but the progress bar.

    Where nothing ``validates`` there is no figure to monitor: the last weights are kept, and
    training goes on to its end. Trackers of a resumed run go on after ``step``, under ``run_ids``.
    """
    validates = validates and cfg.trainer.get("limit_val_batches") != 0
    callbacks = {
        name: node
        for name, node in (cfg.get("callbacks") or {}).items()
        if node and (training or name == "progress") and (validates or not node.get("monitor"))
    }
    trackers = []
    for name, node in (cfg.get("logger") or {}).items() if training else ():
        if not node:
            continue
        live = _live(node, save_dir=folder, step=step, run_id=(run_ids or {}).get(name))
        build = functools.partial(config.build, f"logger.{name}", node, **live)
        trackers.append(tracking.start(name, build))
    trainer: pl.Trainer = config.build(
        "trainer",
        cfg.trainer,
        callbacks=[
            config.build(f"callbacks.{name}", node, **_live(node, dirpath=folder / "checkpoints"))
            for name, node in callbacks.items()
        ],
        logger=[tracker for tracker in trackers if tracker is not None],
        plugins=[CheckpointFiles(folder)],
        enable_checkpointing=bool({"best", "last"} & set(callbacks)),
        enable_progress_bar="progress" in callbacks,
        default_root_dir=folder,
        **({} if validates else {"limit_val_batches": 0}),
    )
    made: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if any(isinstance(each, WeightAveraging) for each in made):
        # The average, which is what is validated, is in whole checkpoints alone.
        for each in (each for each in made if isinstance(each, ModelCheckpoint)):
            each.save_weights_only = False
    if "LOCAL_RANK" not in os.environ:  # a further process has its share from the first one
        threads.share(processes=trainer.num_devices)
    threads.watch()
    return trainer


@contextmanager
def unwatched(trainer: pl.Trainer) -> Iterator[None]:
    """Let no tracker see steps: figures of the end are told once, by :func:`tracking.end`.

    Nor does a profiler, which is of the training; torch's own fails where there is a single batch.
    """
    loggers, trainer.loggers = trainer.loggers, []
    trainer.profiler = PassThroughProfiler()  # type: ignore[attr-defined]
    yield
    trainer.loggers = loggers


def partial(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the trainer by which figures are of a part of the data; empty for whole ones."""
    settings = config.plain(cfg.trainer)
    found = {
        key: value
        for key in ("limit_val_batches", "limit_test_batches")
        if (value := settings.get(key, 1.0)) is not None
        and not (isinstance(value, float) and value == 1.0)  # 1 is a single batch
    }
    return found | {key: value for key in SHORT if (value := settings.get(key))}


def recorded_hash(protocol_hash: str, part: Mapping[str, Any] | None) -> str:
    """The hash of a protocol for the record: another one for figures of a part of the data."""
    return sha256_json({"protocol": protocol_hash, "partial": part}) if part else protocol_hash


def _live(node: DictConfig, **known: Any) -> dict[str, Any]:
    """Arguments known at run time only, such as a folder, where the config leaves them null."""
    return {key: value for key, value in known.items() if key in node and node[key] is None}
