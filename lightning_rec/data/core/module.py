"""The Lightning data module of every problem."""

import pytorch_lightning as pl

from lightning_rec.data.core.batches import BatchData, BatchLoader


class DataModule(pl.LightningDataModule):
    """Gives each process of a trainer its batches."""

    def __init__(self, data: BatchData) -> None:
        super().__init__()
        self.data = data

    def train_dataloader(self) -> BatchLoader:
        """Shuffled training examples."""
        return self.data.loader("train", self.trainer)

    def val_dataloader(self) -> BatchLoader:
        """Validation examples."""
        return self.data.loader("val", self.trainer)

    def test_dataloader(self) -> BatchLoader:
        """Test examples."""
        return self.data.loader("test", self.trainer)
