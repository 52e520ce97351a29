"""Rows of clicks as arrays, kept on disk and memory-mapped: a batch is one fancy index."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.histories import Past
from lightning_rec.data.clicks.processor import TABLES, FeatureProcessor
from lightning_rec.data.clicks.schema import ClickSchema
from lightning_rec.data.kept import mapped
from lightning_rec.data.types import Ints
from lightning_rec.documents import read_json

_ARRAYS = ("ids", "values", "label", "weight", "group", "train", "val", "test")
ENCODED_FORMAT = 7  # of what is saved: raise it when other arrays are, or others in them


@dataclass(frozen=True)
class Encoded:
    """All rows of a data set under one protocol and one declaration of its fields.

    schema: the fields.
    ids: int32 [N, I], rows of the embedding table: one column per category, then those of each
        multi-valued field, filled up with 0.
    values: float32 [N, D], the numbers, scaled.
    label: float32 [N], 0 or 1; [N, G] where there are several goals.
    weight: float32 [N], or None where each row counts once.
    group: int32 [N], -1 for a row of no group; or None.
    train, val, test: int64, the rows of each part, rising.
    vocabulary, statistics: what was fitted, as :class:`FeatureProcessor` has them; ``given``: the
        statistics are those of an earlier run.
    boundaries: times where validation and test begin in a temporal split, else None.
    counts: what the split left, by name. notes: what the user should know, in sentences.
    past: what happened before each row, or None where no history is declared.
    shown: int32 [N], the code of the item of each row, as :class:`Items` has it; None where no
        model reads texts. It is not saved.
    """

    schema: ClickSchema
    ids: NDArray[np.int32]
    values: NDArray[np.float32]
    label: NDArray[np.float32]
    weight: NDArray[np.float32] | None
    group: NDArray[np.int32] | None
    train: Ints
    val: Ints
    test: Ints
    vocabulary: pl.DataFrame
    statistics: pl.DataFrame
    boundaries: tuple[float, float] | None
    counts: dict[str, int]
    notes: tuple[str, ...] = ()
    past: Past | None = None
    shown: NDArray[np.int32] | None = None
    given: bool = False

    def part(self, name: str) -> Ints:
        """Rows of a part: ``train``, ``val`` or ``test``."""
        return np.asarray(getattr(self, name))

    def processor(self, fields: Fields) -> FeatureProcessor:
        """What was fitted, as it encodes further rows."""
        return FeatureProcessor(fields, self.schema, self.vocabulary, self.statistics)

    @classmethod
    def load(cls, folder: Path, fields: Fields) -> "Encoded":
        """Map the arrays that :func:`encode` wrote into memory, read-only."""
        facts: dict[str, Any] = read_json(folder / "facts.json")
        tables = {name: pl.read_parquet(folder / f"{name}.parquet", glob=False) for name in TABLES}
        fitted = FeatureProcessor.of(tables, fields)
        past = Past(*(mapped(folder, f"past_{name}") for name in Past._fields))
        return cls(
            schema=fitted.schema,
            **{name: mapped(folder, name) for name in _ARRAYS},
            vocabulary=fitted.vocabulary,
            statistics=fitted.statistics,
            boundaries=tuple(facts["boundaries"]) if facts["boundaries"] else None,
            counts=facts["counts"],
            notes=tuple(facts["notes"]),
            past=past if fields.has_history else None,
            given=facts.get("given", False),
        )
