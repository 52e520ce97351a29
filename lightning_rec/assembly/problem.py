"""What differs between problems, behind one face: their data, model, task and records.

A problem is made of a composed config and checks it. Its data comes later, once there is a run
folder to record it in.
"""

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import polars
import pytorch_lightning as pl
from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_rec import config, figures
from lightning_rec.adapters.base import Adapter
from lightning_rec.adapters.whole import Full
from lightning_rec.assembly.beside import check_monitors
from lightning_rec.data.core.audited import Audited
from lightning_rec.errors import UserError, listed, nearest
from lightning_rec.metrics.collected import Collected
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.examples import Example
from lightning_rec.tasks.schedules import Plateau

log = logging.getLogger(__name__)


class Recorded(Protocol):
    """A protocol, as far as the record is concerned."""

    def settings(self) -> dict[str, Any]:
        """All settings."""
        ...

    def hash(self, counts: Mapping[str, int] | None = None) -> str:
        """Equal hashes on equal data mean comparable figures; ``counts`` are what is left of it."""
        ...


L = TypeVar("L", bound=Audited[Any])

OF_SOME = ("encoder", "negatives", "examples")  # keys that not every problem reads


def held(source: Any) -> str:
    """What a source holds, in words."""
    if hasattr(source, "fields"):
        return "clicks, row by row"
    return "pairs of a query and an item" if hasattr(source, "graded") else "interactions"


class Problem(ABC, Generic[L]):
    """One of the problems that the house knows, as a config has it.

    Args:
        cfg: the composed config.

    Attributes:
        protocol: how the data is split.
        meta_model: the model over a small schema, on the meta device.
        measured: the metrics of the config, or the default ones of a run that is older.

    Raises:
        UserError: naming the key at fault.
    """

    module: ClassVar[type[pl.LightningDataModule]]  # what cfg.batches makes
    reads: ClassVar[str] = ""  # the one of OF_SOME that it does
    metric: ClassVar[type[Collected[Any]]]  # collects what metrics are computed from
    protocol: Recorded
    meta_model: nn.Module

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        kinds = {"batches": self.module, "optimizer": Optimizer, "schedule": LRScheduler}
        for node in ("batches", "task", "optimizer", "schedule", "trainer"):
            settings = config.plain(cfg[node])
            if node in kinds:
                config.expect(node, settings, kinds[node])
            config.check(node, settings)
        for key in OF_SOME:
            if key != self.reads and cfg.get(key) not in (None, {}):
                raise UserError(
                    f"Unknown key {key}: nothing reads it in {type(self).__name__.lower()}, which "
                    f"task._target_={cfg.task._target_} is about."
                )
        self.measured = self.metric.of_config(cfg.get("metrics"))

    @abstractmethod
    def load(self, cache: Path) -> L:
        """Prepare, split and audit the data. Raises UserError where it cannot be used."""

    @property
    def reads_catalogue(self) -> bool:
        """Whether figures depend on titles or features of the catalogue, beside the data."""
        return False

    def catalogue_hash(self, loaded: L) -> str | None:
        """The hash of the catalogue, where the data has one of its own."""
        return None

    @abstractmethod
    def make_data(self, loaded: L) -> pl.LightningDataModule:
        """The data module over audited data."""

    @abstractmethod
    def make_task(self, loaded: L, data: Any) -> Task:
        """The task over a fresh model."""

    @abstractmethod
    def make_baseline(self, loaded: L, data: Any) -> Task | None:
        """The task over ``cfg.baseline``, fitted already; None if there is none."""

    @abstractmethod
    def tables(self, task: Any, loaded: L) -> dict[str, polars.DataFrame]:
        """What the run folder keeps of a tested task besides figures, by name."""

    @abstractmethod
    def parts(self) -> dict[str, str]:
        """Name and class of what was built, to be shown."""

    def save_artifacts(self, task: Any, folder: Path) -> None:
        """Write what else a tested task leaves in its run folder; the task may be changed by it."""

    def examples(self, task: Any, loaded: L) -> list[Example]:
        """Users with their recommendations, where a problem has such."""
        return []

    def warn(self, figures: Mapping[str, float]) -> list[str]:
        """Say what somebody who reads these figures should know, and give it back."""
        sentences = self.warnings(figures)
        for sentence in sentences:
            log.warning(sentence)
        return sentences

    def warnings(self, figures: Mapping[str, float]) -> list[str]:
        """What somebody who reads these figures of the model should know, in sentences."""
        return []

    def relative_metrics(
        self, figures: Mapping[str, float], baseline: Mapping[str, float]
    ) -> dict[str, float]:
        """Figures of the model that need those of the baseline."""
        return {}

    def _part(self, node: str, *members: str, **live: Any) -> Any:
        """Build a node. Raises UserError if what is built lacks what such a part has."""
        made = config.build(node, self.cfg[node], **live)
        if missing := [name for name in members if not hasattr(made, name)]:
            raise UserError(
                f"{node}._target_={self.cfg[node]._target_} cannot be {node}: it has no "
                f"{listed(missing)}."
            )
        return made

    def _build(self, node: str, **live: Any) -> Any:
        """Build a node of the config, passing on of ``live`` what its constructor takes."""
        settings = config.plain(self.cfg[node])
        taken = inspect.signature(config.target(node, settings)).parameters
        return config.build(node, settings, **{k: v for k, v in live.items() if k in taken})

    def _adapter(self) -> Adapter:
        """How a part that was trained before is tuned; runs of earlier versions tune it whole."""
        if not self.cfg.get("adapter"):
            return Full()
        config.expect("adapter", config.plain(self.cfg.adapter), Adapter)
        adapter: Adapter = self._build("adapter")
        return adapter

    def _optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        optimizer: Optimizer = self._build("optimizer", params=parameters)
        return optimizer

    def _schedule(self, optimizer: Optimizer, steps: int) -> Any:
        return self._build("schedule", optimizer=optimizer, total_steps=steps)

    def _check_training(self, known: list[str], validates: bool) -> None:
        """Check what needs the meta model, and that the monitored figure is ``known``."""
        if list(self.meta_model.parameters()):
            self._optimizer(self.meta_model.parameters())
        nodes = self.cfg.get("metrics")
        known = [name for name in known if figures.better(name, nodes) is not None]
        monitor = self.cfg.monitor
        schedule = config.target("schedule", config.plain(self.cfg.schedule))
        if schedule is Plateau and not validates:
            raise UserError(
                f"schedule=plateau watches {monitor}, but the protocol leaves no validation: say "
                "schedule=warmup_decay schedule.decay=none."
            )
        if validates and monitor not in known:
            raise UserError(
                f"monitor={monitor} is no figure of validation.{nearest(monitor, known)} "
                f"There are: {listed(known)}."
            )
        best = figures.better(monitor, nodes)
        if validates and self.cfg.monitor_mode != best:
            raise UserError(
                f"monitor_mode={self.cfg.monitor_mode} would keep the weights with the worst "
                f"{monitor}: say monitor_mode={best}."
            )
        if validates:
            check_monitors(self.cfg, known)
