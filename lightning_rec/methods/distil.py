"""Distillation: a model learns what another, finished one answers, beside what the data says.

Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, arXiv:1503.02531
(section 2). Shapes: M predictions, V items, Q width of queries, B rows.
"""

from collections.abc import Callable
from typing import Any

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint

from lightning_rec.errors import UserError
from lightning_rec.methods.base import Method, Trained
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.models.text.cross_encoder import CrossEncoder
from lightning_rec.ranges import UpToOne

BLOCK = 256  # predictions whose scores over the catalogue are held at once

Load = Callable[[str], nn.Module]
"""The model of a completed run, by its folder. Raises UserError."""


class Distil(Method):
    """A step on ``(1 - weight) * loss + weight * distance`` to the teacher.

    Of models of sequences the distance is ``T ** 2`` times the cross-entropy of both distributions
    over the catalogue, scores divided by ``T``, at every place that the objective asks about; of
    models of clicks, and of cross-encoders, the cross-entropy of probabilities. Whatever the
    student reads in a step, its teacher reads too, whose width, depth and kind are free.

    Args:
        teacher: folder of a completed run of the same data under the same protocol.
        weight: share of the distance.
        temperature: T; of models of sequences alone.
        load: loads it.
    """

    def __init__(
        self,
        teacher: str | None = None,
        weight: UpToOne = 0.5,
        temperature: PositiveFloat = 1.0,
        load: Load | None = None,
    ) -> None:
        if teacher is None:
            raise UserError("method.teacher is not set: name the folder of a completed run.")
        self.teacher, self.weight, self.temperature, self.load = teacher, weight, temperature, load
        self._teacher: nn.Module | None = None

    @property
    def reads(self) -> dict[str, str]:
        """The run that it learns from, by key."""
        return {"method.teacher": self.teacher}

    def optimizers(self, task: Trained) -> list[Optimizer]:
        """Load the teacher first. Raises UserError if it does not fit the student."""
        assert self.load is not None
        teacher = self.load(self.teacher)
        _check_fits(teacher, task.model, getattr(task, "objective", None))
        device = next(task.model.parameters()).device
        self._teacher = teacher.to(device).requires_grad_(False).eval()
        return super().optimizers(task)

    def step(self, task: Trained, batch: Any, batch_idx: int) -> Tensor:
        """The loss of data and teacher: float scalar."""
        apart: list[Tensor] = []
        numbers: list[int] = []

        def compare(student: nn.Module, read: tuple[Any, ...], made: Tensor) -> None:
            assert self._teacher is not None
            with torch.no_grad():
                expected = self._teacher(*read)
            apart.append(self._apart(student, made, expected))
            numbers.append(len(made))

        hook = task.model.register_forward_hook(compare)
        try:
            loss = task.training_loss(batch)
        finally:
            hook.remove()
        distance = torch.stack(apart).sum() / max(1, sum(numbers))
        return (1 - self.weight) * loss + self.weight * distance

    def _apart(self, student: nn.Module, made: Tensor, expected: Tensor) -> Tensor:
        """The sum of the distances of M predictions, scalar."""
        if not isinstance(student, SequenceModel):
            target = torch.sigmoid(expected.float())
            logits = made.float()
            return functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        assert isinstance(self._teacher, SequenceModel)
        blocks = zip(made.split(BLOCK), expected.split(BLOCK), strict=True)
        sums = [
            # Scores are made again for the gradients: those of all M x V are too many to keep.
            checkpoint(_cross_entropy, student, self._teacher, *block, self.temperature,
                       use_reentrant=False)
            for block in blocks
        ]  # fmt: skip
        return torch.stack(sums).sum() if sums else made.sum() * 0


def _cross_entropy(
    student: SequenceModel,
    teacher: SequenceModel,
    queries: Tensor,
    theirs: Tensor,
    temperature: float,
) -> Tensor:
    """``T ** 2`` times the cross-entropy of two distributions over the catalogue, summed."""
    with torch.no_grad():
        target = (teacher.scores(theirs).float() / temperature).softmax(dim=1)
    own = (student.scores(queries).float() / temperature).log_softmax(dim=1)
    return -(target * own).sum() * temperature**2


def _check_fits(teacher: nn.Module, student: nn.Module, objective: Any) -> None:
    for kind in (SequenceModel, ClickModel, CrossEncoder):
        if isinstance(student, kind) and isinstance(teacher, kind):
            break
    else:
        raise UserError(
            f"method.teacher is a {_title(teacher)}, from which a {_title(student)} cannot learn: "
            "teacher and student are both of sequences, both of clicks, or both cross-encoders."
        )
    if isinstance(student, SequenceModel) and isinstance(teacher, SequenceModel):
        name = getattr(objective, "name", "")
        if name not in teacher.objectives:
            raise UserError(
                f"method.teacher is a {_title(teacher)}, which does not know objective={name}: "
                f"it learnt by {' or '.join(teacher.objectives)}."
            )
        if teacher.side is not None and (
            student.side is None or student.side.columns != teacher.side.columns
        ):
            raise UserError(
                f"method.teacher is a {_title(teacher)} that reads columns of events or users: let "
                "the student read the same ones, task.events and task.users."
            )
        ours, theirs = student.schema, teacher.schema
        if ours.num_items != theirs.num_items or ours.max_len > theirs.max_len:
            raise UserError(
                f"method.teacher knows {theirs.num_items:,} items and reads {theirs.max_len} at "
                f"once, this model {ours.num_items:,} and {ours.max_len}: use the same data, and "
                f"batches.max_len={theirs.max_len} at most."
            )


def _title(model: nn.Module) -> str:
    return str(getattr(model, "title", type(model).__name__))
