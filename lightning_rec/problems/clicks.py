"""The problem of clicks: predict the probability that a row has its label, CTR prediction."""

from collections.abc import Mapping
from itertools import starmap
from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl
import torch
from omegaconf import DictConfig
from pydantic import NonNegativeFloat, PositiveFloat
from torch import nn

from lightning_rec import config
from lightning_rec.adapters.base import AdaptedModule
from lightning_rec.data.clicks.batches import ClickData
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.pipeline import AuditedClicks, load_clicks, with_items
from lightning_rec.data.clicks.processor import FeatureProcessor
from lightning_rec.data.clicks.schema import ClickSchema
from lightning_rec.data.clicks.splits import RowProtocol
from lightning_rec.data.clicks.table import ClickSource
from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.split import Schema
from lightning_rec.data.templates import render_template
from lightning_rec.errors import UserError, listed
from lightning_rec.items.base import Reading, known_by
from lightning_rec.language.load import words_loader
from lightning_rec.losses.base import Loss
from lightning_rec.methods.update import Before
from lightning_rec.metrics.clicks import ClickMetrics
from lightning_rec.models.clicks.calibrated import Calibrated
from lightning_rec.models.clicks.described import WithItems
from lightning_rec.models.clicks.encoded import WithHistory, with_field
from lightning_rec.models.clicks.parts import ClickModel, FittedToClicks
from lightning_rec.predict.clicks import ClickPredictor
from lightning_rec.problems import click_updating, learnt_rows
from lightning_rec.problems.base import Problem
from lightning_rec.problems.click_checks import (
    META_SIZE,
    check_config,
    check_order,
    check_texts,
    meta_schema,
)
from lightning_rec.problems.click_figures import (
    bins_of,
    known_figures,
    metrics_of,
    rela_impr,
    rows_of,
    watched_of,
    worse_than_base,
)
from lightning_rec.problems.history_encoders import attach, encoder_node, make_encoder
from lightning_rec.problems.item_reading import check_graph, tell_unread, with_graph
from lightning_rec.problems.sequence_tables import TRAINED
from lightning_rec.runs.folder import RunFolder
from lightning_rec.tasks.base import Arithmetic, Task
from lightning_rec.tasks.click import ClickSteps


class Clicks(Problem[AuditedClicks]):
    """Learn from rows with a label, predict the probability of it.

    Args:
        cfg, tuned_lr, arithmetic: see :class:`Problem`.
        embedding_l2, l2, sparse, goal_weights: see :class:`ClickSteps`.
        calibrate: ``temperature`` puts a number for each goal under the logits, which is fitted on
            validation and saved with the weights.
    """

    name: ClassVar = "click"
    takes: ClassVar = {
        "data": ("clicks",),
        "protocol": ("clicks",),
        "model": ("clicks",),
        "loss": ("clicks",),
        "item": ("items",),
        "encoder": (),
    }
    batches: ClassVar = ClickData
    metric: ClassVar = ClickMetrics
    predictor: ClassVar = ClickPredictor
    protocol: RowProtocol
    source: ClickSource

    def __init__(
        self,
        cfg: DictConfig,
        embedding_l2: NonNegativeFloat = 0.0,
        l2: NonNegativeFloat = 0.0,
        sparse: bool = False,
        goal_weights: Mapping[str, NonNegativeFloat] | None = None,
        calibrate: Literal["none", "temperature"] = "none",
        tuned_lr: PositiveFloat | None = None,
        arithmetic: Arithmetic = "fast",
    ) -> None:
        super().__init__(cfg, tuned_lr, arithmetic)
        self.penalties: dict[str, Any] = {"embedding_l2": embedding_l2, "l2": l2, "sparse": sparse}
        self.goal_weights, self.calibrate = goal_weights, calibrate
        self.adapted: AdaptedModule | None = None  # of the model that was restored
        self.items = known_by(cfg)
        check_graph(self.items, self.source)
        check_texts(cfg, self.source.fields)
        self.encoder, self.pretrained = encoder_node(cfg)
        languages = [] if self.items is None else self.items.languages
        metas = [language.meta_model(self.adapter) for language in languages]
        self.width = next((meta.width for meta in metas if meta), META_SIZE)  # of item vectors
        with torch.device("meta"):
            schema = meta_schema(self.source.fields)
            self.meta_model = self.make_model(schema, meta=True)
            attach(self.meta_model, self.adapter, pretrained=self.pretrained is not None)
            if cfg.baseline:
                self._part("baseline", "fit", schema=schema)
        head = getattr(self.meta_model, "head", self.meta_model)
        fields, validates = self.source.fields, self.protocol.validates
        check_config(cfg, fields, head, validates=validates)
        encoder = self.pretrained or self.encoder
        self.check(item=self.items, encoder=encoder, model=head)

    def known_figures(self) -> list[str]:
        """Names of the figures of validation."""
        sequential = bool(getattr(self.meta_model, "sequential", False))
        return known_figures(tuple(self.source.fields.targets), sequential, self.measured)

    @property
    def template(self) -> str | None:
        """That of the text of an item; None where no texts are read."""
        return getattr(self.items or self.meta_model, "template", None)

    def make_model(
        self, schema: ClickSchema, titles: list[str] | None = None, *, meta: bool = False
    ) -> nn.Module:
        """The model over a schema, with its encoder of histories if there is one.

        One whose items are known by texts is a head that has to be given them.
        """
        if self.items is not None:
            schema = schema._replace(described=self.width, by_id=self.items.by_id)
        live: dict[str, Any] = {"load_words": words_loader(meta=meta), "titles": titles or []}
        try:
            if self.encoder is None:
                return self._build("model", schema=schema, **live)
            encoder = make_encoder(self.encoder, self.pretrained, schema, meta=meta)
            schema = with_field(schema, len(encoder.nothing))
            return WithHistory(encoder, self._build("model", schema=schema, **live))
        except ValueError as error:
            raise UserError(f"model: {error}") from error

    def load(self, cache: Path) -> AuditedClicks:
        """Prepare, split, encode and audit the rows, an encoder from before, and texts of items."""
        given = click_updating.statistics_of(self.method)
        loaded = load_clicks(self.source, self.protocol, cache, given)
        if self.pretrained is not None:
            self.pretrained.check_time(loaded)
            self.pretrained.check_titles(loaded, str(self.source.fields.item))
        if self.items is None and self.template is None:
            return loaded
        return with_items(loaded, self.source, self.template, self.items)

    def side_hash(self, loaded: AuditedClicks) -> str | None:
        """That of the knowledge graph, where it is read."""
        return with_graph(None, loaded.data.graph, self.items, self.meta_model)

    def make_data(self, loaded: AuditedClicks) -> ClickData:
        """The batches of audited data."""
        reads = getattr(self.meta_model, "reads_history", False)
        encoded, seed = loaded.data.encoded, self.cfg.seed
        return self._build("batches", encoded=encoded, seed=seed, histories=reads)

    def make_task(self, loaded: AuditedClicks, data: ClickData) -> Task:
        """The task over a new model, fitted already if it is fitted at once."""
        reading, items = None, loaded.data.items
        if items is not None:
            cache = loaded.data.table.folder.parents[1]
            reading = self._reading(items.about, items.trained, cache)
            reading.graph = loaded.data.graph
        model, adapted = self._assembled(loaded.data.encoded, reading)
        tell_unread(model, self.items, getattr(self.source, "graph", None))
        if model.sequential:
            check_order(loaded)
        return self._click_task(loaded, model, self.make_loss(), adapted)

    def calibrated(self, task: Task, loaded: AuditedClicks) -> Task | None:
        """The task itself, where a temperature is fitted to its validation."""
        return None if self.calibrate == "none" else task

    def restored(
        self, run: RunFolder, processor: FeatureProcessor, about: pl.DataFrame | None
    ) -> ClickModel:
        """The model of a completed run; ``about``: row i describes item i, None for ids alone."""
        run.check_language(self.cfg)
        reading = None
        if about is not None:  # what was fitted to training items comes with the weights
            reading = self._reading(about, len(about), cache_dir(), restoring=True)
        model, self.adapted = self._assembled(processor, reading)
        model = self._calibrated(model)
        run.load_model(model)
        return model.requires_grad_(False).eval()

    def before(self, loaded: AuditedClicks, folder: str) -> Before:
        """What a run of an earlier state of the log knew; see :func:`click_updating.before`."""
        return click_updating.before(self, loaded, folder)

    def make_baseline(self, loaded: AuditedClicks, data: ClickData) -> Task | None:
        """The task over ``cfg.baseline``, a model fitted at once."""
        if not self.cfg.baseline:
            return None
        model = config.build("baseline", self.cfg.baseline, schema=data.schema)
        return self._click_task(loaded, model, None)

    def tables(self, task: Task, loaded: AuditedClicks) -> dict[str, pl.DataFrame]:
        """What was predicted for each row of the test and how it fits, and what was fitted."""
        assert isinstance(task.steps, ClickSteps)
        steps, shown = task.steps, loaded.data.items
        items = {} if shown is None else {"items": shown.about.with_row_index("code")}
        tested = rows_of(steps, loaded)
        return {
            "test_rows": tested,
            "monitor": watched_of(tested, loaded, self.source.fields),
            "reliability": pl.concat(starmap(bins_of, steps.predictions["test"].items())),
            TRAINED: click_updating.trained_of(loaded, self.source.fields),
            **learnt_rows.tables_of(loaded, self.source.fields),
            **loaded.data.encoded.processor(self.source.fields).tables(),
            **items,
        }

    def warnings(self, figures: Mapping[str, float]) -> list[str]:
        """Name the goals whose probabilities are worse than the base rate of the test."""
        trained = not isinstance(self.meta_model, FittedToClicks)
        validates = self.protocol.validates
        return worse_than_base(figures, self.cfg, trained=trained, validates=validates)

    def relative_metrics(
        self, figures: Mapping[str, float], baseline: Mapping[str, float]
    ) -> dict[str, float]:
        """RelaImpr of each AUC."""
        names = [f"{goal}/auc" for goal in self.source.fields.several] or ["auc"]
        areas = [f"{stage}/{name}" for stage in ("val", "test") for name in names]
        return rela_impr(areas, figures, baseline)

    def described(self) -> dict[str, str]:
        """Name and class of each part."""
        shown, head = super().described(), self.meta_model
        del shown["model"]  # the last one
        shown["fields"] = listed(self.source.fields.features, 30)
        if isinstance(head, WithHistory):
            origin = f"from {self.pretrained.run.path}" if self.pretrained else "from scratch"
            shown["encoder"] = f"{type(head.encoder.model).__name__}, {origin}"
            head = head.head
        if self.items is not None:
            shown["items"] = f"by {self.items.title}"
        size = f"{self._size} with {META_SIZE} categories per field"
        return shown | {"model": f"{type(head).__name__}, {size}"}

    def _reading(
        self, about: pl.DataFrame, trained: int, cache: Path, *, restoring: bool = False
    ) -> Reading:
        ids = about[str(self.source.fields.item)]
        return Reading(about, ids, trained, cache, self.adapter, restoring=restoring)

    def _assembled(
        self, fitted: Encoded | FeatureProcessor, reading: Reading | None
    ) -> tuple[ClickModel, AdaptedModule | None]:
        """The model with its items and its encoder, and what its adapter tunes."""
        source, titles = None, None
        if reading is not None and self.items is not None:
            width = self.cfg.model.get("dim") or META_SIZE
            source = self.items.source(Schema(len(reading.catalogue), 1, 1), width, reading)
            self.width = source.width
        elif reading is not None and self.template is not None:
            titles = render_template(reading.catalogue, self.template)  # for a prompt
        model = self.make_model(fitted.schema, titles)
        assert isinstance(model, ClickModel)
        if isinstance(model, WithHistory) and self.pretrained is not None:
            model.encoder.codes = self.pretrained.codes(fitted)
        adapted = None if reading is None else reading.tuned
        adapted = adapted or attach(model, self.adapter, pretrained=self.pretrained is not None)
        if reading is not None and source is not None:
            model = WithItems(source, len(reading.catalogue), model)
        return model, adapted

    def _calibrated(self, model: ClickModel) -> ClickModel:
        goals = len(self.source.fields.targets)
        return model if self.calibrate == "none" else Calibrated(model, goals)

    def _click_task(
        self,
        loaded: AuditedClicks,
        model: ClickModel,
        loss: Loss | None,
        adapted: AdaptedModule | None = None,
    ) -> Task:
        if isinstance(model, FittedToClicks):
            model.fit(loaded.data.encoded)
        metrics = metrics_of(loaded, self.source.fields.slices, self.measured)
        model = self._calibrated(model)
        steps = ClickSteps(model, metrics, **self.penalties, goal_weights=self.goal_weights)
        return self.task(steps, model, loss, adapted=adapted)
