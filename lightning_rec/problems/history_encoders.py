"""The history encoder that a config names: a sequence model, new or from a run, and its adapter."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from lightning_rec import config
from lightning_rec.adapters.base import AdaptedModule, Adapter
from lightning_rec.adapters.whole import Full
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.pipeline import AuditedClicks
from lightning_rec.data.clicks.processor import FeatureProcessor
from lightning_rec.data.clicks.schema import ClickSchema
from lightning_rec.data.ids import ids_of
from lightning_rec.data.split import Schema
from lightning_rec.errors import Quoting, UserError, listed, quoting
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.clicks.encoded import HistoryEncoder, WithHistory, width_of
from lightning_rec.models.items.base import item_encoders
from lightning_rec.objectives.base import Objective
from lightning_rec.problems.sequences import Sequences
from lightning_rec.problems.side import refuse
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.foreign import unquoted

LEAST_SHARED = 0.5  # of the items of the rows, that an encoder must know
LEAST_ALIKE = 0.1  # of the titles of the same ids, or the ids mean other items


class Pretrained:
    """A finished run of sequences: its model, weights and catalogue.

    Raises UserError if ``folder`` holds no completed run of sequences.
    """

    pretrained: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self.run = RunFolder.open(folder)
        self.settings = self.run.config
        self.run.check_completed("encoder.run")
        if not self.settings.get("objective"):
            raise UserError(
                f"encoder.run={folder} is no run of sequences: train one, such as "
                "experiment=pretrain_ml100k, and name its folder."
            )
        with quoting(folder), unquoted(self.run, (), "encoder"):
            self.problem = Sequences(self.settings, **config.check("task", self.settings.task))
        refuse(self.problem, f"encoder.run={folder}")
        self.catalogue = self.run.table("items").sort("code")
        self.items: list[str] = self.catalogue["item"].to_list()
        self.schema = Schema(len(self.items), int(self.settings.batches.max_len), 1)

    def codes(self, encoded: Encoded | FeatureProcessor) -> torch.Tensor:
        """The run's code of each item of the rows, by raw id: int64 [V + 1], see HistoryEncoder.

        Raises UserError where fewer than half of the items are known to the run.
        """
        history = encoded.schema.history
        assert history is not None
        known = encoded.vocabulary.filter(pl.col("field") == encoded.schema.item).sort("id")
        code = {item: code for code, item in enumerate(ids_of(self.catalogue["item"]).to_list())}
        padding = len(code)
        values = ids_of(known["value"]).to_list()
        codes = [code.get(value, padding) for value in values]
        shared = sum(each != padding for each in codes)
        if shared < LEAST_SHARED * len(codes):
            raise Quoting(
                f"encoder.run={self.run.path} was trained on another catalogue: of the "
                f"{len(codes):,} items of '{encoded.schema.item}' it knows {shared:,}. Its items "
                f"are like {listed(self.items, 3)}, those of the rows like {listed(values, 3)}: "
                "take a run on the same items.",
                self.run.path,
            )
        return torch.tensor([*codes, padding])

    def encoder(self, *, meta: bool) -> HistoryEncoder:
        """The run's model as an encoder of histories; without its weights if ``meta``.

        Where the run knows items by their texts, these are read once and for all, by the language
        model as the run has tuned it: only the model of sequences can be tuned further.

        Raises UserError if the weights, or the language model that the run began with, are missing,
        or the latter is another one now.
        """
        ask = self.problem.objective.query_inputs
        with torch.device("cpu"), quoting(self.run.path), unquoted(self.run, (), "encoder"):
            if meta:  # a small one without texts tells how wide queries are
                small = self.schema._replace(num_items=1)
                plain = config.build("encoder.model", self.settings.model, schema=small)
                return HistoryEncoder(
                    self.problem.make_model(self.schema), ask, width=width_of(plain, ask)
                )
            model = self.problem.restored(self.run, self.catalogue, self.schema.num_users)
            for each in item_encoders(model):
                each.freeze_source()
            return HistoryEncoder(model, ask)

    def check_titles(self, loaded: AuditedClicks, item: str) -> None:
        """Raise UserError if the run means other items by the same ids, often mere numbers: if
        hardly any title is the same, order of words, case and years left out.
        """
        rows = loaded.data.table.rows
        if "title" not in rows.collect_schema() or "title" not in self.catalogue.columns:
            return
        shown = rows.select(item, "title").drop_nulls().unique(item).collect(engine="streaming")
        shown = pl.DataFrame({"item": ids_of(shown[item]), "shown": shown["title"]})
        catalogue = self.catalogue.with_columns(ids_of(self.catalogue["item"]))
        both = catalogue.join(shown, on="item").drop_nulls("title")
        alike = both.filter(_words("title") == _words("shown"))
        if len(alike) < LEAST_ALIKE * len(both):
            first = both.row(0, named=True)
            raise Quoting(
                f"encoder.run={self.run.path} was trained on another catalogue: of {len(both):,} "
                f"items with the same id, {len(alike):,} have the same title. '{first['item']}' is "
                f"'{first['title']}' there and '{first['shown']}' here: take a run on the same "
                "items.",
                self.run.path,
            )

    def check_time(self, loaded: AuditedClicks) -> None:
        """Raise UserError unless all that the run was trained on comes before what is held out."""
        held_out = loaded.data.held_out_from
        trained: float | None = (self.run.card.get("audit") or {}).get("last training time")
        if held_out is None or trained is None:
            needed = "data.fields.time=COLUMN" if held_out is None else "a run on data with times"
            raise UserError(
                f"encoder.run={self.run.path}: whether it was trained on what comes after the "
                f"training rows cannot be told without times: it needs {needed}."
            )
        if trained >= held_out:
            raise UserError(
                f"encoder.run={self.run.path} was trained on events up to "
                f"{_moment(trained)}, but the first row that is held out is of "
                f"{_moment(held_out)}. Split the rows by time (protocol=temporal_rows) and "
                "pretrain with protocol=temporal and the same quantiles."
            )


def _words(title: str) -> pl.Expr:
    """The words of titles, in the order of the alphabet."""
    bare = pl.col(title).str.replace(r"\(\d{4}\)\s*$", "").str.to_lowercase()
    return bare.str.extract_all(r"\w+").list.sort().list.join(" ")


def _moment(seconds: float) -> str:
    return f"{np.datetime64(int(seconds), 's')}Z"


def encoder_node(cfg: DictConfig) -> tuple[dict[str, Any] | None, Pretrained | None]:
    """The model that ``cfg.encoder`` names, and the run it comes from; None where there is none.

    Raises UserError where the run has another model than the config.
    """
    node = config.plain(cfg.get("encoder")) or {}
    model = node.get("model")
    if not node.get("run"):
        return model, None
    pretrained = Pretrained(Path(node["run"]))
    theirs = config.plain(pretrained.settings.model)
    if model is not None and model != theirs:
        keys = model.keys() | theirs.keys()
        differing = sorted(key for key in keys if model.get(key) != theirs.get(key))
        raise UserError(
            f"encoder.model is not the model of encoder.run={node['run']}: they differ in "
            f"{listed(differing)}. The run's model is taken if you drop model@encoder.model=."
        )
    return theirs, pretrained


def make_encoder(
    node: dict[str, Any], pretrained: Pretrained | None, schema: ClickSchema, *, meta: bool = False
) -> HistoryEncoder:
    """The encoder over the histories of ``schema``, its codes its own; only looked at if ``meta``.

    Raises UserError if the model cannot be one, or rows have no histories, or longer ones.
    """
    history = schema.history
    if history is None:
        raise UserError(
            "encoder: there is no history to encode: say data.fields.item=COLUMN and "
            "data.fields.history=COLUMN, or data.fields.past=clicks."
        )
    _checked_kind(node)
    if pretrained is None:
        objective: Objective = config.build("objective", objective_of(node))
        with torch.device("cpu"):  # how wide its queries are is found by asking
            own = Schema(history.num_items, history.max_len, 1)
            model: SequenceModel = config.build("encoder.model", node, schema=own)
            return HistoryEncoder(model, objective.query_inputs)
    if history.max_len > pretrained.schema.max_len:
        raise UserError(
            f"data.fields.history_max_len={history.max_len}: the encoder of "
            f"{pretrained.run.path} reads {pretrained.schema.max_len} items at most."
        )
    return pretrained.encoder(meta=meta)


def objective_of(node: dict[str, Any], pretrained: Pretrained | None = None) -> dict[str, Any]:
    """The settings of the objective by which an encoder is asked: its run's, or the paper's."""
    if pretrained is not None:
        found: dict[str, Any] = config.plain(pretrained.settings.objective)
        return found
    name = _checked_kind(node).objectives[0]
    return config.plain(OmegaConf.load(config.config_dir() / "objective" / f"{name}.yaml"))


def attach(model: nn.Module, adapter: Adapter, *, pretrained: bool) -> AdaptedModule | None:
    """The pretrained part of a click model under an adapter; None if there is none.

    ``pretrained``: whether an encoder of histories is, which else is trained whole.
    """
    part: nn.Module | None = getattr(model, "words", None)
    if isinstance(model, WithHistory):
        part = model.encoder.model
        adapter = adapter if pretrained else Full()
    if part is None:
        return None
    adapted = AdaptedModule(part, adapter)
    if (layers := getattr(part, "layers", None)) is not None and hasattr(part, "drop_from"):
        part.drop_from(adapted.lowest_tuned(layers))  # type: ignore[operator]
    if not any(parameter.is_meta for parameter in part.parameters()):
        adapted.report()
    return adapted


def _checked_kind(node: dict[str, Any]) -> type[SequenceModel]:
    """The class of a model that learns to make queries of histories alone, or UserError."""
    kind = config.target("encoder.model", node)
    if not (isinstance(kind, type) and issubclass(kind, SequenceModel)):
        raise UserError(
            f"encoder.model={node['_target_']} is no model of sequences: say "
            "model@encoder.model=sasrec or another one of them."
        )
    if set(kind.objectives) & {"closed_form", "reconstruction", "user_item"}:
        raise UserError(
            f"{kind.__name__} does not learn from the order of a history, and cannot encode one: "
            "say model@encoder.model=sasrec or the like."
        )
    if getattr(kind, "pretrained", False):
        raise UserError(
            f"{kind.__name__} asks a language model, and makes no vector of a history: say "
            "model@encoder.model=sasrec or the like."
        )
    if node.get("user_vectors"):
        raise UserError(
            f"{kind.__name__} with encoder.model.user_vectors=true knows users by their codes, and "
            "rows of clicks have none: use one with user_vectors=false."
        )
    return kind
