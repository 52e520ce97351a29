"""The problem of clicks: how probable it is that a row, somebody and something, is one."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import torch
from omegaconf import DictConfig
from torch import nn

from lightning_rec import config
from lightning_rec.adapters.base import Adapter, Tuned
from lightning_rec.adapters.whole import Full
from lightning_rec.assembly.click_checks import (
    check_goals,
    check_model,
    check_order,
    check_sparse,
)
from lightning_rec.assembly.encoders import Pretrained, encoder_node, make_encoder
from lightning_rec.assembly.problem import Problem, held
from lightning_rec.data.clicks.batches import ClickData
from lightning_rec.data.clicks.fields import ClickSchema, Field, Fields, Kind
from lightning_rec.data.clicks.pipeline import AuditedClicks, load_clicks
from lightning_rec.data.clicks.splits import RowProtocol
from lightning_rec.data.clicks.table import ClickSource
from lightning_rec.errors import UserError, listed
from lightning_rec.metrics.classification import reliability
from lightning_rec.metrics.click_slices import history_slices, slices_of
from lightning_rec.metrics.clicks import BINS, FIGURES, ClickMetrics, Predictions
from lightning_rec.metrics.slices import Slices
from lightning_rec.models.clicks.encoded import WithHistory, with_field
from lightning_rec.models.clicks.parts import FittedToClicks
from lightning_rec.tasks.click import ClickTask

SKETCH_SIZE = 10  # categories of each field of the model that is built, without memory, as a check


class Clicks(Problem[AuditedClicks]):
    """Learn from rows with a label, predict the probability of it."""

    protocol: RowProtocol
    source: ClickSource

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        check_model(cfg)
        for node in ("objective", "loss"):
            if cfg.get(node):
                raise UserError(
                    f"task=click learns by the likelihood of the labels and takes no {node}: drop "
                    f"{node}=, or say {node}=null."
                )
        self.source = config.build("data", cfg.data)
        if not hasattr(self.source, "fields"):
            raise UserError(
                f"data={self.source.name} holds {held(self.source)}, but task=click needs rows "
                "with a label and declared fields: data=click_table reads any table, and for "
                "MovieLens-100K there is data=ml_100k_clicks."
            )
        self.encoder, self.pretrained = encoder_node(cfg)
        self.adapter = self._checked_adapter()
        self.protocol = config.build("protocol", cfg.protocol)
        if not isinstance(self.protocol, RowProtocol):
            raise UserError(
                f"protocol={self.protocol.name} splits no rows of clicks, but task=click takes one "
                "that does: random_rows, temporal_rows or given_rows."
            )
        with torch.device("meta"):
            schema = _sketch(self.source.fields)
            self.sketch = self.make_model(schema)
            if isinstance(self.sketch, WithHistory):
                Tuned(self.sketch.encoder.model, self.adapter)
            if cfg.baseline:
                config.build("baseline", cfg.baseline, schema=schema)
        check_sparse(cfg)
        goals = tuple(self.source.fields.targets)
        check_goals(self.sketch, goals)
        prefixes = [f"{goal}/" for goal in goals] if len(goals) > 1 else [""]
        known = [f"val/{prefix}{name}" for prefix in prefixes for name in FIGURES]
        self._check_training(known, self.protocol.validates)

    def make_model(self, schema: ClickSchema) -> nn.Module:
        """The model over a schema, with its encoder of histories if there is one."""
        if self.encoder is None:
            model: nn.Module = self._build("model", schema=schema)
            if getattr(model, "reads_scores", False):
                raise UserError(
                    f"{type(model).__name__} needs a model of sequences that scores the items: say "
                    "encoder.run=FOLDER adapter=frozen, or model@encoder.model=sasrec."
                )
            return model
        encoder = make_encoder(self.encoder, self.pretrained, schema)
        head = self._build("model", schema=with_field(schema, len(encoder.nothing)))
        if isinstance(head, FittedToClicks):
            raise UserError(
                f"{type(head).__name__} is fitted by counting and takes no encoder: drop encoder."
            )
        return WithHistory(encoder, head)

    def load(self, cache: Path) -> AuditedClicks:
        """Prepare, split, encode and audit the rows, and an encoder from before."""
        loaded = load_clicks(self.source, self.protocol, cache)
        if self.pretrained is not None:
            self.pretrained.check_time(loaded)
        return loaded

    def make_data(self, loaded: AuditedClicks) -> ClickData:
        """The data module over audited data."""
        reads = getattr(self.sketch, "reads_history", False)
        module = self._build("batches", encoded=loaded.encoded, seed=self.cfg.seed, histories=reads)
        assert isinstance(module, ClickData)
        return module

    def make_task(self, loaded: AuditedClicks, data: ClickData) -> ClickTask:
        """The task over a fresh model, fitted already if it is fitted by counting."""
        model = self.make_model(data.schema)
        if model.in_order:
            check_order(loaded)
        if not isinstance(model, WithHistory):
            return self._task(model, loaded)
        if self.pretrained is not None:
            self.pretrained.run.load_model(model.encoder.model)
            model.encoder.codes = self.pretrained.codes(loaded.encoded)
        task = self._task(model, loaded)
        task.tuned = Tuned(model.encoder.model, self.adapter)
        task.tuned.report()
        return task

    def make_baseline(self, loaded: AuditedClicks, data: ClickData) -> ClickTask | None:
        """The task over ``cfg.baseline``, a model fitted by counting."""
        if not self.cfg.baseline:
            return None
        return self._task(config.build("baseline", self.cfg.baseline, schema=data.schema), loaded)

    def tables(self, task: ClickTask, loaded: AuditedClicks) -> dict[str, pl.DataFrame]:
        """What was predicted for each row of the test and how it fits, and what was fitted."""
        found, encoded = task.predictions["test"], loaded.encoded
        example = next(iter(found.values())).example.cpu().numpy()
        columns, bins = {"row": np.asarray(encoded.test)[example]}, []
        for goal, of in found.items():
            suffix = f"_{goal}" if len(found) > 1 else ""
            columns[f"label{suffix}"] = of.label.cpu().numpy().astype(np.int8)
            columns[f"probability{suffix}"] = of.probability.cpu().numpy()
            bins.append(_bins(goal, of))
        return {
            "test_rows": pl.DataFrame(columns),
            "reliability": pl.concat(bins),
            **encoded.encoder(self.source.fields).tables(),
        }

    def beside(
        self, figures: Mapping[str, float], baseline: Mapping[str, float]
    ) -> dict[str, float]:
        """RelaImpr of each AUC: (AUC - 0.5) / (AUC of the baseline - 0.5) - 1."""
        goals = self.source.fields.goals
        names = [f"{goal}/auc" for goal in goals] or ["auc"]
        areas = [f"{stage}/{name}" for stage in ("val", "test") for name in names]
        return {
            f"{name.removesuffix('auc')}rela_impr": (figures[name] - 0.5) / (baseline[name] - 0.5)
            - 1
            for name in areas
            if name in figures and baseline.get(name, 0.5) != 0.5
        }

    def parts(self) -> dict[str, str]:
        """Name and class of each part."""
        fields = self.source.fields.features
        weights = sum(parameter.numel() for parameter in self.sketch.parameters())
        encoder = {}
        head = self.sketch
        if isinstance(head, WithHistory):
            encoder["encoder"] = f"{type(head.encoder.model).__name__}, {_origin(self.pretrained)}"
            head = head.head
        name = type(head).__name__
        return {
            "source": type(self.source).__name__,
            "fields": listed(fields, 30),
            "protocol": type(self.protocol).__name__,
            **encoder,
            "model": f"{name}, {weights:,} parameters with {SKETCH_SIZE} categories per field",
        }

    def _checked_adapter(self) -> Adapter:
        """How the encoder is tuned. Raises UserError where there is nothing to tune so."""
        adapter = self._adapter()
        if self.pretrained is None and not isinstance(adapter, Full):
            raise UserError(
                f"adapter={type(adapter).__name__} tunes what was trained before: say "
                "encoder.run=FOLDER, or adapter=full."
            )
        return adapter

    def _task(self, model: nn.Module, loaded: AuditedClicks) -> ClickTask:
        if isinstance(model, FittedToClicks):
            model.fit(loaded.encoded)
        task = self._build(
            "task",
            model=model,
            optimizer=self._optimizer,
            schedule=self._schedule,
            metrics={
                "val": _metrics(loaded, "val"),
                # Slices in the test alone, which is made once.
                "test": _metrics(loaded, "test", _slices(loaded, self.source.fields.slices)),
            },
            seed=self.cfg.seed,
        )
        assert isinstance(task, ClickTask)
        return task


def _origin(pretrained: Pretrained | None) -> str:
    return "from scratch" if pretrained is None else f"from {pretrained.run.path}"


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


def _metrics(
    loaded: AuditedClicks, stage: str, slices: Slices | None = None
) -> dict[str, ClickMetrics]:
    """What measures each goal."""
    encoded, goals = loaded.encoded, loaded.encoded.schema.goals
    rows = np.asarray(encoded.part(stage))
    group = None if encoded.group is None else torch.from_numpy(encoded.group[rows])
    labels = torch.from_numpy(encoded.label[rows]).reshape(-1, len(goals)).unbind(dim=1)
    return {
        goal: ClickMetrics(label, group, slices) for goal, label in zip(goals, labels, strict=True)
    }


def _bins(goal: str, found: Predictions) -> pl.DataFrame:
    """How probabilities of a goal fit what came, by bins of equal width."""
    bins = reliability(found.probability.cpu(), found.label.cpu(), BINS)
    return pl.DataFrame(
        {
            "goal": goal,
            "from": np.arange(BINS) / BINS,
            "rows": bins.rows.long().numpy(),
            "predicted": bins.predicted.numpy(),
            "rate": bins.rate.numpy(),
        }
    )


def _slices(loaded: AuditedClicks, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The slices of the test by how often training has a row's category, and by its history."""
    encoded = loaded.encoded
    slices: dict[str, torch.Tensor] = {}
    for name in names:
        place = encoded.schema.place(name)  # categories have one column of ids each, and come first
        field = encoded.schema.fields[place]
        known = encoded.vocabulary.filter(pl.col("field") == name)
        counts = np.zeros(field.size, dtype=np.int64)
        counts[known["id"].to_numpy() - field.start] = known["count"].to_numpy()
        seen = counts[encoded.ids[np.asarray(encoded.test), place] - field.start]
        slices |= slices_of(name, torch.from_numpy(seen))
    if encoded.past is not None:
        test = np.asarray(encoded.test)
        slices |= history_slices(
            torch.from_numpy(encoded.past.end[test] - encoded.past.start[test])
        )
    return slices
