"""The leak audit of retention goals: labels by other means, and none that is known too late."""

import numpy as np
import polars as pl

from lightning_rec.data.clicks.evidence import Evidence
from lightning_rec.data.clicks.splits import times
from lightning_rec.data.core.audited import fail
from lightning_rec.data.shares import PARTS
from lightning_rec.data.times import divisor


def audit_returns(at: Evidence) -> None:
    """Check that each row's return is its group's next row in the window, and lies in its part.
    Raises LeakError where it does not.
    """
    if not at.fields.returns:
        return
    time, group = times(at.table, at.fields), np.asarray(at.encoded.group)
    unit = divisor(float(time.min()), float(time.max()), "auto")
    fail("a row of no group has a label of its return", (at.part >= 0) & (group < 0))
    assert at.encoded.boundaries is not None
    ends = (*at.encoded.boundaries, time.max())
    log = pl.DataFrame({"group": group, "time": time}).sort("time")
    for name, goal in at.fields.returns.items():
        after, within = (seconds * unit for seconds in goal.window)
        asked = pl.DataFrame({"group": group, "from": time + after}).with_row_index().sort("from")
        met = asked.join_asof(
            log.with_columns(pl.col("time").alias("next")),
            left_on="from",
            right_on="time",
            by="group",
            strategy="forward",
            check_sortedness=False,
        ).sort("index")
        came = met["next"].fill_null(float("inf")).to_numpy() < time + within
        label = at.labels()[:, list(at.fields.targets).index(name)]
        fail(f"the label of {name} is not that of the log", (at.part >= 0) & (came != label))
        for place, part in enumerate(PARTS):
            late = (at.part == place) & (time + within > ends[place])
            fail(f"a row of {part} has a label of {name} that is known after its part alone", late)
