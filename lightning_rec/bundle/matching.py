"""Models of matching in a bundle, with their language models."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lightning_rec import building
from lightning_rec.bundle.packed import LANGUAGE, Packed, load, write_language
from lightning_rec.bundle.tables import check_items
from lightning_rec.language.load import Language, load_language
from lightning_rec.models.classic.parts import Sparse
from lightning_rec.models.text.matcher import LanguageScorer, TextModel, TextScorer
from lightning_rec.predict.matching import MatchPredictor

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
    items = packed.needed("items")
    check_items(items)
    made: Any = _unpacked(packed.settings, packed, "")
    models = (made, *getattr(made, "models", ()))
    for part in (each for model in models for each in model.modules()):
        if isinstance(part, Sparse) and len(part.indptr) != 1 + len(items):
            raise ValueError(f"items.parquet has {len(items):,} items, and the model others")
    return MatchPredictor(made, items)


def _packed(
    model: nn.Module, settings: dict[str, Any], prefix: str, into: Packed
) -> dict[str, Any]:
    kept: dict[str, Any] = {"model": dict(settings["model"])}
    if "members" in settings:
        return _packed_union(model, settings, into)
    state: dict[str, Tensor] = dict(model.state_dict())
    if isinstance(model, LanguageScorer):
        kept["model"] |= {"encoder": "", "pooling": model.text.pooling}
        into.folders[f"{prefix}{LANGUAGE}"] = partial(
            write_language, model.text.model, model.tokenizer
        )
    if "first" in settings:
        kept["model"].pop("first")
        kept["first"] = _packed(model.get_submodule("first"), settings["first"], "first_", into)
    own = {key: of for key, of in state.items() if not key.startswith((TEXT, "first."))}
    into.weights |= {f"{prefix}{key}": value for key, value in own.items()}
    return kept


def _packed_union(model: Any, settings: dict[str, Any], into: Packed) -> dict[str, Any]:
    """The settings of a pipeline; weights of its members and its ranker go ``into``."""
    apart = ("members", "ranker")
    kept = {key: of for key, of in settings["model"].items() if key not in apart}
    members = [
        _packed(each, own, f"{number}_", into)
        for number, (each, own) in enumerate(zip(model.members, settings["members"], strict=True))
    ]
    made: dict[str, Any] = {"model": kept, "members": members}
    if "reader" in settings:
        made["reader"] = _packed(model.ranker, settings["reader"], "ranker_", into)
    elif model.ranker is not None:
        made["ranker"] = {"model": settings["ranker"], "features": model.ranker.names}
        state = model.ranker.state_dict()
        into.weights |= {f"ranker_{key}": value for key, value in state.items()}
    return made


def _unpacked(settings: dict[str, Any], packed: Packed, prefix: str) -> nn.Module:
    live: dict[str, Any] = {}
    if "encoder" in settings["model"]:
        live["load"] = _loader(packed.folder / f"{prefix}{LANGUAGE}")
    if "first" in settings:
        live["first"] = _unpacked(settings["first"], packed, "first_")
    if "members" in settings:
        each = [*enumerate(settings["members"])]
        members = [_unpacked(own, packed, f"{number}_") for number, own in each]
        ranker = None
        if "reader" in settings:
            ranker = _unpacked(settings["reader"], packed, "ranker_")
        elif "ranker" in settings:
            from lightning_rec.bundle.ranking import ranker_in  # reads clicks too, and takes time

            ranker = ranker_in(settings["ranker"], packed, "ranker_")
        building.expect("model", settings["model"], TextModel)
        return building.build("model", settings["model"], members=members, ranker=ranker).eval()
    building.expect("model", settings["model"], TextScorer)
    model = building.build("model", settings["model"], **live)
    return load(model, packed.take(prefix), (TEXT, "first.") if live else ())


def _loader(folder: Path) -> Callable[..., Language]:
    return lambda name, pooling, normalize: load_language(folder, pooling, normalize, whole=True)
