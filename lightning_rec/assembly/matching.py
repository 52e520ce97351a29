"""The problem of matching: which items belong to a query, both known by their texts."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from lightning_rec import config
from lightning_rec.adapters.base import AdaptedModule
from lightning_rec.adapters.whole import Full
from lightning_rec.assembly.match_checks import check_data, check_loss, check_model, same_data
from lightning_rec.assembly.problem import Problem
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.matching.batches import MatchData
from lightning_rec.data.matching.pairs import PairSource
from lightning_rec.data.matching.pipeline import load_matches
from lightning_rec.data.matching.splits import ByQuery, Matches
from lightning_rec.data.templates import render_template
from lightning_rec.errors import UserError
from lightning_rec.language.cached import kept_vectors
from lightning_rec.language.encoder import Pooling
from lightning_rec.language.hub import find_model
from lightning_rec.language.load import Language, load_language
from lightning_rec.metrics.matching import MatchMetrics
from lightning_rec.metrics.measure import names_of
from lightning_rec.metrics.slices import cut
from lightning_rec.models.text.cross_encoder import CrossEncoder
from lightning_rec.models.text.matcher import CatalogueScorer, FittedToTexts, Texts, TextScorer
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.language import check_language
from lightning_rec.tasks.match import MatchTask
from lightning_rec.tasks.mining import HardNegatives
from lightning_rec.tasks.retrieval import ExactRetriever, Reranker, Retriever

WORDS_FROM = (1, 3, 5)  # where the slices by the number of words in a query begin


class Matching(Problem[Audited[Matches]]):
    """Learn from judged pairs of a query and an item, find items for queries."""

    module = MatchData
    reads = "negatives"
    metric = MatchMetrics
    protocol: ByQuery
    source: PairSource

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        check_model(cfg)
        self.source = self._part("data", "name")
        self.protocol = self._part("protocol", "name", "settings", "hash")
        check_data(cfg, self.source, self.protocol)
        self.adapter = self._adapter()
        self.first = self._first_run()
        self.meta_model = self.make_model(meta=True)
        if not hasattr(self.meta_model, "text") and not isinstance(self.adapter, Full):
            raise UserError(
                f"{type(self.meta_model).__name__} has no language model to adapt: drop adapter=."
            )
        with torch.device("meta"):
            self.tune(self.meta_model)
        check_loss(cfg, self.meta_model)
        if cfg.baseline:
            self._part("baseline", "fit")
        ranked = "val" in cfg.task.get("ranked", ())
        names = names_of(self.measured, self.protocol.cutoffs, () if ranked else ("ranking",))
        known = [f"val/{name}" for name in names]
        self._check_training(known, self.protocol.validates)

    def make_model(self, meta: bool = False) -> TextScorer:
        """The model, its head new, its language model as it was trained before.

        A ``meta`` one takes no memory and computes nothing.
        """
        with torch.device("meta" if meta else "cpu"):
            load = partial(_load, meta=meta)
            model: TextScorer = self._build("model", load=load, **self._made_first(meta))
        return model

    def tune(self, model: nn.Module) -> AdaptedModule | None:
        """Put the language model of a model under the adapter; None where there is none."""
        text = getattr(model, "text", None)
        return None if text is None else AdaptedModule(text, self.adapter)

    def restored(self, run: RunFolder) -> TextScorer:
        """The model of a finished run, with its weights, to be used and not trained."""
        check_language(run)
        model = self.make_model()
        self.tune(model)
        run.load_model(model)
        return model.requires_grad_(False).eval()

    def load(self, cache: Path) -> Audited[Matches]:
        """Prepare, split and audit the pairs."""
        loaded = load_matches(self.source, self.protocol, cache)
        if self.first is not None:
            same_data(self.first, loaded.data_hash, self.protocol.hash())
        return loaded

    def make_data(self, loaded: Audited[Matches]) -> MatchData:
        """The data module over audited data."""
        positives = getattr(self._loss_class(), "positives", False)
        seed = self.cfg.seed
        module = self._build("batches", matches=loaded.data, seed=seed, positives=positives)
        assert isinstance(module, MatchData)
        return module

    def make_task(self, loaded: Audited[Matches], data: MatchData) -> MatchTask:
        """The task over a fresh model, fitted already if it is fitted to texts."""
        model = self.make_model()
        tuned = self.tune(model)
        if tuned is not None and tuned.names:
            tuned.module.train()  # it comes as it is evaluated, and would drop nothing
        retriever = make_retriever(model, *_texts(loaded))
        task = self._task(model, retriever, loaded, self._loss(loaded), self._negatives(loaded))
        task.tuned = tuned
        if tuned is not None:
            tuned.report()
        return task

    def make_baseline(self, loaded: Audited[Matches], data: MatchData) -> MatchTask | None:
        """The task over ``cfg.baseline``, a model that is fitted to texts."""
        if not self.cfg.baseline:
            return None
        model = config.build("baseline", self.cfg.baseline)
        return self._task(model, make_retriever(model, *_texts(loaded)), loaded, None, None)

    def tables(self, task: MatchTask, loaded: Audited[Matches]) -> dict[str, pl.DataFrame]:
        """One row per test query, and the catalogue."""
        each = task.metrics["test"].per_query(task.found["test"])  # type: ignore[operator]
        columns = {name: values.cpu().numpy() for name, values in each.items()}
        texts = loaded.data.pairs.queries["query"].gather(columns.pop("query").tolist())
        items = loaded.data.pairs.items.with_row_index("code")
        return {"test_queries": pl.DataFrame({"query": texts, **columns}), "items": items}

    def parts(self) -> dict[str, str]:
        """Name and class of each part."""
        weights = sum(parameter.numel() for parameter in self.meta_model.parameters())
        loss = self._loss_class()
        name = type(self.meta_model).__name__
        first = {"first": str(self.cfg.model.first)} if "first" in self.cfg.model else {}
        return {
            "source": type(self.source).__name__,
            "protocol": type(self.protocol).__name__,
            "loss": loss.__name__ if loss else "none",
            "adapter": type(self.adapter).__name__,
            **first,
            "model": f"{name}, {weights:,} parameters",
        }

    def _first_run(self) -> RunFolder | None:
        """The run that a model which re-ranks names; None where it names none."""
        first = self.cfg.model.get("first")
        if first is None or first == "bm25":
            return None
        run = RunFolder.open(Path(first))
        run.check_completed("model.first")
        wanted = config.target("model", config.plain(run.config.model))
        if not (isinstance(wanted, type) and issubclass(wanted, CatalogueScorer)):
            raise UserError(
                f"model.first={first} is a run of {wanted.__name__}, which ranks no catalogue: "
                "name one of BM25 or of a bi-encoder, or say model.first=bm25."
            )
        return run

    def _made_first(self, meta: bool) -> dict[str, Any]:
        """What finds the items that the model re-ranks, if it does."""
        if "first" not in self.cfg.model:
            return {}
        if self.first is None:
            settings = config.plain(OmegaConf.load(config.config_dir() / "model" / "bm25.yaml"))
            del settings["defaults"]
            return {"first": config.build("model.first", settings)}
        problem = Matching(self.first.config)
        return {"first": problem.meta_model if meta else problem.restored(self.first)}

    def _loss_class(self) -> Any:
        return config.target("loss", config.plain(self.cfg.loss)) if self.cfg.get("loss") else None

    def _loss(self, loaded: Audited[Matches]) -> Any:
        return self._build("loss", pairs=loaded.data.pairs) if self.cfg.get("loss") else None

    def _negatives(self, loaded: Audited[Matches]) -> HardNegatives | None:
        """What draws hard negatives, by another model if the config names one."""
        node = config.plain(self.cfg.get("negatives"))
        if not node:
            return None
        by = None
        if node.get("by"):
            model = config.build("negatives.by", node["by"])
            by = make_retriever(model, *_texts(loaded))
        live = {"matches": loaded.data, "positives": self._loss_class().positives, "by": by}
        made: HardNegatives = config.build("negatives", node, **live)
        return made

    def _task(
        self,
        model: TextScorer,
        retriever: Retriever,
        loaded: Audited[Matches],
        loss: Any,
        negatives: HardNegatives | None,
    ) -> MatchTask:
        pairs, cutoffs = loaded.data.pairs, self.protocol.cutoffs
        ranked = self.cfg.task.get("ranked", ("test",))
        task = self._build(
            "task",
            model=model,
            loss=loss,
            retriever=retriever,
            optimizer=self._optimizer,
            schedule=self._schedule,
            metrics={
                "val": MatchMetrics(pairs, cutoffs, "val" in ranked, None, self.measured),
                # Slices in the test alone, which is made once.
                "test": MatchMetrics(
                    pairs, cutoffs, "test" in ranked, _slices(loaded), self.measured
                ),
            },
            scale=pairs.scale,
            negatives=negatives,
            seed=self.cfg.seed,
        )
        assert isinstance(task, MatchTask)
        return task


def make_retriever(model: TextScorer, queries: list[str], items: list[str]) -> Retriever:
    """What finds ``items`` for ``queries``; what is fitted to texts is fitted first."""
    for part in model.modules():
        if isinstance(part, FittedToTexts) and not part.fitted:
            part.fit(items)
    texts = Texts(model.read(queries, item=False), model.read(items, item=True))
    make = partial(kept_vectors, folder=cache_dir() / "texts")
    if isinstance(model, CatalogueScorer):
        return ExactRetriever(model, texts, make)
    assert isinstance(model, CrossEncoder)
    first = make_retriever(model.first, queries, items)
    assert isinstance(first, ExactRetriever)
    return Reranker(model, texts, first, model.rerank)


def _load(name: str, pooling: Pooling | None, normalize: bool, *, meta: bool) -> Language:
    return load_language(find_model(name), pooling, normalize, meta)


def _texts(loaded: Audited[Matches]) -> tuple[list[str], list[str]]:
    """All queries, and the texts of all items."""
    pairs = loaded.data.pairs
    return pairs.queries["query"].to_list(), render_template(pairs.items, "{title}")


def _slices(loaded: Audited[Matches]) -> dict[str, torch.Tensor]:
    """The slices of the queries by their number of words."""
    words = pl.col("query").str.extract_all(r"\S+").list.len()
    number = loaded.data.pairs.queries.select(words)["query"].to_numpy()
    return cut("words", torch.from_numpy(number.astype(np.int64)), WORDS_FROM)
