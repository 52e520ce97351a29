"""Models of sequences in a bundle: what they know items by becomes a table of vectors.

So a model over texts answers for the items that it was exported with, without its language model.
"""

from typing import Any

import torch
from torch import Tensor

from lightning_rec import building
from lightning_rec.bundle import indexes
from lightning_rec.bundle.packed import Packed, load
from lightning_rec.bundle.tables import check_items
from lightning_rec.data.side import Columns
from lightning_rec.data.split import Schema
from lightning_rec.models.base import ReadsCatalogue, SequenceModel
from lightning_rec.models.items.base import ComputedItems
from lightning_rec.models.items.kept import kept_parts
from lightning_rec.models.sequential.base import attach
from lightning_rec.objectives.base import Objective
from lightning_rec.predict.sequences import SequencePredictor


def pack(
    predictor: SequencePredictor, settings: dict[str, Any], users: bool, index: str | None = None
) -> Packed:
    """What a bundle holds of a predictor.

    Args:
        predictor: of a completed run.
        settings: its ``model`` and ``objective`` as the run's config has them; of an ensemble or a
            pipeline the same of each member, in their order, as ``members``; of a pipeline also
            the ``model`` that ranks as ``ranker``.
        users: whether the users that the run knows come along, with their histories.
        index: how items are looked up; see :mod:`lightning_rec.bundle.indexes`.
    """
    weights: dict[str, Tensor] = {}
    described = describe(predictor.model, settings, predictor.items, "", weights)
    described["seen"] = predictor.seen
    tables = {"items": predictor.items}
    if users and predictor.users is not None:
        tables["users"] = predictor.users
    packed = Packed("sequences", described, weights, tables)
    if index is not None:
        indexes.pack(predictor, index, packed)
    return packed


def unpack(packed: Packed) -> SequencePredictor:
    """The predictor of what :func:`pack` made."""
    items, settings = packed.needed("items"), packed.settings
    model, objective = _unpacked(settings, items, packed, "")
    users, seen = packed.table("users"), str(settings["seen"])
    _check(items, users, seen, model.schema.num_items)
    if users is not None:
        _check_side(users, model)
    predictor = SequencePredictor(model, objective, items, users, seen)
    if "index" in settings:
        indexes.unpack(predictor, packed)
    return predictor


def _check(items: Any, users: Any, seen: str, number: int) -> None:
    """Raise ValueError where tables do not fit a model of ``number`` items."""
    if len(items["item"]) != number:
        raise ValueError(f"items.parquet has {len(items):,} items, and the model {number:,}")
    if seen not in ("filter", "keep"):
        raise ValueError(f"seen={seen} is neither filter nor keep")
    check_items(items)
    if users is not None:
        codes = users["items"].explode(empty_as_null=False)
        if users.select("user", "items").null_count().sum_horizontal()[0] or codes.has_nulls():
            raise ValueError("users.parquet has a user without an id, or an item without a code")
        if "times" in users.columns:
            whole = users["times"].explode(empty_as_null=False).null_count() == 0
            if not whole or not (users["times"].list.len() == users["items"].list.len()).all():
                raise ValueError("users.parquet has other times than items")
        if users["user"].is_duplicated().any():
            raise ValueError("users.parquet has a user twice")
        if len(codes) and not (codes.min() >= 0 and codes.max() < number):
            raise ValueError(f"users.parquet names items that a model of {number:,} does not have")


def _check_side(users: Any, model: SequenceModel) -> None:
    """Raise ValueError where what is known of events and users does not fit the model."""
    for name, columns in (
        ("events", model.side.of_events if model.side else Columns()),
        ("about", model.side.of_users if model.side else Columns()),
    ):
        if name not in users.columns:
            continue
        rows, width = users[name].explode(empty_as_null=False), len(columns)
        whole = users["items"].list.len() * width if name == "events" else width
        fits = width and not users[name].has_nulls() and (users[name].list.len() == whole).all()
        if not fits or rows.has_nulls() or (len(rows) and rows.max() >= columns.size):
            raise ValueError(f"users.parquet has other {name} than the model reads")


def describe(
    model: SequenceModel, settings: dict[str, Any], items: Any, prefix: str, into: dict[str, Tensor]
) -> dict[str, Any]:
    """The settings of a model; its weights go ``into``, their names after ``prefix``."""
    from lightning_rec.models.pipelines import Pipeline
    from lightning_rec.models.together import Together

    kept: dict[str, Any] = {key: settings[key] for key in ("model", "objective")}
    kept["schema"] = list(model.schema)
    if model.side is not None:
        kept["side"] = model.side.columns
    if isinstance(model, Together):
        apart = ("members", "ranker")
        kept["model"] = {key: of for key, of in kept["model"].items() if key not in apart}
        kept["members"] = []
        for number, (each, own) in enumerate(zip(model.members, settings["members"], strict=True)):
            below = describe(each.model, own, items, f"{prefix}{number}/", into)
            kept["members"].append(below | {"tokens": each.tokens})
        if isinstance(model, Pipeline) and model.ranker is not None:
            kept["ranker"] = {"model": settings["ranker"], "features": model.ranker.names}
            state = model.ranker.state_dict()
            into |= {f"{prefix}ranker/{key}": value for key, value in state.items()}
        into |= {f"{prefix}{key}": value for key, value in model.state_dict().items()}
        return kept
    state = dict(model.state_dict())
    if parts := dict[str, Any](getattr(model, "apart", {})):
        kept["parts"] = {name: part.by_id for name, part in parts.items()}
        kept["model"] = kept["model"] | model.bundled
    fresh = _model(kept, items)
    if parts:
        state = {key: of for key, of in state.items() if key in fresh.state_dict()}
    for name, encoder in model.named_modules():
        if isinstance(encoder, ComputedItems) and not _inside(name, model):
            state = {key: of for key, of in state.items() if not key.startswith(f"{name}.")}
            weights = {f"{name}.weight": encoder}
            if parts:
                weights = {f"{name}.parts.{part}.own.weight": of for part, of in parts.items()}
            for weight, part_of in weights.items():
                rows = len(fresh.state_dict()[weight])  # without padding and mask for some models
                with torch.no_grad():
                    state[weight] = part_of(torch.arange(rows))
    load(fresh, state)
    into |= {f"{prefix}{key}": value for key, value in fresh.state_dict().items()}
    return kept


def _inside(name: str, model: SequenceModel) -> bool:
    """Whether a module is a part of an item encoder."""
    parents = name.split(".")[:-1]
    paths = [".".join(parents[: end + 1]) for end in range(len(parents))]
    return any(isinstance(model.get_submodule(path), ComputedItems) for path in paths)


def made(settings: dict[str, Any], items: Any) -> tuple[SequenceModel, Objective]:
    """A model without weights and how it is asked, of what :func:`describe` gave."""
    return _model(settings, items), building.build("objective", settings["objective"])


def _unpacked(
    settings: dict[str, Any], items: Any, packed: Packed, prefix: str
) -> tuple[SequenceModel, Objective]:
    """The same with its weights; those of the members of an ensemble are taken first."""
    if "members" not in settings:
        model, objective = made(settings, items)
        return load(model, packed.take(prefix)), objective  # type: ignore[return-value]
    from lightning_rec.bundle.ranking import ranker_in
    from lightning_rec.models.together import Member  # reads clicks too, which takes time

    members = []
    for number, own in enumerate(settings["members"]):
        member, asks = _unpacked(own, items, packed, f"{prefix}{number}/")
        members.append(Member(member, asks.query_inputs, int(own["tokens"])))
    objective = building.build("objective", settings["objective"])
    live: dict[str, Any] = {"members": members}
    if "ranker" in settings:
        live["ranker"] = ranker_in(settings["ranker"], packed, f"{prefix}ranker/")
    together = _model(settings, items, **live)
    return load(together, packed.take(prefix)), objective  # type: ignore[return-value]


def _model(settings: dict[str, Any], items: Any, **live: Any) -> SequenceModel:
    """A model without weights, over the table of the items' vectors."""
    building.expect("model", settings["model"], SequenceModel)
    schema = Schema(*settings["schema"])
    if parts := settings.get("parts"):
        live["items"] = kept_parts(parts)
    model: SequenceModel = building.build("model", settings["model"], schema=schema, **live)
    if isinstance(model, ReadsCatalogue):
        model.read_catalogue(items)
    if columns := settings.get("side"):
        attach(model, *(Columns.of_plain(columns[of]) for of in ("events", "users")))
    return model
