"""Incremental training: a model that was trained on earlier events goes on with what is new.

Items and users that are new to it begin as the mean of those that it knows (Volkovs et al.,
DropoutNet, NeurIPS 2017, section 4.1, take the mean for who has no preferences yet), or as the
known items whose texts are the nearest; a share of what is old is trained on again, against
forgetting (experience replay: Rolnick et al., NeurIPS 2019, arXiv:1811.11682).
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError
from lightning_rec.methods.base import Method, Trained
from lightning_rec.models.base import Warmed
from lightning_rec.models.items.ids import OwnVectors
from lightning_rec.ranges import UpToOne

NEAREST = 5  # known items whose mean a new one begins as, by texts
New = Literal["mean", "text", "draw"]


class Before(NamedTuple):
    """What a run of earlier data knew, beside what is known now.

    state: its weights, by name.
    growing: of each weight, what its dimensions have places for: ``user``, ``item``, both, users
        first, or nothing. Further places at the end are of padding and mask.
    codes: code there of each item (``item``) and user (``user``) of now, -1 for new ones: int64.
    there: how many of each there are.
    arrived: how many new ones train here.
    since: what of the training is old, as batches take it: how many events of each user, int64 [U],
        or of each row, or pair, 1 for an old one and 0 for a new one.
    nearest: the codes there of the ``k`` known items whose texts are the nearest to each new
        item's, all -1 where it has no word of theirs: int64 [new, k].
    tuned: whether the weights of what an adapter tunes are among ``state``.
    facts: what else the card is told of the run.
    """

    state: dict[str, Tensor]
    growing: Mapping[str, tuple[tuple[str, ...], ...]]
    codes: Mapping[str, Ints]
    there: Mapping[str, int]
    arrived: Mapping[str, int]
    since: Ints
    nearest: Callable[[int], Ints]
    tuned: bool = False
    facts: Mapping[str, Any] = MappingProxyType({})


class Batches(Protocol):
    """Batches whose training can be narrowed to what is new; ``trains``: on what they train."""

    trains: str

    def narrow(self, since: Ints, replay: float) -> tuple[int, int]:
        """Train on what is new, and on a share of what is old: how many windows, or rows."""
        ...


class Update(Method):
    """Training goes on from a run of the same model on an earlier state of the log.

    Args:
        run: folder of a completed run of an earlier state of the log.
        new: how a new item begins: ``mean`` of the known ones, ``text``: mean of the five whose
            texts are the nearest, ``draw``: as in training anew. New users begin as the mean,
            unless all is drawn.
        replay: share of the training windows without a new event that is trained on again.
    """

    same_data = False

    def __init__(self, run: str | None = None, new: New = "mean", replay: UpToOne = 0.2) -> None:
        if run is None:
            raise UserError("method.run is not set: name the folder of a completed run.")
        self.run, self.new, self.replay = run, new, replay

    @property
    def reads(self) -> dict[str, str]:
        """The run that it goes on from, by key."""
        return {"method.run": self.run}

    @torch.no_grad()
    def begin(self, task: Trained, data: Any, before: Callable[[str], Before]) -> dict[str, Any]:
        """Take over the weights, and leave what is old out of training but for a share.

        Returns counts for the card. Raises UserError if the weights are of another model, or if
        nothing is new.
        """
        known = before(self.run)
        if getattr(task, "adapted", None) is not None and not known.tuned:
            raise UserError(
                "method.run: a language model that is tuned is not gone on with: train it anew, or "
                "leave it as it comes, adapter=frozen."
            )
        new, replayed = data.narrow(known.since, self.replay)
        if not new:
            raise UserError(
                f"method.run={self.run} was trained on all that trains here: there is nothing new "
                "to learn. Give the log as it is now, all of it: data.path=…."
            )
        state = carried(known, task.model, self.run, self.new)
        task.model.load_state_dict(state)
        if isinstance(task.model, Warmed):
            task.model.go_on()
        return {**known.arrived, f"new {data.trains}": new, f"replayed {data.trains}": replayed}


def carried(known: Before, model: nn.Module, run: str, begins: New) -> dict[str, Tensor]:
    """The state of ``model``, whatever ``run`` knew taken over; ``begins``: see :class:`Update`.

    Raises UserError if the weights are of another model.
    """
    own = model.state_dict()
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    statistics = {
        f"{name}.{buffer}".lstrip(".")
        for name, module in model.named_modules()
        for buffer in _moved(module)
    }
    for name in trained | statistics:
        if name not in known.state:
            raise UserError(
                f"method.run={run} has no {name}: it is of another model. Give the "
                "settings of its model, as train from=FOLDER does."
            )
        grows = known.growing.get(name) or _alike(known, name, own[name])
        made = _placed(known, name, own[name], grows, begins)
        if made.shape != own[name].shape:
            raise UserError(
                f"method.run={run} has {name} of {[*known.state[name].shape]}, this model "
                f"of {[*own[name].shape]}: give the settings of its model, and its "
                "batches.max_len, as train from=FOLDER does."
            )
        own[name] = made.to(own[name])
    for name, module in model.named_modules():
        weight = f"{name}.own.weight".lstrip(".")
        if isinstance(module, OwnVectors) and known.growing.get(weight) == (("item",), ()):
            unmet = torch.from_numpy(known.codes["item"] < 0)
            unmet[: module.trained] = False  # what trains neither here nor there has no vector
            own[weight][unmet] = 0
    return own


def _moved(module: nn.Module) -> Iterable[str]:
    """The buffers of a module that training moves: those of batch norms, or its ``statistics``."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return [name for name, _ in module.named_buffers(recurse=False)]
    found: tuple[str, ...] = getattr(module, "statistics", ())
    return found


def _alike(known: Before, name: str, fresh: Tensor) -> tuple[tuple[str, ...], ...]:
    """That a weight made later has no place for each item or user. Raises UserError if it may."""
    # Rows of tables of categories are counted by the names of these tables.
    kinds = [kind for kind in known.codes if kind not in known.growing]
    sizes = {size for kind in kinds for size in (len(known.codes[kind]), known.there[kind])}
    sizes -= {1}  # of a row that is of nothing, which weights of many kinds have
    if any(rows in sizes for shape in (fresh.shape, known.state[name].shape) for rows in shape):
        raise UserError(
            f"{name} may have a place for each item or user, which of them the run does not say: "
            "train it anew."
        )
    return ((),) * fresh.ndim


def _placed(
    known: Before, name: str, fresh: Tensor, grows: tuple[tuple[str, ...], ...], begins: New
) -> Tensor:
    """A weight of the run with a row for each item or user of now; as it is if it is of another
    shape.
    """
    made = known.state[name]
    for dim, kinds in enumerate(grows):
        if not kinds or made.ndim != fresh.ndim:
            continue
        rows, drawn, blocks = made.movedim(dim, 0), fresh.movedim(dim, 0), []
        if len(rows) - sum(map(known.there.__getitem__, kinds)) != len(drawn) - sum(
            len(known.codes[what]) for what in kinds
        ):
            return made
        for what in kinds:
            codes, there = torch.from_numpy(known.codes[what]), known.there[what]
            body, new = rows[:there][codes.clamp(min=0)], codes < 0
            if new.any():
                own = drawn[: len(codes)][new]
                # Codes of semantic ids are no numbers to take means of: new items keep theirs.
                fresh_ones = begins == "draw" or new.all() or not body.is_floating_point()
                body[new] = own if fresh_ones else _begun(known, what, rows, begins)
            blocks.append(body)
            rows, drawn = rows[there:], drawn[len(codes) :]
        made = torch.cat([*blocks, rows]).movedim(0, dim)
    return made


def _begun(known: Before, what: str, rows: Tensor, begins: New) -> Tensor:
    """What new items or users begin as, by the ``rows`` of the run."""
    mean = rows[known.codes[what][known.codes[what] >= 0]].mean(dim=0)
    if begins == "mean" or what != "item":
        return mean
    nearest = torch.from_numpy(known.nearest(NEAREST))
    found = (nearest[:, 0] >= 0).view(-1, *[1] * mean.ndim)
    return torch.where(found, rows[nearest.clamp(min=0)].mean(dim=1), mean)
