"""Models of matching in a bundle, with their language models."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lightning_rec import building
from lightning_rec.bundle.packed import Packed, load
from lightning_rec.language.load import Language, load_language
from lightning_rec.models.text.matcher import LanguageScorer
from lightning_rec.predict.matching import MatchPredictor

LANGUAGE = "language"  # the folder of the language model; that of a first stage begins with first_
TEXT = "text."  # names of the weights of a language model


def pack(predictor: MatchPredictor, settings: dict[str, Any]) -> Packed:
    """What a bundle holds of a predictor whose adapter is merged.

    ``settings``: ``model`` as the run's config has it; of one that re-ranks also ``first``, the
    same of the first stage.
    """
    packed = Packed("matching", {}, {}, {"items": predictor.catalogue.items})
    packed.settings = _packed(predictor.model, settings, "", packed)
    return packed


def unpack(packed: Packed) -> MatchPredictor:
    """The predictor of what :func:`pack` made."""
    items = packed.table("items")
    assert items is not None
    made: Any = _unpacked(packed.settings, packed.weights, "", packed.folder)
    return MatchPredictor(made, items)


def _packed(
    model: nn.Module, settings: dict[str, Any], prefix: str, into: Packed
) -> dict[str, Any]:
    kept: dict[str, Any] = {"model": dict(settings["model"])}
    state: dict[str, Tensor] = dict(model.state_dict())
    if isinstance(model, LanguageScorer):
        kept["model"] |= {"encoder": "", "pooling": model.text.pooling}
        into.folders[f"{prefix}{LANGUAGE}"] = partial(_save, model)
    if "first" in settings:
        kept["model"].pop("first")
        kept["first"] = _packed(model.get_submodule("first"), settings["first"], "first_", into)
    own = {key: of for key, of in state.items() if not key.startswith((TEXT, "first."))}
    into.weights |= {f"{prefix}{key}": value for key, value in own.items()}
    return kept


def _save(model: LanguageScorer, folder: Path) -> None:
    language: Any = model.text.model
    language.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)


def _unpacked(
    settings: dict[str, Any], weights: dict[str, Tensor], prefix: str, folder: Path
) -> nn.Module:
    live: dict[str, Any] = {}
    if "encoder" in settings["model"]:
        live["load"] = _loader(folder / f"{prefix}{LANGUAGE}")
    if "first" in settings:
        below = {k.removeprefix("first_"): v for k, v in weights.items() if k.startswith("first_")}
        live["first"] = _unpacked(settings["first"], below, "first_", folder)
        weights = {key: value for key, value in weights.items() if not key.startswith("first_")}
    model = building.build("model", settings["model"], **live)
    return load(model, weights, (TEXT, "first.") if live else ())


def _loader(folder: Path) -> Callable[..., Language]:
    return lambda name, pooling, normalize: load_language(folder, pooling, normalize)
