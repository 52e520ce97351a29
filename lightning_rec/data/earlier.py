"""The training part of a split, split once more: what a ranker of candidates learns from.

A ranker has to see what retrievers would have shown before they knew its targets. So retrievers are
trained once more on the events before the latest ones of training, which are the ranker's targets.
"""

import numpy as np

from lightning_rec.data.arrays import Targets
from lightning_rec.data.core.audited import fail
from lightning_rec.data.filters import Ordered, picked
from lightning_rec.data.split import Split, ranges
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError


def earlier(events: Ordered, targets: Targets, which: str, name: str) -> tuple[Ordered, Targets]:
    """The training events alone, the latest of which become the test; nothing validates.

    Where the split is by time, as many events as validation has lie after a cut of its own, and
    ``which`` of a user's are targets (``first``, ``last`` or ``all``); else each user's last one.
    Targets are of the target behavior alone.
    ``name``: of the protocol. Raises UserError where events are not in the order of time.
    """
    if targets.whole or targets.order != "time" or targets.parts is not None:
        raise UserError(
            f"protocol.earlier=true takes the latest events of training, which protocol={name} "
            "does not know: use protocol=leave_one_out or temporal."
        )
    kept = events.taken(np.flatnonzero(targets.train))
    place = kept.places()[0]
    if targets.boundaries is None:
        after = kept.targets_after()
        test = kept.target & (after == 0) & (place > 0)
        tested = np.isin(kept.user, kept.user[test])
        return kept, Targets(~tested | (after > 0), np.zeros_like(test), test, None)
    assert events.time is not None
    assert kept.time is not None
    val_from, test_from = targets.boundaries
    held = int(((events.time >= val_from) & (events.time < test_from)).sum())
    cut = np.sort(kept.time)[max(0, len(kept.time) - max(1, held))].item()
    train = kept.time < cut
    known = np.isin(kept.user, kept.user[train])
    test = picked(kept, kept.target & known & ~train, which)  # type: ignore[arg-type]
    return kept, Targets(train, np.zeros_like(test), test, (cut, cut))


def audit_earlier(split: Split, before: Split) -> dict[str, int]:
    """Check that a split ``before``, of ``protocol.earlier``, holds training events of ``split``
    alone, and trains on none of its own targets; returns what was counted.

    Rows are those of the prepared table that both are of. Raises LeakError.
    """
    own = _rows(before, before.train_end)
    read = np.asarray(before.rows)
    target = np.asarray(before.test.row)
    known = _rows(split, split.train_end)
    held = {"validation": np.asarray(split.val.row), "test": np.asarray(split.test.row)}
    for part, rows in held.items():
        fail(f"a ranker's target is one of {part}", np.isin(target, rows), target)
        fail(f"a retriever of the ranker reads a target of {part}", np.isin(read, rows), read)
    fail("a ranker's target is no training event", ~np.isin(target, known), target)
    fail("a retriever of the ranker reads what does not train", ~np.isin(read, known), read)
    fail("a retriever of the ranker is trained on its target", np.isin(target, own), target)
    return {"ranker targets": len(target), "retriever events": len(own)}


def _rows(split: Split, end: Ints) -> Ints:
    return np.asarray(split.rows)[ranges(split.offsets[:-1], end)[1]]
