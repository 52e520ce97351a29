"""Leaks of clicks known by their effect: a field that knows the label, rows that stand twice.

Nothing here is proof: what is found is told, and stops a run only if the protocol says so.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.clicks import columns
from lightning_rec.data.clicks.evidence import Evidence
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.processor import slices
from lightning_rec.data.clicks.table import PART, TIME, ClickTable
from lightning_rec.data.core.audited import ROWS, Finding
from lightning_rec.data.ids import as_text, ids
from lightning_rec.data.shares import PARTS
from lightning_rec.data.types import Floats, Ints, Mask

BELIEVABLE = 0.95  # AUC of one field alone; that of an app of Frappe, with drawn negatives, is .93
DOUBLED = 0.01  # share of rows
UNKNOWN = 0.1  # share of the rows of validation or test
_LEAST = 20  # held-out rows of either class, fewer of which tell nothing
_SOME = 200  # likewise, of the rows alone that have a value
_SURE = 50  # rows of the other label that there would be by chance, had values no say
_STRAY = 0.001  # of these, as many as may be there
_SAMPLE = 1 << 20  # rows that are looked at, of more every n-th
_CHANCE = 3  # times as many copies as labels at random would make of rows that are alike
_HELD = ("val", "test")
_BINS = 64  # of a number's values in training
_NEARLY = 0.8  # of the rows; what is counted approximately is off by a few percent


def area(score: Floats, label: Mask) -> float:
    """AUC, ties worth half; ``score`` float64 [n], ``label`` bool [n] with both classes."""
    rank = pl.Series(score).rank("average").to_numpy()
    clicks = int(label.sum())
    pairs = clicks * (len(label) - clicks)
    return float((rank[label].sum() - clicks * (clicks + 1) / 2) / pairs)


def told_by_fields(at: Evidence) -> Iterator[Finding]:
    """Each field that alone ranks the held-out rows better than is believable.

    A category counts for the rate of its training rows; a number for that of its bin, one of 64
    quantiles of training or the missing ones, so that a number that is there in clicks alone is
    found as well. One that is missing in many rows may know the label of the others. Values whose
    rows are all of the rarer label, in training and held out, are told too, however few they are.
    """
    rows = np.flatnonzero(at.part >= 0)
    rows = rows[:: -(-len(rows) // _SAMPLE)]
    train, labels, goals = at.part[rows] == 0, at.labels(rows), at.encoded.schema.goals
    for name, codes, size, empty in _coded(at, rows, train):
        said = ""
        for goal, label in zip(goals, labels.T, strict=True):
            held = label[~train] == 1
            if min(held.sum(), len(held) - held.sum()) < _LEAST:
                continue
            of = f" '{goal}'" if len(goals) > 1 else ""
            if found := _by_rank(codes, empty, _rates(codes, size, label, train), held, train):
                said = f"alone tells the label{of} of {found}"
                break
            if found := _by_certainty(codes, size, label, train):
                said = f"has values that tell the label{of}: {found}"
        if said:
            kinds = ("categorical", "multi_valued", "numeric")
            kind = next(kind for kind in kinds if name in getattr(at.fields, kind))
            yield at.finding(
                name,
                f"the field '{name}' {said}. Is it known before the click? If it is a copy of the "
                "label, or comes of the click, as a purchase or a time of reading does, take it "
                f"out of data.fields.{kind}.",
            )


def _by_rank(codes: Ints, empty: tuple[int, ...], score: Floats, held: Mask, train: Mask) -> str:
    """Which held-out rows are ranked better than is believable, and how well; nothing if none."""
    found, rows_of = area(score, held), "held-out rows"
    known = ~np.isin(codes[~train], (-1, *empty)).all(axis=1)
    clicks = int(held[known].sum())
    if found < BELIEVABLE and min(clicks, int(known.sum()) - clicks) >= _SOME:
        found, rows_of = area(score[known], held[known]), "the held-out rows that have it"
    if found < BELIEVABLE:
        return ""
    return f"{rows_of} with an AUC of {found:.4f} ({BELIEVABLE} and more is hardly ever true)"


def _by_certainty(codes: Ints, size: int, label: NDArray[np.float32], train: Mask) -> str:
    """Which rows have values whose rows are all of the rarer label; nothing if there are too few.
    Of the commoner label there are such values in honest tables: an item that nobody clicks.
    """
    rarer = label if label[train].mean() < 0.5 else 1 - label
    other = 1 - float(rarer[train].mean())
    row, place = np.nonzero(codes >= 0)
    code = codes[row, place]
    learnt = train[row]
    rows = np.bincount(code[learnt], minlength=size)
    wrong = rows - np.bincount(code[learnt], weights=rarer[row[learnt]], minlength=size)
    sure = (rows * other >= _LEAST) & (wrong <= _STRAY * other * rows)
    held = np.unique(row[~learnt & sure[code]])
    if len(held) * other < _SURE or (rarer[held] == 0).sum() > _STRAY * other * len(held):
        return ""
    value = int(label[train].mean() < 0.5)
    return (
        f"it is {value} in all of {len(held):,} held-out rows, and in those of training, where it "
        f"is {value} in {1 - other:.1%} of all rows"
    )


def told_of_doubles(at: Evidence) -> tuple[dict[str, int], list[Finding]]:
    """How many rows stand twice, and held-out ones in training too; whether that is many.

    Where group and time say whose a row is and when, rows are alike that have the same in all
    declared columns; else in all columns that there are, but for those that name each row. Where
    that is so little that rows are alike by chance, they are as often alike but for the label, and
    nothing is told. Where group and time are known, rows alike but for the label are told as well.
    """
    table, fields = at.table, at.fields
    names, labels = _compared(table, fields), fields.label_columns
    hashed = _hashes(table, names)
    number, held, distinct = len(hashed), hashed[at.part > 0], len(np.unique(hashed))
    copies, both = number - distinct, int(np.isin(held, hashed[at.part == 0]).sum())
    facts = {"doubled rows": copies, "held-out rows that training has too": both}
    many = copies >= DOUBLED * number or both >= DOUBLED * len(held)
    timed = fields.group is not None and fields.time is not None
    if not many and not timed:
        return facts, []
    unlike = len(np.unique(_hashes(table, [name for name in names if name not in labels])))
    but_label = distinct - unlike
    rate = float(at.labels()[:, 0].mean())
    alike = (rate**2 + (1 - rate) ** 2) / (2 * rate * (1 - rate))  # labels of two rows, or unlike
    # Copies, if it is by chance that rows are alike but for the label.
    by_chance = alike * but_label
    told, of = [], f"of {number:,} rows are"
    if many and copies > _CHANCE * by_chance:
        told.append(
            f"{copies:,} {of} exact copies of another row, and {both:,} of {len(held):,} held-out "
            "rows stand in training too. If one event was written twice, keep one of its rows: "
            "what was trained on tests nothing."
        )
    elif timed and but_label >= DOUBLED * number and _CHANCE * copies < by_chance:
        told.append(
            f"{but_label:,} {of} copies of another row in all but the label. If a click is written "
            "beside the impression that it came of, keep one row of the two, that with the click."
        )
    return facts, [at.finding(ROWS, sentence) for sentence in told]


def _compared(table: ClickTable, fields: Fields) -> list[str]:
    """The columns in which copies are alike: none with another text in each row, or the numbers
    from one to the next.
    """
    schema, rows = table.rows.collect_schema(), table.info["rows"]
    names = [name for name in schema if name not in (PART, TIME)]
    used = {*fields.features, *fields.roles().values(), *fields.label_columns}
    if fields.group and fields.time:
        names = [name for name in names if name in used]
    kept, asked = used - {*fields.categorical}, []
    for name in names:
        if name in kept or schema[name].is_nested() or schema[name].is_float():
            continue
        whole = pl.col(name).cast(pl.Int64, strict=False)
        # Numbers of something else, such as times, do not go from one row to the next.
        numbered = (whole.count() == 0) | (whole.max() - whole.min() == rows - 1)
        many = pl.col(name).approx_n_unique() >= _NEARLY * rows
        asked.append((numbered & many).alias(name))
    likely = table.rows.select(pl.lit(0), *asked).collect(engine="streaming").row(0, named=True)
    exact = [pl.col(name).n_unique() == rows for name in likely if likely[name]]
    row_ids = table.rows.select(pl.lit(0), *exact).collect(engine="streaming").row(0, named=True)
    return [name for name in names if not row_ids.get(name)]


def _hashes(table: ClickTable, names: list[str]) -> NDArray[np.uint64]:
    """A hash of some columns of each row, uint64 [N]: ``12`` and ``12.0`` are the same."""
    hashed = np.zeros(table.info["rows"], dtype=np.uint64)
    for start, frame in table.blocks(*names):
        same = [
            pl.coalesce(ids(pl.col(name), dtype), as_text(pl.col(name), dtype)).alias(name)
            for name, dtype in frame.schema.items()
            if not dtype.is_nested()
        ]
        hashed[start : start + len(frame)] = frame.with_columns(same).hash_rows(seed=0).to_numpy()
    return hashed


def told_of_unknown(at: Evidence, missed: dict[str, Ints]) -> Iterator[Finding]:
    """Each field whose values training often does not know, if it well could: what leaving out one
    row of training makes unknown is to be expected. ``missed``: rows by part, int64 [3], by field.
    """
    encoded, trained = at.encoded, len(at.encoded.train)
    for name, rows in missed.items():
        if name in at.fields.hash_size:
            continue
        known = encoded.vocabulary.filter(pl.col("field") == name)["count"]
        once = known.filter(known <= at.fields.least(name)).sum()
        expected = min(1.0, (int(once) + int(rows[0])) / trained)
        shares = {part: (int(rows[PARTS.index(part)]), len(encoded.part(part))) for part in _HELD}
        bound = max(UNKNOWN, 2 * expected)
        high = [
            f"in {count:,} of {number:,} rows of {part}"
            for part, (count, number) in shares.items()
            if count >= max(_LEAST, bound * number)
        ]
        if high:
            yield at.finding(
                name,
                f"{' and '.join(high)} the value of '{name}' is one that training does not know. "
                "If they are not new by then, are they written alike in all files?",
            )


def _coded(
    at: Evidence, rows: Ints, train: Mask
) -> Iterator[tuple[str, Ints, int, tuple[int, ...]]]:
    """Name, codes int64 [n, W], their number, and those that are missing or unknown, by field."""
    fields, encoded = at.fields, at.encoded
    mine, missing = slices(encoded.schema), encoded.vocabulary.filter(pl.col("value").is_null())
    for field in encoded.schema.of("categorical") + encoded.schema.of("multi_valued"):
        if field.name not in fields.numeric:
            ids = np.asarray(encoded.ids[rows, mine[field.name]], np.int64)
            empty = missing.filter(pl.col("field") == field.name)["id"] - field.start
            codes = np.where(ids == 0, -1, ids - field.start)
            yield field.name, codes, field.size, (0, *empty)
    for name in fields.numeric:
        blocks = []
        for start, frame in at.table.blocks(name):
            first, end = np.searchsorted(rows, (start, start + len(frame)))
            blocks.append(columns.numbers(frame[name])[rows[first:end] - start])
        x = np.concatenate(blocks)
        finite = np.isfinite(x)
        seen = x[train & finite]
        if not len(seen):
            continue
        edges = np.unique(np.quantile(seen, np.arange(1, _BINS) / _BINS))
        codes = np.searchsorted(edges, x, side="right")
        none = len(edges) + 1
        yield name, np.where(finite, codes, none)[:, None], none + 1, (none,)


def _rates(codes: Ints, size: int, label: NDArray[np.float32], train: Mask) -> Floats:
    base = float(label[train].mean())
    learnt = codes[train]
    row, place = np.nonzero(learnt >= 0)
    code = learnt[row, place]
    clicks = np.bincount(code, weights=label[train][row], minlength=size)
    rate = (clicks + base) / (np.bincount(code, minlength=size) + 1)
    held = codes[~train]
    mask = held >= 0
    total = np.where(mask, rate[held], 0).sum(axis=1)
    return np.where(mask.any(axis=1), total / np.maximum(1, mask.sum(axis=1)), base)
