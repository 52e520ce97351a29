"""Small completed runs of each kind that can be exported; tests only read them."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from lightning_rec import cli
from lightning_rec.errors import UserError

Run = Callable[[str], Path]
QUICK = ["logger=none", "trainer=cpu", "trainer.max_epochs=1", "baseline=null"]


@pytest.fixture(scope="session")
def trained(
    log_csv: Path,
    click_csv: Path,
    pairs_csv: Path,
    tiny_bert: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """``trained(model)``: the folder of a run of it, trained when it is first asked for."""
    folder = tmp_path_factory.mktemp("shrink")
    log = [
        "data=table", f"data.path={log_csv}", "data.user=uid", "data.item=sku", "data.time=ts",
        "protocol.drop_doubled=false", "batches.max_len=10", "model.dim=8",
    ]  # fmt: skip
    clicks = [
        "data=click_table", f"data.path={click_csv}", "data.fields.label=clicked",
        "data.fields.categorical=[uid,sku,device]", "data.fields.multi_valued=[tags]",
        "data.fields.numeric=[price]", "protocol.val=0.2", "protocol.test=0.2", "model.mlp=[8]",
        "task.calibrate=temperature",
    ]  # fmt: skip
    pairs = [
        "data=pairs", f"data.path={pairs_csv}", "data.query=term", "data.title=name", "data.item=sku",
        "data.relevance=grade", "data.positive_from=2.5", "data.scale=[1,3]", "protocol.val=0.1",
        "protocol.test=0.2", "protocol.cutoffs=[1,5,10]", f"model.encoder={tiny_bert}",
    ]  # fmt: skip
    about = {
        "sasrec": log, "bert4rec": log, "deepfm": clicks, "bi_encoder": pairs, "cross_encoder": pairs
    }  # fmt: skip

    def make(model: str) -> Path:
        run = folder / model
        if not run.exists():
            asked = [f"model={model}", *about[model], *QUICK, f"run_dir={run}"]
            assert cli.run(["train", *asked]) == 0
        return run

    return make


@pytest.fixture
def refused() -> Callable[..., str]:
    """``refused("shrink", …)``: the sentence with which a command is refused."""

    def refuse(*arguments: str) -> str:
        with pytest.raises(UserError) as error:
            cli.run(list(arguments))
        return cli.explain(error.value)

    return refuse


@pytest.fixture(scope="session")
def rows(click_frame: pl.DataFrame) -> pl.DataFrame:
    """Raw rows of clicks, some categories unknown."""
    return click_frame.head(50).with_columns(
        device=pl.Series("device", ["tablet", *click_frame["device"][:49]])
    )
