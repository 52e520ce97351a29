"""Search in the order of one user: relevance to the query and his taste, in one score.

The ``among`` most relevant items of a query are put in order by ``(1 - w) r + w t``: r is the
score of a model of matching, t that of a model of sequences for the same items, both less their
mean over these items and divided by their deviation. The weight w is fitted by
:mod:`lightning_rec.answers.personal_fit`.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lightning_rec.answers.catalogues import check_titles
from lightning_rec.data.ids import ids_of
from lightning_rec.data.split import ranges
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError
from lightning_rec.predict.asking import Asked, Histories, check_k, numbered, series
from lightning_rec.predict.batches import asked_by
from lightning_rec.predict.matching import MatchPredictor, texts_of
from lightning_rec.predict.ruled import plain_lists, ruled_lists
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.predict.told import Told
from lightning_rec.retrieval.exact import Found, Pairs, among
from lightning_rec.rules.ready import Ready
from lightning_rec.rules.rules import Given

log = logging.getLogger(__name__)

AMONG = 100  # of the most relevant items taste puts in order


class Candidates(NamedTuple):
    """The most relevant items of B queries, best first.

    items: int64 [B, M] codes of the model of matching, -1 for none.  relevance, taste: float64
    [B, M], of mean 0 and deviation 1 over the items of a query; taste is 0 where nothing is known.
    """

    items: Tensor
    relevance: Tensor
    taste: Tensor


class PersonalSearch:
    """A model of matching and one of sequences that have items in common, by their ids.

    Args:
        matching: finds items for queries.
        taste: knows what its users like.
        weight: of taste, from 0 (relevance alone) to 1.
        among: how many of the most relevant items are put in order.

    Raises:
        UserError: for a weight or number that is none, or models without an item in common.
    """

    def __init__(
        self,
        matching: MatchPredictor,
        taste: SequencePredictor,
        weight: float = 0.0,
        among: int = AMONG,
    ) -> None:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
            raise UserError(f"weight={weight}: it is a number from 0 (relevance) to 1 (taste).")
        if isinstance(among, bool) or not isinstance(among, int) or among < 1:
            raise UserError(f"among={among}: it is a whole number from 1 on.")
        self.matching, self.taste, self.weight = matching, taste, float(weight)
        self.among = min(among, matching.retriever.longest)
        code = taste.catalogue.codes(matching.catalogue.items["item"])
        self.codes = torch.from_numpy(code.cast(pl.Int64).fill_null(-1).to_numpy().copy())
        self.shared = int((self.codes >= 0).sum())
        if not self.shared:
            ours, theirs = (
                each.catalogue.items["item"].head(1).to_list() for each in (matching, taste)
            )
            raise UserError(
                f"The two models have no item in common: ids such as {ours} are looked for among "
                f"those such as {theirs}. Train both with the same ids of items (data.item)."
            )
        check_titles(matching.catalogue.items, taste.catalogue.items)
        if 2 * self.shared < len(self.codes):
            words = "%s of %s items are known to both models: of the others taste says nothing."
            log.warning(words, f"{self.shared:,}", f"{len(self.codes):,}")

    def recommend(
        self,
        queries: Sequence[str],
        *,
        users: Sequence[Any] | None = None,
        histories: Histories | None = None,
        k: int = 10,
        seen: str = "keep",
        rules: Given | Ready | None = None,
        told: Told | None = None,
    ) -> pl.DataFrame:
        """The ``k`` best items for each query of a user.

        Args:
            queries: texts.
            users: for each query, or for all of them, an id of the model of sequences.
            histories: in their place, lists of item ids, oldest first. Somebody of whom nothing is
                known, user or history, gets the order of relevance, which is told.
            k: how many, ``among`` at most.
            seen: whether items of the history are left out (``filter``) or not (``keep``).
            rules: as of :meth:`MatchPredictor.recommend`; boosts are of the score that is shown.
            told: is added what else is to be told; None logs it.

        Returns:
            ``query``, ``user`` (for histories ``row``), ``rank``, ``item``, ``title``, ``score``,
            ``relevance`` and ``taste`` (of which it is made, before boosts), and ``propensity``
            where rules explore.
        """
        check_k(
            k, self.among, f"taste puts the best {{:,}} of a query in order (among={self.among})"
        )
        if seen not in ("filter", "keep"):
            raise UserError(f"seen={seen}: it is filter or keep.")
        texts, tell = texts_of(queries), told or Told()
        asked = self.asked(users, histories, len(texts), tell)
        ready = None if rules is None else self.matching.ready(rules)
        table = self.ordered(texts, asked, k, seen, ready, tell)
        if told is None:
            tell.log(k)
        return table.drop("place")

    def ordered(
        self, texts: pl.Series, asked: Asked, k: int, seen: str, ready: Ready | None, tell: Told
    ) -> pl.DataFrame:
        """What :meth:`recommend` gives, for histories of known items, one for each text.

        The column ``place`` says of which text each row is, which may come twice.
        """
        found = self.candidates(texts, asked, seen, ready)
        score = self.mixed(found, self.weight)
        if ready is not None:
            there = found.items >= 0
            own = ready.adjust_items(score.where(there, 0), found.items.clamp(min=0))
            score = own.where(there, -torch.inf)
        best = torch.sort(score, dim=1, descending=True, stable=True)
        items = found.items.gather(1, best.indices).masked_fill(best.values == -torch.inf, -1)

        def top(rows: Tensor, most: int) -> Found:
            none = rows.new_zeros(0)
            return Found(items[rows, :most], best.values[rows, :most], none, none.float(), none)

        if ready is None or not ready.rules.choosing:
            lists = plain_lists(top(torch.arange(len(texts)), k))
        else:
            keys = (texts + "\0" + ids_of(asked.key).cast(pl.String)).hash(seed=0).to_numpy()
            lists = ruled_lists(top, keys, k, self.among, ready, tell)
        known = np.ones(len(texts), dtype=np.int64)
        tell.count(np.bincount(lists.row, minlength=len(texts)), known, k)
        return self._shown(lists, texts, asked.key, found)

    def asked(
        self, users: Sequence[Any] | None, histories: Histories | None, number: int, told: Told
    ) -> Asked:
        """Whom ``number`` queries are for, one for each. Raises UserError if that is not said."""
        if (users is None) == (histories is None):
            raise UserError("Say whom it is for: either users=[…] or histories=….")
        if users is not None:
            names = series("user", users)
            names = pl.concat([names] * number) if len(names) == 1 else names
            asked = of_users(self.taste, names, strict=False)
        else:
            if getattr(self.taste.model, "needs_users", False):
                raise UserError(f"{self.taste.name} reads no histories: ask for users=[…].")
            asked = asked_by(histories, self.taste.catalogue, told, self.taste.model)
            if len(asked.key) == 1 < number:
                asked = taken(asked, pl.concat([asked.key] * number), np.zeros(number, np.int64))
        if len(asked.key) != number:
            raise UserError(
                f"{number:,} queries are asked for {len(asked.key):,} users: say one user, or one "
                "for each query."
            )
        if empty := int((np.diff(asked.offsets) == 0).sum()):
            words = "%s of %s queries are of somebody of whom %s knows nothing: by relevance alone."
            log.warning(words, f"{empty:,}", f"{number:,}", self.taste.name)
        return asked

    @torch.no_grad()
    def candidates(
        self, texts: pl.Series, asked: Asked, seen: str = "keep", ready: Ready | None = None
    ) -> Candidates:
        """The most relevant items of each query that filters leave, with both scores."""
        retriever = self.matching.retriever
        once = texts.unique(maintain_order=True)
        retriever.read(once.to_list())
        place = {text: row for row, text in enumerate(once)}
        rows = torch.tensor([place[text] for text in texts], dtype=torch.int64)
        out = self._seen(asked) if seen == "filter" else None
        only = None if ready is None else replace(ready, boosts=None)
        found = retriever.top(rows, self.among, left_out=out, rules=only)
        there = found.items >= 0
        codes = self.codes[found.items.clamp(min=0)].where(there, -1)
        taste = taste_of(self.taste, asked, codes)
        return Candidates(
            found.items,
            standardised(found.scores.double(), there),
            standardised(taste.double(), taste == taste),
        )

    @staticmethod
    def mixed(found: Candidates, weight: float) -> Tensor:
        """The score of each candidate, float64 [B, M], -inf where there is none."""
        score = (1 - weight) * found.relevance + weight * found.taste
        return score.masked_fill(found.items < 0, -torch.inf)

    def _seen(self, asked: Asked) -> Pairs:
        """The items of histories by the codes of the model of matching."""
        back = torch.full((len(self.taste.items),), -1)
        known = (self.codes >= 0).nonzero()[:, 0]
        back[self.codes[known]] = known
        row = torch.from_numpy(np.repeat(np.arange(len(asked.key)), np.diff(asked.offsets)))
        item = back[torch.from_numpy(asked.items.astype(np.int64))]
        return Pairs(row[item >= 0], item[item >= 0])

    def _shown(
        self, lists: Any, texts: pl.Series, key: pl.Series, found: Candidates
    ) -> pl.DataFrame:
        row = torch.from_numpy(lists.row)
        place = (found.items[row] == torch.from_numpy(lists.item)[:, None]).int().argmax(1)
        catalogue, of = self.matching.catalogue, texts.gather(lists.row)
        table = catalogue.ranked(of, lists.rank, lists.item, lists.score)
        table.insert_column(1, key.gather(lists.row))
        table = table.with_columns(
            relevance=pl.Series(found.relevance[row, place].numpy(), dtype=pl.Float64),
            taste=pl.Series(found.taste[row, place].numpy(), dtype=pl.Float64),
            place=pl.Series(lists.row),
        )
        if lists.propensity is not None:
            table = table.with_columns(propensity=pl.Series(lists.propensity))
        return table.sort("place", "rank")


def of_users(model: SequencePredictor, users: pl.Series, *, strict: bool = True) -> Asked:
    """What the log of a model knew of users, one history for each, in their order.

    Raises UserError for one that is not known if ``strict``; else his history is empty.
    """
    known = model.asked(None, users.unique(maintain_order=True), strict=strict)
    at = (
        ids_of(users)
        .to_frame("id")
        .join(numbered(known.key, "id"), "id", "left", maintain_order="left")["code"]
    )
    return taken(known, users, at.cast(pl.Int64).fill_null(-1).to_numpy())


def taken(asked: Asked, key: pl.Series, at: Ints) -> Asked:
    """The histories at some places, int64 [n], with all that is said of their events; -1: none."""
    there, start = at >= 0, np.append(asked.offsets[:-1], 0)[at]
    end = np.where(there, asked.offsets[at + 1], start)
    offsets = np.concatenate([[0], np.cumsum(end - start)])
    rows = ranges(start, end)[1]
    times = None if asked.times is None else asked.times[rows]
    events = None if asked.events is None else asked.events[rows]
    user = np.append(asked.user, -1)[at]
    return Asked(key, asked.items[rows], offsets, user, times, None, events, asked.lacks)


def standardised(scores: Tensor, there: Tensor) -> Tensor:
    """Scores less their mean, over their deviation, of what is there, bool [B, M]; else 0."""
    number = there.sum(1, keepdim=True).clamp(min=1)
    kept = scores.where(there, 0)
    centred = (kept - kept.sum(1, keepdim=True) / number).where(there, 0)
    deviation = ((centred**2).sum(1, keepdim=True) / number).sqrt()
    return (centred / deviation).where(there & (deviation > 1e-12), 0)


@torch.no_grad()
def taste_of(model: SequencePredictor, asked: Asked, codes: Tensor) -> Tensor:
    """Scores of items, int64 [n, M] codes, for n histories: float32 [n, M]; NaN where unknown."""
    scores = torch.full(codes.shape, torch.nan)
    for rows, queries in model.queries(asked):
        none = Pairs.none(queries.device)
        own = codes[torch.from_numpy(rows)]
        made = model.model.scores(among(model.model, queries, none, none), own.clamp(min=0))
        scores[torch.from_numpy(rows)] = made.float().masked_fill(own < 0, torch.nan)
    return scores
