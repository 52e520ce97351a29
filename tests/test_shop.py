"""The year of a shop goes through by commands alone, and nothing is lost, also where each turn is killed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from lightning_rec.documents import read_json

EXAMPLE = Path(__file__).parent.parent / "examples" / "shop" / "year.py"
DAY = 86_400
TRAIN = (
    "model=sasrec model.dim=8 batches.max_len=10 protocol.drop_doubled=false trainer=cpu "
    "trainer.max_epochs=2 logger=[] baseline=null examples=0"
)


@pytest.mark.slow
@pytest.mark.parametrize("kill", ["false", pytest.param("true", marks=pytest.mark.long)])
def test_a_shop_goes_on_for_weeks(kill: str, log_frame: pl.DataFrame, tmp_path: Path) -> None:
    start = log_frame["ts"].min()
    days = log_frame.select(
        user="uid", item="sku", time=1_600_000_000 + (pl.col("ts") - start) * (DAY // 24)
    )
    days.write_csv(tmp_path / "log.csv")
    shop, weeks = tmp_path / "shop", 3 if kill == "true" else 2
    environment = os.environ | {
        "TRAIN": TRAIN, "UPDATE": "trainer.max_epochs=1", "MARGIN": "0.99",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "log.csv", str(shop), f"weeks={weeks}", "days=20",
         f"kill={kill}"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    told = re.search(r"([\d,]+) events sent, (\d+) kept, (\d+) of them different", done.stdout)
    assert told
    assert {int(each.replace(",", "")) for each in told.groups()} == {len(days)}
    runs = sorted(path.name for path in (shop / "runs").iterdir() if path.is_dir())
    assert runs == [f"w{number + 1:02d}" for number in range(weeks)]
    assert read_json(shop / "runs" / "w02" / "run.json")["begun"]["new windows"] > 0
    for number in range(2, weeks + 1):
        gate = read_json(shop / "runs" / f"w{number:02d}.gate.json")
        assert (shop / "bundles" / f"w{number:02d}").exists() == gate["released"]
    kept = pl.read_parquet(shop / "log" / "*.parquet").select("user", "item")
    assert kept.sort("user", "item").equals(days.select("user", "item").sort("user", "item"))
    shutil.rmtree(shop)
