"""Steps of list-wise re-ranking: ranks, beside those of the first model, and what was read."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_rec.data.batches import EvalBatch
from lightning_rec.metrics import positions
from lightning_rec.metrics.collected import joined
from lightning_rec.models.text.listwise import Listwise, Readings
from lightning_rec.retrieval.exact import ModelRetriever, Pairs, among
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.sequence import SequenceSteps
from lightning_rec.tasks.steps import Stage

_COLUMNS = ("example", "target", "first", "ours", "shown", "said", "scores")


class Lists(NamedTuple):
    """What was read for N examples, by their number.

    example, target: int64 [N], numbers and item codes.  first, ours: int64 [N], the target's rank
    by the first model and after re-ranking, 0 for a miss.  shown, said, scores: [N, R, n], see
    :class:`Readings`.
    """

    example: Tensor
    target: Tensor
    first: Tensor
    ours: Tensor
    shown: Tensor
    said: Tensor
    scores: Tensor


class Listed(Metric):
    """Collects :class:`Lists`, batch by batch."""

    full_state_update = False

    def __init__(self, orders: int, size: int) -> None:
        super().__init__()
        self.shape = (-1, orders, size)
        for name in _COLUMNS:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, example: Tensor, target: Tensor, ranks: tuple[Tensor, Tensor],
               read: Readings) -> None:  # fmt: skip
        """Add a batch."""
        rows = (example, target, *ranks, *(each.flatten(1) for each in read))
        for name, values in zip(_COLUMNS, rows, strict=True):
            getattr(self, name).append(values)

    def compute(self) -> Lists:
        """All of them by example, complete on every process."""
        columns = [joined(getattr(self, name)) for name in _COLUMNS]
        order = columns[0].argsort()
        made = [column[order].cpu() for column in columns]
        return Lists(*made[:4], *(each.reshape(len(order), *self.shape[1:]) for each in made[4:]))


class ListwiseSteps(SequenceSteps):
    """Ranks the catalogue as re-ranked, and keeps what was shown and said.

    ``model``: that is tested; ``metrics``, ``sampled``: see :class:`SequenceSteps`.
    """

    def __init__(self, model: Listwise, **of_sequences: Any) -> None:
        super().__init__(**of_sequences, block_tokens=None)  # the first model has its own
        self.listed = Listed(model.shuffles, model.rerank)
        self.lists: dict[str, Lists] = {}  # by stage
        self.facts: dict[str, Any] = {}  # of the test

    def rank(self, task: Task, queries: Tensor, batch: EvalBatch, stage: Stage) -> None:
        """Rank the batch's targets by the first model and after re-ranking."""
        model = task.model
        assert isinstance(model, Listwise)
        targets = Pairs(torch.arange(len(queries), device=queries.device), batch.target)
        seen = Pairs(batch.seen_row, batch.seen_item)
        queries = among(model, queries, targets, seen)
        own = queries[:, : model.widths[0]]
        first = ModelRetriever(model.first).top(own, 1, targets, seen).rank
        ours = ModelRetriever(model).top(queries, 1, targets, seen).rank
        read = model.readings(queries)
        self.listed.update(batch.example, batch.target, (first, ours), read)
        super().rank(task, queries, batch, stage)

    def figures(self, task: Task, stage: Stage) -> dict[str, Tensor]:
        """Ranking metrics; what was read is kept, and of the test what is to be known of it."""
        model: Any = task.model
        none = torch.zeros(0, dtype=torch.int64, device=task.device)
        lists = none.reshape(0, model.shuffles, model.rerank)
        empty = Readings(lists, lists.float(), lists.float())
        self.listed.update(none, none, (none, none), empty)
        self.lists[stage] = self.listed.compute()
        self.listed.reset()
        if stage == "test":
            self.facts = facts(self.lists[stage], model, max(self.metrics[stage].cutoffs))
        return super().figures(task, stage)


def facts(lists: Lists, model: Listwise, most: int) -> dict[str, Any]:
    """What is to be known of a test, for ``listwise.json``: figures of both models over the same
    examples, and what the place in a list does. ``most``: the largest cut-off.
    """
    ranks = [lists.first.numpy(), lists.ours.numpy()]
    told: dict[str, Any] = {"examples": len(lists.example), "figures": {}}
    for k in sorted({5, positions.CUTOFF, model.rerank} & {*range(most + 1)}):
        for name in (f"ndcg@{k}", f"recall@{k}"):
            first, ours = (_gains(rank, k, name) for rank in ranks)
            told["figures"][name] = {
                "first": float(first.mean()),
                "listwise": float(ours.mean()),
                "difference": positions.intervals((ours - first)[:, None])[0],
            }
    reader = model.reader
    told["read"] = {name: getattr(reader, name) for name in ("lists", "seconds", "cpu_seconds")}
    shown = lists.shown.numpy()
    whole = (shown >= 0).all(axis=(1, 2)) & (shown.shape[1] > 0)
    told["whole lists"] = int(whole.sum())
    if not whole.any():
        return told
    told["probability of any letter"] = float(lists.said[whole].exp().sum(dim=2).mean())
    random = slice(0 if model.order == "shuffled" else 1, None)
    shown, scores = shown[whole, random], lists.scores.numpy()[whole, random].astype(float)
    if not (orders := shown.shape[1]):
        return told
    told |= {"random orders": orders, "places": positions.by_place(scores)}
    told["target"] = positions.of_target(shown, scores, lists.target.numpy()[whole])
    if orders > 1:
        told["places"]["effect"] = positions.effects(shown, scores)
        told["kendall tau"] = positions.agreement(shown, scores)
    return told


def _gains(rank: Any, k: int, name: str) -> Any:
    """What each rank counts for in ``ndcg@k`` or ``recall@k``, float [N]; 0 is a miss."""
    hit = (rank > 0) & (rank <= k)
    return hit / np.log2(np.maximum(rank, 1) + 1) if name.startswith("ndcg") else hit.astype(float)
