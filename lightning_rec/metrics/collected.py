"""Rows that are collected over batches and processes, and put in order before anything is summed.

So a figure is the same to the last bit on any number of processes, whoever computed what.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_rec.figures import shipped
from lightning_rec.metrics.measure import Evidence, Measure, measures
from lightning_rec.metrics.slices import Slices

Rows = TypeVar("Rows", bound=tuple[Tensor, ...])


class Collected(Metric, Generic[Rows]):
    """Collects what the metrics of a problem are computed from.

    Args:
        measured: the metrics, as of :meth:`of_config`; None takes the default ones.
        cutoffs: the k of ``ndcg@k`` and its kin.
        slices: bool [number of all examples] by name; some figures are told for each of them as
            well, as ``head/ndcg@10``, with ``head/examples``.

    Attributes:
        columns: a NamedTuple of what is collected; its first column numbers the rows.
        sections: the evidence that there is of the rows.
        families: the shipped metrics that are the default ones.
    """

    full_state_update = False
    columns: ClassVar[type[tuple[Tensor, ...]]]
    sections: ClassVar[Mapping[str, type[Evidence]]]
    families: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        measured: Sequence[Measure] | None = None,
        cutoffs: Sequence[int] = (),
        slices: Slices | None = None,
    ) -> None:
        super().__init__(sync_on_compute=True)
        self.cutoffs, self.slices = tuple(cutoffs), dict(slices or {})
        self.measures = tuple(self.of_config(None) if measured is None else measured)
        for name in self._names():
            self.add_state(name, default=[], dist_reduce_fx="cat")

    @classmethod
    def of_config(cls, nodes: Mapping[str, Any] | None) -> tuple[Measure, ...]:
        """The metrics of a config, or the default ones. Raises UserError where one does not fit."""
        if nodes is None:
            nodes = {key: node for name in cls.families for key, node in shipped(name).items()}
        return measures(nodes, cls.sections)

    def append(self, *rows: Tensor) -> None:
        """Add the columns of a batch."""
        for name, values in zip(self._names(), rows, strict=True):
            getattr(self, name).append(values)

    def compute(self) -> Any:
        """All rows, or the figures of them; complete on every process."""
        return self.rows()

    def rows(self) -> Rows:
        """All rows, by their number, on the CPU; complete on every process once synchronised.

        All is measured there, to the same bit whatever device has predicted.
        """
        columns = [joined(getattr(self, name)).cpu() for name in self._names()]
        order = torch.argsort(columns[0])
        return self.columns(*(column[order] for column in columns))  # type: ignore[return-value]

    def values(
        self,
        section: str,
        evidence: Evidence | None,
        cutoffs: Sequence[int] | None = None,
        *,
        slices: bool = False,
        own: bool = False,
    ) -> dict[str, Tensor]:
        """The values of the metrics of a section by name, float64 [examples] or scalars.

        ``cutoffs``: None takes all; ``slices``: of those alone that are told of slices; ``own``: of
        the user's own.
        """
        cutoffs = self.cutoffs if cutoffs is None else cutoffs
        return {
            name: values
            for metric in self.measures
            if evidence is not None and metric.section == section
            if (metric.figure.slices or not slices) and (metric.own or not own)
            for name, values in metric(evidence, cutoffs).items()
        }

    def own(self, section: str, evidence: Evidence) -> dict[str, Tensor]:
        """Values of the user's own metrics that have one for each example, float64 [n]."""
        values = self.values(section, evidence, own=True)
        return {name: each for name, each in values.items() if each.ndim}

    def _names(self) -> tuple[str, ...]:
        return self.columns._fields  # type: ignore[attr-defined]


def joined(parts: "Tensor | list[Tensor]") -> Tensor:
    """A list state as one tensor, which it is already where it was synchronised."""
    return parts if isinstance(parts, Tensor) else torch.cat(list(parts))
