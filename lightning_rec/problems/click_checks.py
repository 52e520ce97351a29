"""What of a config of clicks does not go together, told before anything is trained."""

import numpy as np
from omegaconf import DictConfig
from torch import nn

from lightning_rec.data.clicks.fields import Fields, Kind
from lightning_rec.data.clicks.pipeline import AuditedClicks
from lightning_rec.data.clicks.schema import ClickSchema, Field
from lightning_rec.errors import UserError, listed, suggest

META_SIZE = 10  # categories of each field of the meta model


def check_config(cfg: DictConfig, fields: Fields, head: nn.Module, *, validates: bool) -> None:
    """Raise UserError where settings of a config of clicks do not go together."""
    if cfg.task.get("sparse") and cfg.task.get("embedding_l2"):
        raise UserError(
            f"task.embedding_l2={cfg.task.embedding_l2} weighs whole tables at each step, which "
            "task.sparse=true is there to avoid: set task.embedding_l2=0; optimizer.weight_decay "
            "draws in the rows that a batch reads."
        )
    normed = any(isinstance(part, nn.BatchNorm1d) for part in head.modules())
    if normed and cfg.batches.get("batch_size") == 1:
        raise UserError(
            "batches.batch_size=1: batch norm needs more than one row at a time: raise it, or say "
            "model.batch_norm=false."
        )
    goals = tuple(fields.targets)
    if unknown := [str(name) for name in cfg.task.get("goal_weights") or {} if name not in goals]:
        told = suggest(unknown[0], goals)
        raise UserError(f"task.goal_weights: there is no goal {unknown[0]}.{told}")
    if len(goals) > 1 and not getattr(head, "multi_task", False):
        raise UserError(
            f"{type(head).__name__} predicts one goal, but data.fields.goals has {listed(goals)}: "
            "say model=shared_bottom, mmoe, ple or esmm, or declare one."
        )
    if cfg.task.get("calibrate", "none") != "none" and not validates:
        raise UserError(
            f"task.calibrate={cfg.task.calibrate} is fitted on validation, but the protocol leaves "
            "none: say protocol.val=0.1, or task.calibrate=none."
        )


def check_texts(cfg: DictConfig, fields: Fields) -> None:
    """Raise UserError if texts are to be read, but no row says of which item."""
    if not (cfg.get("item") or {}).get("_target_"):
        return
    if fields.item is None:
        raise UserError(
            "item=text: no row says which item it shows: say data.fields.item=COLUMN, one of "
            f"{listed(fields.categorical) or 'data.fields.categorical'}."
        )
    if cfg.item.get("id_dropout"):
        raise UserError(
            f"item.id_dropout={cfg.item.id_dropout} is for models of sequences; models of clicks "
            "have one vector for all items they do not know: set item.id_dropout=0."
        )
    if cfg.item.get("adaptor") == "moe":
        raise UserError(
            "item.adaptor=moe is for models of sequences; those of clicks have linear maps: say "
            "item.adaptor=linear."
        )
    if (cfg.get("encoder") or {}).get("run"):
        raise UserError(
            "item=text and encoder.run=FOLDER both bring something that was trained before, and "
            "adapter= could mean either: drop one of them."
        )


def check_order(loaded: AuditedClicks) -> None:
    """Raise UserError if a goal was reached in a row without the one before it."""
    goals, label = loaded.data.encoded.schema.goals, loaded.data.encoded.label
    row, goal = np.nonzero(label[:, 1:] > label[:, :-1])
    if len(row):
        raise UserError(
            f"{loaded.name}, row {row[0] + 1}: there is '{goals[goal[0] + 1]}' without "
            f"'{goals[goal[0]]}' ({len(row):,} such rows), but the model wants goals in the order "
            "in which they come: turn data.fields.goals round, or choose another model."
        )


def meta_schema(fields: Fields) -> ClickSchema:
    """A small schema with the fields that are declared."""
    kinds: dict[Kind, tuple[str, ...]] = {
        "categorical": fields.singles,
        "multi_valued": fields.multi_valued,
        "numeric": fields.scaled,
    }
    sizes = {"categorical": (META_SIZE, 1), "multi_valued": (META_SIZE, 2), "numeric": (1, 0)}
    made: list[Field] = []
    for kind, names in kinds.items():
        for name in names:
            made.append(Field(name, kind, 1 + sum(field.size for field in made), *sizes[kind]))
    longest = fields.history_max_len if fields.has_history else 0
    goals = tuple(fields.targets)
    return ClickSchema(tuple(made), fields.item, longest, goals).with_dims(fields.dims)
