"""How good semantic ids are: how evenly codes are used, and which items have the same."""

from typing import Any

import numpy as np
import polars as pl

from lightning_rec.data.semantic.table import IdTable


def by_level(table: IdTable) -> pl.DataFrame:
    """A row a level: how its codes are used.

    ``level`` from 1; ``codes`` there are; ``used`` by an item; ``dead`` by none; ``perplexity``,
    the exponential of the entropy, so many codes used alike would be as even; ``largest``, the
    share of items with the most frequent one; ``prefixes``, different ids up to this level.
    """
    rows = []
    for level, size in enumerate(table.sizes):
        count = np.bincount(table.codes[:, level], minlength=size)
        share = count[count > 0] / max(1, count.sum())
        rows.append(
            {
                "level": level + 1,
                "codes": size,
                "used": int((count > 0).sum()),
                "dead": int((count == 0).sum()),
                "perplexity": float(np.exp(-(share * np.log(share)).sum())),
                "largest": float(share.max(initial=0)),
                "prefixes": len(np.unique(table.codes[:, : level + 1], axis=0)),
            }
        )
    return pl.DataFrame(rows)


def collisions(table: IdTable) -> dict[str, Any]:
    """Items whose codes, without the last digit that tells items apart, others have as well.

    ``items``, ``different`` codes, ``colliding`` items and their ``share``, the ``largest`` group.
    """
    codes = table.codes[:, : table.settings.levels]
    count = np.unique(codes, axis=0, return_counts=True)[1]
    colliding = int(count[count > 1].sum())
    return {
        "items": len(codes),
        "different": len(count),
        "colliding": colliding,
        "share": colliding / max(1, len(codes)),
        "largest": int(count.max(initial=0)),
    }
