"""Models of clicks in a bundle, with what was fitted on their training rows.

What items are described by becomes a table of vectors, so that no language model that makes them is
needed; that of a prompt comes along.
"""

from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import torch
from pydantic import TypeAdapter

from lightning_rec import building
from lightning_rec.bundle import sequences
from lightning_rec.bundle.packed import LANGUAGE, Packed, load, write_language
from lightning_rec.bundle.tables import check_clicks
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.processor import TABLES, FeatureProcessor
from lightning_rec.data.clicks.schema import ClickSchema
from lightning_rec.data.templates import render_template
from lightning_rec.models.clicks.calibrated import Calibrated
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.predict.clicks import ClickPredictor

NO_ITEMS = pl.DataFrame()  # an encoder of histories reads no catalogue
WORDS = ("words.", "model.words.")  # how names of the weights of a language model begin


def pack(predictor: ClickPredictor, settings: dict[str, Any]) -> Packed:
    """What a bundle holds of a predictor whose adapter is merged.

    ``settings``: ``model``, ``fields`` and ``dims`` of the config; of an encoder of histories its
    ``model`` and ``objective`` as ``encoder``; of an ensemble ``members``, the same of each.
    """
    packed = Packed("clicks", {}, {}, predictor.processor.tables())
    packed.settings = _packed(predictor.model, settings, "", packed) | {
        "fields": settings["fields"],
        "histories": predictor.histories,
        "batch_size": predictor.batch_size,
        "decimal": predictor.decimal,
    }
    if predictor.items is not None:
        packed.tables["items"] = predictor.items
    return packed


def unpack(packed: Packed) -> ClickPredictor:
    """The predictor of what :func:`pack` made."""
    settings = packed.settings
    fields: Fields = TypeAdapter(Fields).validate_python(settings["fields"])
    tables = {name: packed.needed(name) for name in TABLES}
    items = packed.table("items")
    check_clicks(tables, items, fields)
    processor = FeatureProcessor.of(tables, fields)
    model = _unpacked(settings, processor.schema, packed, "")
    size, decimal = int(settings["batch_size"]), settings["decimal"]
    histories = bool(settings["histories"])
    return ClickPredictor(model, processor, items, histories, size, decimal)


def _packed(
    model: ClickModel, settings: dict[str, Any], prefix: str, into: Packed
) -> dict[str, Any]:
    """The settings of a model; its weights go ``into``, their names after ``prefix``."""
    from lightning_rec.models.clicks.described import WithItems
    from lightning_rec.models.clicks.encoded import WithHistory
    from lightning_rec.models.clicks.tallrec import TALLRec
    from lightning_rec.models.ensembles import ClickEnsemble

    kept: dict[str, Any] = {"model": dict(settings["model"]), "dims": settings["dims"]}
    if isinstance(model, Calibrated):
        kept["calibrated"] = True
        into.weights[f"{prefix}temperature"] = model.temperature
        model, prefix = model.model, f"{prefix}model."
    if isinstance(model, WithItems):
        with torch.no_grad():
            vectors = model.source.eval()(torch.arange(model.number))
        kept["items"] = {"number": model.number, "width": vectors.shape[1]}
        kept["items"]["by_id"] = model.schema.by_id
        into.weights[f"{prefix}source.vectors"] = vectors
        model, prefix = model.head, f"{prefix}head."
    if isinstance(model, WithHistory):
        encoder, own = model.encoder, settings["encoder"]
        below = f"{prefix}encoder.model."
        kept["encoder"] = sequences.describe(encoder.model, own, NO_ITEMS, below, into.weights)
        into.weights[f"{prefix}encoder.nothing"] = encoder.nothing
        if encoder.codes is not None:
            into.weights[f"{prefix}encoder.codes"] = encoder.codes
            kept["encoder"]["codes"] = len(encoder.codes)
        kept["encoder"]["width"] = len(encoder.nothing)
        model, prefix = model.head, f"{prefix}head."
    if isinstance(model, ClickEnsemble):
        del kept["model"]["members"]
        pairs = enumerate(zip(model.members, settings["members"], strict=True))
        kept["members"] = [_packed(each, own, f"{number}/", into) for number, (each, own) in pairs]
    state = dict(model.state_dict())
    if isinstance(model, TALLRec):
        kept["model"]["encoder"], kept["titles"] = "", model.template
        into.folders[LANGUAGE] = partial(write_language, model.words.model, model.tokenizer)
        state = {key: of for key, of in state.items() if not key.startswith(WORDS)}
    into.weights |= {f"{prefix}{key}": value for key, value in state.items()}
    return kept


def _unpacked(
    settings: dict[str, Any], schema: ClickSchema, packed: Packed, prefix: str
) -> ClickModel:
    """A model with its weights; those of the members of an ensemble are taken first."""
    live: dict[str, Any] = {}
    if "members" in settings:
        members = enumerate(settings["members"])
        live["members"] = [_unpacked(own, schema, packed, f"{n}/") for n, own in members]
    model = _made(settings, schema.with_dims(settings["dims"]), live, packed)
    return load(model, packed.take(prefix), WORDS if "titles" in settings else ())  # type: ignore[return-value]


def _made(
    settings: dict[str, Any], schema: ClickSchema, live: dict[str, Any], packed: Packed
) -> ClickModel:
    """A model without weights, but for its language model."""
    described, encoder = settings.get("items"), settings.get("encoder")
    if described:
        schema = schema._replace(described=described["width"], by_id=described["by_id"])
    if encoder:
        from lightning_rec.models.clicks.encoded import HistoryEncoder, WithHistory, with_field

        schema = with_field(schema, encoder["width"])
        of, objective = sequences.made(encoder, NO_ITEMS)
        codes = torch.zeros(encoder["codes"], dtype=torch.int64) if "codes" in encoder else None
        reads = HistoryEncoder(of, objective.query_inputs, codes, encoder["width"])
    if "titles" in settings:
        live = live | _prompting(packed, settings["titles"])
    building.expect("model", settings["model"], ClickModel)
    model: ClickModel = building.build("model", settings["model"], schema=schema, **live)
    if encoder:
        model = WithHistory(reads, model)
    if described:
        from lightning_rec.models.clicks.described import WithItems
        from lightning_rec.models.items.vectors import KnownVectors

        if described["number"] != len(packed.needed("items")):
            raise ValueError("items.parquet has another number of items than the model")
        empty = torch.zeros(described["number"], described["width"])
        model = WithItems(KnownVectors(empty, saved=True), described["number"], model)
    return Calibrated(model, len(schema.goals)) if settings.get("calibrated") else model


def _prompting(packed: Packed, template: str) -> dict[str, Any]:
    """The titles, and what finds the language model, of a prompt."""
    from lightning_rec.language.load import load_words

    folder: Path = packed.folder / LANGUAGE
    titles = render_template(packed.needed("items"), template)
    return {"titles": titles, "load_words": lambda _, head: load_words(folder, head, whole=True)}
