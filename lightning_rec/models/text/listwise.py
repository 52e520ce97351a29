"""List-wise re-ranking: a language model is shown a history and twenty candidates, by their titles.

Hou et al., Large Language Models are Zero-Shot Rankers for Recommender Systems, ECIR 2024,
arXiv:2305.08845: where an item stands in a list sways a language model, so that the list is shown
in several random orders (bootstrapping). Shapes: M queries, V = num_items, n candidates, R orders.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from lightning_rec.data.chance import bits
from lightning_rec.data.split import Histories, Schema
from lightning_rec.language.letters import Asking, LetterReader
from lightning_rec.language.listed import LETTERS
from lightning_rec.language.prompts import check_slots
from lightning_rec.language.words import LoadWords
from lightning_rec.models.at_once import bytes_at_once
from lightning_rec.models.best import best
from lightning_rec.models.together import Member, Together

SCORE_BYTES = 8 * 2**20  # scores of a catalogue that are held at once
LOWEST = torch.finfo(torch.float32).min
STEP = 1e-6  # of a score, which float32 still tells apart
Rerank = Annotated[int, Field(ge=2, le=len(LETTERS))]


class Readings(NamedTuple):
    """What was shown and said.

    shown: int64 [M, R, n], item codes in the orders shown, -1 behind the end of a list.
    said: float32 [M, R, n], log p of each letter among all words, -inf behind the end.
    scores: float32 [M, R, n], by which items are ranked: of the letters of the list alone, and over
        their prior where that is asked for.
    """

    shown: Tensor
    said: Tensor
    scores: Tensor


class Listwise(Together):
    """The best items of a trained model, ordered by a language model; all else keeps its place.

    The score of a candidate is the probability that its letter is the next word of a prompt which
    ends where the answer begins. It takes one reading of each list, or of each order of it.

    Args:
        schema: of the histories.
        load_words: finds the language model with its head.
        titles: of the items, by code.
        first: finds the items that are re-ranked; in a config the folder of a run of sequences.
        rerank: how many of its best are.
        encoder: name of the language model: a folder, or an id of the hub.
        prompt: the question, with ``{history}`` and ``{items}`` in it.
        title: template of the title of an item: names of columns in braces.
        separator: between titles of the history; a blank follows it.
        nothing: instead of an empty history; a blank comes before it.
        answer: how the answer begins, with ``{letter}``: a single token of the language model.
        max_titles: most titles of the history, the latest.
        max_title_tokens: where titles are cut off.
        max_tokens: longest prompt: older titles are left out until it fits.
        shuffles: in how many orders each list is read; 0 leaves it to the first model.
        order: the first of them, that of the first model (``retriever``), or a random one.
        merge: what is averaged over the orders, log p or the ``ranks``.
        calibrated: divide by the letters' prior, measured where titles say nothing (Zhao et al.,
            Calibrate Before Use, ICML 2021).
        seed: of the random orders.
    """

    pretrained: ClassVar[bool] = True

    def __init__(
        self,
        schema: Schema,
        load_words: LoadWords,
        titles: Sequence[str],
        first: Any,
        encoder: str,
        prompt: str,
        rerank: Rerank = 20,
        title: str = "{title}",
        separator: str = ",",
        nothing: str = "none",
        answer: str = " {letter}",
        max_titles: PositiveInt = 10,
        max_title_tokens: PositiveInt = 16,
        max_tokens: PositiveInt = 512,
        shuffles: NonNegativeInt = 1,
        order: Literal["retriever", "shuffled"] = "shuffled",
        merge: Literal["scores", "ranks"] = "scores",
        calibrated: bool = False,
        seed: NonNegativeInt = 0,
    ) -> None:
        assert isinstance(first, Member)
        super().__init__(schema, [first])
        check_slots(prompt, "{items}")
        limits = (max_titles, max_title_tokens, max_tokens)
        asking = Asking(encoder, prompt, separator, nothing, answer, *limits)
        self.reader = LetterReader(load_words(encoder, "causal"), titles, rerank, asking)
        self.template, self.rerank, self.max_titles = title, rerank, max_titles
        self.shuffles, self.order, self.merge = shuffles, order, merge
        self.calibrated, self.seed = calibrated, seed
        self.needs_users = first.model.needs_users
        self.freeze()

    @property
    def models(self) -> list[nn.Module]:
        """The first model, and the language model."""
        return [*super().models, self.reader.model]

    @property
    def first(self) -> Any:
        """What finds the candidates."""
        return self.members[0].model

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The first model's queries, user and latest items beside them: float32 [M, Q]."""
        own = super().forward(histories, positions)
        items = histories.items
        length = (items != self.schema.padding).sum(dim=1, keepdim=True)
        place = (length - self.max_titles).clamp(min=0)
        place = place + torch.arange(self.max_titles, device=items.device)
        past = items.gather(1, place.clamp(max=items.shape[1] - 1))
        past = past.masked_fill(place >= length, self.schema.padding)
        return torch.cat([own, histories.user[:, None].to(own), past.to(own)], dim=1)

    @torch.no_grad()
    def among(self, queries: Tensor, row: Tensor, item: Tensor) -> Tensor:
        """Queries with their best candidates, read, in further columns; see :class:`ScoresAmong`.

        Queries that have been read already stay as they are.
        """
        if queries.shape[1] > self._width or not self.shuffles:
            return queries
        own = queries[:, : self.widths[0]]
        found = [torch.zeros(0, self.rerank, dtype=torch.int64, device=queries.device)]
        step = max(1, bytes_at_once(queries.device, SCORE_BYTES) // (4 * self.schema.num_items))
        for start in range(0, len(queries), step):
            here = (row >= start) & (row < start + step)
            scores = self._raw(own[start : start + step])
            scores[row[here] - start, item[here]] = LOWEST
            values, codes = best(scores, self.rerank, floor=LOWEST)
            codes = codes.masked_fill(values <= LOWEST, -1)
            short = self.rerank - codes.shape[1]
            found.append(nn.functional.pad(codes, (0, short), value=-1))
        candidates = torch.cat(found)
        read = self.read(queries, candidates)
        final = merged(candidates, read, self.merge)
        parts = [candidates, final, *(each.flatten(1) for each in read)]
        return torch.cat([queries, *(part.to(queries) for part in parts)], dim=1)

    def read(self, queries: Tensor, candidates: Tensor) -> Readings:
        """Have the language model read lists, int64 [M, n], the first model's best first."""
        facts = queries[:, self.widths[0] : self._width].long().cpu().numpy()
        codes = candidates.cpu().numpy()
        shown = np.stack([self._ordered(codes, facts[:, 0], r) for r in range(self.shuffles)], 1)
        said = self.reader.read(shown, facts[:, 1:], self.schema.padding)
        scores, none = said.clone(), said == -torch.inf
        lengths = (shown[:, 0] >= 0).sum(axis=1) if self.calibrated else codes[:0, 0]
        for number in np.unique(lengths[lengths > 0]).tolist():
            rows = torch.from_numpy(np.flatnonzero(lengths == number))
            scores[rows, :, :number] -= self.reader.prior(number).log()
        scores = scores.log_softmax(dim=2).masked_fill(none, -torch.inf)
        device = queries.device
        return Readings(torch.from_numpy(shown).to(device), said.to(device), scores.to(device))

    def readings(self, queries: Tensor) -> Readings:
        """What was shown and said, of queries of :meth:`among`."""
        size = (len(queries), self.shuffles, self.rerank)
        parts = queries[:, self._width + 2 * self.rerank :].chunk(3, dim=1)
        shown, said, scores = (part.reshape(size) for part in parts)
        return Readings(shown.long(), said, scores)

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """The first model's scores, but above all of them those of what was re-ranked, each a hair
        above the next; see :meth:`SequenceModel.scores`.

        Queries that are not yet of :meth:`among` are read among the whole catalogue.
        """
        if queries.shape[1] == self._width:
            none = torch.zeros(0, dtype=torch.int64, device=queries.device)
            queries = self.among(queries, none, none)
        if items is not None and items.dim() == 2:
            return self.scores(queries).gather(1, items)
        own = queries[:, : self.widths[0]]
        if not self.shuffles:
            return self._raw(own, items)
        codes, final = queries[:, self._width :].split(self.rerank, dim=1)[:2]
        codes = codes.long()
        whole = self._raw(own) if items is None else None
        made = self._raw(own, items) if whole is None else whole
        listed = self._raw_of(own, codes)
        place = torch.arange(self.schema.num_items, device=queries.device)
        if items is not None:
            place = torch.full_like(place, -1)
            place[items] = torch.arange(len(items), device=queries.device)
        row, column = (codes >= 0).nonzero(as_tuple=True)
        to = place[codes[row, column]]
        asked = to >= 0
        above = stacked(listed, final)
        made[row[asked], to[asked]] = above[row[asked], column[asked]]
        return made

    @property
    def _width(self) -> int:
        """Columns of a query that was not read."""
        return sum(self.widths) + 1 + self.max_titles

    def _raw(self, own: Tensor, items: Tensor | None = None) -> Tensor:
        scores: Tensor = self.first.scores(own, items).float()
        return scores.nan_to_num(nan=LOWEST, neginf=LOWEST)

    def _raw_of(self, own: Tensor, codes: Tensor) -> Tensor:
        """The first model's scores of lists, [M, n], LOWEST behind their ends."""
        return self._raw(own, codes.clamp(min=0)).masked_fill(codes < 0, LOWEST)

    def _ordered(self, codes: Any, user: Any, number: int) -> Any:
        """The ``number``-th order of lists, int64 [M, n]: of one user's list always the same."""
        if number == 0 and self.order == "retriever":
            return codes
        seeds = bits(bits(self.seed, np.asarray(number)), user.astype(np.int64))
        chance = bits(seeds[:, None], codes.clip(min=0))
        # Draws are of 64 bits; what is behind the end stays there.
        order = np.lexsort((chance, codes < 0), axis=1)
        return np.take_along_axis(codes, order, axis=1)


def merged(candidates: Tensor, read: Readings, by: str) -> Tensor:
    """The place of each candidate, int64 [M, n], from 0: by the mean over orders of its scores or
    of its ranks, equal ones as the first model has them.
    """
    scores = aligned(candidates, read.shown, read.scores)  # [M, R, n]
    if by == "ranks":
        scores = -ranks_in(scores).to(scores)
    mean = scores.mean(dim=1).masked_fill(candidates < 0, -torch.inf)
    order = mean.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def aligned(candidates: Tensor, shown: Tensor, values: Tensor) -> Tensor:
    """Values of what was shown, [M, R, n], in the order of the candidates, int64 [M, n]."""
    # The ends of lists, -1, are in their places already: sorting is stable.
    by_code = shown.argsort(dim=2, stable=True)
    back = candidates.argsort(dim=1, stable=True).argsort(dim=1)
    return values.gather(2, by_code.gather(2, back[:, None].expand_as(shown)))


def ranks_in(scores: Tensor) -> Tensor:
    """The rank of each score among the last dimension, from 1; of equal ones the mean."""
    above = (scores[..., None, :] > scores[..., :, None]).sum(dim=-1)
    alike = (scores[..., None, :] == scores[..., :, None]).sum(dim=-1)
    return above + (alike + 1) / 2


def stacked(scores: Tensor, places: Tensor) -> Tensor:
    """Scores just above the highest of each row, [M, n], in the order of ``places``, from 0."""
    top = scores.amax(dim=1, keepdim=True)
    step = STEP * top.abs().clamp(min=1)
    return top + step * (places.shape[1] - places)
