"""What a run of sequences of other data knew: nothing of it belongs to single users or items."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lightning_rec import config
from lightning_rec.data.pipeline import AuditedLog
from lightning_rec.data.split import Schema
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError, listed
from lightning_rec.files import sha256_file
from lightning_rec.items.base import ItemNode, SumOf, known_by
from lightning_rec.items.features import Features
from lightning_rec.items.semantic import SemanticIds
from lightning_rec.methods.update import Before
from lightning_rec.models.base import ReadsVectors
from lightning_rec.models.items.base import item_encoders
from lightning_rec.problems.earlier_features import categories, rescaled
from lightning_rec.problems.sequence_tables import described_items
from lightning_rec.problems.updating import check_whitening, growing, places
from lightning_rec.runs import weights
from lightning_rec.runs.folder import RunFolder

KNOWN = "item=text, vectors, images or features"
# Keys of an item encoder that say where its vectors are, and what changes none of them.
_WHERE = (
    *("path", "item_ids", "id_column", "vector_column", "column", "missing"),
    *("encoder", "template", "cache_gb", "step_gb", "texts_a_step"),
)


def elsewhere(
    cfg: Any, loaded: AuditedLog, folder: str, make: Callable[[Schema], nn.Module]
) -> Before:
    """What the run in ``folder`` knew. ``make``: the model over a schema, on the meta device.

    Raises UserError if the run, or this one, knows users or items one by one, or if its weights
    would stand for something else.
    """
    run = RunFolder.open(Path(folder))
    _check_items(f"method.run={folder}", run.config)
    _check_items("method=transfer", cfg)
    check_whitening(cfg)
    for node in ("model", "item", "adapter"):
        old, new = (_deciding(config.plain(each.get(node)) or {}) for each in (run.config, cfg))
        if old != new:
            odd = [
                f"{node}.{key}={old.get(key)}, not {new.get(key)}"
                for key in dict.fromkeys([*old, *new])
                if old.get(key) != new.get(key)
            ]
            raise UserError(
                f"method.run={folder} has another {node}= than this run: its weights are of "
                f"{listed(odd, 4)}. Say the same."
            )
    run.check_language(cfg)
    grows = growing(make, cfg.batches.max_len)
    _check_model(cfg, make, grows)
    items, known = described_items(loaded), run.table("items").sort("code")
    state = rescaled(cfg, make, known, items, weights.found(run.path))
    grows = {name: ((),) * each.ndim for name, each in state.items()} | grows
    codes: dict[str, Ints] = {}
    there: dict[str, int] = {}
    for name, (then, now) in categories(cfg, make, known, items).items():
        codes[name], there[name], grows[name] = places(now, then), len(then), ((name,), ())
    facts = {"weights": sha256_file(run.path / weights.NAME)}
    nothing = np.zeros(0, dtype=np.int64)
    return Before(state, grows, codes, there, {}, nothing, lambda k: nothing, facts=facts)


def _check_items(what: str, cfg: Any) -> None:
    """Raise UserError where a config knows items by what belongs to its own data."""
    node = known_by(cfg)
    parts: list[ItemNode | None] = [*node.parts.values()] if isinstance(node, SumOf) else [node]
    for part in parts:
        if part is None or part.by_id or part.reads_graph or isinstance(part, SemanticIds):
            title = "ids" if part is None else part.title
            raise UserError(
                f"{what} knows items by {title}, which other data has not: train it by {KNOWN}."
            )
        if isinstance(part, Features) and part.columns is None:
            raise UserError(
                f"{what} knows items by all columns of its catalogue: name those that both have, "
                "item.columns=[…]."
            )


def _check_model(
    cfg: Any, make: Callable[[Schema], nn.Module], grows: dict[str, tuple[tuple[str, ...], ...]]
) -> None:
    """Raise UserError where a model has a place for each user or item, or is fitted at once."""
    with torch.device("meta"):
        model = make(Schema(100, cfg.batches.max_len, 100))
    name = type(model).__name__
    if cfg.objective._target_.endswith(".ClosedForm"):
        raise UserError(
            f"method=transfer: {name} is fitted at once, and has no weights to begin with."
        )
    if isinstance(model, ReadsVectors) or next(item_encoders(model), None) is None:
        raise UserError(
            f"method=transfer: {name} has no encoder of items that is all it knows of them: use a "
            f"model of sequences, such as model=unisrec or sasrec, over {KNOWN}."
        )
    for key, weight in model.named_parameters():
        if weight.requires_grad and any(grows[key]):
            kinds = " and ".join({kind: None for of in grows[key] for kind in of})
            raise UserError(
                f"method=transfer: {name} has a weight for each {kinds}, {key}, which other data "
                "has not."
            )


def _deciding(node: dict[str, Any]) -> dict[str, Any]:
    """The keys of a node that decide what its weights stand for."""
    return {
        key: _deciding(value) if isinstance(value, dict) else value
        for key, value in node.items()
        if key not in _WHERE and not key.endswith("dropout")
    }
