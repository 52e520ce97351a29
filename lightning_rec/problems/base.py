"""The interface of a problem: what parts it takes, and what it makes of a config and of data."""

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import polars as pl
from omegaconf import DictConfig
from pytorch_lightning import Trainer
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_rec import compat, config
from lightning_rec.adapters.base import AdaptedModule, Adapter
from lightning_rec.adapters.whole import Full
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.core.batches import BatchData
from lightning_rec.errors import UserError, listed, quoting
from lightning_rec.losses.base import Loss
from lightning_rec.methods.base import Method
from lightning_rec.methods.update import Before
from lightning_rec.metrics.collected import Collected
from lightning_rec.predict.base import Predictor
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.foreign import unquoted
from lightning_rec.runs.tracking import Example
from lightning_rec.tasks.base import Arithmetic, Task, Training
from lightning_rec.tasks.optimizers import check_optimizer
from lightning_rec.tasks.steps import Steps

log = logging.getLogger(__name__)


L = TypeVar("L", bound=Audited[Any])

TRIAL = 1000  # steps of a schedule that is tried out
OPTIONAL = ("encoder", "negatives", "augment", "examples")  # keys that not every problem reads


class Problem(ABC, Generic[L]):
    """A problem with the parts that a config gives it, checked as far as it needs no data.

    Args:
        cfg: the composed config.
        tuned_lr: learning rate of a part that was trained before; None takes the optimizer's.
        arithmetic: see :data:`lightning_rec.tasks.base.Arithmetic`.

    Attributes:
        name: what ``task=`` calls it.
        takes: the kinds of parts that it takes, by node of the config.
        required: nodes that must be there.
        transfers: whether a model can begin with the weights of a run on other data.
        batches: what ``cfg.batches`` makes.
        measured: the metrics of the config, or the default ones where it has none.
        parts: all parts, by node, built or as a class; None for what is not there.
        meta_model: the model over a small schema, on the meta device.

    Raises UserError naming the key at fault.
    """

    name: ClassVar[str]
    takes: ClassVar[Mapping[str, tuple[str, ...]]]
    required: ClassVar[tuple[str, ...]] = ()
    transfers: ClassVar[bool] = False
    batches: ClassVar[type[BatchData]]
    metric: ClassVar[type[Collected[Any]]]  # collects what metrics are computed from
    predictor: ClassVar[type[Predictor] | None] = None  # what a finished run can be asked
    source: Any
    protocol: Any
    meta_model: nn.Module

    def __init__(
        self, cfg: DictConfig, tuned_lr: float | None = None, arithmetic: Arithmetic = "fast"
    ) -> None:
        self.cfg, self.tuned_lr, self.arithmetic = cfg, tuned_lr, arithmetic
        self._check_nodes()
        compat.check_kinds(self.name, self.takes, self.required, cfg)
        compat.check_presence(config.target("model", config.plain(cfg.model)), cfg)
        self.measured = self.metric.of_config(cfg.get("metrics"))
        self.source = self._part("data", "name")
        self.protocol = self._part("protocol", "name", "settings", "hash")
        self.adapter: Adapter = self._built("adapter", Adapter) or Full()
        self.method: Method = self._built("method", Method, load=self._model_of) or Method()
        if self.method.elsewhere and not self.transfers:
            raise UserError("method=transfer is of task=sequence: its models alone go elsewhere.")
        self.loss_class: Any = None
        if loss := config.plain(cfg.get("loss")):
            config.check("loss", loss)
            self.loss_class = config.target("loss", loss)
        self.parts: dict[str, Any] = {
            "data": self.source,
            "protocol": self.protocol,
            "adapter": self.adapter,
            "method": self.method,
            "loss": self.loss_class,
        }

    def check(self, **parts: Any) -> None:
        """Check all parts against one another; ``parts`` are further ones."""
        self.parts = {"model": self.meta_model} | self.parts | parts
        compat.check_needs(self.parts, self.remedies())
        for key, off in (("gradient_clip_val", None), ("accumulate_grad_batches", 1)):
            if not self.method.automatic and self.cfg.trainer.get(key, off) not in (None, off):
                raise UserError(
                    f"trainer.{key}={self.cfg.trainer[key]}: {type(self.method).__name__} steps "
                    f"its optimizers itself: say trainer.{key}={'null' if off is None else off}."
                )
        self._check_steps()

    def remedies(self) -> dict[str | tuple[str, ...], str]:
        """What to do where a part lacks a trait, by trait, if the data at hand decides it."""
        return {}

    @abstractmethod
    def known_figures(self) -> list[str]:
        """Names of the figures of validation."""

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

    def side_hash(self, loaded: L) -> str | None:
        """The hash of what models read beside data and catalogue, if it is not of the data's."""
        return None

    @abstractmethod
    def make_data(self, loaded: L) -> BatchData:
        """The batches of audited data."""

    @abstractmethod
    def make_task(self, loaded: L, data: Any) -> Task:
        """The task over a new model, fitted already if it is fitted at once."""

    def calibrated(self, task: Task, loaded: L) -> Task | None:
        """The task, over the model of ``task``, whose validation fits what follows training."""
        return None

    @abstractmethod
    def make_baseline(self, loaded: L, data: Any) -> Task | None:
        """The task over ``cfg.baseline``, fitted already; None if there is none."""

    @abstractmethod
    def tables(self, task: Task, loaded: L) -> dict[str, pl.DataFrame]:
        """What the run folder keeps of a tested task besides figures, by name."""

    def described(self) -> dict[str, str]:
        """Name and class of each part, to be shown."""
        shown = {"source": "data", "protocol": "protocol", "objective": "objective"}
        parts = {name: self.parts.get(node) for name, node in shown.items()}
        return {
            **{name: type(part).__name__ for name, part in parts.items() if part is not None},
            "loss": self.loss_class.__name__ if self.loss_class else "none",
            "model": f"{type(self.meta_model).__name__}, {self._size}",
        }

    def save_artifacts(self, task: Task, folder: Path) -> None:
        """Write further files of a tested task to its run folder; the task may be changed by it."""

    def examples(self, task: Task, loaded: L) -> list[Example]:
        """Users with their recommendations, where a problem has such."""
        return []

    def warn(self, figures: Mapping[str, float]) -> list[str]:
        """Log what a reader of these figures should know, and give it back."""
        sentences = self.warnings(figures)
        for sentence in sentences:
            log.warning(sentence)
        return sentences

    def warnings(self, figures: Mapping[str, float]) -> list[str]:
        """What a reader of these figures of the model should know, in sentences."""
        return []

    def relative_metrics(
        self, figures: Mapping[str, float], baseline: Mapping[str, float]
    ) -> dict[str, float]:
        """Figures of the model relative to those of the baseline."""
        return {}

    def task(
        self,
        steps: Steps,
        model: nn.Module,
        loss: Loss | None,
        objective: Any = None,
        adapted: AdaptedModule | None = None,
    ) -> Task:
        """The task over a model."""
        training = Training(
            self._optimizer, self._schedule, self.cfg.seed, adapted, self.tuned_lr, self.arithmetic
        )
        return Task(steps, model, objective, loss, self.method, training)

    def make_loss(self, **live: Any) -> Loss | None:
        """The loss of the config; None if there is none."""
        return self._build("loss", **live) if self.loss_class else None

    @property
    def _size(self) -> str:
        weights = sum(parameter.numel() for parameter in self.meta_model.parameters())
        return f"{weights:,} parameters"

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

    def begin(self, task: Task, data: BatchData, loaded: L) -> dict[str, Any]:
        """Let the method begin a training, from what an earlier run knew; facts for the card."""
        return self.method.begin(task, data, lambda folder: self.before(loaded, folder))

    def before(self, loaded: L, folder: str) -> Before:
        """What a run of an earlier state of the data knew. Raises UserError for another run."""
        raise UserError(
            f"method.run: a run of task={self.name} cannot go on with other data, as those of "
            "task=sequence can: train it anew."
        )

    def _model_of(self, folder: str) -> nn.Module:
        """The model of a completed run of the same problem, with its weights."""
        run = RunFolder.open(Path(folder))
        with quoting(run.path), unquoted(run, (), "model"):
            settings = config.plain(run.config.task)
            if config.target("task", settings) is not type(self) or self.predictor is None:
                raise UserError(f"{folder} is a run of another task than task={self.name}.")
            problem = type(self)(run.config, **config.check("task", settings))
            predictor: Any = self.predictor.of(run, problem)
            return predictor.model

    def _built(self, node: str, kind: type, **live: Any) -> Any:
        """A part that is optional, of a kind; None where it is not there."""
        if not self.cfg.get(node):
            return None
        config.expect(node, config.plain(self.cfg[node]), kind)
        return self._build(node, **live)

    def _optimizer(self, parameters: Iterable[Any]) -> Optimizer:
        return self._build("optimizer", params=parameters)

    def _schedule(self, optimizer: Optimizer, steps: int, per_epoch: int) -> Any:
        lengths = {"total_steps": steps, "steps_per_epoch": per_epoch}
        return self._build("schedule", optimizer=optimizer, **lengths)

    def _check_steps(self) -> None:
        """Take a step with optimizer and schedule as a trial. Raises UserError if they cannot."""
        if not list(self.meta_model.parameters()):
            return
        self._optimizer(self.meta_model.parameters())  # some look at shapes
        tables = [m for m in self.meta_model.modules() if isinstance(m, nn.Embedding)]
        sparse = {m.weight for m in tables if m.sparse or self.cfg.task.get("sparse")}
        dense = set(self.meta_model.parameters()) - sparse
        try:
            made = check_optimizer(self._optimizer, sparse=bool(sparse), dense=bool(dense))
        except ValueError as error:
            raise UserError(f"optimizer: {error}.") from None
        self._schedule(made, TRIAL, TRIAL // 10)

    def _check_nodes(self) -> None:
        kinds = {
            "batches": self.batches,
            "optimizer": Optimizer,
            "schedule": LRScheduler,
            "trainer": Trainer,
        }
        for node, kind in kinds.items():
            settings = config.plain(self.cfg[node])
            config.expect(node, settings, kind)
            config.check(node, settings)
        for key in OPTIONAL:
            if key not in self.takes and self.cfg.get(key) not in (None, {}):
                raise UserError(f"Unknown key {key}: task={self.name} does not read it.")
