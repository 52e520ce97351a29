"""The problem of sequences: predict the next item, ranked among the whole catalogue."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import polars as pl
import torch
from omegaconf import DictConfig
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from lightning_rec import compat, config
from lightning_rec.adapters.whole import Frozen
from lightning_rec.data.batches import SequenceData
from lightning_rec.data.behaviors import Learn, learnt_events
from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.pipeline import AuditedLog, load
from lightning_rec.data.protocol import SplitProtocol
from lightning_rec.data.schema import Source
from lightning_rec.data.split import Schema
from lightning_rec.errors import UserError
from lightning_rec.items.base import Reading, known_by
from lightning_rec.methods.update import Before
from lightning_rec.metrics.measure import names_of
from lightning_rec.metrics.ranking import RankingMetrics
from lightning_rec.models.base import Fitted, ReadsCatalogue, ReadsVectors, SequenceModel
from lightning_rec.models.sequential.base import attach
from lightning_rec.objectives.base import Objective
from lightning_rec.objectives.closed_form import ClosedForm
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.problems import side, transferring, updating
from lightning_rec.problems.base import Problem
from lightning_rec.problems.item_reading import (
    check_graph,
    have_read,
    item_vectors,
    read_graph,
    reading_of,
    with_graph,
)
from lightning_rec.problems.sequence_tables import (
    TRAINED,
    catalogue,
    described_items,
    examples_of,
    hours_of_events,
    metrics_of,
    per_user,
    trained_of,
    users_of,
)
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.tracking import Example
from lightning_rec.tasks.base import Arithmetic, Task
from lightning_rec.tasks.sequence import SequenceSteps

log = logging.getLogger(__name__)

META_ITEMS = 100  # catalogue of the meta model


class Sequences(Problem[AuditedLog]):
    """Learn from interactions in the order of time, rank the catalogue for the next item.

    Args:
        cfg, tuned_lr, arithmetic: see :class:`Problem`.
        block_tokens: positions that are encoded at once on a CPU.
        events: columns of the log that models read of the events of a history, ``rating``, what
            times tell (``gap``, ``hour``, ``weekday``) and those of ``data.features`` among them.
        users: columns of the table of users that models read.
        learn: whether training predicts events of ``all`` behaviors, or of the ``target`` alone;
            see :func:`lightning_rec.data.behaviors.learnt_events`.
    """

    name: ClassVar = "sequence"
    takes: ClassVar = {
        "data": ("interactions",),
        "protocol": ("interactions",),
        "model": ("sequences",),
        "objective": ("sequences",),
        "loss": ("sequences",),
        "item": ("items",),
        "examples": (),
    }
    required: ClassVar = ("objective",)
    batches: ClassVar = SequenceData
    metric: ClassVar = RankingMetrics
    transfers: ClassVar = True
    tunes_items: ClassVar[bool] = True  # whether adapter= is about what items are known by
    predictor: ClassVar = SequencePredictor
    protocol: SplitProtocol
    source: Source

    def __init__(
        self,
        cfg: DictConfig,
        block_tokens: PositiveInt = 4096,
        tuned_lr: PositiveFloat | None = None,
        arithmetic: Arithmetic = "fast",
        events: Sequence[str] = (),
        users: Sequence[str] = (),
        learn: Learn = "all",
    ) -> None:
        super().__init__(cfg, tuned_lr, arithmetic)
        self.block_tokens, self.side = block_tokens, side.Reads(events, users)
        self.learn = learn
        self.items = known_by(cfg)
        self.item_adapter = self.adapter if self.tunes_items else Frozen()
        check_graph(self.items, self.source)
        self.objective: Objective = self._part(
            "objective", "name", "training_inputs", "query_inputs"
        )
        with torch.device("meta"):
            schema = Schema(META_ITEMS, cfg.batches.get("max_len", 2), META_ITEMS)
            self.meta_model = self.make_model(schema)
            asked = ("baseline", "fit", "objectives")
            baseline = self._part(*asked, schema=schema) if cfg.baseline else None
        reads = isinstance(self.meta_model, ReadsVectors)
        if self.items is None and reads and not isinstance(self.meta_model, Fitted):
            raise UserError(f"{type(self.meta_model).__name__} reads texts: say item=text.")
        if self.items is not None:
            self.items.check(self.meta_model, self.item_adapter, self.loss_class)
        self.check(objective=self.objective, item=self.items)
        if baseline is not None:
            fitted = {"objective": ClosedForm(), "protocol": self.protocol, "baseline": baseline}
            compat.check_needs(fitted, self.remedies())

    def remedies(self) -> dict[str | tuple[str, ...], str]:
        """Protocols in the order of time, which not all data tell."""
        if getattr(self.source, "timed", True):
            ordered = "protocol=leave_one_out or temporal"
        elif getattr(self.source, "in_order", False):
            ordered = "protocol=leave_one_out"
        else:
            ordered = "name the times, data.time=COLUMN protocol=leave_one_out, if there are any"
        users = "model=itemknn, ease, bprmf or lightgcn"
        return {
            "ordered": f"use a model of users and items, such as {users}, or {ordered}",
            "known_users": "use a model of sequences, or model=vsknn, itemknn or "
            "session_popularity",
        }

    def known_figures(self) -> list[str]:
        """Names of the figures of validation."""
        cutoffs, measured = self.protocol.cutoffs, self.measured
        known = names_of(measured, cutoffs)
        if self.protocol.candidates is not None:
            names = names_of(measured, cutoffs, without=("lists", "top"))
            known += [f"{name}{self.protocol.candidates.suffix}" for name in names]
        return [f"val/{name}" for name in known]

    def make_model(self, schema: Schema, reading: Reading | None = None) -> SequenceModel:
        """The model over a schema; its item encoder knows items by what ``reading`` has."""
        live = {} if self.items is None else {"items": self.items.items(reading)}
        model = self._build("model", schema=schema, **live)
        assert isinstance(model, SequenceModel)
        return model

    def load(self, cache: Path) -> AuditedLog:
        """Prepare, split and audit the interactions."""
        return load(self.source, self.protocol, cache)

    @property
    def reads_catalogue(self) -> bool:
        """Whether the model knows items by what the catalogue says of them."""
        return self.items is not None or isinstance(self.meta_model, ReadsCatalogue)

    def catalogue_hash(self, loaded: AuditedLog) -> str | None:
        """The hash of titles and features; None where nothing is known but ids."""
        return loaded.data.log.info["catalogue_hash"]

    def side_hash(self, loaded: AuditedLog) -> str | None:
        """That of what is read of events and users, where columns are named, and of the graph."""
        of_side = self.side.known(loaded).hash() if self.side else None
        return with_graph(of_side, loaded.data.graph, self.items, self.meta_model)

    def make_data(self, loaded: AuditedLog) -> SequenceData:
        """The batches of audited data."""
        return self._build(
            "batches",
            split=loaded.data.split,
            seed=self.cfg.seed,
            window=self.objective.window,
            candidates=self.protocol.candidates,
            side=self.side.known(loaded).rows,
            learnt=learnt_events(*loaded.data[:2], self.protocol, self.learn),
        )

    def make_task(self, loaded: AuditedLog, data: SequenceData) -> Task:
        """The task over a new model, fitted already if it is fitted in closed form."""
        split = loaded.data.split
        reads = self.items is not None or not self.tunes_items
        reading = reading_of(loaded, self.item_adapter) if reads else None
        model = self._fitted(self.make_model(data.schema, reading), loaded)
        if self.items is not None and reading is not None:
            have_read(self.items, model, reading)
        if self.side:
            side.given(model, self.side.known(loaded))
        if self.learn == "target" and isinstance(model, Fitted):
            log.warning("%s counts events of all behaviors: task.learn=target is ignored.",
                        type(model).__name__)  # fmt: skip
        if isinstance(self.objective, Fitted):
            self.objective.fit(split)
        loss, tuned = self.make_loss(split=split), None if reading is None else reading.tuned
        return self.task(self._steps(loaded), model, loss, self.objective, tuned)

    def restored(
        self, run: RunFolder, items: pl.DataFrame, users: int, known: int | None = None
    ) -> SequenceModel:
        """The model of a finished run; row i of ``items`` describes item i.

        ``known``: how many of them the run knew; None for all. Raises UserError where the model has
        nothing to know others by.
        """
        if (known or len(items)) < len(items) and not (
            self.items is not None and self.items.reads_new
        ):
            by = "their ids" if self.items is None else self.items.title
            raise UserError(
                f"new_items: {run.path} knows items by {by}, so it has learnt nothing of new ones. "
                "A run of item=text or item=text_and_ids reads them; or train again with their "
                "events."
            )
        run.check_language(self.cfg)
        schema = Schema(len(items), self.cfg.batches.max_len, users)
        # What was fitted to training items comes with the weights.
        trained = len(items) if known is None else known
        reading = Reading(items, items["item"], trained, cache_dir(), self.adapter, restoring=True)
        model = self.make_model(schema, reading)
        if isinstance(model, ReadsCatalogue):
            model.read_catalogue(items)
        if self.items is not None:
            have_read(self.items, model, reading)
        if (columns := side.of_run(run)) is not None:
            attach(model, *columns)
        run.load_model(model, trained if trained < len(items) else None)
        return model

    def before(self, loaded: AuditedLog, folder: str) -> Before:
        """What a run of an earlier log knew, or one of other data; see :mod:`updating`."""
        side.refuse(self, "method.run: this model")
        if with_graph(None, loaded.data.graph, self.items, self.meta_model):
            raise updating.graph_is_over()
        known = transferring.elsewhere if self.method.elsewhere else updating.before
        return known(self.cfg, loaded, folder, self.make_model)

    def make_baseline(self, loaded: AuditedLog, data: SequenceData) -> Task | None:
        """The task over ``cfg.baseline``, a model fitted in closed form."""
        if not self.cfg.baseline:
            return None
        model = config.build("baseline", self.cfg.baseline, schema=data.schema)
        return self.task(self._steps(loaded), self._fitted(model, loaded), None, ClosedForm())

    def tables(self, task: Task, loaded: AuditedLog) -> dict[str, pl.DataFrame]:
        """A row per test target, the catalogue, the history of each user, hours of events."""
        assert isinstance(task.steps, SequenceSteps)
        tested = per_user(task.steps.metrics["test"], task.steps.ranks["test"], loaded)
        hours = hours_of_events(loaded)
        assert isinstance(task.model, SequenceModel)
        known = self.side.known(loaded, task.model)
        users = users_of(loaded, timed=side.timed(task.model), side=known.rows)
        kept = {"test_users": tested, "items": catalogue(loaded), "users": users}
        kept[TRAINED] = trained_of(loaded)
        kept |= {side.TABLE: known.table()} if known.events or known.users else {}
        return kept if hours is None else kept | {"hours": hours}

    def examples(self, task: Task, loaded: AuditedLog) -> list[Example]:
        """As many test users as the config wants, with what is recommended to them."""
        if not (number := self.cfg.get("examples")):
            return []
        assert isinstance(task.model, SequenceModel)
        items, seen = catalogue(loaded), self.protocol.seen
        predictor = SequencePredictor(task.model, self.objective, items, None, seen)
        return examples_of(predictor, loaded, number, self.side.known(loaded, task.model).rows)

    def described(self) -> dict[str, str]:
        """Name and class of each part."""
        shown = super().described()
        return shown | {"model": f"{shown['model']} over {META_ITEMS} items"}

    def item_vectors(self, loaded: AuditedLog) -> tuple[pl.Series, Tensor]:
        """Ids of the items, and vectors by what they are known by, float [V, E], else by events."""
        return described_items(loaded)["item"], item_vectors(self.items, self.item_adapter, loaded)

    def _fitted(self, model: nn.Module, loaded: AuditedLog) -> nn.Module:
        """The model, having read the catalogue, graph or training events if it does."""
        read_graph(model, self.items, loaded.data.graph)
        if isinstance(model, ReadsCatalogue):
            model.read_catalogue(described_items(loaded))
        described = self.items is not None and isinstance(model, ReadsVectors)
        if isinstance(model, Fitted) and not described:
            model.fit(loaded.data.split)
        return model

    def _steps(self, loaded: AuditedLog) -> SequenceSteps:
        metrics = metrics_of(self.protocol, loaded, self.measured)
        return SequenceSteps(**metrics, block_tokens=self.block_tokens)
