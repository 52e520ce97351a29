"""Metrics of clicks over a data set, the same to the last bit on any number of processes."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_rec.metrics import classification as F
from lightning_rec.metrics import grouped
from lightning_rec.metrics.click_slices import sliced
from lightning_rec.metrics.order import Ordered, in_order
from lightning_rec.metrics.slices import Slices

FIGURES = (
    "auc", "gauc", "gauc_groups", "gauc_groups_left_out", "logloss", "logloss_base",
    "normalized_entropy", "information_gain", "pr_auc", "f1", "precision", "recall", "accuracy",
    "threshold", "ece", "rate", *grouped.names(),
)  # fmt: skip
BINS = 10  # of the calibration error


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


class ClickMetrics(Metric):
    """Collects a logit per example; computes every metric of :data:`FIGURES`.

    Labels and groups are known before anything is predicted, so that only logits are exchanged
    between processes. They are put in the order of the examples first: sums do not depend on who
    computed what.

    Args:
        label: float32 [number of all examples], 0 or 1.
        group: int32 [number of all examples], -1 for none; None leaves out GAUC and what is ranked
            within groups.
        slices: bool [number of all examples] by name; some figures are told for each of them.
    """

    full_state_update = False
    example: list[Tensor]
    logit: list[Tensor]
    label: Tensor
    group: Tensor | None

    def __init__(
        self, label: Tensor, group: Tensor | None = None, slices: Slices | None = None
    ) -> None:
        super().__init__(sync_on_compute=True)
        self.slices = dict(slices or {})
        self.register_buffer("label", label, persistent=False)
        self.register_buffer("group", group, persistent=False)
        self.add_state("example", default=[], dist_reduce_fx="cat")
        self.add_state("logit", default=[], dist_reduce_fx="cat")

    def update(self, example: Tensor, logit: Tensor) -> None:
        """Add a batch: int64 [B], float [B]."""
        self.example.append(example)
        self.logit.append(logit.float())

    def compute(self) -> tuple[Tensor, Tensor]:
        """Numbers and logits of all examples, complete on every process."""
        return _joined(self.example), _joined(self.logit)

    def predictions(self) -> Predictions:
        """All predictions, complete on every process."""
        example, logit = (part.reshape(-1) for part in self.compute())  # one alone is no scalar
        rising = torch.argsort(example)
        example, logit = example[rising], logit[rising]
        probability, label = torch.sigmoid(logit.double()), self.label[example]
        return Predictions(example, logit, probability, label, in_order(logit, label))

    def figures(self, found: Predictions, threshold: float) -> dict[str, Tensor]:
        """All metrics by name, float64 scalars.

        Args:
            found: of all examples.
            threshold: probability from which on a click is predicted.
        """
        example, logit, probability, label, order = found
        figures = {
            "auc": F.auc(order),
            "logloss": F.logloss(logit, label),
            "logloss_base": F.base_logloss(label),
            "normalized_entropy": F.normalized_entropy(logit, label),
            "information_gain": F.information_gain(logit, label),
            "pr_auc": F.average_precision(order),
            **F.at_threshold(probability, label, threshold),
            "threshold": torch.tensor(threshold, dtype=torch.float64),
            "ece": F.calibration_error(F.reliability(probability, label, BINS)),
            "rate": label.double().mean(),
            **sliced(example, logit, label, self.slices),
        }
        if self.group is None:
            return figures
        order = in_order(logit, label, self.group[example])
        areas = F.gauc(order)
        if areas.groups:  # else no group has both classes
            figures["gauc"] = areas.gauc
        figures |= grouped.ranking(order)
        counts = {"gauc_groups": areas.groups, "gauc_groups_left_out": areas.left_out}
        return figures | {name: count.double() for name, count in counts.items()}


def _joined(parts: "Tensor | list[Tensor]") -> Tensor:
    """Synchronised list states arrive as one tensor, others as a list."""
    return parts if isinstance(parts, Tensor) else torch.cat(list(parts))
