"""The exported rows, the same for every library, and the exact figures all are held to.

``export.py`` writes them: ``train.npz``, ``val.npz``, ``test.npz`` with an array for each field and
the label, and ``meta.json``. A category is its number within its field, 0 for what training has
not; a list of values is filled up with 0, its values count from 1; a number is scaled.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_rec.metrics.classification import auc, logloss
from lightning_rec.metrics.order import in_order

PARTS = ("train", "val", "test")
LABEL = "label"
Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Export:
    """Rows of each part by column, and what they are.

    folder: where they lie.
    meta: ``name``, ``sha256``, ``fields``, ``settings`` of training and those of each model.
    parts: arrays by part and column: int32 [n], int32 [n, width] or float32 [n].
    """

    folder: Path
    meta: dict[str, Any]
    parts: dict[str, Columns]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The fields of a kind: ``categorical``, ``multi_valued`` or ``numeric``."""
        return [field for field in self.meta["fields"] if field["kind"] == kind]

    def rows(self, part: str) -> int:
        """How many rows a part has."""
        return len(self.parts[part][LABEL])


def digest(parts: Mapping[str, Columns]) -> str:
    """Hex SHA-256 over names, shapes and bytes of all arrays."""
    total = hashlib.sha256()
    for part in PARTS:
        for name, values in parts[part].items():
            total.update(f"{part} {name} {values.dtype} {values.shape}".encode())
            total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()


def load(folder: Path) -> Export:
    """Read an export. Raises SystemExit if the arrays are not those that were written."""
    meta = json.loads((folder / "meta.json").read_text())
    parts = {}
    for part in PARTS:
        with np.load(folder / f"{part}.npz", allow_pickle=False) as arrays:
            parts[part] = {name: arrays[name] for name in arrays.files}
    if digest(parts) != meta["sha256"]:
        raise SystemExit(f"{folder} does not hold what meta.json says: export it again")
    return Export(folder, meta, parts)


class Batches:
    """Whole batches by column, from memory, in an order drawn anew for each pass."""

    def __init__(self, columns: Columns, batch_size: int, seed: int | None) -> None:
        self.columns = {name: torch.from_numpy(values) for name, values in columns.items()}
        self.batch_size, self.rows = batch_size, len(columns[LABEL])
        self.chance = None if seed is None else torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return -(-self.rows // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        order = torch.arange(self.rows)
        if self.chance is not None:
            order = torch.randperm(self.rows, generator=self.chance)
        for at in order.split(self.batch_size):
            yield {name: values[at] for name, values in self.columns.items()}


def figures(probability: NDArray[Any], label: NDArray[Any], part: str) -> dict[str, float]:
    """Exact AUC and logloss of predicted probabilities, float [n], by part and name.

    A probability of 0 or 1 in 32 bits counts as the nearest one that can be wrong.
    """
    if len(probability) != len(label):
        raise SystemExit(f"{len(probability)} predictions for {len(label)} rows of {part}")
    p = torch.from_numpy(np.asarray(probability, dtype=np.float64))
    y = torch.from_numpy(label)
    logit = torch.logit(p, eps=2**-25)
    return {f"{part}/auc": float(auc(in_order(p, y))), f"{part}/logloss": float(logloss(logit, y))}
