"""What is told beside the answers: who got none, whose list is short, what rules cost."""

import logging
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from torch import Tensor

from lightning_rec.data.types import Ints
from lightning_rec.errors import listed
from lightning_rec.rules.calibrating import miscalibration
from lightning_rec.rules.choosing import Chosen, Pool

log = logging.getLogger(__name__)

SHOWN = 3  # examples


@dataclass
class Told:
    """Counts over all that was asked, added to with each answer.

    lists: how many were asked for.  unknown_users: whom the run does not know.  empty: lists whose
    history holds no known item.  short: lists of fewer than k items.  items, unknown_items: of
    histories.  best, chosen: relevance of the plain lists and of those that were chosen, from 0
    (the lowest of the candidates) to 1; gain: the same discounted by rank as in DCG; alike: sums of
    the likeness of two items of a list, over as many ``pairs``, of the plain and the chosen ones.
    apart: lists that were calibrated; best_apart, chosen_apart: sums of their divergence from the
    histories, in nats.
    notes: of rules that do nothing, which are logged where they are made ready.
    lacks: what the model reads and a question did not say, in sentences.
    """

    lists: int = 0
    unknown_users: int = 0
    empty: int = 0
    short: int = 0
    items: int = 0
    unknown_items: int = 0
    examples: dict[str, list[object]] = field(default_factory=dict)
    rated: int = 0
    best: float = 0.0
    chosen: float = 0.0
    best_gain: float = 0.0
    chosen_gain: float = 0.0
    best_pairs: int = 0
    chosen_pairs: int = 0
    best_alike: float = 0.0
    chosen_alike: float = 0.0
    apart: int = 0
    best_apart: float = 0.0
    chosen_apart: float = 0.0
    notes: list[str] = field(default_factory=list)
    lacks: list[str] = field(default_factory=list)

    def keep(self, of: str, unknown: pl.Series) -> None:
        """Keep some examples of unknown ``users`` or ``items``."""
        some = self.examples.setdefault(of, [])
        once = unknown.unique(maintain_order=True).head(2 * SHOWN).to_list()
        some += [each for each in map(str, once) if each not in some][: SHOWN - len(some)]

    def count(self, found: Ints, lengths: Ints, k: int) -> None:
        """Count lists, int64 [n] items in each, of histories of ``lengths``."""
        self.lists += len(found)
        self.empty += int((lengths == 0).sum())
        self.short += int(((found < k) & (lengths > 0)).sum())

    def compare(self, pool: Pool, plain: Chosen, chosen: Chosen, features: Tensor | None) -> None:
        """Add what rules cost in relevance, and gain in likeness, for some lists."""
        relevance = pool.relevance
        self.rated += len(relevance)
        for name, lists in (("best", plain), ("chosen", chosen)):
            place = lists.place
            there = place >= 0
            own = relevance.gather(1, place.clamp(min=0)).where(there, 0)
            discount = 1 / np.log2(np.arange(2, place.shape[1] + 2))
            total, gain = float(own.sum()), float((own.numpy() * discount).sum())
            setattr(self, name, getattr(self, name) + total)
            setattr(self, f"{name}_gain", getattr(self, f"{name}_gain") + gain)
            if features is not None:
                alike, pairs = _alike(features, pool, place)
                setattr(self, f"{name}_alike", getattr(self, f"{name}_alike") + alike)
                setattr(self, f"{name}_pairs", getattr(self, f"{name}_pairs") + pairs)

    def calibrated(
        self, pool: Pool, plain: Chosen, chosen: Chosen, group: Tensor, taste: Tensor
    ) -> None:
        """Add how far some lists are from the shares of their histories, where these have any."""
        some = (taste.sum(1) > 0) & (plain.place[:, 0] >= 0)
        self.apart += int(some.sum())
        for name, lists in (("best_apart", plain), ("chosen_apart", chosen)):
            place = lists.place[some]
            items = pool.items[some].gather(1, place.clamp(min=0)).where(place >= 0, -1)
            far = float(miscalibration(group, items, taste[some]).sum())
            setattr(self, name, getattr(self, name) + far)

    def add(self, other: "Told") -> None:
        """Add what is to be told of others."""
        for name, value in vars(other).items():
            if name != "examples":
                setattr(self, name, getattr(self, name) + value)
        for of, some in other.examples.items():
            self.keep(of, pl.Series(some, dtype=pl.String, strict=False))

    def cost(self) -> dict[str, float]:
        """What rules cost, as shares of the plain lists' relevance; none where nothing was chosen.

        ``relevance``: of the sums; ``dcg``: discounted by rank. ``alike_plain`` and ``alike``: mean
        likeness of two items of a list, where diversity was asked for. ``apart_plain``, ``apart``:
        mean divergence from the histories in nats, where calibration was.
        """
        if not self.rated:
            return {}
        found = {
            "relevance": self.chosen / self.best if self.best else 1.0,
            "dcg": self.chosen_gain / self.best_gain if self.best_gain else 1.0,
        }
        if self.best_pairs and self.chosen_pairs:
            found |= {"alike_plain": self.best_alike / self.best_pairs}
            found |= {"alike": self.chosen_alike / self.chosen_pairs}
        if self.apart:
            found |= {"apart_plain": self.best_apart / self.apart}
            found |= {"apart": self.chosen_apart / self.apart}
        return found

    def warnings(self, k: int) -> list[str]:
        """Sentences on what was not answered as asked."""
        known = {of: f", such as {listed(some)}" for of, some in self.examples.items()}
        found = []
        if self.unknown_users:
            those = "a user" if self.unknown_users == 1 else f"{self.unknown_users:,} users"
            found.append(
                f"This run has no event of {those}{known.get('users', '')}: nothing is recommended "
                "without a history."
            )
        if self.unknown_items:
            found.append(
                f"{self.unknown_items:,} of {self.items:,} items of the histories are not known to "
                f"this run and are passed over{known.get('items', '')}."
            )
        if self.empty:
            found.append(
                f"{self.empty:,} of {self.lists:,} histories hold no item that this run knows: "
                "nothing is recommended."
            )
        if self.short:
            found.append(
                f"{self.short:,} of {self.lists:,} lists are shorter than k={k}: no more items are "
                "left for them."
            )
        return [*found, *dict.fromkeys(self.lacks)]

    def log(self, k: int) -> None:
        """Log what is to be told: warnings, and as information what rules cost."""
        for words in self.warnings(k):
            log.warning(words)
        if words := self.costs():
            log.info(words)

    def costs(self) -> str:
        """A sentence on what rules cost; empty where nothing was chosen."""
        if not (cost := self.cost()):
            return ""
        told = (
            f"What rules cost: these lists keep {cost['relevance']:.1%} of the relevance that the "
            f"best items have ({cost['dcg']:.1%} if upper places count more, as in DCG)"
        )
        if "alike" in cost:
            told += f"; two items of a list are alike by {cost['alike']:.3f}"
            told += f" on average, before {cost['alike_plain']:.3f}"
        if "apart" in cost:
            told += f"; their shares are {cost['apart']:.3f} nats from those of the histories"
            told += f" (Kullback-Leibler), before {cost['apart_plain']:.3f}"
        return f"{told}."


def _alike(features: Tensor, pool: Pool, place: Tensor) -> tuple[float, int]:
    """Sum of the likeness of each two items of a list, and how many pairs there are."""
    there = (place >= 0).float()
    items = pool.items.gather(1, place.clamp(min=0)).clamp(min=0)
    own = features[items] * there[:, :, None]
    total = (own.sum(1) ** 2).sum() - (own**2).sum()
    number = there.sum(1)
    return float(total) / 2, int((number * (number - 1) / 2).sum())
