"""Steps of sequences: the loss of an objective, ranks among the catalogue, metrics."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from lightning_rec.data.batches import EvalBatch, TrainBatch
from lightning_rec.data.split import Histories
from lightning_rec.losses.base import Predictions
from lightning_rec.metrics.ranking import RankingMetrics, Ranks
from lightning_rec.models.base import Penalised, SequenceModel
from lightning_rec.models.blocks import encode
from lightning_rec.models.layers import module_dict
from lightning_rec.objectives.base import WithTerm
from lightning_rec.retrieval.exact import ModelRetriever, Pairs, rank_sample
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.steps import Stage, Steps


class SequenceSteps(Steps):
    """Learns by any objective that the model takes; ranks the whole catalogue exactly.

    Args:
        metrics: of the whole catalogue, for ``val`` and ``test``.
        sampled: of samples, where the protocol has any, for ``val`` and ``test``.
        block_tokens: positions that are encoded at once on a CPU; other devices take a batch whole,
            as does a model that cuts it itself, None.
    """

    def __init__(
        self,
        metrics: Mapping[str, RankingMetrics],
        sampled: Mapping[str, RankingMetrics] | None = None,
        block_tokens: int | None = 4096,
    ) -> None:
        super().__init__()
        self.block_tokens = block_tokens
        self.metrics, self.sampled = module_dict(metrics), module_dict(sampled or {})
        self.ranks: dict[str, Ranks] = {}  # by stage

    def before_training_batch(self, task: Task, batch_idx: int) -> None:
        """Let the model begin an epoch."""
        if batch_idx == 0:
            assert isinstance(task.model, SequenceModel)
            task.model.begin_epoch()

    def loss_of(self, task: Task, batch: TrainBatch) -> Tensor:
        """Mean loss over what the objective asks to predict; queries are made only there."""
        model, encode = task.model, partial(self._encode, task)
        assert isinstance(model, SequenceModel)
        assert task.loss is not None
        model.begin_step(batch.histories)
        inputs = task.objective.training_inputs(batch.histories, model.schema)
        histories, positions, targets, weights = inputs
        row = positions.nonzero()[:, 0]
        predictions = Predictions(encode(histories, positions), targets, row, histories.user)
        loss: Tensor = task.loss(model, predictions, weights)
        if isinstance(model, Penalised):
            loss = loss + model.penalty(predictions.queries, predictions.targets)
        if isinstance(task.objective, WithTerm):
            loss = loss + task.objective.term(model, encode, inputs, predictions.queries)
        return loss

    def encode(self, task: Task, histories: Histories) -> Tensor:
        """The query of the next item of each history: float [B, Q]."""
        return self._encode(task, *task.objective.query_inputs(histories, task.model.schema))

    def _encode(self, task: Task, histories: Histories, positions: Tensor) -> Tensor:
        tokens = self.block_tokens if task.device.type == "cpu" else None
        assert isinstance(task.model, SequenceModel)
        return encode(task.model, histories, positions, tokens)

    def evaluate(self, task: Task, batch: EvalBatch, stage: Stage) -> None:
        """Rank the batch's targets."""
        if not len(batch.example):
            return
        self.rank(task, self.encode(task, batch.histories), batch, stage)

    def rank(self, task: Task, queries: Tensor, batch: EvalBatch, stage: Stage) -> None:
        """Rank the batch's targets for its queries, float [B, Q]."""
        model = task.model
        assert isinstance(model, SequenceModel)
        metrics = self.metrics[stage]
        targets = Pairs(torch.arange(len(queries), device=queries.device), batch.target)
        seen = Pairs(batch.seen_row, batch.seen_item)
        found = ModelRetriever(model).top(queries, max(metrics.cutoffs), targets, seen)
        metrics.update(batch.example, found.rank, found.candidates, found.items)
        if batch.candidates is not None:
            among = rank_sample(model, queries, batch.target, batch.candidates, seen)
            self.sampled[stage].update(batch.example, *among)

    def figures(self, task: Task, stage: Stage) -> dict[str, Tensor]:
        """Ranking metrics; the ranks are kept for the record of each user."""
        values: dict[str, Tensor] = {}
        for kind in (self.sampled, self.metrics):  # the ranks that are kept are those of the last
            if stage not in kind:
                continue
            metrics = kind[stage]
            none = torch.zeros(0, dtype=torch.int64, device=task.device)
            # A process that got no batch has to bring something to the exchange.
            metrics.update(none, none, none, none.reshape(0, max(metrics.cutoffs)))
            values |= metrics.compute()
            with metrics.sync_context(should_unsync=True):
                self.ranks[stage] = metrics.rows()
            metrics.reset()
        return values
