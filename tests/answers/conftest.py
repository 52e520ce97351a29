"""A small shop: a run of SASRec over the synthetic log, whose catalogue has kinds and prices."""

from pathlib import Path

import polars as pl
import pytest
from languages import WORDS

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.predict.sequences import SequencePredictor

ITEMS = 40


@pytest.fixture(scope="session")
def shop_items() -> pl.DataFrame:
    """item, title, kind (of four), tags (none to two, parted by bars), price (with gaps)."""
    return pl.DataFrame(
        {
            "item": [f"i{n:02d}" for n in range(ITEMS)],
            "title": [f"{WORDS[n % 10]} {WORDS[10 + n // 10]}" for n in range(ITEMS)],
            "kind": [("shoes", "bags", "hats", None)[n % 4] for n in range(ITEMS)],
            "tags": ["|".join(["new", "sale"][: n % 3]) or None for n in range(ITEMS)],
            "price": [None if n % 9 == 0 else 5 + (n * 37) % 60 + 0.5 for n in range(ITEMS)],
        }
    )


@pytest.fixture(scope="session")
def shop(
    log_frame: pl.DataFrame, shop_items: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run folder; ``log.csv`` lies beside it."""
    folder = tmp_path_factory.mktemp("shop")
    log_frame.write_csv(folder / "log.csv")
    shop_items.write_csv(folder / "items.csv")
    asked = [
        *("model=sasrec", "model.dim=8", "data=table", f"data.path={folder / 'log.csv'}"),
        *("data.user=uid", "data.item=sku", "data.time=ts", "protocol.drop_doubled=false"),
        *(f"data.catalogue={folder / 'items.csv'}", "data.catalogue_title=title"),
        *("logger=none", "trainer=cpu", "trainer.max_epochs=2", "baseline=null"),
        *("batches.max_len=10", f"run_dir={folder / 'run'}"),
    ]
    assert cli.run(["train", *asked]) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def model(shop: Path) -> SequencePredictor:
    """The run, loaded."""
    predictor = load_run(shop)
    assert isinstance(predictor, SequencePredictor)
    return predictor
