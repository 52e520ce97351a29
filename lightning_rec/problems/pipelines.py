"""Pipelines of finished runs: retrievers, whose candidates a run of clicks ranks."""

from pathlib import Path
from typing import Any

import polars as pl
import torch

from lightning_rec import config
from lightning_rec.data.batches import SequenceData
from lightning_rec.data.clicks.processor import TABLES, FeatureProcessor
from lightning_rec.data.earlier import audit_earlier
from lightning_rec.data.features import multi_hot
from lightning_rec.data.pipeline import AuditedLog
from lightning_rec.data.split import Schema
from lightning_rec.errors import UserError, quoting
from lightning_rec.items.base import Reading
from lightning_rec.models.candidates import Ranker
from lightning_rec.models.pipelines import Pipeline
from lightning_rec.models.together import Member
from lightning_rec.problems.clicks import Clicks
from lightning_rec.problems.ensembles import EnsembledSequences
from lightning_rec.problems.sequence_tables import described_items, metrics_of
from lightning_rec.problems.sequences import Sequences
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.foreign import unquoted
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.pipelines import Collecting, PipelineSteps


class PipelinedSequences(EnsembledSequences):
    """Retrievers of sequences and what ranks their candidates; see :class:`Pipeline`."""

    def make_model(self, schema: Schema, reading: Reading | None = None) -> Any:
        """The pipeline without weights, for a first look."""
        return self._joined(schema, [problem.meta_model for problem in self.members], None)

    def make_task(self, loaded: AuditedLog, data: SequenceData) -> Task:
        """The task over retrievers and ranker as they were trained."""
        model = self._read(loaded, data)
        model.check_ranker()
        return self.task(PipelineSteps(**self._measuring(loaded)), model, None, self.objective)

    def collecting(
        self, loaded: AuditedLog, data: SequenceData, negatives: int | None, seed: int
    ) -> Task:
        """The task whose test collects what a ranker learns from; see :class:`Collecting`."""
        model = self._read(loaded, data)
        measuring = metrics_of(self.protocol, loaded, self.measured) | {"sampled": None}
        steps = Collecting(negatives, seed, **measuring)
        return self.task(steps, model, None, self.objective)

    def calibrated(self, task: Task, loaded: AuditedLog) -> Task | None:
        """Nothing is fitted to validation."""
        return None

    def restored(
        self, run: RunFolder, items: pl.DataFrame, users: int, known: int | None = None
    ) -> Any:
        """The pipeline of a finished run; see :meth:`Sequences.restored`."""
        if (known or len(items)) < len(items):
            raise UserError(
                f"new_items: {run.path} ranks by the events of each item, and new ones have none: "
                "ask one of its retrievers."
            )
        model: Any = self._restored(items, users)
        run.load_model(model)
        model.check_ranker()
        return model

    def audit_earlier(self, whole: AuditedLog, before: AuditedLog) -> dict[str, int]:
        """Check what a ranker learns from; see :func:`lightning_rec.data.earlier.audit_earlier`."""
        return audit_earlier(whole.data.split, before.data.split)

    def origins(self, task: Task, loaded: AuditedLog, stage: str) -> pl.DataFrame:
        """Who found each target of ``stage``; see :func:`origins`."""
        steps: Any = task.steps
        targets = getattr(loaded.data.split, stage).target
        return origins(steps.found[stage], [*self.members.runs], targets, stage)

    def tables(self, task: Task, loaded: AuditedLog) -> dict[str, pl.DataFrame]:
        """Those of a run of sequences, and ``origins``: who found each target of the test."""
        assert isinstance(task.steps, PipelineSteps)
        parts = [self.origins(task, loaded, stage) for stage in task.steps.found]
        return Sequences.tables(self, task, loaded) | {"origins": pl.concat(parts)}

    def _read(self, loaded: AuditedLog, data: SequenceData) -> Pipeline:
        model: Any = self._restored(described_items(loaded), data.schema.num_users)
        log, split = loaded.data.log, loaded.data.split
        about = multi_hot(log.items, split.vocabulary)
        told = None if about is None else torch.from_numpy(about)
        model.read(torch.from_numpy(split.train_counts.copy()), told)
        assert isinstance(model, Pipeline)
        return model

    def _over(self, schema: Schema, models: list[Any]) -> Any:
        folder = config.plain(self.cfg.model).get("ranker")
        return self._joined(schema, models, None if folder is None else ranker_of(Path(folder)))

    def _joined(self, schema: Schema, models: list[Any], ranker: Ranker | None) -> Any:
        members = [
            Member(model, problem.objective.query_inputs, problem.block_tokens)
            for model, problem in zip(models, self.members, strict=True)
        ]
        return self._build("model", schema=schema, members=members, ranker=ranker)


def ranker_of(folder: Path) -> Ranker:
    """The ranker of a finished run of clicks over features of candidates.

    Raises UserError if it is none, or is not as it was written.
    """
    run = RunFolder.open(folder)
    run.check_completed("model.ranker")
    with quoting(run.path), unquoted(run, (), "model"):
        settings = config.plain(run.config.task)
        if config.target("task", settings) is not Clicks:
            raise UserError(f"model.ranker={folder} is no run of task=click.")
        problem = Clicks(run.config, **config.check("task", settings))
        fields = problem.source.fields
        if fields.features != fields.scaled or fields.scale != "standard":
            raise UserError(f"model.ranker={folder}: a ranker reads numbers alone.")
        processor = FeatureProcessor.of({name: run.table(name) for name in TABLES}, fields)
        with torch.device("cpu"):
            model = problem.restored(run, processor, None)
    rows = {row[0]: row for row in processor.statistics.rows()}
    mean, deviation = (
        torch.tensor([rows[name][place] for name in fields.scaled], dtype=torch.float64)
        for place in (1, 2)
    )
    return Ranker(model, fields.scaled, mean, torch.where(deviation == 0, 1, deviation))


def origins(found: torch.Tensor, names: list[str], targets: Any, stage: str) -> pl.DataFrame:
    """Who found each target: ``stage``, ``example``, ``candidates``, how many the query had, and a
    Boolean column for each retriever. ``found``: int64 [3, n], as of :class:`Origins`; ``targets``:
    int64, item codes, -1 for one that is no candidate: its row is left out.
    """
    example, origin, candidates = (column.numpy() for column in found)
    there = targets[example] >= 0
    columns = {name: pl.Series((origin >> place & 1) == 1) for place, name in enumerate(names)}
    facts = {"example": example, "candidates": candidates}
    table = pl.DataFrame({**facts, **columns}).filter(pl.Series(there))
    return table.select(pl.lit(stage).alias("stage"), pl.all())
