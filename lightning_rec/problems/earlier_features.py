"""What an earlier run read of the features of items, beside what is read of them now."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import nn

from lightning_rec import config
from lightning_rec.adapters.whole import Frozen
from lightning_rec.data.split import Schema
from lightning_rec.errors import UserError, listed
from lightning_rec.items.base import Reading, SumOf, known_by
from lightning_rec.items.features import Features
from lightning_rec.models.items.features import FeatureItems, ItemFeatures, moved_waves
from lightning_rec.models.sequential.difsr import DIFSR


def of_features(
    cfg: Any, make: Callable[[Schema], nn.Module], known: pl.DataFrame, items: pl.DataFrame
) -> dict[str, tuple[ItemFeatures, ItemFeatures]]:
    """Of each encoder of ``item=features``, by name, what it read in the run, and reads now."""
    node = known_by(cfg)
    every = node.parts.values() if isinstance(node, SumOf) else [node]
    nodes = [each for each in every if isinstance(each, Features)]
    if not nodes:
        return {}
    with torch.device("meta"):
        model = make(Schema(len(items), cfg.batches.max_len, 1))
    tables = [name for name, each in model.named_modules() if isinstance(each, FeatureItems)]
    of = [Reading(about, about["item"], len(about), Path(), Frozen(), restoring=True)
          for about in (known, items)]  # fmt: skip
    return {
        name: (each.read_features(of[0]), each.read_features(of[1]))
        for name, each in zip(tables, nodes, strict=True)
    }


def categories(
    cfg: Any, make: Callable[[Schema], nn.Module], known: pl.DataFrame, items: pl.DataFrame
) -> dict[str, tuple[pl.Series, pl.Series]]:
    """Of each table of ``item=features`` what its rows were called in the run, and are now."""
    found, kind = {}, config.target("model", config.plain(cfg.model))
    for name, both in of_features(cfg, make, known, items).items():
        then, now = (pl.Series(each.names, dtype=pl.String) for each in both)
        if len(then) and len(now):
            found[f"{name}.categories.weight".lstrip(".")] = (then, now)
            if isinstance(kind, type) and issubclass(kind, DIFSR):  # which predicts them
                heads = f"predict.{sum(key.endswith('.categories.weight') for key in found) - 1}"
                found |= {f"{heads}.{part}": (then, now) for part in ("weight", "bias")}
    return found


def rescaled(
    cfg: Any,
    make: Callable[[Schema], nn.Module],
    known: pl.DataFrame,
    items: pl.DataFrame,
    state: dict[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """The weights of a run, those of numbers of ``item=features`` for numbers as they are scaled
    now: a number keeps the vector that it had, though mean and deviation have moved.

    Raises UserError where columns of numbers are others than they were, or bins are cut elsewhere.
    """
    made = dict(state)
    for name, (then, now) in of_features(cfg, make, known, items).items():
        if then.cuts != now.cuts:
            raise UserError(
                f"method.run: item.bins cuts {listed(now.cuts or then.cuts)} by the items of now, "
                "elsewhere than the run did, whose vectors are of its own bins: read numbers by "
                "waves, item.bins=null, in both runs."
            )
        if then.scales.keys() != now.scales.keys():
            raise UserError(
                f"method.run reads the numbers {listed(then.scales) or 'none'} of items, and this "
                f"run {listed(now.scales) or 'none'}: say item.columns=[…], of columns that are "
                "numbers in both."
            )
        if now.scales:
            frequency, weight = f"{name}.frequencies".lstrip("."), f"{name}.of_numbers".lstrip(".")
            order = [[*then.scales].index(each) for each in now.scales]
            scales = [torch.tensor([each.scales[key] for key in now.scales], dtype=torch.float64)
                      for each in (then, now)]  # fmt: skip
            made[frequency], made[weight] = moved_waves(
                state[frequency][order], state[weight][order], *scales
            )
    return made
