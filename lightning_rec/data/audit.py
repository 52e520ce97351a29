"""The leak audit: checks a split against its source table, by other means than made it."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.behaviors import target_rows
from lightning_rec.data.core.audited import fail, leak
from lightning_rec.data.kinds import Kept
from lightning_rec.data.schema import TIMED, Interactions, ticks, times
from lightning_rec.data.split import Examples, Split, ranges
from lightning_rec.data.types import Ints, Mask


def audit(data: Interactions, split: Split, behavior: Kept | None = None) -> dict[str, Any]:
    """Check that nothing a model learns from, or reads, lies in what it is tested on; returns what
    was counted, for the provenance card. Raises LeakError when a check fails.

    ``behavior``: that of targets, None where every event is one.
    """
    source = _Source(data, split.order == "part", target_rows(data, behavior))
    train = np.asarray(split.rows)[ranges(split.offsets[:-1], split.train_end)[1]]
    _check_rows(train, split, source)
    _check_vocabulary(train, split, source)
    facts: dict[str, Any] = {"train events": len(train)}
    stages = {"val": split.val, "test": split.test}
    for stage, examples in stages.items():
        _check_histories(stage, examples, split, source)
        row = np.asarray(examples.row)
        fail(f"a {stage} target is not of the target behavior", ~source.target[row], row)
    if split.boundaries is not None:
        _check_boundaries(train, split, source)
    if split.order == "none":
        _check_dealt(train, split, source)
    if source.part is not None:
        for part, rows in enumerate((train, split.val.row, split.test.row)):
            fail("an event is not in the part it came in", source.part[rows] != part, rows)
    if split.whole:
        _check_whole(split)
    if "sessions" in data.info:
        _check_sessions(data)
    for stage, examples in stages.items():
        facts[f"{stage} targets seen before"] = _check_seen(stage, examples, split, source)
    if source.time is not None:
        first_test = source.time[np.asarray(split.test.row)].min()
        late = float((source.time[train] > first_test).mean())
        facts["last training time"] = int(source.time[train].max())
        facts["share of training after the first test target"] = round(late, 4)
    return facts


class _Source:
    """Columns of the prepared table, by row: user, item, (part, time, position) to compare, and
    whether it is of the target behavior.
    """

    def __init__(self, data: Interactions, by_part: bool, target: Mask) -> None:
        frame = data.events.select(
            pl.selectors.by_name("user", "item", *TIMED, "part", require_all=False)
        )
        table = frame.collect()
        self.num_items: int = data.info["items"]
        self.user: Ints = table["user"].to_numpy()
        self.item: Ints = table["item"].to_numpy()
        self.time: NDArray[Any] | None = times(table)
        self.part: Ints | None = table["part"].to_numpy() if by_part else None
        self.target = target

    def before(self, earlier: Ints, later: Ints) -> Mask:
        """Whether each event precedes its partner: by part, if it came split, time, place."""
        precedes: Mask = earlier < later
        for column in (self.time, self.part):
            if column is not None:
                first, second = column[earlier], column[later]
                precedes = (first < second) | ((first == second) & precedes)
        return precedes


def _check_rows(train: Ints, split: Split, source: _Source) -> None:
    val, test = np.asarray(split.val.row), np.asarray(split.test.row)
    times_trained = np.bincount(train, minlength=len(source.user))
    validated = np.zeros(len(source.user), dtype=bool)
    validated[val] = True
    fail("an event trains twice", times_trained[train] > 1, train)
    fail("a validation target is trained on", times_trained[val] > 0, val)
    fail("a test target is trained on", times_trained[test] > 0, test)
    fail("a target is in validation and test", validated[test], test)
    owner = np.repeat(np.arange(split.num_users), np.diff(split.offsets))
    rows = np.asarray(split.rows)
    fail("an event belongs to another user", source.user[rows] != owner, rows)
    wrong = source.item[rows] != split.vocabulary[split.items]
    fail("an event carries another item", wrong, rows)
    if split.order == "none":
        return
    unordered = ~source.before(rows[:-1], rows[1:]) & (owner[:-1] == owner[1:])
    fail("events of a user are not in time order", unordered, rows[:-1])


def _check_vocabulary(train: Ints, split: Split, source: _Source) -> None:
    counts = np.bincount(source.item[train])
    trained = split.vocabulary[: split.num_trained]
    # Either they alone are ranked, or all of the catalogue.
    untrained = np.setdiff1d(np.arange(source.num_items), trained)
    rest = split.vocabulary[len(trained) :]
    ranked = not len(rest) or np.array_equal(rest, untrained)
    if not ranked or not np.array_equal(np.flatnonzero(counts), trained):
        raise leak("the vocabulary is not the set of items seen in training")
    if not np.array_equal(counts[trained], split.train_counts[: len(trained)]):
        raise leak("popularity was not counted on training events alone")


def _check_histories(stage: str, examples: Examples, split: Split, source: _Source) -> None:
    user, row = np.asarray(examples.user), np.asarray(examples.row)
    start, end = split.offsets[:-1][user], np.asarray(examples.end)
    fail(f"a {stage} target belongs to another user", source.user[row] != user, row)
    target, item = np.asarray(examples.target), source.item[row]
    wrong = split.vocabulary[target.clip(min=0)] != item
    fail(f"a {stage} target carries another item", wrong & (target >= 0), row)
    reaches = (end <= start) | (end > split.offsets[1:][user])
    fail(f"a {stage} history reaches into another user", reaches, row)
    if split.order == "none":
        return
    # Events of a user are in time order, so the last one of a history stands for all of them.
    late = ~source.before(np.asarray(split.rows)[end - 1], row)
    fail(f"a {stage} history holds its own target or a later event", late, row)


def _check_boundaries(train: Ints, split: Split, source: _Source) -> None:
    assert source.time is not None
    assert split.boundaries is not None
    val_from, test_from = split.boundaries
    val, test = np.asarray(split.val.row), np.asarray(split.test.row)
    fail("a training event lies after the boundary", source.time[train] >= val_from, train)
    begun_val, begun_test = source.time[val], source.time[test]
    if split.whole:  # a session that ends in a window may begin before it
        ends = np.full(source.user.max() + 1, source.time.min())
        np.maximum.at(ends, source.user, source.time)
        begun_val, begun_test = ends[source.user[val]], ends[source.user[test]]
    outside = (begun_val < val_from) | (source.time[val] >= test_from)
    fail("a validation target lies outside its window", outside, val)
    fail("a test target lies before the boundary", begun_test < test_from, test)


def _check_whole(split: Split) -> None:
    start, stop = split.offsets[:-1], split.offsets[1:]
    torn = (split.train_end != start) & (split.train_end != stop)
    fail("a session trains in part", torn, start)
    trains = split.train_end > start
    for examples in (split.val, split.test):
        user = np.asarray(examples.user)
        fail("a session trains and is held out", trains[user], np.asarray(examples.row))
    both = np.isin(split.test.user, split.val.user)
    fail("a session validates and is tested", both, np.asarray(split.test.row))


def _check_sessions(data: Interactions) -> None:
    """Sessions that a pause ends: none has such a pause, each two of a user have one between."""
    time, per_second = ticks(data.events)
    gap = round(data.info["sessions"]["gap"] * per_second, 3)
    found = data.events.group_by("user").agg(
        time.min().alias("begin"),
        time.max().alias("end"),
        time.sort().diff().max().fill_null(0).alias("pause"),
        pl.col("visitor").first(),
        pl.col("visitor").n_unique().alias("visitors"),
    )
    table = found.collect().sort("visitor", "begin")
    between = (table["begin"] - table["end"].shift(1)).to_numpy()[1:]
    same = (table["visitor"] == table["visitor"].shift(1)).to_numpy()[1:]
    rows = np.arange(len(table))
    fail("a session has two users", (table["visitors"] > 1).to_numpy(), rows)
    fail("a session holds a pause that ends one", (table["pause"] > gap).to_numpy(), rows)
    fail("two sessions of a user have no pause between", same & (between <= gap), rows[1:])


def _check_dealt(train: Ints, split: Split, source: _Source) -> None:
    """No item of a user may be in two parts, or in the history of a target of its own part."""
    val, test = np.asarray(split.val.row), np.asarray(split.test.row)
    trained, validated, tested = (
        source.user[rows] * source.num_items + source.item[rows] for rows in (train, val, test)
    )
    for held, rows, other, part in (
        (validated, val, trained, "training"),
        (tested, test, trained, "training"),
        (tested, test, validated, "validation"),
    ):
        fail(f"an item is held out of a user's {part} and in it", np.isin(held, other), rows)
    for pairs, examples in ((validated, split.val), (tested, split.test)):
        longest = split.offsets[:-1].copy()
        np.maximum.at(longest, np.asarray(examples.user), np.asarray(examples.end))
        rows = np.asarray(split.rows)[ranges(split.offsets[:-1], longest)[1]]
        read = source.user[rows] * source.num_items + source.item[rows]
        fail("a history holds a target of its own part", np.isin(read, pairs), rows)


def _check_seen(stage: str, examples: Examples, split: Split, source: _Source) -> int:
    """Check what becomes of targets that were seen before; returns how many there are."""
    met, row = _met(examples, split, source), np.asarray(examples.row)
    ranked = np.asarray(examples.target) >= 0
    known = np.isin(source.item[row], split.vocabulary)
    # Whether a target was seen that no history can show, the arrays do not tell.
    wrong = known & (examples.seen != met)
    fail(f"a {stage} target is wrongly said to be seen before, or new", wrong, row)
    if split.seen == "filter":
        fail(f"a {stage} target is the only seen item that is ranked", met & ranked, row)
        known &= ~met
    elif source.time is not None:
        copies = _copies(examples, split, source)
        fail(f"a {stage} target is the copy of an event in its history", copies, row)
    fail(f"a {stage} target that could be ranked is not", known & ~ranked, row)
    return int(met.sum())


def _copies(examples: Examples, split: Split, source: _Source) -> Mask:
    """Whether each target is alike in user, item, time and behavior to an event of its history:
    bool [n].
    """
    assert source.time is not None
    columns = {"user": source.user, "item": source.item, "time": source.time}
    columns["target"] = source.target
    rows, asked = np.asarray(split.rows), np.asarray(examples.row)
    table, targets = (
        pl.DataFrame({name: column[which] for name, column in columns.items()}).with_row_index(key)
        for key, which in (("place", rows), ("example", asked))
    )
    targets = targets.with_columns(end=np.asarray(examples.end))
    alike = targets.join(table, on=list(columns)).filter(pl.col("place") < pl.col("end"))
    return np.isin(np.arange(len(asked)), alike["example"].to_numpy())


def _met(examples: Examples, split: Split, source: _Source) -> Mask:
    """Whether each target's item stands in its own history, by the source table: bool [n]."""
    owner = np.repeat(np.arange(split.num_users), np.diff(split.offsets))
    pairs, first = np.unique(
        owner * source.num_items + source.item[np.asarray(split.rows)], return_index=True
    )
    asked = np.asarray(examples.user) * source.num_items + source.item[np.asarray(examples.row)]
    place = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
    return np.asarray((pairs[place] == asked) & (first[place] < examples.end))
