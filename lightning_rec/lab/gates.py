"""Whether a newer model may take the place of an older one: both asked for the newer one's test."""

from collections.abc import Callable
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
from lightning_rec.figures import percent
from lightning_rec.lab.gated import NEW, OLD, PARTS, Judged, of_clicks, of_queries
from lightning_rec.lab.later import codes_of, figure_name, opened, own_codes, values_of
from lightning_rec.lab.paired import mean_of, of_values
from lightning_rec.problems.base import Problem
from lightning_rec.problems.clicks import Clicks
from lightning_rec.problems.matching import Matching
from lightning_rec.problems.sequence_tables import described_items
from lightning_rec.problems.sequences import Sequences
from lightning_rec.runs.folder import RunFolder


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
    new: str | Path,
    old: str | Path,
    figure: str | None = None,
    margin: float = 0.05,
    level: float = 0.95,
) -> Gate:
    """Ask two runs for the test of the newer one, and compare them.

    The older model answers as it would have: of sequences with the items that it knows, and
    histories of these; of clicks by the values that it knows; of matching it reads the texts of
    now. Its own test, as far as it is still one here, is told apart. The newer one is let through
    if on both parts it loses less than ``margin`` of the older one's ``figure``, the whole
    ``level`` interval over users (groups, queries) considered (a test of non-inferiority).

    ``figure``: of sequences and matching a metric at a cut-off (ndcg@10), of clicks ``auc``, of
    which the margin is a share of what lies above 0.5, ``gauc``, or ``logloss``, of which it is
    one of what lies below that of who says the share of clicks of every row.

    Raises UserError if the runs are of two kinds, if the older one has learnt some of this test, or
    for another figure.
    """
    if not 0 <= margin < 1:
        raise UserError(f"margin={margin:g}: it is a share of the older figure, from 0 to below 1.")
    (run, problem), (older, other) = opened("run", Path(new)), opened("against", Path(old))
    kinds: dict[type[Problem[Any]], tuple[str, Callable[..., Judged]]] = {
        Sequences: ("ndcg@10", _of_sequences),
        Clicks: ("auc", of_clicks),
        Matching: ("ndcg@10", of_queries),
    }
    kind = next((kind for kind in kinds if isinstance(problem, kind)), None)
    if kind is None or not isinstance(other, kind):
        raise UserError(
            f"run={new} is of task={problem.name} and against={old} of task={other.name}: a gate "
            "is between two runs of sequences, of clicks or of matching."
        )
    usual, judge = kinds[kind]
    named = figure or usual
    judged = judge(run, problem, older, other, named)
    found = [_part(name, inside, judged, level) for name, inside in judged.parts.items()]
    return Gate(named, margin, level, found, _reasons(found, judged, margin, level))


def _of_sequences(
    run: RunFolder, problem: Sequences, older: RunFolder, other: Sequences, figure: str
) -> Judged:
    figure_name(figure)
    if other.protocol.seen != problem.protocol.seen:
        raise UserError("The runs differ in protocol.seen: lists of both are not alike.")
    loaded = problem.load(cache_dir())
    check_data(run, problem, loaded)
    codes = codes_of(loaded, older)
    now = values_of(run, loaded, own_codes(loaded), figure)
    before = values_of(older, loaded, codes, figure)
    return Judged(now, before, _parts(loaded, older, codes.item))


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


def _part(name: str, inside: Mask, judged: Judged, level: float) -> Part:
    now, before = (each.within(inside) for each in (judged.now, judged.before))
    users = now.key.n_unique()
    if not inside.any():
        return Part(name, 0, 0)
    means = (mean_of([each]) for each in (before, now))
    apart = of_values([now], [before], level)
    interval = (None, None, None) if apart is None else (apart.difference, apart.low, apart.high)
    return Part(name, int(inside.sum()), users, *means, *interval)


def _reasons(parts: list[Part], judged: Judged, margin: float, level: float) -> list[str]:
    reasons, falls = [], judged.better == "min"
    for each in parts:
        if each.name not in (NEW, OLD) or not each.targets:
            continue
        if each.before is None:
            reasons.append(f"the figure says nothing of {each.name} targets, which are too few")
            continue
        # A loss that rises is what an area that falls is.
        above = max(0.0, (each.before - judged.nothing) * (-1 if falls else 1))
        ends, allowed = (each.high, margin * above) if falls else (each.low, -margin * above)
        if ends is None or (ends > allowed if falls else ends < allowed):
            told = "unknown" if ends is None else f"{ends:+.4f}"
            what = f"{each.before:.4f}"
            if judged.nothing:
                what = f"what lies between {what} and {judged.nothing:.4g}"
            reasons.append(
                f"on {each.name} targets the newer model may lose more than {margin:.0%} of "
                f"{what}: the {percent(level)} interval of the difference "
                f"{'ends' if falls else 'begins'} at {told}, and {allowed:+.4f} is allowed"
            )
    return reasons
