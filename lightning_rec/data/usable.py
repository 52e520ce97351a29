"""Whether a protocol fits the data, and its split leaves anything to learn from, rank and test."""

from collections.abc import Callable, Sequence
from itertools import takewhile

from lightning_rec.data.filters import Ordered
from lightning_rec.data.repeats import none_left
from lightning_rec.data.split import Split
from lightning_rec.errors import UserError


def check_parts(events: Ordered, protocol: str, data: str, *, given: bool) -> None:
    """Raise UserError if data that came split, by name, would be split anew by a protocol that does
    not take it as ``given``, or the other way round.
    """
    if given and events.part is None:
        raise UserError(
            f"protocol={protocol}: {data} came without a split. Your own files can be given as "
            "data.path=TRAIN data.val=FILE data.test=FILE; else choose protocol=leave_one_out, "
            "temporal or random_items."
        )
    if events.part is not None and not given:
        raise UserError(
            f"protocol={protocol} would mix the parts that {data} came with, and split anew: say "
            "protocol=given, or drop data.val and data.test."
        )


def check_usable(
    split: Split,
    protocol: str,
    cutoffs: Sequence[int],
    needs: Callable[[Split], str],
    *,
    validates: bool,
) -> None:
    """Raise UserError, with the counts and what to do, where a split cannot be used; ``needs`` says
    what it takes for a target.
    """
    if split.num_items == 1:
        raise UserError(
            f"protocol={protocol} leaves 1 item in training: there is nothing to rank. Loosen the "
            "filters, or check the column of items."
        )
    wanted = {"validation": split.val} if validates else {}
    for stage, examples in {**wanted, "test": split.test}.items():
        if not examples.size:
            steps = takewhile(lambda step: "target" not in step[0], split.counts.items())
            counts = ", ".join(f"{step}: {number:,}" for step, number in steps)
            why = none_left(split.counts, "val" if stage == "validation" else stage)
            if not why or split.boundaries is not None:
                why = f"{why} {needs(split)}".strip()
            raise UserError(f"protocol={protocol} leaves no {stage} targets ({counts}). {why}")
    if max(cutoffs) >= split.num_items:
        fit = [k for k in cutoffs if k < split.num_items] or [1]
        shown = ",".join(map(str, fit))
        raise UserError(
            f"protocol.cutoffs asks for the top {max(cutoffs)}, but only {split.num_items} items "
            f"are left in training: use cut-offs below that, as in 'protocol.cutoffs=[{shown}]' "
            f"monitor=val/ndcg@{fit[-1]}."
        )
