"""A split: flat arrays with offsets, kept on disk and memory-mapped, so that workers share them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_rec.data.kept import mapped
from lightning_rec.data.types import Ints, Mask
from lightning_rec.documents import read_json
from lightning_rec.files import write_json

if TYPE_CHECKING:
    from torch import Tensor

Order = Literal["time", "part", "none"]
Seen = Literal["filter", "keep"]
SPLIT_FORMAT = 7  # of a saved split: raise it when there are other arrays or notes than before


def ranges(start: Ints, end: Ints) -> tuple[Ints, Ints]:
    """All of ``arange(start[i], end[i])``, one after another, with the i of each: int64 [S] twice,
    i first.
    """
    length = end - start
    owner = np.repeat(np.arange(len(length)), length)
    return owner, np.arange(len(owner)) + (start - (np.cumsum(length) - length))[owner]


class Schema(NamedTuple):
    """What a model needs to know of the data.

    Item codes run from 0 to ``num_items - 1``; ``padding`` and ``mask`` are two more codes. User
    codes run from 0 to ``num_users - 1``. A model reads at most ``max_len`` items at once.
    """

    num_items: int
    max_len: int
    num_users: int

    @property
    def padding(self) -> int:
        """The code that fills short sequences."""
        return self.num_items

    @property
    def mask(self) -> int:
        """The code that stands where an item is hidden."""
        return self.num_items + 1


class Histories(NamedTuple):
    """What users did, and who they are.

    items: int64 [B, L]; item codes, oldest first, padded on the right to the longest of the batch.
    user: int64 [B]; user codes, -1 for a user that training did not know.
    times: int64 [B, L + 1]; whole seconds of the items, and from the latest on of what comes next:
        when it happened, or was asked for. None where nobody knows.
    events: int64 [B, L, F]; what columns of the log say of the items' events, as rows of a table
        of vectors, 0 where nothing is known: in padding, and where an item is hidden. None where
        there are no columns.
    about: int64 [B, G]; what columns say of the users, likewise.
    learnt: bool [B, L]; which items may be targets of training; None for all, and where nothing is
        trained. Objectives read it, models do not.
    """

    items: "Tensor"
    user: "Tensor"
    times: "Tensor | None" = None
    events: "Tensor | None" = None
    about: "Tensor | None" = None
    learnt: "Tensor | None" = None


class Examples(NamedTuple):
    """Evaluation targets, int64 [n] but for the last column, bool [n].

    user: user code. end: the history is ``items[offsets[user]:end]`` of the split.
    target: item code, or -1 for no candidate. row: row in the source table. seen: whether the user
        had the target's item before.
    """

    user: Ints
    end: Ints
    target: Ints
    row: Ints
    seen: Mask

    @property
    def size(self) -> int:
        """How many there are (``len`` of a tuple is its number of columns)."""
        return int(self.user.shape[0])


@dataclass(frozen=True)
class Split:
    """Train, validation and test of one data set under one protocol.

    offsets: int64 [num_users + 1]; user ``u`` owns ``items[offsets[u]:offsets[u + 1]]``, in time
        order: first the training events, then those of validation and test.
    order: what a user's events are ordered by: ``time``; ``part`` where they came split, and by
        time within a part; ``none`` where they were split at random and their order says nothing.
    whole: each user, then a session, belongs to one part; boundaries are of their last events.
    items: int32 [N] item codes.  rows: int64 [N] rows of the source table.
    times: [N] seconds since 1970, int64, or float64 where some have fractions; None where the data
        has no times.
    train_end: int64 [num_users]; training events of ``u`` are ``items[offsets[u]:train_end[u]]``.
    vocabulary: int64 [num_items]; item code -> code in the prepared catalogue.
    train_counts: int64 [num_items]; how often each item occurs in training.
    boundaries: times (seconds) where validation and test begin in a temporal split, else None.
    counts: what the filters and the split left, by name.
    seen: whether the items of a history are candidates (``keep``) or not (``filter``).
    notes: what the user should know about the split, in sentences.
    """

    offsets: Ints
    items: NDArray[np.int32]
    rows: Ints
    train_end: Ints
    vocabulary: Ints
    train_counts: Ints
    val: Examples
    test: Examples
    boundaries: tuple[float, float] | None
    counts: dict[str, int]
    notes: tuple[str, ...] = ()
    times: NDArray[Any] | None = None
    order: Order = "time"
    whole: bool = False
    seen: Seen = "filter"

    @property
    def num_items(self) -> int:
        """Number of candidates."""
        return len(self.vocabulary)

    @property
    def num_trained(self) -> int:
        """Number of candidates with training events; those without have the highest codes."""
        return int(np.flatnonzero(self.train_counts).max(initial=-1)) + 1

    @property
    def num_users(self) -> int:
        """Number of user codes, those without events included."""
        return len(self.train_end)

    def save(self, folder: Path) -> None:
        """Write the arrays into ``folder``; made if it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: getattr(self, name) for name in (*_ARRAYS, "times")}
        for stage, examples in (("val", self.val), ("test", self.test)):
            arrays |= {f"{stage}_{name}": column for name, column in examples._asdict().items()}
        for name, array in arrays.items():
            if array is not None:
                np.save(folder / f"{name}.npy", array, allow_pickle=False)
        names = ("boundaries", "counts", "notes", "order", "whole", "seen")
        write_json(folder / "split.json", {name: getattr(self, name) for name in names})

    @classmethod
    def load(cls, folder: Path) -> "Split":
        """Map the arrays of a saved split into memory, read-only."""
        facts: dict[str, Any] = read_json(folder / "split.json")
        boundaries = facts.pop("boundaries")
        return cls(
            **{name: mapped(folder, name) for name in (*_ARRAYS, "times")},
            val=Examples(*(mapped(folder, f"val_{name}") for name in Examples._fields)),
            test=Examples(*(mapped(folder, f"test_{name}") for name in Examples._fields)),
            **facts | {"notes": tuple(facts["notes"])},
            boundaries=tuple(boundaries) if boundaries else None,
        )


_ARRAYS = ("offsets", "items", "rows", "train_end", "vocabulary", "train_counts")
