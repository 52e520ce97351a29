"""The fields of a moment, such as the hour or the device: one value for all rows of a question."""

import logging
from collections.abc import Mapping
from typing import Any

import polars as pl

from lightning_rec.data.clicks.processor import FeatureProcessor
from lightning_rec.errors import UserError, suggest

log = logging.getLogger(__name__)

Context = Mapping[str, Any]


def with_context(
    processor: FeatureProcessor, rows: pl.DataFrame, context: Context | None
) -> pl.DataFrame:
    """The rows with the columns of ``context``, each of one value (lists where a field has them).

    What training has not is told. Raises UserError for a column that is no feature, that the rows
    have already, or a value that is none.
    """
    if not context:
        return rows
    fields, made = processor.fields, []
    for name, value in context.items():
        if name not in fields.features:
            raise UserError(
                f"context: the model reads no column '{name}'."
                + suggest(str(name), fields.features, "Its features are")
            )
        if name in rows.columns:
            raise UserError(f"context: the rows have a column '{name}' already: say it once.")
        many = isinstance(value, list | tuple)
        parts = list(value) if many else [value]
        if many and name not in fields.multi_valued:
            raise UserError(f"context: '{name}' has one value, and not several.")
        if not all(each is None or isinstance(each, str | int | float) for each in parts):
            raise UserError(f"context: '{name}' is a number or a text, and nothing else.")
        column = pl.Series(name, [list(value) if many else value], strict=False)
        if unknown_in(processor, name, column):
            words = "context: %s=%s is not known to this run: it is read as an unknown one."
            log.warning(words, name, value)
        made.append(column)
    values = pl.DataFrame(made)
    return rows.join(values, how="cross", maintain_order="left_right") if rows.width else values


def unknown_in(processor: FeatureProcessor, name: str, values: pl.Series) -> int:
    """How many values of a feature of categories training has not; 0 of numbers and hashes."""
    fields = processor.fields
    if name in fields.hash_size or name not in (*fields.categorical, *fields.multi_valued):
        return 0
    field = next(each for each in processor.schema.fields if each.name == name)
    _, _, found = processor.read(field, values.alias(name), fields.max_values)
    known = processor.looked_up(field, found) != field.start
    return int((~known & found.is_not_null().to_numpy()).sum())
