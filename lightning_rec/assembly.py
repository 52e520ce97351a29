"""From a composed config to live parts, everything checked before any data is read."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from lightning_rec import config
from lightning_rec.data.datamodules import SequenceData
from lightning_rec.data.features import multi_hot
from lightning_rec.data.pipeline import Audited
from lightning_rec.data.schema import Source
from lightning_rec.data.split import Schema, Split
from lightning_rec.data.splits import Protocol
from lightning_rec.errors import UserError, listed, nearest
from lightning_rec.metrics.ranking import RankingMetrics, metric_names
from lightning_rec.metrics.slices import slices_of
from lightning_rec.models.base import Fitted, ReadsCatalogue
from lightning_rec.objectives.base import Objective
from lightning_rec.objectives.closed_form import ClosedForm
from lightning_rec.tasks.sequence import SequenceTask

SKETCH_ITEMS = 100  # catalogue of the model that is built, without memory, to check its config


@dataclass(frozen=True)
class Parts:
    """What does not depend on data: built, and the rest checked."""

    source: Source
    protocol: Protocol
    objective: Objective
    loss: Callable[[Split], nn.Module] | None
    model: Callable[[Schema], nn.Module]
    sketch: nn.Module  # the model over SKETCH_ITEMS items on the meta device


def assemble(cfg: DictConfig) -> Parts:
    """Build and check all parts that need no data. Raises UserError naming the key at fault."""
    objective = config.build("objective", cfg.objective)
    make_model = partial(_model, cfg.model)
    with torch.device("meta"):
        sketch = make_model(Schema(SKETCH_ITEMS, cfg.batches.get("max_len", 2), SKETCH_ITEMS))
        if cfg.baseline:
            config.build("baseline", cfg.baseline, schema=sketch.schema)
    _check_pairing(sketch, objective, cfg)
    for node in ("batches", "task", "optimizer", "schedule", "trainer"):
        config.check(node, config.plain(cfg[node]))
    if cfg.get("loss"):
        config.check("loss", config.plain(cfg.loss))
    if list(sketch.parameters()):
        config.build("optimizer", cfg.optimizer, params=sketch.parameters())
    protocol = config.build("protocol", cfg.protocol)
    _check_top(cfg, protocol)
    return Parts(
        source=config.build("data", cfg.data),
        protocol=protocol,
        objective=objective,
        loss=partial(_loss, cfg.loss) if cfg.get("loss") else None,
        model=make_model,
        sketch=sketch,
    )


def _check_top(cfg: DictConfig, protocol: Protocol) -> None:
    """Check what stands at the top of the config and belongs to no part."""
    if not isinstance(cfg.seed, int) or cfg.seed < 0:
        raise UserError(f"seed={cfg.seed}: it must be a whole number, 0 or more.")
    known = [f"val/{name}" for name in metric_names(protocol.cutoffs)]
    if protocol.candidates is not None:
        suffix = protocol.candidates.suffix
        known += [f"val/{name}" for name in metric_names(protocol.cutoffs, suffix)]
    if cfg.monitor not in known and protocol.val_users != 0:
        raise UserError(
            f"monitor={cfg.monitor} is no figure of validation.{nearest(cfg.monitor, known)} "
            f"There are: {listed(known)}."
        )


def _model(settings: DictConfig, schema: Schema) -> nn.Module:
    model: nn.Module = config.build("model", settings, schema=schema)
    return model


def _loss(settings: DictConfig, split: Split) -> nn.Module:
    """The loss; one that draws negatives asks for the training events to draw by."""
    wanted = inspect.signature(config.target("loss", config.plain(settings))).parameters
    live = {"split": split} if "split" in wanted else {}
    loss: nn.Module = config.build("loss", settings, **live)
    return loss


def _check_pairing(model: nn.Module, objective: Objective, cfg: DictConfig) -> None:
    """Refuse pairings that make no sense, with those that do."""
    taken: tuple[str, ...] = getattr(model, "objectives", ())
    name = type(model).__name__
    # An objective that adds to another one is taken by whoever takes that.
    if getattr(objective, "kind", objective.name) not in taken:
        raise UserError(
            f"{name} cannot learn by objective={objective.name}: it takes {' or '.join(taken)}."
        )
    fitted = objective.name == "closed_form"
    if fitted == bool(cfg.get("loss")):
        raise UserError(
            f"{name} is fitted in closed form and takes no loss: drop loss=, or say '~loss'."
            if fitted
            else f"{name} learns by objective={objective.name} and needs a loss: "
            f"loss={'|'.join(config.choices('loss'))}."
        )


def make_data(cfg: DictConfig, parts: Parts, loaded: Audited) -> SequenceData:
    """The data module over audited data."""
    module = config.build(
        "batches",
        cfg.batches,
        split=loaded.split,
        seed=cfg.seed,
        window=parts.objective.window,
        candidates=parts.protocol.candidates,
    )
    assert isinstance(module, SequenceData)
    return module


def make_task(cfg: DictConfig, parts: Parts, loaded: Audited, data: SequenceData) -> SequenceTask:
    """The task over a fresh model, fitted already if it is fitted in closed form."""
    model = parts.model(data.schema)
    counts = torch.from_numpy(loaded.split.train_counts.copy())
    if isinstance(model, ReadsCatalogue):
        model.read_catalogue(loaded.data.items[loaded.split.vocabulary.tolist()])
    if isinstance(model, Fitted):
        model.fit(loaded.split)
    task = config.build(
        "task",
        cfg.task,
        model=model,
        objective=parts.objective,
        loss=parts.loss(loaded.split) if parts.loss else None,
        optimizer=lambda parameters: config.build("optimizer", cfg.optimizer, params=parameters),
        schedule=lambda optimizer, steps: config.build(
            "schedule", cfg.schedule, optimizer=optimizer, total_steps=steps
        ),
        **_metrics(parts.protocol, loaded, counts),
        seed=cfg.seed,
    )
    assert isinstance(task, SequenceTask)
    return task


def _metrics(protocol: Protocol, loaded: Audited, counts: Tensor) -> dict[str, Any]:
    """What is measured; slices and diversity in the test alone, which is made once."""
    split, cutoffs = loaded.split, protocol.cutoffs
    history = split.test.end - split.offsets[split.test.user]
    target = torch.from_numpy(split.test.target.copy())
    slices = slices_of(torch.from_numpy(history), target, counts)
    features = multi_hot(loaded.data.items, np.asarray(split.vocabulary)) if loaded.data else None
    about = None if features is None else torch.from_numpy(features)
    metrics = {
        "val": RankingMetrics(counts, cutoffs),
        "test": RankingMetrics(counts, cutoffs, features=about, slices=slices),
    }
    if protocol.candidates is None:
        return {"metrics": metrics, "sampled": None}
    suffix = protocol.candidates.suffix
    sampled = {stage: RankingMetrics(counts, cutoffs, suffix) for stage in metrics}
    return {"metrics": metrics, "sampled": sampled}


def make_baseline(
    cfg: DictConfig, parts: Parts, loaded: Audited, data: SequenceData
) -> SequenceTask:
    """The task over ``cfg.baseline``, a model fitted in closed form."""
    beside = replace(parts, model=partial(_model, cfg.baseline), objective=ClosedForm(), loss=None)
    return make_task(cfg, beside, loaded, data)


def make_trainer(
    cfg: DictConfig, folder: Path, *, training: bool = True, validates: bool = True
) -> pl.Trainer:
    """The trainer. Without ``training`` it has no loggers and no callback but the progress bar.

    Where nothing ``validates`` there is no figure to monitor: the last weights are kept, and
    training goes on to its end.
    """
    callbacks = {name: node for name, node in (cfg.get("callbacks") or {}).items() if node}
    if not validates:
        callbacks = {name: node for name, node in callbacks.items() if not node.get("monitor")}
    loggers = {name: node for name, node in (cfg.get("logger") or {}).items() if node}
    if not training:
        callbacks, loggers = {name: callbacks[name] for name in callbacks if name == "progress"}, {}
    trainer: pl.Trainer = config.build(
        "trainer",
        cfg.trainer,
        callbacks=[
            config.build(
                f"callbacks.{name}", node, **_inside(node, "dirpath", folder / "checkpoints")
            )
            for name, node in callbacks.items()
        ],
        logger=[
            config.build(f"logger.{name}", node, **_inside(node, "save_dir", folder))
            for name, node in loggers.items()
        ],
        enable_checkpointing=bool({"best", "last"} & set(callbacks)),
        enable_progress_bar="progress" in callbacks,
        default_root_dir=folder,
        **({} if validates else {"limit_val_batches": 0}),
    )
    return trainer


def _inside(node: DictConfig, key: str, folder: Path) -> dict[str, Any]:
    """Where a part writes, unless its config says so itself."""
    return {key: folder} if key in node and node[key] is None else {}
