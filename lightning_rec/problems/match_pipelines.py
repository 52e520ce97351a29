"""Pipelines of finished runs of matching, and the run that ranks what they find."""

from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import polars as pl
import torch

from lightning_rec import config
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.matching.audit import audit_earlier, audit_ranker
from lightning_rec.data.matching.batches import MatchData
from lightning_rec.data.matching.splits import Matches
from lightning_rec.errors import UserError
from lightning_rec.models.text.cross_encoder import CrossEncoder
from lightning_rec.models.text.matcher import TextModel
from lightning_rec.models.text.pipeline import TextPipeline
from lightning_rec.problems.clicks import Clicks
from lightning_rec.problems.ensembles import Members
from lightning_rec.problems.match_updating import learnt_queries
from lightning_rec.problems.matching import Matching
from lightning_rec.problems.pipelines import origins, ranker_of
from lightning_rec.runs.folder import RunFolder
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.match_pipelines import MatchCollecting, MatchPipelineSteps


class PipelinedMatching(Matching):
    """Retrievers of matching and what ranks their candidates; see :class:`TextPipeline`."""

    @cached_property
    def members(self) -> Members:
        """The runs. Raises UserError if one cannot rank the whole catalogue."""
        members = Members(config.plain(self.cfg.model)["members"], Matching)
        for name, problem in members.problems.items():
            if not problem.meta_model.ranks:
                raise UserError(
                    f"model.members.{name}={members.runs[name].path} is a run of "
                    f"{type(problem.meta_model).__name__}, which ranks no catalogue: retrievers "
                    "are runs of BM25 or of a bi-encoder."
                )
        return members

    @cached_property
    def reader(self) -> Members | None:
        """The run of the cross-encoder that ranks; None where another one ranks, or none.

        Raises UserError if it is a run of another model of matching.
        """
        folder = config.plain(self.cfg.model).get("ranker")
        if folder is None or _problem_of(Path(folder)) is Clicks:
            return None
        found = Members({"ranker": folder}, Matching, "model")
        for problem in found:
            if not isinstance(problem.meta_model, CrossEncoder):
                raise UserError(
                    f"model.ranker={folder} is a run of {type(problem.meta_model).__name__}: of "
                    "runs of matching a cross-encoder ranks."
                )
        return found

    def load(self, cache: Path) -> Audited[Matches]:
        """See :class:`Matching`. Raises UserError if the cross-encoder that ranks is of other data
        or another protocol, and LeakError if it has learnt a query of validation or test.
        """
        loaded = super().load(cache)
        if self.reader is None:
            return loaded
        run = self.reader.runs["ranker"]
        self.check_same(run, "model.ranker", loaded)
        counted = audit_ranker(loaded.data, learnt_queries(run))
        return replace(loaded, facts=loaded.facts | counted)

    def make_model(self, *, meta: bool = False) -> TextModel:
        """The pipeline; a ``meta`` one has no weights, for a first look."""
        if meta:
            models = [each.meta_model for each in self.members]
            seen: TextPipeline = self._build("model", members=models, ranker=None)
            return seen
        reader = None if self.reader is None else self.reader.restored(lambda _: ())[0]
        return self.joined(self.members.restored(lambda _: ()), reader)

    def joined(self, models: list[Any], reader: Any = None) -> TextPipeline:
        """The pipeline over its retrievers' models, in their order, with its ranker, which is
        ``reader`` where a cross-encoder ranks.
        """
        folder = config.plain(self.cfg.model).get("ranker")
        ranker = reader if reader is not None or folder is None else ranker_of(Path(folder))
        made: TextPipeline = self._build("model", members=models, ranker=ranker)
        return made

    def restored(self, run: RunFolder) -> TextModel:
        """The pipeline of a finished run."""
        model = self.make_model()
        run.load_model(model)
        return model.eval()

    def make_task(self, loaded: Audited[Matches], data: MatchData) -> Task:
        """The task over retrievers and ranker as they were trained."""
        return self.match_task(loaded, self.make_model(), steps=MatchPipelineSteps)

    def collecting(
        self, loaded: Audited[Matches], data: MatchData, negatives: int | None, seed: int
    ) -> Task:
        """The task whose test collects what a ranker learns from; see :class:`MatchCollecting`."""
        relevant = torch.from_numpy(loaded.data.pairs.keys())
        steps = partial(MatchCollecting, negatives, seed, relevant)
        return self.match_task(loaded, self.make_model(), steps=steps)

    def audit_earlier(self, whole: Any, before: Any) -> dict[str, int]:
        """Check what a ranker learns from; see :func:`lightning_rec.data.matching.audit`."""
        return audit_earlier(whole.data, before.data)

    def origins(self, task: Task, loaded: Audited[Matches], stage: str) -> pl.DataFrame:
        """Who found each relevant item of the queries of ``stage``; see :func:`origins`."""
        steps: Any = task.steps
        pairs = loaded.data.pairs
        found = steps.origin[stage]
        targets = (
            torch.from_numpy(pairs.item.copy())
            .long()
            .masked_fill(~torch.from_numpy(pairs.positive), -1)
        )
        return origins(found, [*self.members.runs], targets.numpy(), stage)

    def tables(self, task: Task, loaded: Audited[Matches]) -> dict[str, pl.DataFrame]:
        """Those of a run of matching, and ``origins``: who found each relevant item, and its
        ``rank`` in the end.
        """
        steps: Any = task.steps
        parts = []
        for stage, found in steps.found.items():
            ranks = pl.DataFrame(
                {"example": found.pair.cpu().numpy(), "rank": found.rank.cpu().numpy()}
            ).with_columns(rank=pl.when(pl.col("rank") > 0).then("rank"))
            of_stage = self.origins(task, loaded, stage)
            parts.append(of_stage.join(ranks, on="example", how="left", maintain_order="left"))
        return super().tables(task, loaded) | {"origins": pl.concat(parts)}


def _problem_of(folder: Path) -> Any:
    return config.target("task", config.plain(RunFolder.open(folder).config.task))
