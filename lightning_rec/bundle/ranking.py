"""The ranker of a pipeline in a bundle."""

from typing import Any

import torch

from lightning_rec import building
from lightning_rec.bundle.packed import Packed, load
from lightning_rec.models.candidates import Ranker, ranker_schema
from lightning_rec.models.clicks.parts import ClickModel


def ranker_in(settings: dict[str, Any], packed: Packed, prefix: str) -> Any:
    """The ranker of a pipeline, with its weights: ``settings`` are ``model`` and ``features``."""
    names = [str(name) for name in settings["features"]]
    building.expect("model", settings["model"], ClickModel)
    model = building.build("model", settings["model"], schema=ranker_schema(names))
    ranker = Ranker(model, names, torch.zeros(len(names)), torch.ones(len(names)))
    return load(ranker, packed.take(prefix))
