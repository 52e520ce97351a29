"""Retrieve, then rank: candidates of several models, put in order by a model of clicks.

Each retriever gives its best items of a query, as many as its quota; their union are the candidates
of the query. A ranker scores each by what retrievers, item and history say of it. What no retriever
found is not ranked at all. Shapes: m retrievers, M queries, V = num_items, P candidates of all
queries, C candidates of a query at most, F features.
"""

import time
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.at_once import bytes_at_once
from lightning_rec.models.candidates import (
    LOWEST,
    Candidates,
    Gathered,
    Ranker,
    check_features,
    check_quotas,
    fused,
)
from lightning_rec.models.together import Together, recent

SCORE_BYTES = 32 * 2**20  # scores of a catalogue that are held at once


class Pipeline(Together):
    """Candidates of several models of sequences, ranked by a model of clicks.

    Args:
        members: the retrievers; in a config the folders of their runs by name.
        quotas: by name, how many of its best items a retriever gives.
        ranker: puts candidates in order; in a config the folder of its run. None takes reciprocal
            rank fusion, the sum of 1 / (60 + rank) over the retrievers that found an item.

    Attributes:
        seconds: what each stage took until now, by name.
    """

    popularity: Tensor
    about: Tensor

    def __init__(
        self,
        schema: Schema,
        members: Any,
        quotas: Mapping[str, PositiveInt],
        ranker: Any = None,
    ) -> None:
        super().__init__(schema, members)
        check_quotas(quotas, len(self.members))
        self.quotas = dict(quotas)
        self.ranker: Ranker | None = ranker
        self.needs_users = all(each.model.needs_users for each in self.members)
        self.seconds: dict[str, float] = dict.fromkeys([*quotas, "features", "ranker"], 0.0)
        # Of the training events: the share of each item, by the mean of all and as a logarithm;
        # and what the catalogue says an item is about.
        self.register_buffer("popularity", torch.zeros(schema.num_items))
        self.register_buffer("about", torch.zeros(schema.num_items, 0))
        self.freeze()

    @property
    def models(self) -> list[nn.Module]:
        """The retrievers' models, and the ranker's."""
        return super().models + ([] if self.ranker is None else [self.ranker])

    @property
    def features(self) -> list[str]:
        """Names of the features of a candidate.

        Of each retriever: ``score``, (s - mean) / sd over what it could give for the query; ``gap``
        to the best of them, in the same unit; ``place``, the logarithm of the rank, of one more
        than the quota for what is not among its best. ``found_by``, how many found it;
        ``popularity`` of the item, the mean of it in the history (``mainstream``), the length of
        the ``history``, and ``affinity``, the mean share of the history that is about what the
        item is about, where the catalogue says that.
        """
        own = [f"{name}_{what}" for name in self.quotas for what in ("score", "gap", "place")]
        beside = ["found_by", "popularity", "mainstream", "history"]
        return [*own, *beside, *(["affinity"] if self.about.shape[1] else [])]

    @property
    def most(self) -> int:
        """The most candidates that a query can have."""
        return min(self.schema.num_items, sum(self.quotas.values()))

    def read(self, train_counts: Tensor, about: Tensor | None) -> None:
        """Know items by their training events, int64 [V], and by what they are about, float [V, G]
        of 0 and 1, if the catalogue says it.
        """
        share = (train_counts + 1) / (train_counts + 1).sum()
        self.popularity = (share * len(share)).log().float()
        if about is not None:
            self.about = about.float()

    def check_ranker(self) -> None:
        """Raises UserError if the ranker was trained on other features than there are."""
        check_features(self.ranker, self.features)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The retrievers' queries and what is known of the history, beside one another: [M, Q]."""
        known = histories.user >= 0
        parts, self.widths = [], []
        for name, member in zip(self.quotas, self.members, strict=True):
            started = time.perf_counter()
            asked = histories
            if member.model.needs_users:  # for somebody else it gives nothing
                asked = histories._replace(user=histories.user.clamp(min=0))
            made = self.asked(member, asked)
            self.widths.append(made.shape[1])
            parts.append(made)
            self.seconds[name] += time.perf_counter() - started
        items = recent(histories, self.schema).items
        inside = items < self.schema.num_items
        length = inside.sum(dim=1, keepdim=True).clamp(min=1)
        codes = items.clamp(max=self.schema.num_items - 1)
        mainstream = (self.popularity[codes] * inside).sum(dim=1, keepdim=True) / length
        profile = self.about.new_zeros(len(codes), 0)
        if self.about.shape[1]:
            weights = inside.to(self.about)
            profile = functional.embedding_bag(
                codes, self.about, mode="sum", per_sample_weights=weights
            )
        facts = [known.float()[:, None], length.float().log(), mainstream, profile / length]
        return torch.cat([*parts, *facts], dim=1)

    def among(self, queries: Tensor, row: Tensor, item: Tensor) -> Tensor:
        """Queries with their candidates in further columns: items, scores and origins, C each.

        ``row``, ``item``: int64 [S], pairs of a query and an item that is no candidate. Items that
        are not there are -1. Queries that have candidates already stay as they are.
        """
        return self.retrieve(queries, row, item, None)

    @torch.no_grad()
    def retrieve(
        self, queries: Tensor, row: Tensor, item: Tensor, allowed: Tensor | None
    ) -> Tensor:
        """The same among the items ``allowed``, bool [V]; see :class:`Retrieves`.

        Scores are compared over what is not allowed as well, as where the ranker learnt.
        """
        if queries.shape[1] > self._width:
            return queries
        parts = [queries.new_zeros(0, self._width + 3 * self.most)]
        held = bytes_at_once(queries.device, SCORE_BYTES)
        step = max(1, held // (4 * self.schema.num_items * (2 * len(self.members) + 2)))
        for start in range(0, len(queries), step):
            here = (row >= start) & (row < start + step)
            own = queries[start : start + step]
            found = self.candidates(own, row[here] - start, item[here], allowed)
            started = time.perf_counter()
            scores = self.ranked(found)
            self.seconds["ranker"] += time.perf_counter() - started
            first = torch.searchsorted(found.row, torch.arange(len(own), device=own.device))
            place = torch.arange(len(found.row), device=own.device) - first[found.row]
            block = own.new_full((3, len(own), self.most), -1)
            for column, values in zip(block, (found.item, scores, found.origin), strict=True):
                column[found.row, place] = values.to(block)
            parts.append(torch.cat([own, *block], dim=1))
        return torch.cat(parts)

    def ranked(self, found: Candidates) -> Tensor:
        """The score of each candidate, float32 [P]."""
        if self.ranker is not None:
            made: Tensor = self.ranker(found.features)
            return made
        return fused(found.origin, found.features, len(self.members))

    def listed(self, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Items (-1: none), scores and origins of queries of :meth:`among`: [M, C] each."""
        items, scores, origins = queries[:, self._width :].split(self.most, dim=1)
        return items.long(), scores, origins.long()

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """Scores of candidates; what is none has no number. See :meth:`SequenceModel.scores`.

        Queries that are not yet of :meth:`among` may be given any item.
        """
        if queries.shape[1] == self._width:
            none = torch.zeros(0, dtype=torch.int64, device=queries.device)
            queries = self.among(queries, none, none)
        codes, scores, _ = self.listed(queries)
        if items is not None and items.dim() == 2:
            whole = self.scores(queries)
            return whole.gather(1, items)
        place = torch.arange(self.schema.num_items, device=queries.device)
        width = len(place)
        if items is not None:
            place, width = torch.full_like(place, -1), len(items)
            place[items] = torch.arange(width, device=queries.device)
        row, column = (codes >= 0).nonzero(as_tuple=True)
        to = place[codes[row, column]]
        asked = to >= 0
        made = queries.new_full((len(queries), width), torch.nan)
        made[row[asked], to[asked]] = scores[row[asked], column[asked]]
        return made

    def candidates(
        self, queries: Tensor, row: Tensor, item: Tensor, allowed: Tensor | None = None
    ) -> Candidates:
        """The candidates of queries, with their features; arguments as of :meth:`retrieve`."""
        size, num_items = len(queries), self.schema.num_items
        own = queries[:, : sum(self.widths)].split(self.widths, dim=1)
        known, length, mainstream, profile = queries[:, sum(self.widths) : self._width].split(
            [1, 1, 1, self.about.shape[1]], dim=1
        )
        gathered = Gathered(size, num_items, queries.device)
        named = zip(self.quotas.items(), self.members, own, strict=True)
        for (name, quota), member, query in named:
            started = time.perf_counter()
            scores = member.model.scores(query).float().nan_to_num(nan=LOWEST, neginf=LOWEST)
            if member.model.needs_users:
                scores = scores.masked_fill(known == 0, LOWEST)
            scores[row, item] = LOWEST
            gathered.add(scores, quota, allowed)
            self.seconds[name] += time.perf_counter() - started
        started = time.perf_counter()
        at, codes = gathered.bits.nonzero(as_tuple=True)
        columns = gathered.columns(at, codes)
        columns += [self.popularity[codes], mainstream[at, 0], length[at, 0]]
        if profile.shape[1]:
            about = self.about[codes]
            alike = (profile[at] * about).sum(dim=1) / about.sum(dim=1).clamp(min=1)
            columns.append(alike)
        features = torch.stack([column.float() for column in columns], dim=1)
        self.seconds["features"] += time.perf_counter() - started
        return Candidates(at, codes, gathered.bits[at, codes], features)

    @property
    def _width(self) -> int:
        """Columns of a query without candidates."""
        return sum(self.widths) + 3 + self.about.shape[1]

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        # What the catalogue says of items only the saved one knows.
        if (saved := state_dict.get(f"{prefix}about")) is not None:
            self.about = torch.empty_like(saved)
        super()._load_from_state_dict(state_dict, prefix, *rest)
