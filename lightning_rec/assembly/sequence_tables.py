"""What a run of sequences keeps of its users."""

import numpy as np
import polars as pl

from lightning_rec.data.pipeline import AuditedLog
from lightning_rec.data.split import Split
from lightning_rec.metrics.ranking import Ranks


def users_of(loaded: AuditedLog) -> pl.DataFrame:
    """``user`` and ``items``, List[UInt32] of item codes, oldest first; row i is user code i."""
    split = loaded.data.split
    flat = pl.DataFrame({"item": pl.Series(np.asarray(split.items)).cast(pl.UInt32)})
    of = np.repeat(np.arange(split.num_users, dtype=np.uint32), np.diff(split.offsets))
    lists = flat.with_columns(code=of).group_by("code", maintain_order=True).agg("item")
    users = loaded.data.log.users.select("user").with_row_index("code")
    told = users.join(lists, "code", "left", maintain_order="left").drop("code")
    return told.with_columns(pl.col("item").fill_null([])).rename({"item": "items"})


def per_user(ranks: Ranks, loaded: AuditedLog) -> pl.DataFrame:
    """One row per test target; rank is null where the target was no candidate: cold, or seen."""
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
        }
    )
