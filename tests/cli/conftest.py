"""Small runs through the real command line, on the synthetic log."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_rec import cli
from lightning_rec.errors import UserError


@pytest.fixture
def small(log_csv: Path) -> list[str]:
    """Overrides of a run that takes a second."""
    return [
        "data=table",
        f"data.path={log_csv}",
        "data.user=uid",
        "data.item=sku",
        "data.time=ts",
        "protocol.cutoffs=[1,5,10]",
        "model.dim=8",
        "model.depth=1",
        "batches.max_len=10",
        "batches.batch_size=16",
        "batches.eval_batch_size=16",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=2",
        "trainer.check_val_every_n_epoch=1",
        "logger=csv",
    ]


@pytest.fixture
def refused() -> Callable[..., str]:
    """``refused("train", …)``: the sentence with which a command is refused."""

    def refuse(*arguments: str) -> str:
        with pytest.raises(UserError) as error:
            cli.run(list(arguments))
        sentence = cli.explain(error.value)
        assert "\n" not in sentence
        return sentence

    return refuse


@pytest.fixture
def texts(small: list[str], catalogue_csv: Path, tiny_bert: Path) -> list[str]:
    """Overrides of a small SASRec over titles."""
    about = [f"data.catalogue={catalogue_csv}", "data.catalogue_item=sku", "data.catalogue_title=title"]  # fmt: skip
    return [*small, *about, "model=sasrec", "loss=in_batch", "item=text", f"item.encoder={tiny_bert}"]  # fmt: skip
