"""The example of simulated users goes through by commands alone, and its figures are the world's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "simulation" / "run.sh"


@pytest.mark.slow
@pytest.mark.long
def test_a_world_is_made_played_and_told(tmp_path: Path) -> None:
    environment = os.environ | {
        "WORLD": "users=200 items=30 days=6 activity=.6 organic=2 dim=4 feedback=0", "DAYS": "2",
        "SEQ": "model.dim=8 batches.max_len=10 trainer.max_epochs=1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    folder = tmp_path / "one"
    done = subprocess.run(
        [str(EXAMPLE), "5", str(folder)], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = {path.stem: json.loads(path.read_text()) for path in (folder / "found").glob("*.json")}
    assert len(found) == 14
    assert found["aa_effect"]["difference"] == 0
    for name in ("pop", "seq"):  # whoever had a model in the test had what everybody had with it
        alone = pl.read_parquet(folder / f"all_{name}" / "outcomes.parquet").drop("variant")
        mine = pl.read_parquet(folder / "ab" / "outcomes.parquet").filter(variant=name)
        same = alone.filter(pl.col("user").is_in(mine["user"].unique().implode()))
        assert len(mine) > 100
        assert same.equals(mine.drop("variant"))
        assert found[f"log_{name}"]["rows"] == found[f"true_{name}"]["rows"]
        assert found[f"log_{name}"]["estimates"] == found[f"off_{name}"]["estimates"][:3]
