"""What is measured of a run of sequences, and what it keeps of its users."""

from typing import Any

import numpy as np
import polars as pl
import torch

from lightning_rec.data.batches import NO_SIDE, SideRows, asked_at, seconds, times_of
from lightning_rec.data.features import multi_hot
from lightning_rec.data.pipeline import AuditedLog
from lightning_rec.data.protocol import SplitProtocol
from lightning_rec.data.split import Examples, Split
from lightning_rec.metrics.measure import Measure
from lightning_rec.metrics.ranking import RankingMetrics, Ranks
from lightning_rec.metrics.slices import slices_of_targets
from lightning_rec.monitoring.reference import hours_of_log
from lightning_rec.predict.asking import Asked
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.runs.tracking import Example

TRAINED = "trained"  # what of each user's events the training had
SHOWN = 5  # items of an example's history, and recommendations


def described_items(loaded: AuditedLog) -> pl.DataFrame:
    """The catalogue rows of the vocabulary: row i describes item i."""
    return loaded.data.log.items[loaded.data.split.vocabulary.tolist()]


def catalogue(loaded: AuditedLog) -> pl.DataFrame:
    """The same with a column ``code``."""
    return described_items(loaded).with_row_index("code")


def examples_of(
    predictor: SequencePredictor, loaded: AuditedLog, number: int, side: SideRows = NO_SIDE
) -> list[Example]:
    """``number`` test users, with the latest items of their histories and some of the best."""
    split: Split = loaded.data.split
    number = min(number, split.test.size)
    # Spread over the users, so that they are not all from the head of the file.
    chosen = np.linspace(0, split.test.size - 1, number).round().astype(int)
    user = np.asarray(split.test.user)[chosen].astype(np.int64)
    target = np.asarray(split.test.target)[chosen].tolist()
    lengths = np.asarray(split.test.end)[chosen] - split.offsets[user]
    items = [split.items[split.offsets[u] :][:n] for u, n in zip(user, lengths, strict=True)]
    row, times, at = pl.Series("row", np.arange(number)), times_of(split), None
    events = None if side.events is None else np.concatenate(
        [side.events[split.offsets[u] :][:n] for u, n in zip(user, lengths, strict=True)]
    )  # fmt: skip
    if times is not None:
        asked = Examples(*(np.asarray(each)[chosen] for each in split.test))
        at = seconds(times[asked_at(split, asked)])
        of_each = [times[split.offsets[u] :][:n] for u, n in zip(user, lengths, strict=True)]
        times = seconds(np.concatenate([*of_each, times[:0]]))
    flat = np.concatenate([*items, np.zeros(0, np.int32)]).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    question = Asked(row, flat, offsets, user, times, at, events)
    found = predictor.answer(question, min(SHOWN, split.num_items))
    names = [shown for shown in ("title", "item") if shown in found.columns]
    best = found.select("row", pl.coalesce(names).alias("name")).partition_by("row", as_dict=True)
    shown = catalogue(loaded).select(pl.coalesce(names))
    return [
        Example(
            loaded.data.log.users["user"][int(user[each])],
            shown[items[each][-SHOWN:].tolist()].to_series().to_list(),
            best[(each,)]["name"].to_list() if (each,) in best else [],
            split.order != "none",
            shown.item(target[each], 0) or "" if target[each] >= 0 else "",
        )
        for each in range(number)
    ]


def users_of(loaded: AuditedLog, *, timed: bool = False, side: SideRows = NO_SIDE) -> pl.DataFrame:
    """``user`` and ``items``, List[UInt32] of item codes, oldest first; row i is user code i.

    ``timed``: with their ``times``, List[Int64] of seconds, if the log has times. ``side``: with
    ``events``, the rows of each item's event, one after another, and ``about``, those of the user,
    List[UInt32] both.
    """
    split = loaded.data.split
    flat = pl.DataFrame({"items": pl.Series(np.asarray(split.items)).cast(pl.UInt32)})
    if timed and (times := times_of(split)) is not None:
        flat = flat.with_columns(times=pl.Series(seconds(np.asarray(times))))
    if side.events is not None:
        rows = pl.Series(side.events.astype(np.uint32))
        flat = flat.with_columns(events=rows.arr.to_list())
    of = np.repeat(np.arange(split.num_users, dtype=np.uint32), np.diff(split.offsets))
    lists = flat.with_columns(code=of).group_by("code", maintain_order=True).agg(flat.columns)
    users = loaded.data.log.users.select("user").with_row_index("code")
    told = users.join(lists, "code", "left", maintain_order="left").drop("code")
    told = told.with_columns(pl.col(flat.columns).fill_null([]))
    if side.events is not None:
        told = told.with_columns(pl.col("events").list.eval(pl.element().explode()))
    if side.about is None:
        return told
    return told.with_columns(about=pl.Series(side.about.astype(np.uint32)).arr.to_list())


def trained_of(loaded: AuditedLog) -> pl.DataFrame:
    """``events``, how many of each user's the training had, and ``until``, the time of the last of
    them (seconds), where there are times; row i is user code i.
    """
    split = loaded.data.split
    events = np.asarray(split.train_end) - split.offsets[:-1]
    told = pl.DataFrame({"events": pl.Series(events, dtype=pl.UInt32)})
    if split.times is None:
        return told
    until = pl.Series(np.asarray(split.times)[np.maximum(split.train_end - 1, 0)])
    return told.with_columns(until=until.set(pl.Series(events == 0), None))


def hours_of_events(loaded: AuditedLog) -> pl.DataFrame | None:
    """When in the day events are, as :func:`hours_of_log` has it; None without such times."""
    split = loaded.data.split
    if split.times is None:
        return None
    of = np.repeat(np.arange(split.num_users), np.diff(split.offsets))
    return hours_of_log(of, np.asarray(split.times))


def per_user(metrics: RankingMetrics, ranks: Ranks, loaded: AuditedLog) -> pl.DataFrame:
    """One row per test target; rank is null where the target was no candidate: cold, or seen.

    ``metrics``: of the test; their values that are of the user's own making are kept, by name.
    """
    split: Split = loaded.data.split
    of = ranks.example.cpu().numpy()  # all, but for trainer.limit_test_batches
    user, target = np.asarray(split.test.user)[of], pl.Series(np.asarray(split.test.target)[of])
    rank = pl.Series(ranks.rank.cpu().numpy())
    part = pl.Series([None] * len(of), dtype=pl.String)
    for name in ("head", "tail", "cold"):
        part = part.set(pl.Series(metrics.slices[name].cpu().numpy()[of]), name)
    own = metrics.per_example(ranks)
    return pl.DataFrame(
        {
            "user": loaded.data.log.users["user"].gather(user.tolist()),
            "rank": rank.set(rank == 0, None),
            "candidates": ranks.candidates.cpu().numpy(),
            "history": np.asarray(split.test.end)[of] - split.offsets[:-1][user],
            "seen": np.asarray(split.test.seen)[of],
            "item": described_items(loaded)["item"].gather(target.set(target < 0, None)),
            "popularity": part,
            **{name: values.cpu().numpy() for name, values in own.items()},
        }
    )


def metrics_of(
    protocol: SplitProtocol, loaded: AuditedLog, measured: tuple[Measure, ...]
) -> dict[str, Any]:
    """What is measured; slices and diversity in the test alone, which is made once."""
    log, split, cutoffs = loaded.data.log, loaded.data.split, protocol.cutoffs
    counts = torch.from_numpy(split.train_counts.copy())
    target = torch.from_numpy(split.test.target.copy())
    seen = torch.from_numpy(split.test.seen.copy())
    history = torch.from_numpy(split.test.end - split.offsets[split.test.user])
    slices = slices_of_targets(history, target, seen, counts, split.seen == "keep")
    features = multi_hot(log.items, np.asarray(split.vocabulary)) if log else None
    about = None if features is None else torch.from_numpy(features)
    metrics = {
        "val": RankingMetrics(counts, cutoffs, measured=measured),
        "test": RankingMetrics(counts, cutoffs, "", about, slices, measured=measured),
    }
    if protocol.candidates is None:
        return {"metrics": metrics, "sampled": None}
    suffix = protocol.candidates.suffix
    sampled = {s: RankingMetrics(counts, cutoffs, suffix, measured=measured) for s in metrics}
    return {"metrics": metrics, "sampled": sampled}
