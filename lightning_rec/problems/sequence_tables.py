"""What is measured of a run of sequences, and what it keeps of its users."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lightning_rec.data.features import multi_hot
from lightning_rec.data.pipeline import AuditedLog
from lightning_rec.data.split import Split
from lightning_rec.data.splits import SplitProtocol
from lightning_rec.metrics.measure import Measure
from lightning_rec.metrics.ranking import RankingMetrics, Ranks
from lightning_rec.metrics.slices import slices_of_targets


def users_of(loaded: AuditedLog) -> pl.DataFrame:
    """``user`` and ``items``, List[UInt32] of item codes, oldest first; row i is user code i."""
    split = loaded.data.split
    flat = pl.DataFrame({"item": pl.Series(np.asarray(split.items)).cast(pl.UInt32)})
    of = np.repeat(np.arange(split.num_users, dtype=np.uint32), np.diff(split.offsets))
    lists = flat.with_columns(code=of).group_by("code", maintain_order=True).agg("item")
    users = loaded.data.log.users.select("user").with_row_index("code")
    told = users.join(lists, "code", "left", maintain_order="left").drop("code")
    return told.with_columns(pl.col("item").fill_null([])).rename({"item": "items"})


def per_user(ranks: Ranks, loaded: AuditedLog, own: Mapping[str, Tensor]) -> pl.DataFrame:
    """One row per test target; rank is null where the target was no candidate: cold, or seen.

    ``own``: values of the user's own metrics, by name.
    """
    split: Split = loaded.data.split
    of = ranks.example.cpu().numpy()  # all, but for trainer.limit_test_batches
    user = np.asarray(split.test.user)[of]
    rank = pl.Series(ranks.rank.cpu().numpy())
    return pl.DataFrame(
        {
            "user": loaded.data.log.users["user"].gather(user.tolist()),
            "rank": rank.set(rank == 0, None),
            "candidates": ranks.candidates.cpu().numpy(),
            "history": np.asarray(split.test.end)[of] - split.offsets[:-1][user],
            "seen": np.asarray(split.test.seen)[of],
            **{name: values.cpu().numpy() for name, values in own.items()},
        }
    )


def metrics_of(
    protocol: SplitProtocol, loaded: AuditedLog, measured: tuple[Measure, ...]
) -> dict[str, Any]:
    """What is measured; slices and diversity in the test alone, which is made once."""
    (log, split), cutoffs = loaded.data, protocol.cutoffs
    counts = torch.from_numpy(split.train_counts.copy())
    history = split.test.end - split.offsets[split.test.user]
    target = torch.from_numpy(split.test.target.copy())
    seen = torch.from_numpy(split.test.seen.copy())
    kept = split.seen == "keep"
    slices = slices_of_targets(torch.from_numpy(history), target, seen, counts, kept)
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
