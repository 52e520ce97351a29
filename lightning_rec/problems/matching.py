"""The problem of matching: which items belong to a query, both known by their texts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pydantic import PositiveFloat
from torch import nn

from lightning_rec import config
from lightning_rec.adapters.base import AdaptedModule
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.core.batches import BatchData
from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.matching.batches import MatchData
from lightning_rec.data.matching.pipeline import load_matches
from lightning_rec.data.matching.splits import ByQuery, Matches
from lightning_rec.errors import UserError, quoting
from lightning_rec.language.augment.texts import Augmentation
from lightning_rec.language.hub import find_model
from lightning_rec.language.load import language_loader
from lightning_rec.losses.base import Loss
from lightning_rec.methods.update import Before
from lightning_rec.metrics.matching import MatchMetrics
from lightning_rec.metrics.measure import names_of
from lightning_rec.metrics.slices import cut
from lightning_rec.models.text.matcher import LanguageScorer, TextModel
from lightning_rec.predict.matching import MatchPredictor
from lightning_rec.problems import match_updating
from lightning_rec.problems.base import Problem
from lightning_rec.problems.left_language import check_adapter, leave
from lightning_rec.problems.match_checks import check_augment, check_monitor, check_negatives
from lightning_rec.problems.match_texts import learnt_texts, texts_of
from lightning_rec.problems.sequence_tables import TRAINED
from lightning_rec.retrieval.texts import make_retriever
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.foreign import unquoted
from lightning_rec.tasks.base import Arithmetic, Task
from lightning_rec.tasks.match import MatchSteps
from lightning_rec.tasks.mining import HardNegatives, RandomNegatives
from lightning_rec.tasks.steps import Stage

WORDS_FROM = (1, 3, 5)  # where the slices by the number of words in a query begin


class Matching(Problem[Audited[Matches]]):
    """Learn from judged pairs of a query and an item, find items for queries.

    Args:
        cfg, tuned_lr, arithmetic: see :class:`Problem`.
        ranked: stages in which the whole catalogue is ranked, not the judged items alone.
    """

    name: ClassVar = "match"
    takes: ClassVar = {
        "data": ("pairs",),
        "protocol": ("pairs",),
        "model": ("matching",),
        "loss": ("matching",),
        "negatives": ("matching",),
        "augment": ("matching",),
    }
    batches: ClassVar = MatchData
    metric: ClassVar = MatchMetrics
    predictor: ClassVar = MatchPredictor
    protocol: ByQuery
    source: Any  # a PairSource

    def __init__(
        self,
        cfg: DictConfig,
        ranked: tuple[Stage, ...] = ("test",),
        tuned_lr: PositiveFloat | None = None,
        arithmetic: Arithmetic = "fast",
    ) -> None:
        super().__init__(cfg, tuned_lr, arithmetic)
        self.ranked = ranked
        self.learnt = pl.DataFrame(schema=match_updating.PAIRS)  # before this training
        self.first = self._first_run()
        self.meta_model = self.make_model(meta=True)
        with torch.device("meta"):
            adapted = self.adapt(self.meta_model)
        self.leaves = getattr(self.source, "pretrains", False) and hasattr(self.meta_model, "text")
        if self.leaves:
            check_adapter(adapted, self.adapter, "data=co_purchase")
        negatives = config.plain(cfg.get("negatives")) or None
        self.check(negatives=negatives and config.target("negatives", negatives))
        check_negatives(negatives, self.meta_model)
        self.augment: Augmentation | None = self._built("augment", Augmentation)
        check_augment(self.augment, self.meta_model, self.loss_class)
        check_monitor(cfg, self.source, self.protocol)
        if cfg.baseline:
            self._part("baseline", "fit")

    def known_figures(self) -> list[str]:
        """Names of the figures of validation."""
        without = () if "val" in self.ranked else ("ranking",)
        names = names_of(self.measured, self.protocol.cutoffs, without)
        return [f"val/{name}" for name in names]

    def make_model(self, *, meta: bool = False) -> TextModel:
        """The model, its head new, its language model as it was trained before.

        A ``meta`` one takes no memory and computes nothing.
        """
        with torch.device("meta" if meta else "cpu"):
            live = {"load": language_loader(meta=meta), **self._made_first(meta)}
            model: TextModel = self._build("model", **live)
        return model

    def adapt(self, model: nn.Module) -> AdaptedModule | None:
        """Put the language model of a model under the adapter; None where there is none."""
        text = getattr(model, "text", None)
        return None if text is None else AdaptedModule(text, self.adapter)

    def restored(self, run: RunFolder) -> TextModel:
        """The model of a finished run, with its weights, to be used and not trained."""
        run.check_language(self.cfg)
        model = self.make_model()
        self.adapt(model)
        run.load_model(model)
        return model.requires_grad_(False).eval()

    def load(self, cache: Path) -> Audited[Matches]:
        """Prepare, split and audit the pairs."""
        loaded = load_matches(self.source, self.protocol, cache)
        if self.first is not None:
            self.check_same(self.first, "model.first", loaded)
        return loaded

    def check_same(self, run: RunFolder, key: str, loaded: Audited[Matches]) -> None:
        """Raise UserError if a run, named by ``key``, is of other data or another protocol."""
        hashes = {"data_hash": loaded.data_hash, "protocol_hash": self.protocol.hash()}
        for name, value in hashes.items():
            if run.card.get(name) != value:
                raise UserError(
                    f"{key}={run.path} has another {name} than this run, so that it may have been "
                    "trained on what is tested here: train one on the same data under the same "
                    "protocol."
                )

    def make_data(self, loaded: Audited[Matches]) -> MatchData:
        """The batches of audited data."""
        live = {"matches": loaded.data, "seed": self.cfg.seed}
        positives = getattr(self.loss_class, "positives", False)
        return self._build("batches", **live, positives=positives)

    def make_task(self, loaded: Audited[Matches], data: MatchData) -> Task:
        """The task over a new model, fitted already if it is fitted to texts."""
        model = self.make_model()
        adapted = self.adapt(model)
        if adapted is not None and adapted.names:
            adapted.module.train()  # it comes as it is evaluated, and would drop nothing
        loss = self.make_loss(pairs=loaded.data.pairs)
        task = self.match_task(loaded, model, loss, self._negatives(loaded), adapted)
        if adapted is not None:
            adapted.report()
        return task

    def begin(self, task: Task, data: BatchData, loaded: Audited[Matches]) -> dict[str, Any]:
        """See :class:`Problem`; texts to learn from are read as they are to be changed."""
        begun = super().begin(task, data, loaded)
        if self.augment is not None:
            assert isinstance(task.steps, MatchSteps)
            task.steps.learnt = learnt_texts(self.augment, task.model, loaded.data)
        return begun

    def before(self, loaded: Audited[Matches], folder: str) -> Before:
        """What a run of earlier pairs has learnt; see :func:`match_updating.before`."""
        self.learnt = match_updating.learnt_of(RunFolder.open(Path(folder)))
        return match_updating.before(self.cfg, loaded, folder, self.meta_model, self.protocol)

    def make_baseline(self, loaded: Audited[Matches], data: MatchData) -> Task | None:
        """The task over ``cfg.baseline``, a model that is fitted to texts."""
        if not self.cfg.baseline:
            return None
        return self.match_task(loaded, config.build("baseline", self.cfg.baseline))

    def tables(self, task: Task, loaded: Audited[Matches]) -> dict[str, pl.DataFrame]:
        """One row per test query, and the catalogue."""
        steps = task.steps
        assert isinstance(steps, MatchSteps)
        each = steps.metrics["test"].per_query(steps.found["test"])
        columns = {name: values.cpu().numpy() for name, values in each.items()}
        texts = loaded.data.pairs.queries["query"].gather(columns.pop("query").tolist())
        items = loaded.data.pairs.items.with_row_index("code")
        tested = pl.DataFrame({"query": texts, **columns})
        learnt = pl.concat([self.learnt, match_updating.trained_of(loaded)]).unique(
            maintain_order=True
        )
        return {"test_queries": tested, "items": items, TRAINED: learnt}

    def save_artifacts(self, task: Task, folder: Path) -> None:
        """Write the language model that was pretrained on pairs of a log."""
        if not self.leaves:
            return
        assert isinstance(task.model, LanguageScorer)
        assert task.adapted is not None
        text, learnt = task.model.text, [self.source.learnt()]
        began = find_model(self.cfg.model.encoder)
        leave(task.adapted, text.model, task.model.tokenizer, folder, began, text.pooling, learnt)

    def described(self) -> dict[str, str]:
        """Name and class of each part."""
        shown = super().described()
        model = {"model": shown.pop("model")}
        first = {"first": str(self.cfg.model.first)} if "first" in self.cfg.model else {}
        return shown | {"adapter": type(self.adapter).__name__} | first | model

    def _first_run(self) -> RunFolder | None:
        """The run that a model which re-ranks names; None where it names none."""
        first = self.cfg.model.get("first")
        if first is None or first == "bm25":
            return None
        run = RunFolder.open(Path(first))
        run.check_completed("model.first")
        found = config.target("model", config.plain(run.config.model))
        if not getattr(found, "ranks", False):
            raise UserError(
                f"model.first={first} is a run of {getattr(found, '__name__', found)}, which ranks "
                "no catalogue: name one of BM25 or of a bi-encoder, or say model.first=bm25."
            )
        return run

    @property
    def first_settings(self) -> dict[str, Any]:
        """The settings of the first stage of a model which re-ranks."""
        if self.first is not None:
            return dict(config.plain(self.first.config.model))
        settings = config.plain(OmegaConf.load(config.config_dir() / "model" / "bm25.yaml"))
        return {key: value for key, value in settings.items() if key != "defaults"}

    def _made_first(self, meta: bool) -> dict[str, Any]:
        """What finds the items that the model re-ranks, if it does."""
        if "first" not in self.cfg.model:
            return {}
        if self.first is None:
            return {"first": config.build("model.first", self.first_settings)}
        with quoting(self.first.path), unquoted(self.first, (), "model"):
            problem = Matching(self.first.config)
            return {"first": problem.meta_model if meta else problem.restored(self.first)}

    def _negatives(self, loaded: Audited[Matches]) -> HardNegatives | RandomNegatives | None:
        """What draws hard negatives, by another model if the config names one."""
        node = config.plain(self.cfg.get("negatives"))
        if not node:
            return None
        live = {"matches": loaded.data, "positives": self.loss_class.positives, "by": None}
        if node.get("by"):
            model = config.build("negatives.by", node["by"])
            live["by"] = make_retriever(model, *texts_of(loaded.data), cache_dir())
        return self._build("negatives", **live)

    def match_task(
        self,
        loaded: Audited[Matches],
        model: TextModel,
        loss: Loss | None = None,
        negatives: HardNegatives | RandomNegatives | None = None,
        adapted: AdaptedModule | None = None,
        steps: Callable[..., MatchSteps] = MatchSteps,
    ) -> Task:
        """The task over a model, by ``steps``."""
        pairs, cutoffs = loaded.data.pairs, self.protocol.cutoffs
        words = pairs.queries["query"].str.extract_all(r"\S+").list.len().to_numpy()
        by_words = cut("words", torch.from_numpy(words.astype(np.int64)), WORDS_FROM)
        slices = {"val": None, "test": by_words}  # the test is made once
        metrics = {
            stage: MatchMetrics(pairs, cutoffs, stage in self.ranked, of, self.measured)
            for stage, of in slices.items()
        }
        retriever = make_retriever(model, *texts_of(loaded.data), cache_dir())
        made = steps(retriever, metrics, pairs.scale, negatives, self.ranked)
        return self.task(made, model, loss, adapted=adapted)
