"""The LightningModule of hidden words: what is hidden, what is learnt of it, what is measured."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from lightning_rec.data.chance import bits, uniform
from lightning_rec.language.batches import TextBatch
from lightning_rec.metrics.words import Answers, WordMetrics
from lightning_rec.models.text.masked_lm import MaskedLM
from lightning_rec.tasks.base import Arithmetic, Task

ASKED_SEED = 0  # of what is hidden in validation and test: the same in every run


class MaskedWords(Task):
    """Trains a language model to say which words are hidden (Devlin et al., NAACL 2019).

    While it learns, other words are hidden at every step. In validation and test the same ones are
    hidden in every run, each of them behind the mask.

    Args:
        model: says which words are hidden.
        optimizer: makes an optimizer of parameters.
        schedule: makes a learning-rate schedule of an optimizer and the number of steps.
        metrics: for ``val`` and ``test``.
        seed: reseeds torch at each epoch, together with the epoch and the process.
        mask_prob: share of the words of each text that are hidden, at least one.
        tuned_lr: learning rate of the language model under its head; None takes the optimizer's.
        arithmetic: see :data:`lightning_rec.tasks.base.Arithmetic`.
    """

    model: MaskedLM

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        schedule: Callable[[Optimizer, int], Any],
        metrics: Mapping[str, WordMetrics],
        seed: int,
        mask_prob: Annotated[float, Field(gt=0, lt=1)] = 0.15,
        tuned_lr: PositiveFloat | None = None,
        arithmetic: Arithmetic = "fast",
    ) -> None:
        super().__init__(model, True, optimizer, schedule, seed, tuned_lr, arithmetic)
        self.mask_prob = mask_prob
        self.metrics = nn.ModuleDict(metrics)
        self.answers: dict[str, Answers] = {}

    def loss_of(self, batch: TextBatch) -> Tensor:
        """Mean over the hidden words of -log p(word)."""
        tokens = batch.tokens
        numbers = torch.rand(tokens.ids.shape, device=tokens.ids.device)
        at = self.model.hidden(tokens, self.mask_prob, numbers)
        logits = self.model(self.model.disguised(tokens, at), at)
        cost = functional.cross_entropy(logits, tokens.ids[at], reduction="sum")
        return cost / at.sum().clamp(min=1)  # texts may be without any word

    def validation_step(self, batch: TextBatch, batch_idx: int) -> None:
        """Ask for the hidden words of the batch."""
        self._ask(batch, "val")

    def test_step(self, batch: TextBatch, batch_idx: int) -> None:
        """Ask for the hidden words of the batch."""
        self._ask(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Log the figures of validation."""
        self._measure("val")

    def on_test_epoch_end(self) -> None:
        """Log the figures of the test, and keep what was said of each text for the record."""
        self._measure("test")

    def _ask(self, batch: TextBatch, stage: str) -> None:
        if not len(batch.example):  # of a process that got no texts
            return
        tokens, texts = batch.tokens, len(batch.example)
        at = self.model.hidden(tokens, self.mask_prob, _numbers(batch))
        logits = self.model(self.model.masked(tokens, at), at).float()
        target, row = tokens.ids[at], at.nonzero()[:, 0]
        cost = functional.cross_entropy(logits, target, reduction="none").double()
        right = (logits.argmax(dim=1) == target).long()
        summed = torch.zeros(texts, dtype=torch.float64, device=cost.device)
        answers = Answers(
            batch.example,
            at.sum(dim=1),
            torch.zeros_like(batch.example).index_add(0, row, right),
            summed.index_add(0, row, cost),
        )
        self._metrics(stage).update(answers)

    def _measure(self, stage: str) -> None:
        metrics = self._metrics(stage)
        none = torch.zeros(0, dtype=torch.int64, device=self.device)
        # A process that got no batch has to bring something to the exchange.
        metrics.update(Answers(none, none, none, none.double()))
        # One text alone would come back without its dimension.
        self.answers[stage] = Answers(*(values.reshape(-1) for values in metrics.compute()))
        metrics.reset()
        self._record(stage, metrics.figures(self.answers[stage]))

    def _metrics(self, stage: str) -> WordMetrics:
        metrics = self.metrics[stage]
        assert isinstance(metrics, WordMetrics)
        return metrics


def _numbers(batch: TextBatch) -> Tensor:
    """Random numbers by text and place, whatever the batch is: float [B, T]."""
    stream = bits(ASKED_SEED, batch.example.cpu().numpy())[:, None]
    places = torch.arange(batch.tokens.ids.shape[1]).numpy()
    return torch.from_numpy(uniform(bits(stream, places))).to(batch.example.device)
