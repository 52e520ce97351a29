"""Rules over one catalogue: which items are left, what is added to scores, who is alike."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_rec.data.types import Ints, Mask
from lightning_rec.errors import UserError, listed, suggest
from lightning_rec.rules.boosts import Boosts, boosts_at
from lightning_rec.rules.calibrating import Calibrated, tastes
from lightning_rec.rules.choosing import Cap, Determinant, Marginal, Pool, Value
from lightning_rec.rules.exploring import Draw, Epsilon, Softmax, Thompson
from lightning_rec.rules.given import moment
from lightning_rec.rules.rules import Given, Rules, as_rules
from lightning_rec.rules.where import UnknownColumn, holds

log = logging.getLogger(__name__)

_SEPARATORS = ("|", ";")


@dataclass
class Ready:
    """Rules made ready.

    rules: as they were given.  allowed: bool [V], None: all.  boosts: None: no boost holds.
    caps: of groups.  features: float32 [V, D], see :class:`Marginal`.  group: int64 [V, G], which
    lists are calibrated by.  draw: of exploration.
    left: how many items the filters leave.  notes: sentences on rules that do nothing.
    """

    rules: Rules
    allowed: Mask | None
    boosts: Boosts | None
    caps: list[Cap]
    features: Tensor | None
    group: Tensor | None
    draw: Draw | None
    left: int
    at: float
    notes: list[str] = field(default_factory=list)

    @property
    def filters(self) -> bool:
        """Whether scores and their order stay as they are."""
        return not self.rules.choosing and self.boosts is None

    def adjust(self, scores: Tensor, start: int, stop: int) -> Tensor:
        """Scores of the items from ``start`` to ``stop``, float32 [B, stop - start], by the rules.

        -inf is what may not be recommended.
        """
        if self.boosts is not None:
            scores = self.boosts.applied(scores, slice(start, stop))
        if self.allowed is not None:
            out = torch.from_numpy(~self.allowed[start:stop])
            scores = scores.masked_fill(out, -torch.inf)
        return scores

    def adjust_items(self, scores: Tensor, items: Tensor) -> Tensor:
        """Scores of some items, float [B, M], by the rules; ``items``: their codes, int64."""
        if self.boosts is not None:
            scores = self.boosts.applied(scores, items)
        if self.allowed is not None:
            scores = scores.masked_fill(~torch.from_numpy(self.allowed)[items], -torch.inf)
        return scores

    def tastes(self, items: NDArray[np.int32], offsets: Ints, rows: Ints) -> Tensor | None:
        """Of some histories, for :meth:`value`; see :func:`~.calibrating.tastes`."""
        return None if self.group is None else tastes(self.group, items, offsets, rows)

    def value(self, pool: Pool, taste: Tensor | None) -> Value | None:
        """What candidates are worth; None for their scores."""
        diverse, calibrated = self.rules.diverse, self.rules.calibrated
        if calibrated is not None and self.group is not None:
            if taste is None:
                raise UserError(
                    "calibration= is to the history of a user: it goes with models of sequences "
                    "alone, not with a query or rows of clicks."
                )
            return Calibrated(pool, self.group, taste, calibrated.strength)
        if diverse is None:
            return None
        assert self.features is not None
        made = Marginal if diverse.kind == "mmr" else Determinant
        return made(pool, self.features, diverse.strength)

    def fingerprint(self) -> str:
        """SHA-256 of all that the rules do to an answer."""
        digest = hashlib.sha256()
        rules = self.rules
        digest.update(
            repr(
                (
                    rules.caps,
                    rules.diverse,
                    rules.calibrated,
                    rules.exploring,
                    rules.seed,
                    rules.pool,
                )
            ).encode()
        )
        for each in (
            self.allowed,
            *(self.boosts or (None,)),
            *(c.group.numpy() for c in self.caps),
            None if self.group is None else self.group.numpy(),
        ):
            digest.update(b"-" if each is None else np.ascontiguousarray(each).tobytes())
        return digest.hexdigest()


def made_ready(
    rules: Given | Ready,
    items: pl.DataFrame,
    codes: Callable[[pl.Series], pl.Series],
    vectors: Callable[[], Tensor],
    events: Callable[[], NDArray[np.int64]],
) -> Ready:
    """Make rules ready for a catalogue.

    Args:
        rules: what was asked for; what is ready comes back as it is.
        items: the catalogue; row i is item code i.
        codes: codes of ids, null where there is none.
        vectors: gives those of all items, float [V, D]; asked for by ``diversity`` alone.
        events: gives the number of events of each item; asked for by ``thompson`` alone.

    Raises:
        UserError: where they do not fit the catalogue, or leave nothing.
    """
    if isinstance(rules, Ready):
        return rules
    rules = as_rules(rules)
    notes: list[str] = []
    allowed = _allowed(rules, items, codes, notes)
    at, boosts = moment("at", rules.at), None
    if rules.boosts is not None:
        boosts = boosts_at(rules.boosts, at, items, codes, notes)
    caps = [Cap(groups(items, name, "per"), most) for name, most in rules.caps.items()]
    draw = _draw(rules, events)
    left = len(items) if allowed is None else int(allowed.sum())
    features = _features(rules, items, vectors)
    calibrated = rules.calibrated
    group = None if calibrated is None else groups(items, calibrated.column, "calibration")
    return Ready(rules, allowed, boosts, caps, features, group, draw, left, at, notes)


def _draw(rules: Rules, events: Callable[[], NDArray[np.int64]]) -> Draw | None:
    if (explore := rules.exploring) is None:
        return None
    if explore.kind == "thompson":
        return Thompson(explore.amount, torch.from_numpy(events()))
    return Epsilon(explore.amount) if explore.kind == "epsilon" else Softmax(explore.amount)


def _allowed(
    rules: Rules,
    items: pl.DataFrame,
    codes: Callable[[pl.Series], pl.Series],
    notes: list[str],
) -> Mask | None:
    """Which items the filters leave. Raises UserError if that is none, telling what each left."""
    if rules.allow is None and rules.deny is None and rules.where is None:
        return None
    left, told = np.ones(len(items), dtype=bool), []
    for name in ("allow", "deny"):
        if (given := getattr(rules, name)) is None:
            continue
        ids = (
            given if isinstance(given, pl.Series) else pl.Series(name, _plain(given), strict=False)
        )
        code = codes(ids)
        if code.has_nulls():
            unknown = ids.filter(code.is_null())
            words = f"{name}: {len(unknown)} of {len(ids)} items are not known to this run"
            notes.append(f"{words}, such as {listed(unknown.head(3).to_list())}.")
            log.warning("%s", notes[-1])
        named = np.zeros(len(items), dtype=bool)
        named[code.drop_nulls().to_numpy()] = True
        left &= named if name == "allow" else ~named
        told.append(f"after {name} {int(left.sum()):,}")
    if rules.where is not None:
        left &= holds(rules.where, items)
        told.append(f"after where {int(left.sum()):,}")
    if not left.any():
        raise UserError(
            f"The rules leave no item of {len(items):,} to recommend ({', '.join(told)} are left): "
            "loosen them."
        )
    return left


def _plain(given: object) -> list[object]:
    """Ids of mixed types as texts, since 7 and "7" are one id."""
    values = list(given)  # type: ignore[call-overload]
    if len({type(each) for each in values}) > 1:
        return [None if each is None else str(each) for each in values]
    return values


def groups(items: pl.DataFrame, name: str, what: str) -> Tensor:
    """Codes of the values that each item has in a column, int64 [V, G], -1 where there is none.

    A list has several, and so has text that is parted by ``|`` or ``;``. Raises UserError, naming
    ``what`` asks, if there is no such column.
    """
    listed_values = values_of(items, name, what)
    flat = listed_values.to_frame("value").with_row_index("row").explode("value").drop_nulls()
    flat = flat.unique(maintain_order=True)
    flat = flat.with_columns(code=pl.col("value").rank("dense").cast(pl.Int64) - 1)
    flat = flat.with_columns(place=pl.int_range(pl.len()).over("row"))
    width = int(flat["place"].max() or 0) + 1 if len(flat) else 1  # type: ignore[arg-type]
    found = np.full((len(items), width), -1, dtype=np.int64)
    found[flat["row"].to_numpy(), flat["place"].to_numpy()] = flat["code"].to_numpy()
    return torch.from_numpy(found)


def values_of(items: pl.DataFrame, name: str, what: str) -> pl.Series:
    """The values of each item in a column, List[String]; see :func:`groups`."""
    if name not in items.columns:
        told = suggest(name, items.columns, "The catalogue's columns are")
        raise UnknownColumn(f"{what}: the catalogue has no column '{name}'.{told}")
    column = items[name]
    if isinstance(column.dtype, pl.List | pl.Array):
        if column.explode().dtype.is_nested():
            raise UserError(f"{what}: the column '{name}' holds lists of lists, not of values.")
        return column.cast(pl.List(pl.String)).alias(name)
    text = column.cast(pl.String)
    sign = next((s for s in _SEPARATORS if text.str.contains(s, literal=True).any()), None)
    if sign is None or column.dtype != pl.String:
        return text.to_frame(name).select(pl.concat_list(name).alias(name))[name]
    return text.str.split(sign).list.eval(pl.element().str.strip_chars().replace("", None))


def _features(rules: Rules, items: pl.DataFrame, vectors: Callable[[], Tensor]) -> Tensor | None:
    """What likeness is measured by: inner products from 0 to 1, of a thing with itself 1."""
    diverse = rules.diverse
    if diverse is None:
        return None
    if diverse.column is None:
        unit = torch.nn.functional.normalize(vectors().float(), dim=1)
        return torch.cat([unit, torch.ones(len(unit), 1)], 1) / 2**0.5  # (1 + cosine) / 2
    group = groups(items, diverse.column, "diversity")
    number = int(group.max()) + 2  # the last for those without a value, which are alike
    group = group.clone()
    group[(group < 0).all(1), 0] = number - 1
    shown = torch.zeros(len(items), number + 1).scatter_(1, group + 1, 1.0)[:, 1:]
    return torch.nn.functional.normalize(shown, dim=1)
