"""What a gate compares: figures of each example of the newer run's test, by both models.

Runs of clicks are asked for the rows of that test, runs of matching for its queries.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch

from lightning_rec.build import load_run
from lightning_rec.build.agreement import check_data
from lightning_rec.data.clicks import columns
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.pipeline import AuditedClicks
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.matching.batches import QuerySet
from lightning_rec.data.matching.pairs import normalised
from lightning_rec.data.matching.splits import Matches
from lightning_rec.data.templates import render_template
from lightning_rec.data.types import Floats, Ints, Mask
from lightning_rec.errors import UserError, listed, suggest
from lightning_rec.figures import Name, parse
from lightning_rec.lab.examples import Values
from lightning_rec.metrics.matching import MatchMetrics, Scored
from lightning_rec.predict.clicks import ClickPredictor
from lightning_rec.problems.click_updating import check_test, rows_of, time_of
from lightning_rec.problems.clicks import Clicks
from lightning_rec.problems.match_updating import learnt_queries
from lightning_rec.problems.matching import Matching
from lightning_rec.retrieval.exact import Pairs as JudgedPairs
from lightning_rec.retrieval.texts import make_retriever
from lightning_rec.runs.folder import RunFolder

BLOCK = 16_384  # rows that are asked for at once
NEW, KNOWN, UNKNOWN, OLD = PARTS = ("new", "of known items", "of new items", "old")
ROW_FIGURES = ("auc", "logloss", "gauc")
CHANCE = 0.5  # an area under the curve that says nothing
LEAST = 1e-15  # of a probability, in a logarithm


@dataclass(frozen=True)
class Judged:
    """A figure of each of the n examples of a test, by two models.

    now, before: of the newer and the older one. parts: which examples are of which part, bool [n]
    each. better: ``max`` or ``min``. nothing: the figure of a model that knows nothing, which of a
    logloss says the base rate: what may be lost is a share of the distance to it.
    """

    now: Values
    before: Values
    parts: dict[str, Mask]
    better: str = "max"
    nothing: float = 0.0


def of_clicks(
    run: RunFolder, problem: Clicks, older: RunFolder, other: Clicks, figure: str
) -> Judged:
    """Two runs of clicks, asked for the rows of the newer one's test. ``figure``: ``auc``,
    ``logloss`` or ``gauc`` of the label, or of a goal, ``buy/auc``. Raises UserError if a row of it
    was learnt by the older one, or for another figure.
    """
    goals = problem.source.fields.goals
    name = row_figure(figure, problem.source.fields)
    if other.source.fields.goals.keys() != goals.keys():
        raise UserError("The runs predict different goals.")
    loaded = problem.load(cache_dir())
    check_data(run, problem, loaded)
    learnt, time = rows_of(older), time_of(loaded, problem.source.fields)
    check_test(older, loaded, time, learnt["train"][2], problem.source.fields)
    at = loaded.data.encoded.part("test")
    first, last = learnt["test"][1:]
    old = (time[at] >= first) & (time[at] <= last)
    scores = _scores(loaded, at, [load_run(each.path) for each in (run, older)], name.goal)
    values = [_of_rows(loaded, at, each, name.figure, name.goal) for each in scores]
    parts = {NEW: ~old, OLD: old}
    if (item := problem.source.fields.item) is not None:
        words = older.table("vocabulary").filter(pl.col("field") == item)["value"]
        shown = pl.concat([columns.text(frame[item]) for frame in _rows(loaded, at, [item])])
        known = shown.is_in(words.implode()).fill_null(False).to_numpy()
        parts = {NEW: ~old, KNOWN: ~old & known, UNKNOWN: ~old & ~known, OLD: old}
    if name.figure != "logloss":
        return Judged(values[0], values[1], parts, nothing=CHANCE)
    share = float(_labels(loaded, at, name.goal).mean())
    base = -sum(each * math.log(each) for each in (share, 1 - share) if each)
    return Judged(values[0], values[1], parts, "min", base)


def row_figure(figure: str, fields: Fields) -> Name:
    """``auc``, ``logloss`` or ``gauc``, of several goals of one. Raises UserError for another."""
    goals, name = fields.several, parse(f"test/{figure}")
    if name.figure not in ROW_FIGURES or name.k is not None or (name.goal or None) not in (
        goals or (None,)
    ):  # fmt: skip
        named = [f"{goal}/{each}" for goal in goals for each in ROW_FIGURES] or ROW_FIGURES
        raise UserError(f"figure={figure}: of runs of clicks it is one of {listed(named)}.")
    return name


def of_rows(run: RunFolder, loaded: AuditedClicks, fields: Fields, figure: str) -> Values:
    """A figure of each row of the test of ``loaded``, by the values that ``run`` knows. Raises
    UserError if the run has learnt one of them, or for another figure.
    """
    name = row_figure(figure, fields)
    check_test(run, loaded, time_of(loaded, fields), rows_of(run)["train"][2], fields)
    at = loaded.data.encoded.part("test")
    (score,) = _scores(loaded, at, [load_run(run.path)], name.goal)
    return _of_rows(loaded, at, score, name.figure, name.goal)


def _rows(loaded: AuditedClicks, at: Ints, names: list[str]) -> Any:
    """Some rows of the table, rising, as they came, block by block."""
    for start, frame in loaded.data.table.blocks(*names):
        first, last = np.searchsorted(at, [start, start + len(frame)])
        for begin in range(first, last, BLOCK):
            yield frame[(at[begin : min(last, begin + BLOCK)] - start).tolist()]


def _scores(loaded: AuditedClicks, at: Ints, models: list[Any], goal: str) -> list[Floats]:
    """What each model gives the rows ``at``, float64 [n], from their raw values."""
    assert all(isinstance(model, ClickPredictor) for model in models)
    fields, encoded = models[0].processor.fields, loaded.data.encoded
    names = [*fields.features, *filter(None, [fields.history])]
    found: list[list[Floats]] = [[] for _ in models]
    done = 0
    for frame in _rows(loaded, at, names):
        rows = at[done : done + len(frame)]
        done += len(frame)
        if fields.past is not None and encoded.past is not None:
            words = encoded.vocabulary.filter(pl.col("field") == fields.item).sort("id")["value"]
            start, end = (np.asarray(each)[rows] for each in (encoded.past.start, encoded.past.end))
            frame = frame.with_columns(history=_lists(encoded.past.items, start, end, words))
        for model, of in zip(models, found, strict=True):
            of.append(model.score(frame)[f"score_{goal}" if goal else "score"].to_numpy())
    return [np.concatenate(of) for of in found]


def _lists(items: Any, start: Ints, end: Ints, words: pl.Series) -> pl.Series:
    """The values of slices of ``items``, as lists."""
    from lightning_rec.data.split import ranges

    row, place = ranges(start, end)
    flat = pl.DataFrame({"row": row, "item": words.gather(np.asarray(items)[place].tolist())})
    lists = flat.group_by("row", maintain_order=True).agg("item")
    every = pl.DataFrame({"row": np.arange(len(start))})
    joined = every.join(lists, "row", "left", maintain_order="left")["item"]
    return joined.fill_null(pl.Series([[]], dtype=pl.List(pl.String)))


def _labels(loaded: AuditedClicks, at: Ints, goal: str) -> Mask:
    encoded = loaded.data.encoded
    labels = encoded.label[at].reshape(len(at), -1)
    label: Mask = labels[:, encoded.schema.goals.index(goal) if goal else 0] > 0
    return label


def _of_rows(loaded: AuditedClicks, at: Ints, score: Floats, figure: str, goal: str) -> Values:
    """A figure of each row; rows of one group are one unit, others each their own. A key says the
    group by its number in the table, a row without one by its own.
    """
    encoded, label = loaded.data.encoded, _labels(loaded, at, goal)
    group = np.full(len(at), -1) if encoded.group is None else np.asarray(encoded.group)[at]
    named = np.where(group < 0, -1 - at, group)
    unit = np.unique(named, return_inverse=True)[1].astype(np.int64)
    key = pl.Series("unit", named)
    if figure == "auc":
        return Values("test_rows", key, unit, score, label)
    value = -np.log(np.maximum(np.where(label, score, 1 - score), LEAST))
    if figure == "gauc":
        value = area_of_group(score, label, np.where(group < 0, -1, unit))
    return Values("test_rows", key, unit, value)


def area_of_group(score: Floats, label: Mask, group: Ints) -> Floats:
    """Of each row the area under the curve of its group, NaN where that has one class, or of none
    (-1): their mean over rows is GAUC. Float64 [n].
    """
    number = int(group.max(initial=-1)) + 1
    inside = group >= 0
    frame = pl.DataFrame({"group": group, "score": score})
    own = frame.select(pl.col("score").rank("average").over("group")).to_series().to_numpy()
    clicks = np.bincount(group[inside], weights=label[inside], minlength=number)
    rows = np.bincount(group[inside], minlength=number)
    won = np.bincount(group[inside], weights=(own * label)[inside], minlength=number)
    with np.errstate(divide="ignore", invalid="ignore"):
        area = (won - clicks * (clicks + 1) / 2) / (clicks * (rows - clicks))
    return np.where(inside, area[np.maximum(group, 0)], np.nan)


def of_queries(
    run: RunFolder, problem: Matching, older: RunFolder, other: Matching, figure: str
) -> Judged:
    """Two runs of matching, asked for the queries of the newer one's test, among all items of now,
    whose texts both read. ``figure``: of single queries, such as ``ndcg@10`` or ``judged/ndcg@10``.
    Raises UserError if the older one has learnt one of the queries, or for another figure.
    """
    loaded = problem.load(cache_dir())
    check_data(run, problem, loaded)
    asked = loaded.data.pairs.queries["query"].gather(loaded.data.test.tolist())
    key = pl.DataFrame({"query": asked}).select(normalised(pl.col("query"))).to_series()
    if learnt := int(key.is_in(learnt_queries(older).implode()).sum()):
        raise UserError(
            f"{learnt:,} of {len(key):,} queries of test are among those that {older.path} has "
            "learnt: give a test of others."
        )
    of_then = older.table("test_queries").select(normalised(pl.col("query"))).to_series()
    old = key.is_in(of_then.implode()).to_numpy()
    values = [
        _of_queries(made, by, loaded, problem, figure, key)
        for made, by in ((problem, run), (other, older))
    ]
    return Judged(values[0], values[1], {NEW: ~old, OLD: old})


@torch.no_grad()
def _of_queries(
    made: Matching,
    by: RunFolder,
    loaded: Audited[Matches],
    problem: Matching,
    figure: str,
    key: Any,
) -> Values:
    """A figure of each query of the test, by the model of a run."""
    pairs = loaded.data.pairs
    texts = (pairs.queries["query"].to_list(), render_template(pairs.items, "{title}"))
    retriever = make_retriever(made.restored(by), *texts, cache_dir())
    retriever.renew()
    metrics = MatchMetrics(pairs, problem.protocol.cutoffs, True, None, problem.measured)
    queries = QuerySet(loaded.data, "test")
    size = problem.cfg.batches.eval_batch_size
    for start in range(0, len(queries), size):
        batch = queries.__getitems__(list(range(start, min(len(queries), start + size))))
        found = retriever.top(batch.query, 1, JudgedPairs(batch.row, batch.item))
        metrics.update(batch.pair, found.score, found.rank)
    each = metrics.per_query(Scored(*(part.reshape(-1) for part in metrics.compute())))
    names = [name for name in each if name not in ("query", "judged", "relevant", "first")]
    if figure not in names:
        raise UserError(f"figure={figure}: of queries there is none.{suggest(figure, names)}")
    value = np.full(len(key), np.nan)
    value[np.searchsorted(loaded.data.test, each["query"].numpy())] = each[figure].double().numpy()
    return Values("test_queries", key, np.arange(len(key)), value)
