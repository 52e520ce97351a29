"""The Open Bandit data as it is packed, and the record of each policy from the other's log."""

import io
import json
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from omegaconf import OmegaConf

from lightning_rec import config
from lightning_rec.data.origins import extract
from lightning_rec.data.sources.open_bandit import OPEN_BANDIT, OpenBandit
from lightning_rec.errors import UserError

RECORD = Path(__file__).parents[2] / "experiments" / "open_bandit"
FEATURES = "user_feature_0,user_feature_1,user_feature_2,user_feature_3"
HEAD = f",timestamp,item_id,position,click,propensity_score,{FEATURES},user-item_affinity_0\n"
ROW = "0,2019-11-24 00:00:1{}.5+00:00,{},2,1,0.25,a,b,c,d,0.0\n"


def source(**said: Any) -> OpenBandit:
    node = OmegaConf.load(config.config_dir() / "data" / "open_bandit.yaml")
    made: OpenBandit = config.build("data", OmegaConf.merge(node, said))
    return made


def test_both_policies_are_read_out_of_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (layout,) = OPEN_BANDIT.layouts
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, name in enumerate(layout.files):
            archive.writestr(f"obp/{name}", HEAD + ROW.format(number, number) * 2)
        archive.writestr("obp/dataset/code.py", "raise SystemExit")
    (tmp_path / "obp.whl").write_bytes(packed.getvalue())
    folder = tmp_path / "open_bandit"
    folder.mkdir()
    extract(tmp_path / "obp.whl", "obp", layout.files, layout.extras, folder)
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 6
    monkeypatch.setenv("LIGHTNING_REC_DATA", str(tmp_path))
    made = source(campaign="men")
    rows = made.read(made.files()).collect()
    assert rows["policy"].to_list() == ["bts", "bts", "random", "random"]
    assert rows["item"].to_list() == [1, 1, 4, 4]
    assert rows["time"][0] == "2019-11-24 00:00:11.5+00:00"
    assert rows.columns[2:5] == ["position", "click", "propensity"]
    one = source(policy="random")
    assert one.read(one.files()).collect()["item"].to_list() == [3, 3]
    assert one.settings()["policy"] == "random"


def test_the_table_is_that_of_the_record() -> None:
    line = [sys.executable, str(RECORD / "record.py"), "--check"]
    assert subprocess.run(line, check=False).returncode == 0


@pytest.mark.real
def test_the_record_is_what_the_data_gives() -> None:
    try:
        OPEN_BANDIT.files()
    except UserError as error:
        pytest.skip(str(error))
    made = runpy.run_path(str(RECORD / "record.py"))
    kept = json.loads((RECORD / "results.json").read_text())["estimates"]
    kept = [each for each in kept if each["campaign"] == "all"]
    found = made["estimates"]("all")
    for ours, theirs in zip(found, kept, strict=True):
        for one, other in zip(ours["estimates"], theirs["estimates"], strict=True):
            assert one["value"] == pytest.approx(other["value"], rel=1e-6)
            assert one["error"] == pytest.approx(other["error"], rel=1e-6)
    log = made["impressions"]("all", "random")
    weight = pl.DataFrame(
        made["thompson"]("all")[log["position"].to_numpy() - 1, log["item"].to_numpy()]
    )
    by_hand = (weight.to_series() * 80 * log["reward"]).mean()  # the definition of IPS
    assert found[2]["estimates"][1]["value"] == pytest.approx(by_hand)
