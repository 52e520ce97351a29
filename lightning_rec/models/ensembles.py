"""Trained models that answer together: by the mean of their scores, their probabilities or ranks.

Members are as they were trained, and are kept in folders of their own: what an ensemble has of its
own are their weights. Shapes: m members, M queries, n items, V = num_items, B rows, G goals.
"""

from typing import Any, ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.data.split import Schema
from lightning_rec.errors import UserError
from lightning_rec.models.at_once import bytes_at_once
from lightning_rec.models.beside import Beside
from lightning_rec.models.clicks.parts import FITTED, ClickModel
from lightning_rec.models.together import Together
from lightning_rec.needs import Need

Weights = Literal["equal", "fitted"] | list[float]
SCORE_BYTES = 8 * 2**20  # scores of a catalogue that are held at once
_LOWEST = torch.finfo(torch.float32).min


class Ensemble(Beside):
    """What ensembles share: members that are trained no more, and a weight for each.

    Attributes:
        weights: float64 [m], which sum up to 1; equal ones until they are fitted.
        fits: whether they are to be fitted.
    """

    weights: Tensor

    def weigh(self, weights: Weights) -> None:
        """Take in the weights of the members. Raises UserError where they are none of these."""
        self.fits = weights == "fitted"
        self.register_buffer("weights", shares(weights, len(self.members)))
        self.freeze()

    @property
    def alone(self) -> int | None:
        """The only member that counts, whose answers are then taken as they are; else None."""
        counted: list[int] = self.weights.nonzero()[:, 0].tolist()
        return counted[0] if len(counted) == 1 else None


def shares(weights: Weights, number: int) -> Tensor:
    """Weights of ``number`` members, float64, that sum up to 1. Raises UserError if they cannot."""
    if isinstance(weights, str):
        return torch.full((number,), 1 / number, dtype=torch.float64, device="cpu")
    if len(weights) != number:
        raise UserError(f"weights={weights}: there are {number} members, say a weight for each.")
    given = torch.tensor(weights, dtype=torch.float64, device="cpu")
    if not given.isfinite().all() or (given < 0).any() or not given.any():
        raise UserError(f"weights={weights}: each is 0 or more, and one of them above it.")
    return given / given.sum()


class SequenceEnsemble(Ensemble, Together):
    """Models of sequences over one catalogue. Scores of one query are compared by what ``by`` says.

    ``scores``: the mean of standard scores (s - mean) / sd. ``probabilities``: the mean of softmax
    probabilities, of which the logarithm is the score. ``ranks``: reciprocal rank fusion, the mean
    of 1 / (k + rank) (Cormack et al., SIGIR 2009), where a tie counts against an item. Mean, sd,
    softmax and rank are those among the candidates of a query, :meth:`among`. An item whose score
    is no number gets the lowest there is.

    Args:
        members: the models; in a config the folders of their runs by name.
        by: what the mean is taken of.
        weights: of the members, ``equal``, or ``fitted`` on validation.
        k: of reciprocal rank fusion.
    """

    def __init__(
        self,
        schema: Schema,
        members: Any,
        by: Literal["scores", "probabilities", "ranks"] = "scores",
        weights: Weights = "equal",
        k: PositiveInt = 60,
    ) -> None:
        super().__init__(schema, members)
        self.by, self.k = by, k
        self.needs_users = any(each.model.needs_users for each in self.members)
        self.weigh(weights)

    @torch.no_grad()
    def among(self, queries: Tensor, row: Tensor, item: Tensor) -> Tensor:
        """Queries with what is needed to compare scores of the candidates, in further columns.

        ``row``, ``item``: int64 [S], pairs of a query and an item that is no candidate.
        """
        if self.alone is not None:
            return queries
        step = max(1, bytes_at_once(queries.device, SCORE_BYTES) // (4 * self.schema.num_items))
        parts = []
        for start in range(0, len(queries), step):
            here = (row >= start) & (row < start + step)
            raw = self.raw(queries[start : start + step])
            raw[:, row[here] - start, item[here]] = torch.nan
            parts.append(torch.cat([self._facts(scores) for scores in raw], dim=1))
        facts = torch.cat(parts) if parts else queries.new_zeros(0, 0)
        return torch.cat([queries, facts], dim=1)

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """The weighted mean; see :meth:`SequenceModel.scores`.

        Queries that are not yet of :meth:`among` are scored among the whole catalogue.
        """
        if (alone := self.alone) is not None:
            own = queries[:, : sum(self.widths)].split(self.widths, dim=1)[alone]
            return self.members[alone].model.scores(own, items)
        if queries.shape[1] == sum(self.widths):
            none = torch.zeros(0, dtype=torch.int64, device=queries.device)
            queries = self.among(queries, none, none)
        return self.fused(self.terms(self.raw(queries, items), queries), self.weights)

    def raw(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """The scores of each member: float32 [m, M, n], the lowest where one is no number."""
        own = queries[:, : sum(self.widths)].split(self.widths, dim=1)
        pairs = zip(self.members, own, strict=True)
        made = [member.model.scores(query, items).float() for member, query in pairs]
        return torch.stack(made).nan_to_num_(nan=_LOWEST, neginf=_LOWEST)

    def terms(self, raw: Tensor, queries: Tensor) -> Tensor:
        """What of each member is averaged: [m, M, n]; ``queries`` are those of :meth:`among`."""
        facts = queries[:, sum(self.widths) :].chunk(len(self.members), dim=1)
        return torch.stack([self._term(*each) for each in zip(raw, facts, strict=True)])

    def fused(self, terms: Tensor, weights: Tensor) -> Tensor:
        """Their mean by ``weights``, float [m]: float32 [M, n]; of probabilities its logarithm."""
        if self.by == "probabilities":
            own = weights.log().to(terms)[:, None, None]
            return torch.logsumexp(terms + own, dim=0)
        mean = torch.zeros_like(terms[0])
        for weight, term in zip(weights.tolist(), terms, strict=True):
            mean += weight * term
        return mean.float()

    def _facts(self, scores: Tensor) -> Tensor:
        """What is known of a member's candidates: float32 [M, .]; not a number: no candidate."""
        if self.by == "ranks":
            return scores.nan_to_num(nan=-torch.inf).sort(dim=1).values
        found = scores > _LOWEST  # of what has a score
        if self.by == "probabilities":
            return scores.masked_fill(~found, -torch.inf).logsumexp(dim=1, keepdim=True)
        number = found.sum(dim=1, keepdim=True).clamp(min=1)
        inside = scores.double().masked_fill(~found, 0)
        mean = inside.sum(dim=1, keepdim=True) / number
        spread = (inside - mean).masked_fill(~found, 0).square().sum(dim=1, keepdim=True)
        scale = (number / spread).sqrt().masked_fill(spread <= 0, 0)
        lowest = scores.masked_fill(~found, torch.inf).amin(dim=1, keepdim=True)
        return torch.cat([mean, scale, (lowest - mean) * scale], dim=1).float()

    def _term(self, scores: Tensor, facts: Tensor) -> Tensor:
        if self.by == "ranks":
            behind = torch.searchsorted(facts.contiguous(), scores.contiguous())
            return 1 / (self.k + (facts.shape[1] - behind).clamp(min=1)).double()
        none = scores <= _LOWEST
        if self.by == "probabilities":
            return (scores - facts).masked_fill(none, _LOWEST)
        mean, scale, lowest = facts.split(1, dim=1)
        return torch.where(none, lowest, (scores - mean) * scale)


class ClickEnsemble(Ensemble, ClickModel):
    """Models of the same rows of clicks.

    ``probabilities``: the mean of probabilities, the linear opinion pool; ``scores``: the mean of
    logits, the logarithmic one (Genest and Zidek, Statistical Science 1986).

    Args:
        members: the models; in a config the folders of their runs by name.
        by: what the mean is taken of.
        weights: of the members, ``equal``, or ``fitted`` on validation.
    """

    needs: ClassVar[tuple[Need, ...]] = FITTED

    def __init__(
        self,
        schema: ClickSchema,
        members: Any,
        by: Literal["scores", "probabilities"] = "probabilities",
        weights: Weights = "equal",
    ) -> None:
        super().__init__(schema)
        self.title, self.by = "Ensemble", by
        self.members: list[ClickModel] = list(members)
        self.multi_task = any(each.multi_task for each in self.members)
        self.sequential = all(each.sequential for each in self.members)
        self.reads_history = any(each.reads_history for each in self.members)
        self.weigh(weights)

    def each(self, rows: Rows) -> Tensor:
        """The logits of each member: float32 [m, B, G]."""
        made = [member(rows).float() for member in self.members]
        return torch.stack([logits.reshape(len(rows.ids), -1) for logits in made])

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B, G]; of a member alone as it gives them."""
        if (alone := self.alone) is not None:
            return self.members[alone](rows)
        return self.fused(self.each(rows), self.weights)

    def fused(self, logits: Tensor, weights: Tensor) -> Tensor:
        """The logit of the mean by ``weights``, float64 [m], of :meth:`each`: float32 [B, G]."""
        logits, weights = logits.double(), weights[:, None, None]
        if self.by == "scores":
            return (weights * logits).sum(dim=0).float()
        click, none = (
            torch.logsumexp(functional.logsigmoid(sign * logits) + weights.log(), dim=0)
            for sign in (1, -1)
        )
        return (click - none).float()
