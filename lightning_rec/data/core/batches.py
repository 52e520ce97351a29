"""Batches of any kind of data: their sampler and their loader. Nothing here knows Lightning."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import PositiveInt
from torch.utils.data import DataLoader, Sampler

from lightning_rec.data.chance import bits, uniform
from lightning_rec.data.types import Ints, Mask
from lightning_rec.ranges import Workers

Batch = TypeVar("Batch")
Part = Literal["train", "val", "test"]


class BatchSampler(Sampler[list[int]]):
    """Cuts ``range(size)`` into batches and assigns whole batches to processes in turn.

    Batches are the same however many processes there are, so evaluation gives the same bits on one
    and on many; nothing is padded, repeated or dropped. A process that is left without any gets one
    empty batch. In training (``shuffle``) the order depends on seed and epoch alone, which lets a
    resumed run repeat it, and batches that cannot be shared evenly are dropped for that epoch,
    since every process must take the same number of steps.
    """

    def __init__(
        self, size: int, batch_size: int, *, shuffle: bool, seed: int, rank: int, processes: int
    ) -> None:
        self.size, self.batch_size, self.shuffle = size, batch_size, shuffle
        self.seed, self.rank, self.processes = seed, rank, processes
        self.epoch = 0
        self.dealt = 0  # batches of the next pass that were dealt already, before a stop

    @property
    def sampler(self) -> "BatchSampler":
        """Lightning looks here for an object whose epoch it may set."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        batches = -(-self.size // self.batch_size)
        if self.shuffle:
            return max(1, batches // self.processes)
        # Lightning skips evaluation on a process without batches, and the others wait for it.
        return max(1, len(range(self.rank, batches, self.processes)))

    def __iter__(self) -> Iterator[list[int]]:
        order = None
        if self.shuffle:
            generator = np.random.default_rng([self.seed, self.epoch])
            order = generator.permutation(np.arange(self.size, dtype=np.min_scalar_type(self.size)))
        dealt, self.dealt = self.dealt, 0
        for number in range(dealt, len(self)):
            batch = number * self.processes + self.rank
            if self.shuffle:  # with fewer batches than processes, some take the same one
                batch %= -(-self.size // self.batch_size)
            start, stop = batch * self.batch_size, min(self.size, (batch + 1) * self.batch_size)
            yield order[start:stop].tolist() if order is not None else list(range(start, stop))


class BatchLoader(DataLoader[Any]):
    """Loads whole batches, and knows how many of an epoch were taken. Nothing is fetched before the
    first is asked for: Lightning makes the iterator before it says where to begin.
    """

    batch_sampler: BatchSampler
    dealt = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """The batches of an epoch, or what is left of one."""
        self.dealt = self.batch_sampler.dealt
        for batch in super().__iter__():
            self.dealt += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """How far this epoch is."""
        return {"dealt": self.dealt}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Leave out, in the next pass, what was dealt already."""
        self.batch_sampler.dealt = state["dealt"]


@dataclass(eq=False, kw_only=True)
class BatchData(ABC):
    """The batches of each stage: shuffled examples to train on, all others in their order.

    ``trains`` is what an example to train on is called.

    Args:
        seed: fixes the order of training batches, together with the epoch.
        batch_size: examples per training batch and process.
        eval_batch_size: examples per batch in evaluation.
        num_workers: processes that prepare batches; 0 prepares them in the training process,
            which is fastest: a batch is one look-up in memory.
    """

    trains: ClassVar[str] = "rows"

    seed: int
    batch_size: PositiveInt
    eval_batch_size: PositiveInt
    num_workers: Workers = 0

    @abstractmethod
    def batches(self, part: Part) -> Any:
        """The examples of a part: a sized Dataset whose ``__getitems__`` fetches a whole batch."""

    def loader(self, part: Part, trainer: Any = None) -> "BatchLoader":
        """The batches of a part for this process of a trainer; all of them without one."""
        examples = self.batches(part)
        sampler = BatchSampler(
            len(examples),
            self.batch_size if part == "train" else self.eval_batch_size,
            shuffle=part == "train",
            seed=self.seed,
            rank=trainer.global_rank if trainer else 0,
            processes=trainer.world_size if trainer else 1,
        )
        return BatchLoader(
            examples,
            batch_sampler=sampler,
            collate_fn=_whole,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )


def narrowed(new: Mask, replay: float, seed: int) -> tuple[Ints, tuple[int, int]]:
    """The numbers of new examples, bool [n], and of a share of the others that the seed draws,
    rising: int64; and how many of each.
    """
    number = np.arange(len(new))
    chosen = new | (uniform(bits(seed, number)) <= replay)
    return number[chosen], (int(new.sum()), int((chosen & ~new).sum()))


def _whole(batch: Batch) -> Batch:
    """Collate nothing: the data set already fetched a whole batch."""
    return batch
