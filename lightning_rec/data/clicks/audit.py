"""The leak audit of clicks: arrays against the table that they came from.

Vocabularies, counts and statistics, worked out by other means than made them, must be those of the
training rows alone (statistics of an earlier run, which go on, are of its training rows); each id
must stand for the value in the table, and no row may be in two parts. What the table itself may
have leaked is known by its effect, and told. Everything is read block by block.
"""

from typing import Any

import numpy as np

from lightning_rec.data.clicks.audit_counted import told_of_counts
from lightning_rec.data.clicks.audit_effects import told_by_fields, told_of_doubles, told_of_unknown
from lightning_rec.data.clicks.audit_fields import CategoryCheck, NumberCheck
from lightning_rec.data.clicks.audit_histories import audit_histories
from lightning_rec.data.clicks.audit_returns import audit_returns
from lightning_rec.data.clicks.audit_targets import told_of_lists, told_of_targets
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.evidence import Evidence
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.processor import slices
from lightning_rec.data.clicks.splits import times
from lightning_rec.data.clicks.table import ClickTable
from lightning_rec.data.core.audited import Finding, assigned_parts, fail, leak
from lightning_rec.data.shares import PARTS
from lightning_rec.data.types import Ints, Mask


def audit_clicks(
    table: ClickTable, fields: Fields, encoded: Encoded, disjoint: str | None = None
) -> tuple[dict[str, Any], list[Finding]]:
    """Check that nothing a model learns from, or reads, lies in what it is tested on. Returns what
    was counted, for the card, and what would make figures worthless if it is wrong. Held-out values
    of the column ``disjoint`` are unknown by the protocol. Raises LeakError when a check fails.
    """
    parts = {name: encoded.part(name) for name in PARTS}
    at = Evidence(table, fields, encoded, assigned_parts(parts, len(encoded.label), "row"))
    if encoded.boundaries is not None:
        time, edges = times(table, fields), (-np.inf, *encoded.boundaries, np.inf)
        for place, name in enumerate(PARTS):
            outside = (time < edges[place]) | (time >= edges[place + 1])
            fail(f"a row of {name} lies outside its window of time", (at.part == place) & outside)
    audit_returns(at)
    unknown, missed = _check_fields(at)
    later = [*audit_histories(at)]
    facts: dict[str, Any] = {}
    for place, name in enumerate(PARTS):
        inside = at.part == place
        if inside.any():
            rates = at.labels()[inside].mean(axis=0, dtype=np.float64)
            for goal, rate in zip(encoded.schema.goals, rates, strict=True):
                several = f" of {goal}" if len(rates) > 1 else ""
                facts[f"{name} rate{several}"] = round(float(rate), 4)
            facts[f"{name} rows with an unknown category"] = int((unknown & inside).sum())
    doubles, twice = told_of_doubles(at)
    targets, held = told_of_targets(at)
    missed.pop(disjoint or "", None)
    found = [*told_of_unknown(at, missed), *told_by_fields(at), *told_of_counts(at)]
    return facts | doubles | targets, [*later, *found, *told_of_lists(at), *twice, *held]


def _check_fields(at: Evidence) -> tuple[Mask, dict[str, Ints]]:
    """Check all features; returns rows with an unknown category, [N], and their number by field."""
    fields, encoded, columns = at.fields, at.encoded, slices(at.encoded.schema)
    named = [field for field in encoded.schema.fields if field.kind != "numeric"]
    processor = encoded.processor(fields)
    checks = [CategoryCheck(field, processor) for field in named]
    numeric = [NumberCheck(name, processor) for name in fields.scaled]
    unknown = np.zeros(len(at.part), dtype=bool)
    missed = {field.name: np.zeros(len(PARTS), dtype=np.int64) for field in named}
    for start, frame in at.table.blocks(*fields.features):
        here = slice(start, start + len(frame))
        ids, values = np.asarray(encoded.ids[here]), np.asarray(encoded.values[here])
        part = at.part[here]
        for check in checks:
            name = check.field.name
            found = check.block(start, frame[name], ids[:, columns[name]], part == 0)
            missed[name] += np.bincount(part[found & (part >= 0)], minlength=len(PARTS))
            unknown[here] |= found
        for column, number in enumerate(numeric):
            number.block(start, frame[number.name], values[:, column], part == 0)
    faults = [check.fault(at) for check in checks]
    for said in faults + [number.fault(encoded.given) for number in numeric]:
        if said is not None:
            raise leak(said)
    return unknown, missed
