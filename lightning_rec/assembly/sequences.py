"""The problem of sequences: which item comes next, ranked among the whole catalogue."""

from pathlib import Path
from typing import Any

import polars as pl
import torch
from omegaconf import DictConfig
from torch import nn

from lightning_rec import config
from lightning_rec.adapters.whole import Full
from lightning_rec.assembly.items import texts_of
from lightning_rec.assembly.problem import Problem, held
from lightning_rec.assembly.sequence_tables import metrics_of, per_user, users_of
from lightning_rec.data.batches import SequenceData
from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.pipeline import AuditedLog, load
from lightning_rec.data.schema import Source
from lightning_rec.data.split import Schema
from lightning_rec.data.splits import Protocol
from lightning_rec.errors import UserError
from lightning_rec.losses.matching import MatchLoss
from lightning_rec.metrics.measure import names_of
from lightning_rec.metrics.ranking import RankingMetrics
from lightning_rec.models.base import Fitted, ReadsCatalogue, ReadsTexts, SequenceModel
from lightning_rec.objectives.base import Objective
from lightning_rec.objectives.closed_form import ClosedForm
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.language import check_language
from lightning_rec.tasks.examples import Example, catalogue, examples_of
from lightning_rec.tasks.sequence import SequenceTask

SKETCH_ITEMS = 100  # catalogue of the model that is built, without memory, to check its config


class Sequences(Problem[AuditedLog]):
    """Learn from interactions in the order of time, rank the catalogue for what comes next."""

    module = SequenceData
    reads = "examples"
    metric = RankingMetrics
    protocol: Protocol
    source: Source

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        wanted = config.target("model", config.plain(cfg.model))
        if not (isinstance(wanted, type) and issubclass(wanted, SequenceModel)):
            raise UserError(
                f"{getattr(wanted, '__name__', wanted)} is no model of sequences, which "
                "task=sequence needs: drop task=, which the model brings along, or choose another "
                "model."
            )
        if not cfg.get("objective"):
            raise UserError(
                "task=sequence needs an objective: "
                f"objective={'|'.join(config.choices('objective'))}."
            )
        self.texts = texts_of(cfg)
        if self.texts is None and not isinstance(self._adapter(), Full):
            raise UserError(
                "task=sequence trains its model from scratch, so that there is nothing to adapt: "
                "drop adapter=. A language model can be adapted, item=text, and a model of clicks "
                "can adapt an encoder, encoder.run=FOLDER."
            )
        self.objective: Objective = self._part(
            "objective", "name", "training_inputs", "query_inputs"
        )
        with torch.device("meta"):
            schema = Schema(SKETCH_ITEMS, cfg.batches.get("max_len", 2), SKETCH_ITEMS)
            self.meta_model = self.make_model(schema)
            self.scorers = [self.meta_model]
            if cfg.baseline:
                self.scorers.append(self._part("baseline", "fit", "objectives", schema=schema))
        self._check_pairing()
        if self.texts is None and isinstance(self.meta_model, ReadsTexts):
            raise UserError(f"{type(self.meta_model).__name__} reads texts: say item=text.")
        if self.texts is not None:
            self.texts.check(self.meta_model, self._adapter(), self._loss_class())
        self._check_loss()
        self.protocol = self._part("protocol", "name", "settings", "hash")
        if not isinstance(self.protocol, Protocol):
            raise UserError(
                f"protocol={self.protocol.name} splits no histories of users, but task=sequence "
                "takes one that does, such as leave_one_out or temporal."
            )
        self.source = self._part("data", "name")
        if (holds := held(self.source)) != "interactions":
            raise UserError(
                f"data={self.source.name} holds {holds}, but "
                f"{type(self.meta_model).__name__} learns sequences: choose another data=, or a "
                "model of clicks, such as model=deepfm, or of matching, such as model=bi_encoder."
            )
        self._check_order_and_users()
        self._check_training(self._known_figures(), self.protocol.validates)

    def make_model(self, schema: Schema) -> nn.Module:
        """The model over a schema."""
        model: nn.Module = self._build("model", schema=schema)
        return model

    def load(self, cache: Path) -> AuditedLog:
        """Prepare, split and audit the interactions."""
        return load(self.source, self.protocol, cache)

    @property
    def reads_catalogue(self) -> bool:
        """Whether the model knows items by what the catalogue says of them."""
        return self.texts is not None or isinstance(self.meta_model, ReadsCatalogue)

    def catalogue_hash(self, loaded: AuditedLog) -> str | None:
        """The hash of titles and features; None where nothing is known but ids."""
        found: str | None = loaded.data.log.info["catalogue_hash"]
        return found

    def make_data(self, loaded: AuditedLog) -> SequenceData:
        """The data module over audited data."""
        module = self._build(
            "batches",
            split=loaded.data.split,
            seed=self.cfg.seed,
            window=self.objective.window,
            candidates=self.protocol.candidates,
        )
        assert isinstance(module, SequenceData)
        return module

    def make_task(self, loaded: AuditedLog, data: SequenceData) -> SequenceTask:
        """The task over a fresh model, fitted already if it is fitted in closed form."""
        model = self._ready(self.make_model(data.schema), loaded)
        tuned = None
        if self.texts is not None:
            about, cache = self._catalogue(loaded), loaded.data.log.folder.parents[1]
            adapter, trained = self._adapter(), loaded.data.split.num_trained
            tuned = self.texts.put_into(model, adapter, data.schema, about, trained, cache)
        loss = self._build("loss", split=loaded.data.split) if self.cfg.get("loss") else None
        task = self._task(model, self.objective, loss, loaded)
        task.tuned = tuned
        return task

    def restored(self, run: RunFolder, items: pl.DataFrame, users: int) -> SequenceModel:
        """The model of a finished run, with its weights, to be used and not trained.

        Args:
            run: the folder.
            items: row i describes item i.
            users: number of user codes.
        """
        check_language(run)
        schema = Schema(len(items), self.cfg.batches.max_len, users)
        model = self.make_model(schema)
        if isinstance(model, ReadsCatalogue):
            model.read_catalogue(items)
        if self.texts is not None:  # whitening comes with the weights
            number = len(items)
            self.texts.put_into(model, self._adapter(), schema, items, number, cache_dir())
        run.load_model(model)
        assert isinstance(model, SequenceModel)
        return model.requires_grad_(False).eval()

    def make_baseline(self, loaded: AuditedLog, data: SequenceData) -> SequenceTask | None:
        """The task over ``cfg.baseline``, a model fitted in closed form."""
        if not self.cfg.baseline:
            return None
        model = self._ready(config.build("baseline", self.cfg.baseline, schema=data.schema), loaded)
        return self._task(model, ClosedForm(), None, loaded)

    def tables(self, task: SequenceTask, loaded: AuditedLog) -> dict[str, pl.DataFrame]:
        """A row per test target, the catalogue, and what each user did."""
        ranks = task.ranks["test"]
        own = task.metrics["test"].per_example(ranks)  # type: ignore[operator]
        tested = per_user(ranks, loaded, own)
        return {"test_users": tested, "items": catalogue(loaded), "users": users_of(loaded)}

    def examples(self, task: SequenceTask, loaded: AuditedLog) -> list[Example]:
        """As many test users as the config wants, with what is recommended to them."""
        return examples_of(task, loaded, self.cfg.get("examples") or 0)

    def parts(self) -> dict[str, str]:
        """Name and class of each part."""
        weights = sum(parameter.numel() for parameter in self.meta_model.parameters())
        loss = self._loss_class()
        return {
            "source": type(self.source).__name__,
            "protocol": type(self.protocol).__name__,
            "objective": type(self.objective).__name__,
            "loss": loss.__name__ if loss else "none",
            "model": f"{type(self.meta_model).__name__}, {weights:,} parameters over 100 items",
        }

    def _known_figures(self) -> list[str]:
        """Names of what validation measures."""
        cutoffs, measured = self.protocol.cutoffs, self.measured
        known = names_of(measured, cutoffs)
        if self.protocol.candidates is not None:
            names = names_of(measured, cutoffs, without=("lists", "top"))
            known += [f"{name}{self.protocol.candidates.suffix}" for name in names]
        return [f"val/{name}" for name in known]

    def _ready(self, model: nn.Module, loaded: AuditedLog) -> nn.Module:
        """The model, having read the catalogue or the training events if it does."""
        if isinstance(model, ReadsCatalogue):
            model.read_catalogue(self._catalogue(loaded))
        if isinstance(model, Fitted):
            model.fit(loaded.data.split)
        return model

    def _catalogue(self, loaded: AuditedLog) -> pl.DataFrame:
        """Row i describes item i."""
        rows: pl.DataFrame = loaded.data.log.items[loaded.data.split.vocabulary.tolist()]
        return rows

    def _check_loss(self) -> None:
        if loss := self._loss_class():
            config.check("loss", config.plain(self.cfg.loss))
            if isinstance(loss, type) and issubclass(loss, MatchLoss):
                raise UserError(
                    f"{loss.__name__} is a loss of matching, which task=sequence does not know: "
                    "drop loss=, which the model brings along, or choose another one."
                )

    def _check_order_and_users(self) -> None:
        """Refuse models that learn from an order, or from users, where the protocol has none."""
        for model in self.scorers:
            if getattr(model, "needs_order", True) and not self.protocol.ordered:
                raise UserError(
                    f"protocol={self.protocol.name} deals a user's items at random, but "
                    f"{type(model).__name__} learns from their order: use a model of users and "
                    f"items, such as model=itemknn, ease, bprmf or lightgcn, or {self._ordered()}."
                )
            if getattr(model, "needs_users", False) and self.protocol.new_units:
                raise UserError(
                    f"protocol={self.protocol.name} tests sessions that nobody was trained on, but "
                    f"{type(model).__name__} knows those alone that it was trained on: use a model "
                    "of sequences, or model=vsknn, itemknn or session_popularity."
                )

    def _ordered(self) -> str:
        """What to say for a split in the order of time, which not all data tell."""
        if getattr(self.source, "timed", True):
            return "protocol=leave_one_out or temporal"
        if getattr(self.source, "in_order", False):
            return "protocol=leave_one_out"
        return "name the times, data.time=COLUMN protocol=leave_one_out, if there are any"

    def _loss_class(self) -> Any:
        return config.target("loss", config.plain(self.cfg.loss)) if self.cfg.get("loss") else None

    def _task(
        self, model: nn.Module, objective: Objective, loss: nn.Module | None, loaded: AuditedLog
    ) -> SequenceTask:
        task = self._build(
            "task",
            model=model,
            objective=objective,
            loss=loss,
            optimizer=self._optimizer,
            schedule=self._schedule,
            **metrics_of(self.protocol, loaded, self.measured),
            seed=self.cfg.seed,
        )
        assert isinstance(task, SequenceTask)
        return task

    def _check_pairing(self) -> None:
        """Refuse pairings that make no sense, with those that do."""
        taken: tuple[str, ...] = getattr(self.meta_model, "objectives", ())
        name, objective = type(self.meta_model).__name__, self.objective
        # An objective that adds to another one is taken by whoever takes that.
        if getattr(objective, "kind", objective.name) not in taken:
            raise UserError(
                f"{name} cannot learn by objective={objective.name}: it takes {' or '.join(taken)}."
            )
        fitted = objective.name == "closed_form"
        if fitted == bool(self.cfg.get("loss")):
            raise UserError(
                f"{name} is fitted in closed form and takes no loss: drop loss=, or say '~loss'."
                if fitted
                else f"{name} learns by objective={objective.name} and needs a loss: "
                f"loss={'|'.join(config.choices('loss'))}."
            )
