"""The problem of clicks: how probable it is that a row, somebody and something, is one."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import starmap
from pathlib import Path
from typing import ClassVar

import polars as pl
import torch
from omegaconf import DictConfig
from torch import nn

from lightning_rec import config
from lightning_rec.adapters.base import AdaptedModule, Adapter
from lightning_rec.adapters.whole import Full
from lightning_rec.assembly.click_checks import (
    check_batches,
    check_calibration,
    check_goals,
    check_model,
    check_order,
    check_sparse,
    check_texts,
)
from lightning_rec.assembly.click_measures import (
    bins_of,
    click_slices,
    known_figures,
    metrics_of,
    rela_impr,
    rows_of,
    worse_than_base,
)
from lightning_rec.assembly.encoders import encoder_node, make_encoder
from lightning_rec.assembly.items import texts_of
from lightning_rec.assembly.problem import Problem, held
from lightning_rec.data.clicks.batches import ClickData
from lightning_rec.data.clicks.fields import ClickSchema, Field, Fields, Kind
from lightning_rec.data.clicks.items import items_of
from lightning_rec.data.clicks.pipeline import AuditedClicks, load_clicks
from lightning_rec.data.clicks.splits import RowProtocol
from lightning_rec.data.clicks.table import ClickSource
from lightning_rec.errors import UserError, listed
from lightning_rec.metrics.clicks import ClickMetrics
from lightning_rec.models.clicks.encoded import WithHistory, with_field
from lightning_rec.models.clicks.parts import ClickModel, FittedToClicks
from lightning_rec.models.clicks.texts import WithTexts
from lightning_rec.models.text.items import ItemTexts
from lightning_rec.tasks.click import ClickTask

SKETCH_SIZE = 10  # categories of each field of the model that is built, without memory, as a check


class Clicks(Problem[AuditedClicks]):
    """Learn from rows with a label, predict the probability of it."""

    kind: ClassVar[type] = ClickModel  # what cfg.model names
    module = ClickData
    reads = "encoder"
    metric = ClickMetrics
    protocol: RowProtocol
    source: ClickSource

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        check_model(cfg, self.kind)
        for node in ("objective", "loss"):
            if cfg.get(node):
                raise UserError(
                    f"task=click learns by the likelihood of the labels and takes no {node}: drop "
                    f"{node}=, or say '~{node}'."
                )
        self.source = self._part("data", "name")
        if not hasattr(self.source, "fields"):
            raise UserError(
                f"data={self.source.name} holds {held(self.source)}, but task=click needs rows "
                "with a label and declared fields: data=click_table reads any table, and for "
                "MovieLens-100K there is data=ml_100k_clicks."
            )
        self.texts = texts_of(cfg)
        self.encoder, self.pretrained = encoder_node(cfg)
        check_texts(cfg, self.source.fields)
        self.adapter = self._checked_adapter()
        meta = None if self.texts is None else self.texts.meta_model(self.adapter)
        self.width = SKETCH_SIZE if meta is None else meta.width  # of texts
        self.protocol = self._part("protocol", "name", "settings", "hash")
        if not isinstance(self.protocol, RowProtocol):
            raise UserError(
                f"protocol={self.protocol.name} splits no rows of clicks, but task=click takes one "
                "that does: random_rows, temporal_rows or given_rows."
            )
        with torch.device("meta"):
            schema = _sketch(self.source.fields)
            self.meta_model = self.make_model(schema)
            if isinstance(self.meta_model, WithHistory):
                AdaptedModule(self.meta_model.encoder.model, self._encoder_adapter())
            if cfg.baseline:
                self._part("baseline", "fit", schema=schema)
        check_sparse(cfg)
        check_batches(cfg, self.meta_model)
        goals = tuple(self.source.fields.targets)
        check_goals(self.meta_model, goals)
        check_calibration(cfg, self.protocol.validates)
        sequential = getattr(self.meta_model, "sequential", False)
        known = known_figures(goals, sequential, self.measured)
        self._check_training(known, self.protocol.validates)

    @property
    def wording(self) -> str | None:
        """The template of the text of an item; None where no texts are read."""
        return None if self.texts is None else self.texts.template

    def make_model(self, schema: ClickSchema) -> nn.Module:
        """The model over a schema, with its encoder of histories if there is one.

        One whose items are known by texts is a head that has to be given them.
        """
        if self.texts is not None:
            schema = schema._replace(text=self.width, by_id=self.texts.ids)
        if self.encoder is None:
            head: ClickModel = self._build("model", schema=schema)
            if getattr(head, "reads_scores", False):
                raise UserError(
                    f"{type(head).__name__} needs a model of sequences that scores the items: say "
                    "encoder.run=FOLDER adapter=frozen, or model@encoder.model=sasrec."
                )
        else:
            encoder = make_encoder(self.encoder, self.pretrained, schema)
            head = self._build("model", schema=with_field(schema, len(encoder.nothing)))
        if isinstance(head, FittedToClicks) and (self.encoder or self.texts):
            part = "encoder" if self.encoder else "item"
            raise UserError(
                f"{type(head).__name__} is fitted at once and takes no {part}: drop {part}=, or "
                "choose another model, such as lr_sgd or deepfm."
            )
        return head if self.encoder is None else WithHistory(encoder, head)

    def load(self, cache: Path) -> AuditedClicks:
        """Prepare, split, encode and audit the rows, an encoder from before, and texts of items."""
        loaded = load_clicks(self.source, self.protocol, cache)
        if self.pretrained is not None:
            self.pretrained.check_time(loaded)
            self.pretrained.check_titles(loaded, str(self.source.fields.item))
        if self.wording is None:
            return loaded
        items = items_of(loaded.data.table, self.source.fields, loaded.data.encoded, self.wording)
        encoded = replace(loaded.data.encoded, shown=items.shown)
        return replace(loaded, data=loaded.data._replace(items=items, encoded=encoded))

    def make_data(self, loaded: AuditedClicks) -> ClickData:
        """The data module over audited data."""
        reads = getattr(self.meta_model, "reads_history", False)
        encoded, seed = loaded.data.encoded, self.cfg.seed
        module = self._build("batches", encoded=encoded, seed=seed, histories=reads)
        assert isinstance(module, ClickData)
        return module

    def make_task(self, loaded: AuditedClicks, data: ClickData) -> ClickTask:
        """The task over a fresh model, fitted already if it is fitted at once."""
        texts, read = self._read(loaded)
        model: nn.Module = self.make_model(data.schema)
        assert isinstance(model, ClickModel)
        if model.sequential:
            check_order(loaded)
        tuned = self._encoded(model, loaded) if isinstance(model, WithHistory) else None
        if texts is not None and loaded.data.items is not None:
            tuned, model = read, WithTexts(texts, len(loaded.data.items.about), model)
        task = self._task(model, loaded)
        task.tuned = tuned
        return task

    def make_baseline(self, loaded: AuditedClicks, data: ClickData) -> ClickTask | None:
        """The task over ``cfg.baseline``, a model fitted at once."""
        if not self.cfg.baseline:
            return None
        return self._task(config.build("baseline", self.cfg.baseline, schema=data.schema), loaded)

    def tables(self, task: ClickTask, loaded: AuditedClicks) -> dict[str, pl.DataFrame]:
        """What was predicted for each row of the test and how it fits, and what was fitted."""
        shown = loaded.data.items
        items = {} if shown is None else {"items": shown.about.with_row_index("code")}
        return {
            "test_rows": rows_of(task, loaded),
            "reliability": pl.concat(starmap(bins_of, task.predictions["test"].items())),
            **loaded.data.encoded.encoder(self.source.fields).tables(),
            **items,
        }

    def warnings(self, figures: Mapping[str, float]) -> list[str]:
        """Say of which goals the probabilities are worse than the base rate of the test."""
        trained = not isinstance(self.meta_model, FittedToClicks)
        validates = self.protocol.validates
        return worse_than_base(figures, self.cfg, trained=trained, validates=validates)

    def relative_metrics(
        self, figures: Mapping[str, float], baseline: Mapping[str, float]
    ) -> dict[str, float]:
        """RelaImpr of each AUC."""
        goals = self.source.fields.goals
        names = [f"{goal}/auc" for goal in goals] or ["auc"]
        areas = [f"{stage}/{name}" for stage in ("val", "test") for name in names]
        return rela_impr(areas, figures, baseline)

    def parts(self) -> dict[str, str]:
        """Name and class of each part."""
        weights = sum(parameter.numel() for parameter in self.meta_model.parameters())
        parts, head = {}, self.meta_model
        if isinstance(head, WithHistory):
            origin = self.pretrained.run.path if self.pretrained else "scratch"
            parts["encoder"] = f"{type(head.encoder.model).__name__}, from {origin}"
            head = head.head
        if self.texts is not None:
            by = "texts and ids" if self.texts.ids else "texts"
            parts["items"] = f"by {by}, read by {self.texts.name}"
        return {
            "source": type(self.source).__name__,
            "fields": listed(self.source.fields.features, 30),
            "protocol": type(self.protocol).__name__,
            **parts,
            "model": f"{type(head).__name__}, {weights:,} parameters with {SKETCH_SIZE} categories "
            "per field",
        }

    def _checked_adapter(self) -> Adapter:
        """How what was trained before is tuned. Raises UserError where there is no such part."""
        adapter = self._adapter()
        before = self.pretrained is not None or self.wording is not None
        if not before and not isinstance(adapter, Full):
            raise UserError(
                f"adapter={type(adapter).__name__} tunes what was trained before: say "
                "encoder.run=FOLDER or item=text, or adapter=full."
            )
        return adapter

    def _encoder_adapter(self) -> Adapter:
        """How the encoder of histories is tuned: as the config says, if it was trained before."""
        return Full() if self.pretrained is None else self.adapter

    def _read(self, loaded: AuditedClicks) -> tuple[ItemTexts | None, AdaptedModule | None]:
        """What makes vectors of the texts of items, and the language model under its adapter."""
        if self.texts is None or loaded.data.items is None:
            return None, None
        about, trained = loaded.data.items.about, loaded.data.items.trained
        texts, tuned = self.texts.read(self.adapter, about, trained, cache_of(loaded))
        self.width = texts.width
        return texts, tuned

    def _encoded(self, model: WithHistory, loaded: AuditedClicks) -> AdaptedModule:
        """The encoder of histories, its weights loaded if it was trained before, adapted."""
        if self.pretrained is not None:
            self.pretrained.load_into(model.encoder.model, cache_of(loaded))
            model.encoder.codes = self.pretrained.codes(loaded.data.encoded)
        tuned = AdaptedModule(model.encoder.model, self._encoder_adapter())
        tuned.report()
        return tuned

    def _task(self, model: nn.Module, loaded: AuditedClicks) -> ClickTask:
        if isinstance(model, FittedToClicks):
            model.fit(loaded.data.encoded)
        slices = click_slices(loaded, self.source.fields.slices)
        task = self._build(
            "task",
            model=model,
            optimizer=self._optimizer,
            schedule=self._schedule,
            metrics={
                "val": metrics_of(loaded, "val", self.measured),
                # Slices in the test alone, which is made once.
                "test": metrics_of(loaded, "test", self.measured, slices),
            },
            seed=self.cfg.seed,
        )
        assert isinstance(task, ClickTask)
        return task


def cache_of(loaded: AuditedClicks) -> Path:
    """The cache that clicks were prepared in."""
    return loaded.data.table.folder.parents[1]


def _sketch(fields: Fields) -> ClickSchema:
    """A small schema with the fields that are declared."""
    kinds: dict[Kind, tuple[str, ...]] = {
        "categorical": fields.singles,
        "multi_valued": fields.multi_valued,
        "numeric": fields.scaled,
    }
    sizes = {"categorical": (SKETCH_SIZE, 1), "multi_valued": (SKETCH_SIZE, 2), "numeric": (1, 0)}
    made: list[Field] = []
    for kind, names in kinds.items():
        for name in names:
            made.append(Field(name, kind, 1 + sum(field.size for field in made), *sizes[kind]))
    longest = fields.history_max_len if fields.has_history else 0
    goals = tuple(fields.targets)
    return ClickSchema(tuple(made), fields.item, longest, goals).with_dims(fields.dims)
