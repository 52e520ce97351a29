"""Steps of masked language modelling: masks, loss, metrics."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from lightning_rec.data.chance import bits, uniform
from lightning_rec.language.batches import TextBatch
from lightning_rec.losses.base import Classified
from lightning_rec.metrics.words import Answers, WordMetrics
from lightning_rec.models.layers import module_dict
from lightning_rec.models.text.masked_lm import MaskedLM
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.steps import Stage, Steps

ASKED_SEED = 0  # of the masks of validation and test: the same in every run


class WordSteps(Steps):
    """Learns to predict masked words (Devlin et al., NAACL 2019).

    In training other words are masked at every step. In validation and test the same ones are
    masked in every run, each of them behind the mask token.

    Args:
        metrics: for ``val`` and ``test``.
        mask_prob: share of the words of each text that are masked, at least one.
    """

    def __init__(self, metrics: Mapping[str, WordMetrics], mask_prob: float = 0.15) -> None:
        super().__init__()
        self.mask_prob = mask_prob
        self.metrics = module_dict(metrics)
        self.answers: dict[str, Answers] = {}  # by stage

    def loss_of(self, task: Task, batch: TextBatch) -> Tensor:
        """Mean loss over the masked words."""
        assert isinstance(task.model, MaskedLM)
        assert task.loss is not None
        tokens = batch.tokens
        numbers = torch.rand(tokens.ids.shape, device=tokens.ids.device)
        mask = task.model.hidden(tokens, self.mask_prob, numbers)
        logits = task.model(task.model.disguised(tokens, mask), mask)
        return task.loss(task.model, Classified(logits, tokens.ids[mask]))

    def evaluate(self, task: Task, batch: TextBatch, stage: Stage) -> None:
        """Predict the masked words of the batch."""
        if not len(batch.example):  # of a process that got no texts
            return
        model = task.model
        assert isinstance(model, MaskedLM)
        tokens, texts = batch.tokens, len(batch.example)
        mask = model.hidden(tokens, self.mask_prob, _numbers(batch))
        logits = model(model.masked(tokens, mask), mask).float()
        target, row = tokens.ids[mask], mask.nonzero()[:, 0]
        cost = functional.cross_entropy(logits, target, reduction="none").double()
        right = (logits.argmax(dim=1) == target).long()
        summed = torch.zeros(texts, dtype=torch.float64, device=cost.device)
        answers = Answers(
            batch.example,
            mask.sum(dim=1),
            torch.zeros_like(batch.example).index_add(0, row, right),
            summed.index_add(0, row, cost),
        )
        self.metrics[stage].update(answers)

    def figures(self, task: Task, stage: Stage) -> dict[str, Tensor]:
        """Metrics of masked words; the answers are kept for the record of each text."""
        metrics = self.metrics[stage]
        none = torch.zeros(0, dtype=torch.int64, device=task.device)
        # A process that got no batch has to bring something to the exchange.
        metrics.update(Answers(none, none, none, none.double()))
        # One text alone would come back without its dimension.
        self.answers[stage] = Answers(*(values.reshape(-1) for values in metrics.compute()))
        metrics.reset()
        return metrics.figures(self.answers[stage])


def _numbers(batch: TextBatch) -> Tensor:
    """Random numbers by text and place, whatever the batch is: float [B, T]."""
    stream = bits(ASKED_SEED, batch.example.cpu().numpy())[:, None]
    places = torch.arange(batch.tokens.ids.shape[1]).numpy()
    return torch.from_numpy(uniform(bits(stream, places))).to(batch.example.device)
