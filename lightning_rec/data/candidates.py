"""Sampled candidates: what tables before 2020 ranked a target among, instead of all items."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field, NonNegativeInt

from lightning_rec import figures
from lightning_rec.data.chance import Words, bits, uniform
from lightning_rec.data.types import Ints, Mask

DRAWS = 3  # with replacement, for each candidate wanted: few rows fall short after so many
BLOCK = 2**22  # pairs of row and item that are looked at together, for rows that do


@dataclass(frozen=True)
class Candidates:
    """A sample of the catalogue for each example, to be ranked with its target.

    For comparison with old tables only: figures on a sample are not those of the catalogue, not
    even in expectation, and can order models otherwise (Krichene and Rendle, KDD 2020).

    Args:
        number: how many, beside the target.
        by: ``popular`` draws in proportion to training events, ``uniform`` all alike.
        seed: fixes the draw, together with the number of the example.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # an unknown key is an error

    number: Annotated[int, Field(gt=0)] = 100
    by: Literal["popular", "uniform"] = "popular"
    seed: NonNegativeInt = 0

    @property
    def suffix(self) -> str:
        """What is put after the name of every metric on this sample: ``_sampled100_popular``."""
        return figures.sample(self.number, self.by)

    def draw(
        self, example: Ints, target: Ints, seen_row: Ints, seen_item: Ints, train_counts: Ints
    ) -> Ints:
        """Draw for a batch of B examples: int64 [B, number], no item twice in a row, -1 where there
        are no more. Neither ``target`` (-1 for none) nor the S pairs of ``seen_row`` in this batch
        and ``seen_item`` are drawn; what an example gets does not depend on the others.
        """
        weights = train_counts if self.by == "popular" else np.ones_like(train_counts)
        known = np.flatnonzero(target >= 0)
        row = np.concatenate([seen_row, known])
        item = np.concatenate([seen_item, target[known]])
        stream = bits(self.seed, example)[:, None]
        drawn = self._at_random(stream, row * len(weights) + item, weights)
        short = np.flatnonzero(drawn[:, -1] < 0)
        block = max(1, BLOCK // len(weights))
        for start in range(0, len(short), block):
            rows = short[start : start + block]
            at = np.full(len(example), -1)
            at[rows] = np.arange(len(rows))
            inside = at[row] >= 0
            barred = np.zeros((len(rows), len(weights)), dtype=bool)
            barred[at[row[inside]], item[inside]] = True
            drawn[rows] = self._completed(drawn[rows], stream[rows], barred, weights)
        return drawn

    def _at_random(self, stream: Words, barred: Ints, weights: Ints) -> Ints:
        """The first allowed and new ones of ``DRAWS * number`` draws with replacement; then -1."""
        rows = np.arange(len(stream))[:, None]
        end = np.cumsum(weights)
        # Of 64 bits the remainder favours no event by more than a billionth.
        parts = bits(stream, np.arange(DRAWS * self.number)) % np.uint64(end[-1])
        item = np.searchsorted(end, parts.astype(np.int64), side="right")  # [B, DRAWS * number]
        order = np.argsort(item, axis=1, kind="stable")
        ordered = item[rows, order]
        fresh = np.ones_like(ordered, dtype=bool)
        fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        taken = np.empty_like(fresh)
        taken[rows, order] = fresh
        taken &= ~np.isin(rows * len(weights) + item, barred)
        place = np.cumsum(taken, axis=1) - 1
        row, at = np.nonzero(taken & (place < self.number))
        drawn = np.full((len(stream), self.number), -1, dtype=np.int64)
        drawn[row, place[row, at]] = item[row, at]
        return drawn

    def _completed(self, drawn: Ints, stream: Words, barred: Mask, weights: Ints) -> Ints:
        """Fill rows that fell short, at random by weight (Efraimidis and Spirakis, IPL 2006)."""
        row, at = np.nonzero(drawn >= 0)
        barred[row, drawn[row, at]] = True
        # Places past those that _at_random used.
        words = bits(stream, np.arange(len(weights)) + DRAWS * self.number)
        wait = np.where(barred, np.inf, -np.log(uniform(words)) / weights)
        item = np.argsort(wait, axis=1, kind="stable")[:, : self.number]
        item = np.where(np.isinf(np.take_along_axis(wait, item, axis=1)), -1, item)
        gap = self.number - item.shape[1]  # a catalogue smaller than the sample
        item = np.pad(item, ((0, 0), (0, max(0, gap))), constant_values=-1)
        have = (drawn >= 0).sum(axis=1)[:, None]
        slot = np.arange(self.number)[None, :]
        rest = np.take_along_axis(item, np.maximum(slot - have, 0), axis=1)
        return np.where(slot < have, drawn, rest)
