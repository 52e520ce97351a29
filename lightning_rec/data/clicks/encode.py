"""From a table of clicks to arrays on disk, in memory that does not grow with the rows' size."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from lightning_rec.data.clicks import columns
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.fit import fit
from lightning_rec.data.clicks.histories import Past, past_of
from lightning_rec.data.clicks.labels import groups_of, labels_of, told, undecided
from lightning_rec.data.clicks.processor import FeatureProcessor
from lightning_rec.data.clicks.splits import SplitAssignment
from lightning_rec.data.clicks.table import ClickTable
from lightning_rec.data.shares import PARTS
from lightning_rec.data.types import Ints, Mask
from lightning_rec.errors import UserError, listed
from lightning_rec.files import write_json


def encode(
    table: ClickTable,
    fields: Fields,
    assigned: SplitAssignment,
    folder: Path,
    given: pl.DataFrame | None = None,
) -> Encoded:
    """Fit what there is to fit on the training rows, and encode all rows into ``folder``, block by
    block; ``given``: statistics of an earlier run, which are kept. Raises UserError if labels,
    numbers or parts cannot be trained on.
    """
    name, group = table.info["name"], groups_of(table, fields)
    left_out = undecided(table, fields, group, assigned)
    part = np.where(left_out, -1, assigned.part)
    parts = {name: np.flatnonzero(part == place) for place, name in enumerate(PARTS)}
    notes = told(table, fields, assigned, left_out)
    label = labels_of(table, fields, group)
    first, *_ = by_goal = label.reshape(len(label), -1).T
    _check_labels(name, fields, parts, by_goal, notes)
    arrays: dict[str, Any] = {"label": label, **parts, "group": group}
    arrays["weight"] = weight = columns.weight(table, fields)
    if weight is not None and not weight[parts["train"]].any():
        raise UserError(
            f"{name}, train: all weights in column '{fields.weight}' are 0: nothing is learnt."
        )
    processor = fit(table, fields, part == PARTS.index("train"), given)
    counts = {"rows": len(label), **{f"{part} rows": len(rows) for part, rows in parts.items()}}
    if left_out.any():
        counts["rows left out, of which it is not known who comes back"] = int(left_out.sum())
    if not len(parts["val"]):
        sizes = listed(f"{part}: {len(of):,}" for part, of in parts.items())
        notes.append(
            f"{name} has no validation rows ({sizes}): the last weights are kept; precision, "
            "recall, F1 and accuracy are at the threshold 0.5."
        )
    facts: dict[str, Any] = {"boundaries": assigned.boundaries, "counts": counts, "notes": notes}
    facts["given"] = given is not None
    folder.mkdir(parents=True, exist_ok=True)
    ids = _write_features(table, processor, folder)
    if fields.has_history:
        past, unknown = past_of(table, processor, assigned, ids, first, group)
        past.end[left_out] = past.start[left_out]
        arrays |= {f"past_{key}": array for key, array in past._asdict().items()}
        counts |= _counted(name, fields, past, unknown, part >= 0)
    for key, array in arrays.items():
        if array is not None:
            np.save(folder / f"{key}.npy", array, allow_pickle=False)
    for key, fitted in processor.tables().items():
        fitted.write_parquet(folder / f"{key}.parquet")
    write_json(folder / "facts.json", facts)
    return Encoded.load(folder, fields)


def _check_labels(
    name: str,
    fields: Fields,
    parts: dict[str, Ints],
    by_goal: NDArray[np.float32],
    notes: list[str],
) -> None:
    """Raise UserError if a part has no rows, or labels of one class; ``by_goal``: [G, N]."""
    for part in ("train", "test"):
        if not len(parts[part]):
            why = "".join(f" {said}" for said in notes)
            if fields.returns:
                why += (
                    " Let each part be longer than that: protocol.val_from= and test_from= say "
                    "where they begin, as quantiles of the times (0.8 and 0.9) or dates."
                )
            raise UserError(f"{name}: the protocol leaves no rows in {part}.{why}")
    for part, rows in parts.items():
        for goal, labels in zip(fields.targets, by_goal, strict=True):
            told = f", {goal}" if fields.several else ""
            if len(rows) and labels[rows].min() == labels[rows].max():
                raise UserError(
                    f"{name}, {part}{told}: all {len(rows):,} labels are {labels[rows][0]:g}. "
                    "Clicks need both classes in each part: check data.fields.label and "
                    "positive_from, or choose another protocol."
                )


def _write_features(
    table: ClickTable, processor: FeatureProcessor, folder: Path
) -> NDArray[np.int32]:
    """Write ids and numbers, a block of rows at a time; returns the ids, int32 [N, I], mapped."""
    rows, schema, scaled = table.info["rows"], processor.schema, len(processor.fields.scaled)
    ids = open_memmap(folder / "ids.npy", "w+", np.int32, (rows, schema.columns))
    values = open_memmap(folder / "values.npy", "w+", np.float32, (rows, scaled))
    for start, frame in table.blocks(*processor.fields.features):
        ids[start : start + len(frame)] = processor.ids(frame)
        values[start : start + len(frame)] = processor.values(frame)
    ids.flush()
    values.flush()
    return np.asarray(ids)


def _counted(name: str, fields: Fields, past: Past, unknown: int, used: Mask) -> dict[str, int]:
    """What is to be known of the histories of the rows that are ``used``, bool [N]. Raises
    UserError if all of them are empty.
    """
    length = (past.end - past.start)[used]
    if not length.any():
        raise UserError(
            f"{name}: no row has a history with a '{fields.item}' that is known from training: "
            "check data.fields.history, past, item, group and time."
        )
    return {
        "rows without a history": int((length == 0).sum()),
        "longest history": int(length.max()),
        "unknown items in histories": unknown,
    }
