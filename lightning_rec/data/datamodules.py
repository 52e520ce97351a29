"""The Lightning data modules: which batches each stage gets."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Protocol, TypeVar

import pytorch_lightning as pl
from pydantic import Field, PositiveInt
from torch.utils.data import DataLoader

from lightning_rec.data.batches import BatchSampler, EvalBatch, EvalSet, TrainBatch, TrainSet
from lightning_rec.data.candidates import Candidates
from lightning_rec.data.split import Examples, Schema, Split
from lightning_rec.ranges import Workers

Batch = TypeVar("Batch")


def _whole(batch: Batch) -> Batch:
    """Collate nothing: the data set already fetched a whole batch."""
    return batch


class SequenceData(pl.LightningDataModule):
    """Windows of training sequences to learn from; validation and test histories to rank.

    Args:
        split: the split to cut batches from.
        seed: fixes the order of training batches, together with the epoch.
        window: how many items a training window takes for a model that reads ``max_len``.
        candidates: samples to rank targets among, beside the whole catalogue.
        max_len: items that a model reads at once.
        batch_size: training windows per batch and process.
        eval_batch_size: histories per batch in evaluation.
        stride: how far training windows move back, as a share of their width; None takes only the
            latest window of each user.
        num_workers: processes that prepare batches; 0 prepares them in the training process,
            which is fastest for logs that fit in memory.
    """

    def __init__(
        self,
        split: Split,
        seed: int,
        window: Callable[[int], int],
        candidates: Candidates | None = None,
        max_len: Annotated[int, Field(ge=2)] = 50,
        batch_size: PositiveInt = 128,
        eval_batch_size: PositiveInt = 512,
        stride: Annotated[float, Field(gt=0, le=1)] | None = 0.5,
        num_workers: Workers = 0,
    ) -> None:
        super().__init__()
        self.split, self.seed, self.stride, self.candidates = split, seed, stride, candidates
        self.schema = Schema(split.num_items, max_len, split.num_users)
        self.width = window(max_len)
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers = num_workers

    def train_dataloader(self) -> DataLoader[TrainBatch]:
        """Shuffled training windows."""
        dataset = TrainSet(self.split, self.schema, self.width, self.stride)
        return self._loader(dataset, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[EvalBatch]:
        """Validation histories."""
        return self._eval_loader(self.split.val)

    def test_dataloader(self) -> DataLoader[EvalBatch]:
        """Test histories: as in validation, with the validation events added."""
        return self._eval_loader(self.split.test)

    def _eval_loader(self, examples: Examples) -> DataLoader[EvalBatch]:
        dataset = EvalSet(self.split, examples, self.schema, self.candidates)
        return self._loader(dataset, self.eval_batch_size, shuffle=False)

    def _loader(
        self, dataset: TrainSet | EvalSet, batch_size: int, *, shuffle: bool
    ) -> DataLoader[Any]:
        return loader(self, dataset, batch_size, self.seed, self.num_workers, shuffle=shuffle)


class Sized(Protocol):
    """A data set whose batches are fetched whole."""

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def __getitems__(self, indices: list[int]) -> Any:
        """The batch of these examples."""
        ...


class BatchLoader(DataLoader[Any]):
    """Deals whole batches, and knows how many of an epoch it has dealt.

    Nothing is fetched before the first batch is asked for: Lightning makes the iterator before it
    says which epoch it is, and before a checkpoint has said where to begin.
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


def loader(
    module: pl.LightningDataModule,
    dataset: Sized,
    batch_size: int,
    seed: int,
    num_workers: int,
    *,
    shuffle: bool,
) -> DataLoader[Any]:
    """Deals whole batches of ``dataset`` to the processes of the trainer of ``module``."""
    trainer = module.trainer
    sampler = BatchSampler(
        len(dataset),
        batch_size,
        shuffle=shuffle,
        seed=seed,
        rank=trainer.global_rank if trainer else 0,
        processes=trainer.world_size if trainer else 1,
    )
    return BatchLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=sampler,
        collate_fn=_whole,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )
