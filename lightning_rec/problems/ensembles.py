"""Ensembles of finished runs: problems whose model is made of theirs, on the same data."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import nn

from lightning_rec import config, figures
from lightning_rec.data.batches import SequenceData
from lightning_rec.data.clicks.batches import ClickData
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.pipeline import AuditedClicks
from lightning_rec.data.clicks.processor import FeatureProcessor
from lightning_rec.data.clicks.schema import ClickSchema
from lightning_rec.data.pipeline import AuditedLog
from lightning_rec.data.split import Schema
from lightning_rec.errors import UserError, quoting
from lightning_rec.items.base import Reading
from lightning_rec.methods.update import Before
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.models.ensembles import ClickEnsemble, Ensemble, SequenceEnsemble
from lightning_rec.models.together import Member
from lightning_rec.problems.base import Problem
from lightning_rec.problems.click_figures import metrics_of as click_metrics
from lightning_rec.problems.click_figures import worse_than_base
from lightning_rec.problems.clicks import Clicks
from lightning_rec.problems.sequence_tables import described_items, metrics_of
from lightning_rec.problems.sequences import Sequences
from lightning_rec.problems.side import refuse
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.foreign import unquoted
from lightning_rec.runs.parts import with_parts
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.click import ClickSteps
from lightning_rec.tasks.ensembles import (
    ClickFitting,
    Monitored,
    SequenceEnsembleSteps,
    SequenceFitting,
)


class Members:
    """Finished runs of one problem, by name: their folders, and their problems without data.

    Args:
        folders: of the runs.
        kind: their problem.
        key: below which the config names them.

    Raises UserError if one is not completed, or is a run of another problem.
    """

    def __init__(
        self, folders: Mapping[str, str], kind: type[Problem[Any]], key: str = "model.members"
    ) -> None:
        self.runs: dict[str, RunFolder] = {}
        self.problems: dict[str, Any] = {}
        for name, folder in folders.items():
            run = RunFolder.open(Path(folder))
            run.check_completed(f"{key}.{name}")
            with quoting(run.path), unquoted(run, (), "model"):
                self.runs[name], self.problems[name] = run, _problem(f"{key}.{name}", run, kind)

    def restored(self, known: Callable[[Any], tuple[Any, ...]]) -> list[Any]:
        """Their models with their weights; ``known``: what ``restored`` of a problem is given."""
        made = []
        for name, problem in self.problems.items():
            run = self.runs[name]
            with torch.device("cpu"), quoting(run.path), unquoted(run, (), "item"):
                made.append(problem.restored(run, *known(problem)))
        return made

    def __iter__(self) -> Iterator[Any]:
        return iter(self.problems.values())


def _problem(name: str, run: RunFolder, kind: type[Problem[Any]]) -> Problem[Any]:
    settings = with_parts(run, run.config)
    task = config.plain(settings.task)
    found: Any = config.target("task", task)
    if found is not kind:
        what = itself(found.__module__) if issubclass(found, kind) else found.name
        raise UserError(f"{name}={run.path} is no run of task={kind.name}: it is {what}.")
    problem = kind(settings, **config.check("task", task))
    refuse(problem, f"{name}={run.path}")
    return problem


def itself(module: str) -> str:
    """What a run is whose problem is of a module of those that join runs."""
    if module.endswith(".listwise"):
        return "re-ranked by a language model: name the run of its model.first"
    if module.endswith(".worded"):
        return "one that asks a language model, which is not asked beside others"
    word = "a pipeline" if module.endswith(".pipelines") else "an ensemble"
    return f"{word} itself: name its members"


def check_fits(model: Ensemble, *, validates: bool) -> None:
    """Raise UserError if weights are to be fitted, and there is nothing to fit them to."""
    if model.fits and not validates:
        raise UserError(
            "weights=fitted: weights are fitted on validation, and the protocol of the members "
            "leaves none: say weights=equal, or a weight for each."
        )


def of_several(module: str) -> UserError:
    """What is told where such a run should go on; ``module``: of its problem."""
    word = "a pipeline" if module.endswith(".pipelines") else "an ensemble"
    return UserError(
        f"method.run: {word} is not gone on with: let its runs go on, or train them anew, and make "
        "it of the new ones."
    )


class EnsembledSequences(Sequences):
    """An ensemble of runs of sequences; see :class:`SequenceEnsemble`."""

    def before(self, loaded: AuditedLog, folder: str) -> Before:
        """None. Raises UserError."""
        raise of_several(type(self).__module__)

    @cached_property
    def members(self) -> Members:
        """The runs."""
        return Members(config.plain(self.cfg.model)["members"], Sequences)

    @property
    def reads_catalogue(self) -> bool:
        """Whether a member does."""
        return any(problem.reads_catalogue for problem in self.members)

    def make_model(self, schema: Schema, reading: Reading | None = None) -> SequenceModel:
        """The ensemble without weights, for a first look."""
        return self._over(schema, [problem.meta_model for problem in self.members])

    def make_task(self, loaded: AuditedLog, data: SequenceData) -> Task:
        """The task over the members as they were trained."""
        model = self._restored(described_items(loaded), data.schema.num_users)
        check_fits(model, validates=loaded.validates)
        steps = SequenceEnsembleSteps(len(model.members), **self._measuring(loaded))
        return self.task(steps, model, None, self.objective)

    def calibrated(self, task: Task, loaded: AuditedLog) -> Task | None:
        """The task whose validation chooses the weights, where they are to be fitted."""
        model = task.model
        assert isinstance(model, SequenceEnsemble)
        if not model.fits or len(model.members) == 1:
            return None
        steps = SequenceFitting(len(model.members), self._monitored(), **self._measuring(loaded))
        return self.task(steps, model, None, self.objective)

    def restored(
        self, run: RunFolder, items: pl.DataFrame, users: int, known: int | None = None
    ) -> SequenceModel:
        """The ensemble of a finished run; see :meth:`Sequences.restored`."""
        model = self._restored(items, users, known)
        run.load_model(model)
        return model

    def tables(self, task: Task, loaded: AuditedLog) -> dict[str, pl.DataFrame]:
        """Those of a run of sequences, and how alike what the members recommend is."""
        assert isinstance(task.steps, SequenceEnsembleSteps)
        names, k = [*self.members.runs], task.steps.overlap.k
        lines = [
            {"member": one, "other": other, "k": k, "jaccard": value}
            for one, row in zip(names, task.steps.alike.tolist(), strict=True)
            for other, value in zip(names, row, strict=True)
        ]
        return super().tables(task, loaded) | {"overlap": pl.DataFrame(lines)}

    def _measuring(self, loaded: AuditedLog) -> dict[str, Any]:
        return metrics_of(self.protocol, loaded, self.measured)

    def _monitored(self) -> Monitored:
        """Raises UserError where what is monitored is no mean over targets of the catalogue."""
        name = figures.parse(self.cfg.monitor)
        for measure in self.measured:
            of_targets = measure.section == "ranking" and not name.sampled
            if of_targets and measure.figure.full == name.figure:
                better = str(measure.figure.better)
                return Monitored(self.cfg.monitor, measure, name.k or 0, better)
        raise UserError(
            f"weights=fitted makes monitor={self.cfg.monitor} best, which is no figure of targets "
            "ranked among the whole catalogue: say weights=equal, or a weight for each."
        )

    def _restored(
        self, items: pl.DataFrame, users: int, known: int | None = None
    ) -> SequenceEnsemble:
        for name, run in self.members.runs.items():
            if (
                not run.table("items")
                .sort("code")["item"]
                .equals(items["item"].head(known or len(items)))
            ):
                raise UserError(f"model.members.{name}={run.path} numbers items in another way.")
        schema = Schema(len(items), self.cfg.batches.max_len, users)
        return self._over(schema, self.members.restored(lambda _: (items, users, known)))

    def _over(self, schema: Schema, models: list[Any]) -> SequenceEnsemble:
        members = [
            Member(model, problem.objective.query_inputs, problem.block_tokens)
            for model, problem in zip(models, self.members, strict=True)
        ]
        made: SequenceEnsemble = self._build("model", schema=schema, members=members)
        return made


class EnsembledClicks(Clicks):
    """An ensemble of runs of clicks; see :class:`ClickEnsemble`."""

    def before(self, loaded: AuditedClicks, folder: str) -> Before:
        """None. Raises UserError."""
        raise of_several(type(self).__module__)

    @cached_property
    def members(self) -> Members:
        """The runs. Raises UserError if one reads what the rows alone do not say."""
        members = Members(config.plain(self.cfg.model)["members"], Clicks)
        for name, problem in members.problems.items():
            if problem.items is not None or problem.template is not None:
                raise UserError(
                    f"model.members.{name}={members.runs[name].path} knows items by texts or "
                    "vectors, which an ensemble of clicks does not read: leave it out."
                )
            if problem.source.fields.settings() != self.source.fields.settings():
                raise UserError(
                    f"model.members.{name}={members.runs[name].path} reads other data.fields than "
                    "the first member: an ensemble is of the same columns, read in the same way."
                )
        return members

    def make_model(
        self, schema: ClickSchema, titles: list[str] | None = None, *, meta: bool = False
    ) -> nn.Module:
        """The ensemble without weights, for a first look."""
        return self._over(schema, [problem.meta_model for problem in self.members])

    def make_task(self, loaded: AuditedClicks, data: ClickData) -> Task:
        """The task over the members as they were trained."""
        model = self._restored(loaded.data.encoded)
        check_fits(model, validates=loaded.validates)
        metrics = click_metrics(loaded, self.source.fields.slices, self.measured)
        return self.task(ClickSteps(model, metrics), model, None)

    def calibrated(self, task: Task, loaded: AuditedClicks) -> Task | None:
        """The task whose validation chooses the weights, where they are to be fitted."""
        model = task.model
        assert isinstance(model, ClickEnsemble)
        if not model.fits or len(model.members) == 1:
            return None
        metrics = click_metrics(loaded, self.source.fields.slices, self.measured)
        return self.task(ClickFitting(model, metrics), model, None)

    def restored(
        self, run: RunFolder, processor: FeatureProcessor, about: pl.DataFrame | None
    ) -> ClickModel:
        """The ensemble of a finished run."""
        model = self._restored(processor)
        run.load_model(model)
        return model

    def warnings(self, figures: Mapping[str, float]) -> list[str]:
        """Name the goals whose probabilities are worse than the base rate of the test."""
        validates = self.protocol.validates
        return worse_than_base(figures, self.cfg, trained=False, validates=validates)

    def _restored(self, fitted: Encoded | FeatureProcessor) -> ClickEnsemble:
        def known(problem: Clicks) -> tuple[Any, None]:
            schema = fitted.schema.with_dims(problem.source.fields.dims)
            return replace(fitted, schema=schema), None

        return self._over(fitted.schema, self.members.restored(known))

    def _over(self, schema: ClickSchema, models: list[ClickModel]) -> ClickEnsemble:
        made: ClickEnsemble = self._build("model", schema=schema, members=models)
        return made
