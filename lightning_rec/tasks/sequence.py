"""The LightningModule of sequences: what is learnt, how it is ranked, what is measured."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_rec.data.batches import EvalBatch, Histories, TrainBatch
from lightning_rec.losses.base import Predictions
from lightning_rec.metrics.ranking import RankingMetrics, Ranks
from lightning_rec.models.base import Penalised, SequenceModel
from lightning_rec.models.blocks import encode
from lightning_rec.models.text.items import TextItems
from lightning_rec.objectives.base import Objective, WithTerm
from lightning_rec.tasks.base import Arithmetic, Task
from lightning_rec.tasks.blocks import rank_catalogue, rank_sample


class SequenceTask(Task):
    """Trains any sequence model by any objective it takes; ranks the whole catalogue exactly.

    Args:
        model: scores items given a sequence.
        objective: makes training inputs and query inputs of sequences.
        loss: of the model and its predictions; None if not trained.
        optimizer: makes an optimizer of parameters.
        schedule: makes a learning-rate schedule of an optimizer and the number of steps.
        metrics: of the whole catalogue, for ``val`` and ``test``.
        sampled: of samples, where the protocol has any, for ``val`` and ``test``.
        seed: reseeds torch at each epoch, together with the epoch and the process.
        block_tokens: places that are encoded at once on a CPU; other devices take a batch whole.
        tuned_lr: learning rate of a part that was trained before; None takes the optimizer's.
        arithmetic: see :data:`lightning_rec.tasks.base.Arithmetic`.
    """

    model: SequenceModel

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        loss: nn.Module | None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        schedule: Callable[[Optimizer, int], Any],
        metrics: Mapping[str, RankingMetrics],
        sampled: Mapping[str, RankingMetrics] | None,
        seed: int,
        block_tokens: PositiveInt = 4096,
        tuned_lr: PositiveFloat | None = None,
        arithmetic: Arithmetic = "fast",
    ) -> None:
        super().__init__(model, loss is not None, optimizer, schedule, seed, tuned_lr, arithmetic)
        assert isinstance(model, SequenceModel)
        self.schema = model.schema
        self.objective, self.loss = objective, loss
        self.block_tokens = block_tokens
        self.metrics, self.sampled = nn.ModuleDict(metrics), nn.ModuleDict(sampled or {})
        self.ranks: dict[str, Ranks] = {}
        self.texts = [part for part in model.modules() if isinstance(part, TextItems)]

    def loss_of(self, batch: TrainBatch) -> Tensor:
        """Mean loss over what the objective asks to predict; queries are made only there."""
        assert self.loss is not None
        for texts in self.texts:
            texts.begin(batch.histories.items)
        histories, at, targets = self.objective.training_inputs(batch.histories, self.schema)
        row = at.nonzero()[:, 0]
        queries = self._encode(histories, at)
        loss: Tensor = self.loss(self.model, Predictions(queries, targets, row, histories.user))
        if isinstance(self.model, Penalised):
            loss = loss + self.model.penalty()
        if isinstance(self.objective, WithTerm):
            loss = loss + self.objective.term(self._encode, histories, self.schema)
        return loss

    def validation_step(self, batch: EvalBatch, batch_idx: int) -> None:
        """Rank the batch's targets."""
        self._evaluate(batch, "val")

    def test_step(self, batch: EvalBatch, batch_idx: int) -> None:
        """Rank the batch's targets."""
        self._evaluate(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Log the figures of validation."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Log the figures of test, and keep the ranks for the record of each user."""
        self._report("test")

    def encode(self, histories: Histories) -> Tensor:
        """Query that scores the next item of each history: float [B, Q]."""
        return self._encode(*self.objective.query_inputs(histories, self.schema))

    def _encode(self, histories: Histories, at: Tensor) -> Tensor:
        tokens = self.block_tokens if self.device.type == "cpu" else None
        assert isinstance(self.model, SequenceModel)
        return encode(self.model, histories, at, tokens)

    @torch.no_grad()
    def recommend(
        self, histories: Histories, seen_row: Tensor, seen_item: Tensor, k: int
    ) -> tuple[Tensor, Tensor]:
        """The ``k`` best candidates: int64 [B, k], and their scores, float [B, k].

        ``seen_row``, ``seen_item``, int64 [S], are pairs of a history and an item that is none.
        """
        scores = self.model.scores(self.encode(histories))
        scores[seen_row, seen_item] = -torch.inf
        best = torch.topk(scores, k, dim=1)
        return best.indices, best.values

    def _evaluate(self, batch: EvalBatch, stage: str) -> None:
        if not len(batch.example):
            return
        assert isinstance(self.model, SequenceModel)
        queries, seen = self.encode(batch.histories), (batch.seen_row, batch.seen_item)
        metrics = _of(self.metrics, stage)
        longest = max(metrics.cutoffs)
        ranked = rank_catalogue(self.model, queries, batch.target, seen, longest)
        metrics.update(batch.example, *ranked)
        if batch.candidates is not None:
            among = rank_sample(self.model, queries, batch.target, batch.candidates)
            _of(self.sampled, stage).update(batch.example, *among)

    def _report(self, stage: str) -> None:
        values: dict[str, Tensor] = {}
        for kind in (self.sampled, self.metrics):  # the ranks that are kept are those of the last
            if stage not in kind:
                continue
            metrics = _of(kind, stage)
            none = torch.zeros(0, dtype=torch.int64, device=self.device)
            # A process that got no batch has to bring something to the exchange.
            metrics.update(none, none, none, none.reshape(0, max(metrics.cutoffs)))
            values |= metrics.compute()
            with metrics.sync_context(should_unsync=True):
                self.ranks[stage] = metrics.ranks()
            metrics.reset()
        self._record(stage, values)


def _of(metrics: nn.ModuleDict, stage: str) -> RankingMetrics:
    found = metrics[stage]
    assert isinstance(found, RankingMetrics)
    return found
