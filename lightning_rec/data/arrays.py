"""From events, marked with what they are for, to the flat arrays of a split."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_rec.data.filters import Ordered
from lightning_rec.data.schema import Interactions
from lightning_rec.data.split import Examples, Order, Split
from lightning_rec.errors import listed

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Cold = Literal["miss", "exclude", "rank"]


class Targets(NamedTuple):
    """What a protocol decides, as masks over the ordered events (bool [N]).

    boundaries: times where validation and test begin, if any.
    order: what the events of a user are ordered by; see :class:`Split`.
    apart: the history of a target ends before its user's first target of the same part; else it
        holds all events before the target.
    notes: what the user should know about how it was split, in sentences.
    whole: each user, then a session, belongs to one part, that in which its last event lies.
    """

    train: Mask
    val: Mask
    test: Mask
    boundaries: tuple[int, int] | None
    order: Order = "time"
    apart: bool = False
    whole: bool = False
    notes: tuple[str, ...] = ()


def arrays(
    data: Interactions,
    events: Ordered,
    targets: Targets,
    counts: dict[str, int],
    protocol: str,
    *,
    cold_targets: Cold,
) -> Split:
    """Build the vocabulary from training events only, then the arrays that batches are cut from.

    Args:
        data: the prepared data, for its size and the names of users.
        events: what passed the filters.
        targets: what each event is for.
        counts: what the filters left, to be kept with what the split left.
        protocol: its name, for the notes.
        cold_targets: what becomes of targets without training events: ``miss`` keeps them as such,
            ``exclude`` does not, ``rank`` makes all items without training events candidates, with
            the highest codes.
    """
    num_users, num_known = data.info["users"], data.info["items"]
    train_counts = np.bincount(events.item[targets.train], minlength=num_known)
    # Items with training events first, each kind in the order of the catalogue.
    vocabulary, trained = np.argsort(train_counts == 0, kind="stable"), np.sum(train_counts > 0)
    vocabulary = vocabulary if cold_targets == "rank" else vocabulary[:trained]
    code = np.full(num_known, -1, dtype=np.int64)
    code[vocabulary] = np.arange(len(vocabulary))
    item = code[events.item]
    known = item >= 0
    before = np.append(0, np.cumsum(known))  # known events before each event
    offsets = np.append(0, np.cumsum(np.bincount(events.user[known], minlength=num_users)))
    train_length = np.bincount(events.user[targets.train], minlength=num_users)

    def examples(mask: Mask) -> Examples:
        until = _firsts(events.user, mask) if targets.apart else np.arange(len(mask))
        at = np.flatnonzero(mask & known if cold_targets == "exclude" else mask)
        at = at[before[until[at]] > offsets[events.user[at]]]  # something known happened before
        return Examples(events.user[at], before[until[at]], item[at], events.row[at])

    val, test = examples(targets.val), examples(targets.test)
    cold = ~known | (item >= trained)
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
        counts=counts | _counts(events.user, targets, val, test, cold),
        notes=(*targets.notes, *_notes(data, events.user, targets, test, protocol)),
        times=None if events.time is None else events.time[known],
        order=targets.order,
        whole=targets.whole,
    )


def _firsts(user: Ints, mask: Mask) -> Ints:
    """For each event in ``mask`` the place of its user's first one, int64 [N]; users are sorted."""
    at, firsts = np.flatnonzero(mask), np.zeros(len(mask), dtype=np.int64)
    _, first, which = np.unique(user[at], return_index=True, return_inverse=True)
    firsts[at] = at[first][which]
    return firsts


def _counts(
    user: Ints, targets: Targets, val: Examples, test: Examples, cold: Mask
) -> dict[str, int]:
    """What the split left, by name; ``cold`` says which events have untrained items."""
    left = {} if targets.whole else {"users not evaluated": len(np.setdiff1d(user, test.user))}
    return {
        "sessions" if targets.whole else "users": len(np.unique(user)),
        "train events": int(targets.train.sum()),
        "val targets": val.size,
        "test targets": test.size,
        "cold val targets": int(cold[targets.val].sum()),
        "cold test targets": int(cold[targets.test].sum()),
        **left,
    }


def _notes(
    data: Interactions, user: Ints, targets: Targets, test: Examples, protocol: str
) -> tuple[str, ...]:
    """Say how many users have no test target, and who they are."""
    missing = np.setdiff1d(user, test.user)
    if not len(missing) or targets.whole:
        return ()
    names = data.users["user"].gather(missing[:12].tolist()).to_list()
    more = f" and {len(missing) - 12:,} more" if len(missing) > 12 else ""
    return (
        f"{len(missing):,} of {len(np.unique(user)):,} users have no test target under "
        f"protocol={protocol}: their training events are used, they are not evaluated "
        f"({listed(names)}{more}).",
    )
