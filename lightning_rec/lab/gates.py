"""Whether a newer model may take the place of an older one: both asked for the newer one's test."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lightning_rec.build.agreement import check_data
from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.ids import ids_of
from lightning_rec.data.pipeline import AuditedLog
from lightning_rec.data.types import Ints, Mask
from lightning_rec.errors import UserError
from lightning_rec.lab.examples import Values
from lightning_rec.lab.later import codes_of, figure_name, opened, own_codes, values_of
from lightning_rec.lab.paired import of_values
from lightning_rec.problems.sequence_tables import described_items
from lightning_rec.runs.folder import RunFolder

NEW, OLD = "new", "old"
PARTS = (NEW, "of known items", "of new items", OLD)


@dataclass(frozen=True)
class Part:
    """A part of the test under both models; figures are None where it has no target.

    ``name``: ``new``: targets that the older run was not tested on, and of these ``of known items``
    and ``of new items`` (without training events there); ``old``: those of its own test. ``before``
    and ``now``: the figure of the older and the newer model; ``low``, ``high``: the interval of
    their difference over users.
    """

    name: str
    targets: int
    users: int
    before: float | None = None
    now: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Gate:
    """What :func:`gate` found: the parts, and why it does not let the newer model through."""

    figure: str
    margin: float
    level: float
    parts: list[Part]
    reasons: list[str]

    @property
    def released(self) -> bool:
        """Whether the newer model may take the place of the older one."""
        return not self.reasons

    def facts(self) -> dict[str, Any]:
        """All of it, for a file."""
        return {**asdict(self), "released": self.released}


def gate(
    new: Path, old: Path, figure: str = "ndcg@10", margin: float = 0.05, level: float = 0.95
) -> Gate:
    """Ask two runs of sequences for the targets of the newer one's test, and compare them.

    The older model answers as it would have: with the items that it knows, and histories of these.
    Its own test, as far as it is still one here, is told apart. The newer one is let through if on
    both parts it loses less than ``margin`` of the older one's ``figure`` (a metric of ranking at a
    cut-off), the whole ``level`` interval over users considered (a test of non-inferiority).

    Raises UserError if one is no such run, if the older one has learnt targets of this test, or for
    another figure.
    """
    if not 0 <= margin < 1:
        raise UserError(f"margin={margin:g}: it is a share of the older figure, from 0 to below 1.")
    figure_name(figure)
    (run, problem), (older, other) = opened("run", new), opened("against", old)
    if other.protocol.seen != problem.protocol.seen:
        raise UserError("The runs differ in protocol.seen: lists of both are not alike.")
    loaded = problem.load(cache_dir())
    check_data(run, problem, loaded)
    codes = codes_of(loaded, older)
    values = [
        values_of(run, loaded, own_codes(loaded), figure),
        values_of(older, loaded, codes, figure),
    ]
    parts = _parts(loaded, older, codes.item)
    found = [_part(of, inside, values, level) for of, inside in parts.items()]
    return Gate(figure, margin, level, found, _reasons(found, margin, level))


def _parts(loaded: AuditedLog, old: RunFolder, known: Ints) -> dict[str, Mask]:
    """Which targets are of which part: bool [n] each."""
    test = loaded.data.split.test
    code = np.asarray(test.target)
    item = pl.Series(code, dtype=pl.Int64).set(pl.Series(code < 0), None)
    here = pl.DataFrame(
        {
            "user": loaded.data.log.users["user"].gather(np.asarray(test.user).tolist()),
            "item": described_items(loaded)["item"].gather(item),
        }
    )
    tables = (here, old.table("test_users").drop_nulls("item"))
    ids, own = ([ids_of(each[name]) for name in ("user", "item")] for each in tables)
    before = pl.DataFrame(ids).join(
        pl.DataFrame(own).unique().with_columns(was=True), ["user", "item"], "left",
        maintain_order="left",
    )["was"].fill_null(False).to_numpy()  # fmt: skip
    there = (code >= 0) & (known[code] >= 0)
    return dict(zip(PARTS, (~before, ~before & there, ~before & ~there, before), strict=True))


def _part(name: str, inside: Mask, values: list[Values], level: float) -> Part:
    now, before = (each.within(inside) for each in values)
    users = now.key.n_unique()
    if not inside.any():
        return Part(name, 0, 0)
    means = (float(np.nanmean(each.value)) for each in (before, now))
    apart = of_values([now], [before], level)
    interval = (None, None, None) if apart is None else (apart.difference, apart.low, apart.high)
    return Part(name, int(inside.sum()), users, *means, *interval)


def _reasons(parts: list[Part], margin: float, level: float) -> list[str]:
    judged = {each.name: each for each in parts if each.name in (NEW, OLD) and each.targets}
    reasons = []
    for name, each in judged.items():
        assert each.before is not None
        least = -margin * each.before
        if each.low is None or each.low < least:
            low = "unknown" if each.low is None else f"{each.low:+.4f}"
            reasons.append(
                f"on {name} targets the newer model may lose more than {margin:.0%} of "
                f"{each.before:.4f}: the {level:.0%} interval of the difference begins at {low}, "
                f"and {least:+.4f} is allowed"
            )
    return reasons
