"""Models of clicks in a bundle, with what was fitted on their training rows."""

from typing import Any

from pydantic import TypeAdapter

from lightning_rec import building
from lightning_rec.bundle.packed import Packed, load
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.processor import TABLES, FeatureProcessor
from lightning_rec.models.clicks.calibrated import Calibrated
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.predict.clicks import ClickPredictor


def pack(predictor: ClickPredictor, settings: dict[str, Any]) -> Packed:
    """What a bundle holds of a predictor; ``settings``: ``model`` and ``fields`` of the config."""
    kept = dict(settings) | {
        "calibrated": isinstance(predictor.model, Calibrated),
        "histories": predictor.histories,
        "batch_size": predictor.batch_size,
        "decimal": predictor.decimal,
    }
    weights = predictor.model.state_dict()
    return Packed("clicks", kept, dict(weights), predictor.processor.tables())


def unpack(packed: Packed) -> ClickPredictor:
    """The predictor of what :func:`pack` made."""
    settings = packed.settings
    fields: Fields = TypeAdapter(Fields).validate_python(settings["fields"])
    tables = {name: packed.table(name) for name in TABLES}
    processor = FeatureProcessor.of(tables, fields)  # type: ignore[arg-type]
    model: ClickModel = building.build("model", settings["model"], schema=processor.schema)
    if settings["calibrated"]:
        model = Calibrated(model, len(fields.targets))
    load(model, packed.weights)
    size, decimal = int(settings["batch_size"]), settings["decimal"]
    return ClickPredictor(model, processor, None, bool(settings["histories"]), size, decimal)
