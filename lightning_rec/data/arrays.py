"""From events, marked with what they are for, to the flat arrays of a split."""

from itertools import takewhile
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from lightning_rec.data.chance import bits
from lightning_rec.data.filters import Ordered
from lightning_rec.data.repeats import Repeats, counted, none_left, repeats, told
from lightning_rec.data.schema import Interactions
from lightning_rec.data.split import Examples, Order, Split
from lightning_rec.data.types import Ints, Mask
from lightning_rec.errors import UserError, listed

if TYPE_CHECKING:
    from lightning_rec.data.protocol import SplitProtocol

Cold = Literal["miss", "exclude", "rank"]


class Targets(NamedTuple):
    """What a protocol decides, as masks over the ordered events (bool [N]).

    boundaries: times where validation and test begin, if any.
    order: what the events of a user are ordered by; see :class:`Split`.
    parts: int64 [N], the part of each event, ascending within a user: the history of a target ends
        before its user's first event of the same part. None: it holds all events before the target.
    whole: each user, then a session, belongs to one part, that in which its last event lies.
    """

    train: Mask
    val: Mask
    test: Mask
    boundaries: tuple[float, float] | None
    order: Order = "time"
    parts: Ints | None = None
    whole: bool = False
    notes: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """What the events are cut into."""
        return "session" if self.whole else "user"


def arrays(
    data: Interactions,
    events: Ordered,
    targets: Targets,
    counts: dict[str, int],
    protocol: "SplitProtocol",
) -> Split:
    """Build the vocabulary from training events only, then the arrays that batches are cut from."""
    num_users, num_known = data.info["users"], data.info["items"]
    train_counts = np.bincount(events.item[targets.train], minlength=num_known)
    # Items with training events, then those without where they are ranked, as catalogued.
    ranked = num_known if protocol.cold_targets == "rank" else np.sum(train_counts > 0)
    vocabulary = np.argsort(train_counts == 0, kind="stable")[:ranked]
    code = np.full(num_known, -1, dtype=np.int64)
    code[vocabulary] = np.arange(len(vocabulary))
    item = code[events.item]
    known = item >= 0
    before = np.append(0, np.cumsum(known))  # known events before each event
    offsets = np.append(0, np.cumsum(np.bincount(events.user[known], minlength=num_users)))
    train_length = np.bincount(events.user[targets.train], minlength=num_users)
    until, found = _until(events.user, targets), repeats(events, targets.order)
    has_history = before[until] > offsets[events.user]  # something known happened before
    kinds = _kinds(has_history, known, train_counts[events.item] == 0, found, until, protocol)

    def examples(mask: Mask) -> Examples:
        at = np.flatnonzero(mask & kinds.tested)
        target = np.where(kinds.missed[at], -1, item[at])
        return Examples(events.user[at], before[until[at]], target, events.row[at], kinds.seen[at])

    val, test = examples(targets.val), examples(targets.test)
    counts = counts | _counts(events, targets, val, test, kinds, found)
    return Split(
        offsets=offsets,
        items=item[known].astype(np.int32),
        rows=events.row[known],
        train_end=offsets[:-1] + train_length,
        vocabulary=vocabulary,
        train_counts=train_counts[vocabulary],
        val=val,
        test=test,
        boundaries=targets.boundaries,
        counts=counts,
        notes=_notes(data, events, targets, test, counts, protocol),
        times=None if events.time is None else events.time[known],
        order=targets.order,
        whole=targets.whole,
        seen=protocol.seen,
    )


def without_new(
    events: Ordered, targets: Targets, share: float, seed: int
) -> tuple[Ordered, Targets]:
    """Drop the events, but for targets, of a random ``share`` of the items."""
    if not share:
        return events, targets
    items = np.unique(events.item)
    order = np.argsort(bits(seed, items), kind="stable")
    new = items[order[: round(share * len(items))]]
    kept = ~np.isin(events.item, new) | targets.val | targets.test
    train, val, test = (mask[kept] for mask in targets[:3])
    parts = None if targets.parts is None else targets.parts[kept]
    targets = targets._replace(train=train, val=val, test=test, parts=parts)
    return events.taken(np.flatnonzero(kept)), targets


class _Kinds(NamedTuple):
    """What events would be as targets, each bool [N].

    tested: an example is made of it. missed: in that, it is no candidate for being seen before.
    alone: no known event is before it; it is of none of the kinds that follow.
    cold: without training events. seen: its user had the item before. doubled: it is a copy of an
        earlier event.
    """

    tested: Mask
    missed: Mask
    alone: Mask
    cold: Mask
    seen: Mask
    doubled: Mask


def _kinds(
    has_history: Mask,
    known: Mask,
    untrained: Mask,
    found: Repeats,
    until: Ints,
    rules: "SplitProtocol",
) -> _Kinds:
    """Sort events by what the protocol makes of targets; each argument is bool [N]."""
    told = has_history & known if rules.cold_targets == "exclude" else has_history
    seen, doubled = (found.first < until) & told, (found.alike < until) & told
    # A seen target must not be the only seen item among the candidates: that alone would tell it.
    barred = seen if rules.seen == "filter" else doubled
    missed = barred & (rules.seen == "filter") & (rules.seen_targets == "miss")
    tested = has_history & (~barred | missed)
    if rules.cold_targets == "exclude":
        tested &= known
    return _Kinds(tested, missed, ~has_history, has_history & untrained & ~barred, seen, doubled)


def _until(user: Ints, targets: Targets) -> Ints:
    """The place that the history of each event ends before, were it a target: int64 [N]."""
    if targets.parts is None:
        return np.arange(len(user))
    first = np.append(True, (np.diff(user) != 0) | (np.diff(targets.parts) != 0))
    return np.asarray(np.flatnonzero(first)[np.cumsum(first) - 1])


def _counts(
    events: Ordered,
    targets: Targets,
    val: Examples,
    test: Examples,
    kinds: _Kinds,
    found: Repeats,
) -> dict[str, int]:
    user, stages = events.user, (("val", targets.val), ("test", targets.test))
    left = {} if targets.whole else {"users not evaluated": len(np.setdiff1d(user, test.user))}
    return {
        f"{targets.unit}s": len(np.unique(user)),
        "train events": int(targets.train.sum()),
        "val targets": val.size,
        "test targets": test.size,
        **{
            f"{kind} {stage} targets": int(getattr(kinds, kind)[mask].sum())
            for kind in ("cold", "seen", "doubled")
            for stage, mask in stages
        },
        **{
            f"{stage} targets without a history": int(kinds.alone[at].sum()) for stage, at in stages
        },
        **left,
        **counted(events, found, f"{targets.unit}s"),
    }


def _notes(
    data: Interactions,
    events: Ordered,
    targets: Targets,
    test: Examples,
    counts: dict[str, int],
    rules: "SplitProtocol",
) -> tuple[str, ...]:
    """Say how many users have no test target, and who they are; and what repeats there are."""
    words = (rules.seen, rules.seen_targets, targets.order)
    timed = events.time is not None
    notes = (*targets.notes, *told(counts, *words, timed=timed, unit=targets.unit,
                                    dropped=rules.drop_repeats))  # fmt: skip
    missing = np.setdiff1d(events.user, test.user)
    if not len(missing) or targets.whole:
        return notes
    names = data.users["user"].gather(missing[:12].tolist()).to_list()
    more = f" and {len(missing) - 12:,} more" if len(missing) > 12 else ""
    short = len(np.setdiff1d(missing, events.user[targets.test]))
    drawn = "" if rules.test_users is None else ", or were not drawn"
    why = {f"too few events, or none in the test part{drawn}": short}
    why["a target that is left out (cold, seen before, no history)"] = len(missing) - short
    untested = (
        f"{len(missing):,} of {len(np.unique(events.user)):,} users have no test target under "
        f"protocol={rules.name}: {listed(f'{n:,} have {what}' for what, n in why.items() if n)}. "
        f"Their training events are used, they are not evaluated ({listed(names)}{more})."
    )
    return (untested, *notes)


def check_parts(events: Ordered, protocol: "SplitProtocol", data: str) -> None:
    """Raise UserError if data that came split would be split anew, or the other way round."""
    if protocol.given and events.part is None:
        raise UserError(
            f"protocol={protocol.name}: {data} came without a split. Your own files can be given "
            "as data.path=TRAIN data.val=FILE data.test=FILE; else choose protocol=leave_one_out, "
            "temporal or random_items."
        )
    if events.part is not None and not protocol.given:
        raise UserError(
            f"protocol={protocol.name} would mix the parts that {data} came with, and split anew: "
            "say protocol=given, or drop data.val and data.test."
        )


def check_usable(split: Split, protocol: "SplitProtocol") -> None:
    """Raise UserError, with the counts and what to do, where a split cannot be used."""
    if split.num_items == 1:
        raise UserError(
            f"protocol={protocol.name} leaves 1 item in training: there is nothing to rank. Loosen "
            "the filters, or check the column of items."
        )
    validation = {"validation": split.val} if protocol.validates else {}
    for stage, examples in {**validation, "test": split.test}.items():
        if not examples.size:
            steps = takewhile(lambda step: "target" not in step[0], split.counts.items())
            counts = ", ".join(f"{step}: {number:,}" for step, number in steps)
            why = none_left(split.counts, "val" if stage == "validation" else stage)
            if not why or split.boundaries is not None:
                why = f"{why} {protocol.shortfall(split)}".strip()
            raise UserError(f"protocol={protocol.name} leaves no {stage} targets ({counts}). {why}")
    cutoffs = protocol.cutoffs
    if max(cutoffs) >= split.num_items:
        fit = [k for k in cutoffs if k < split.num_items] or [1]
        shown = ",".join(map(str, fit))
        raise UserError(
            f"protocol.cutoffs asks for the top {max(cutoffs)}, but only {split.num_items} items "
            f"are left in training: use cut-offs below that, as in 'protocol.cutoffs=[{shown}]' "
            f"monitor=val/ndcg@{fit[-1]}."
        )
