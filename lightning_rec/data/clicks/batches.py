"""Whole batches of clicks, one fancy index each."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.utils.data import Dataset

from lightning_rec.data.batches import gather
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.data.core.batches import BatchData, Part, narrowed
from lightning_rec.data.split import Histories
from lightning_rec.data.types import Ints


class ClickBatch(NamedTuple):
    """Some rows, with what came of them; the longest histories first, if there are any.

    example: int64 [B]; their numbers within the part.
    rows: what a model reads.
    label: float32 [B]; 0 or 1; [B, G] where there are several goals.
    weight: float32 [B]; or None where each row counts once.
    """

    example: Tensor
    rows: Rows
    label: Tensor
    weight: Tensor | None = None


class ClickSet(Dataset[ClickBatch]):
    """The rows of a part, fetched as whole batches, with their ``histories`` if asked for."""

    def __init__(self, encoded: Encoded, part: str, histories: bool = False) -> None:
        self.encoded, self.rows = encoded, np.asarray(encoded.part(part))
        self.past = encoded.past if histories else None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> ClickBatch:
        number = np.asarray(indices, dtype=np.int64)
        history = None
        if (past := self.past) is not None:
            schema, at = self.encoded.schema.history, self.rows[number]
            assert schema is not None
            end = past.end[at]
            start = np.maximum(past.start[at], end - schema.max_len)
            order = np.argsort(start - end, kind="stable")  # the longest first
            items = gather(past.items, start[order], end[order], schema.padding)
            history = Histories(items, torch.zeros(len(number), dtype=torch.int64))
            number = number[order]
        at, encoded = self.rows[number], self.encoded
        weight = encoded.weight
        return ClickBatch(
            torch.from_numpy(number),
            Rows(
                torch.from_numpy(encoded.ids[at]),
                torch.from_numpy(encoded.values[at]),
                history,
                item=None if encoded.shown is None else torch.from_numpy(encoded.shown[at]).long(),
            ),
            torch.from_numpy(encoded.label[at]),
            None if weight is None else torch.from_numpy(weight[at]),
        )


@dataclass(eq=False, kw_only=True)
class ClickData(BatchData):
    """Shuffled rows to learn from; the rows of validation and test in their order.

    Args:
        encoded: the arrays that batches are cut from.
        histories: whether batches come with their histories.
    """

    encoded: Encoded
    histories: bool = False
    batch_size: PositiveInt = 4096
    eval_batch_size: PositiveInt = 16384
    _chosen: Ints | None = field(default=None, init=False)

    @property
    def schema(self) -> ClickSchema:
        """The fields of the rows."""
        return self.encoded.schema

    def batches(self, part: Part) -> ClickSet:
        """The rows of a part."""
        rows = ClickSet(self.encoded, part, self.histories)
        if part == "train" and self._chosen is not None:
            rows.rows = rows.rows[self._chosen]
        return rows

    def narrow(self, since: Ints, replay: float) -> tuple[int, int]:
        """Train on new rows, and on a share of the old ones: how many of each.

        ``since``: of each training row, 1 if it is old, else 0: int64; ``replay``: the share, drawn
        by the seed.
        """
        self._chosen, counts = narrowed(since == 0, replay, self.seed)
        return counts
