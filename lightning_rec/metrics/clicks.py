"""Metrics of clicks over a data set, the same to the last bit on any number of processes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_rec.metrics import classification as F
from lightning_rec.metrics.collected import Collected
from lightning_rec.metrics.measure import Evidence, Measure, means
from lightning_rec.metrics.order import Ordered, in_order
from lightning_rec.metrics.slices import Slices, sliced
from lightning_rec.metrics.targets import Targets

BINS = 10  # of the calibration error
CUTOFFS = (5, 10)  # of rankings within groups


class Predictions(NamedTuple):
    """What evaluation found, one row per example, ordered by example number.

    example: int64 [n].  logit: float32 [n].  probability: float64 [n].  label: float32 [n].
    order: of the logits.
    """

    example: Tensor
    logit: Tensor
    probability: Tensor
    label: Tensor
    order: Ordered


class Logits(NamedTuple):
    """What is collected: number of each example, int64 [n], and its logit, float32 [n]."""

    example: Tensor
    logit: Tensor


@dataclass(eq=False)
class Rows(Evidence):
    """Rows of clicks and what was predicted for them.

    logit: float [n].  label: 0 or 1, [n].  probability: float64 [n].  group: int [n], -1 for none;
    None where there are no groups.  threshold: probability from which on a click is predicted.
    """

    inputs = (
        *("label", "probability", "logit", "group", "threshold"),
        *("order", "grouped", "groups", "confusion", "bins"),
    )

    rows = "label"
    logit: Tensor
    label: Tensor
    probability: Tensor
    group: Tensor | None
    threshold: float

    @cached_property
    def order(self) -> Ordered:
        """All rows by their logits."""
        return in_order(self.logit, self.label)

    @cached_property
    def grouped(self) -> Ordered | None:
        """The rows of each group by their logits."""
        return None if self.group is None else in_order(self.logit, self.label, self.group)

    @cached_property
    def groups(self) -> F.GroupCounts | None:
        """Rows and clicks of each group."""
        return None if self.grouped is None else F.group_counts(self.grouped)

    @cached_property
    def confusion(self) -> F.Confusion:
        """What the threshold gets right."""
        return F.confusion(self.probability, self.label, self.threshold)

    @cached_property
    def bins(self) -> F.Reliability:
        """Predicted probabilities and observed rates."""
        return F.reliability(self.probability, self.label, BINS)

    def some(self, inside: Tensor) -> "Rows":
        """The rows that are ``inside``, bool [n]."""
        group = None if self.group is None else self.group[inside]
        columns = (self.logit[inside], self.label[inside], self.probability[inside])
        return Rows(*columns, group, self.threshold)

    def targets(self) -> Targets | None:
        """The clicks of each group that has rows without a click as well; None if none has.

        Rows of one score count against the model: those without a click are ranked first.
        """
        if self.grouped is None or self.groups is None:
            return None
        group, label, counts = self.grouped.group, self.grouped.label, self.groups
        positives = (label > 0) & counts.both[group]
        if not positives.any():
            return None
        rank = torch.arange(1, len(group) + 1, device=group.device)
        rank = rank - (counts.rows.cumsum(0) - counts.rows).long()[group]
        number = counts.both.cumsum(0) - 1  # of those groups alone
        candidates = counts.rows[counts.both].long()
        return Targets(number[group[positives]], rank[positives], candidates=candidates)

    @classmethod
    def sample(cls) -> "Rows":
        """Six rows of two groups and one of none."""
        logit, label = (
            torch.tensor([0.5, -1, 2, 1, -2, 0, 1]),
            torch.tensor([1.0, 0, 1, 0, 0, 1, 1]),
        )
        group = torch.tensor([0, 0, 0, 1, 1, 1, -1], dtype=torch.int32)
        return cls(logit, label, torch.sigmoid(logit.double()), group, 0.5)


class ClickMetrics(Collected[Logits]):
    """Collects a logit per example, computes every metric of it.

    Labels and groups are known before anything is predicted, so that only logits are exchanged
    between processes.

    Args:
        label: float32 [number of all examples], 0 or 1.
        group: int32 [number of all examples], -1 for none; None leaves out GAUC and what is ranked
            within groups.
        slices, measured: see :class:`Collected`.
    """

    columns = Logits
    sections = {"rows": Rows, "groups": Targets}
    families = ("clicks", "groups")

    def __init__(
        self,
        label: Tensor,
        group: Tensor | None = None,
        slices: Slices | None = None,
        measured: Sequence[Measure] | None = None,
    ) -> None:
        super().__init__(measured, CUTOFFS, slices)
        self.label, self.group = label, group

    def update(self, example: Tensor, logit: Tensor) -> None:
        """Add a batch: int64 [B], float [B]."""
        self.append(example, logit.float())

    def predictions(self) -> Predictions:
        """All predictions, complete on every process."""
        example, logit = (part.reshape(-1) for part in self.compute())  # one alone is no scalar
        probability, label = torch.sigmoid(logit.double()), self.label[example]
        return Predictions(example, logit, probability, label, in_order(logit, label))

    def figures(self, found: Predictions, threshold: float) -> dict[str, Tensor]:
        """All metrics by name, float64 scalars; from ``threshold`` on a click is predicted."""
        rows = self._rows(found, threshold)
        figures = means(self.values("rows", rows))
        figures |= means(self.values("groups", rows.targets()))

        def measure(inside: Tensor) -> dict[str, Tensor]:
            return means(self.values("rows", rows.some(inside), slices=True))

        return figures | sliced(found.example, self.slices, measure)

    def per_row(self, found: Predictions, threshold: float) -> dict[str, Tensor]:
        """Values of the user's own metrics that have one for each row, float64 [n]."""
        return self.own("rows", self._rows(found, threshold))

    def _rows(self, found: Predictions, threshold: float) -> Rows:
        group = None if self.group is None else self.group[found.example]
        rows = Rows(found.logit, found.label, found.probability, group, threshold)
        rows.order = found.order  # which is known already
        return rows
