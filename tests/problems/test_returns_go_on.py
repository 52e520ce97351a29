"""Runs with a retention goal go on, and are compared: what is learnt of them is known later."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lightning_rec import cli
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError

DAY, SINCE = 86_400, 1_700_000_000
SETTINGS = [
    "data=click_table", "data.fields.categorical=[uid,sku]", "data.fields.group=uid", "logger=none",
    "data.fields.time=ts", "protocol=temporal_rows", "trainer=cpu", "trainer.max_epochs=1",
    "baseline=null", "batches.batch_size=64", "model.dim=4",
]  # fmt: skip
BACK = "back: {returns_within: 5d, returns_after: 12h}"
BOTH = [f"+data.fields.goals={{like: {{column: liked}}, {BACK}}}", "model=mmoe"]
ALONE = [f"+data.fields.goals={{{BACK}}}", "model=deepfm"]


def log(seed: int = 2) -> pl.DataFrame:
    """1,500 rows of 80 users, a fifth of nobody, within sixty days."""
    chance = np.random.default_rng(seed)
    users = [f"u{i}" for i in range(80)] + [None] * 20
    return pl.DataFrame(
        {
            "uid": [users[i] for i in chance.integers(100, size=1500)],
            "sku": [f"i{i}" for i in chance.integers(12, size=1500)],
            "ts": SINCE + np.sort(chance.integers(60 * DAY, size=1500)),
            "liked": chance.integers(2, size=1500),
        }
    )


def trained(folder: Path, frame: pl.DataFrame, *more: str) -> Path:
    frame.write_csv(folder.with_suffix(".csv"))
    asked = [*SETTINGS, f"data.path={folder.with_suffix('.csv')}", *more]
    assert cli.run(["train", *asked, f"run_dir={folder}"]) == 0
    return folder


def day(number: float) -> str:
    return str(np.datetime64(int(SINCE + number * DAY), "s")) + "Z"


def cuts(val_from: float, test_from: float) -> list[str]:
    return [f"protocol.val_from={day(val_from)}", f"protocol.test_from={day(test_from)}"]


def test_rows_of_nobody_are_no_late_ones_and_hide_no_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    early = log().filter(pl.col("ts") < SINCE + 40 * DAY)
    old = trained(tmp_path / "old", early, *cuts(20, 30), *BOTH)
    goes_on = ["train", f"from={old}", f"data.path={tmp_path / 'now.csv'}", *cuts(35, 48)]
    log().write_csv(tmp_path / "now.csv")
    caplog.clear()
    assert cli.run([*goes_on, f"run_dir={tmp_path / 'same'}"]) == 0
    assert "came late" not in caplog.text
    assert "not what they were" not in caplog.text
    log().with_columns(liked=1 - pl.col("liked")).write_csv(tmp_path / "now.csv")
    with pytest.raises(UserError, match="train anew, or give the log that it was trained on"):
        cli.run([*goes_on, f"run_dir={tmp_path / 'other'}"])


def test_what_is_older_than_a_period_has_not_come_late(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    since = f"protocol.since={day(10)}"
    plain = ["data.fields.label=liked", "model=deepfm", since]
    old = trained(tmp_path / "old", log(), *plain, f"protocol.until={day(40)}", *cuts(25, 32))
    goes_on = ["train", f"from={old}", f"protocol.until={day(58)}", *cuts(42, 50)]
    caplog.clear()
    assert cli.run([*goes_on, f"run_dir={tmp_path / 'new'}"]) == 0
    assert "came late" not in caplog.text


@pytest.mark.parametrize(("goals", "figure"), [(BOTH, "back/auc"), (ALONE, "auc")])
def test_a_gate_asks_for_a_test_that_begins_after_what_labels_were_made_of(
    goals: list[str], figure: str, tmp_path: Path
) -> None:
    """The old run has learnt rows until five days before day 30, by what came until then."""
    old = trained(tmp_path / "old", log(), *cuts(30, 45), *goals)
    soon = trained(tmp_path / "soon", log(), *cuts(18, 27), *goals)
    later = trained(tmp_path / "later", log(), *cuts(20, 31), *goals)
    words = ["gate", f"against={old}", f"figure={figure}"]
    with pytest.raises(UserError, match=r"rows of test are of the time that .* has learnt"):
        cli.run([*words, f"run={soon}"])
    cli.run([*words, f"run={later}", f"to={tmp_path / 'gate.json'}"])
    assert (tmp_path / "gate.json").is_file()


def test_the_card_counts_rows_that_are_used(tmp_path: Path) -> None:
    past = ["data.fields.item=sku", "data.fields.past=clicks"]
    card = read_json(trained(tmp_path / "run", log(), *cuts(30, 45), *BOTH, *past) / "run.json")
    split = card["split"]
    used = sum(split[f"{part} rows"] for part in ("train", "val", "test"))
    left_out = split["rows left out, of which it is not known who comes back"]
    assert used + left_out == split["rows"] == 1500
    frame = log().with_row_index("row")
    earlier = frame.filter(liked=1).drop_nulls("uid").group_by("uid").agg(first=pl.col("ts").min())
    rows = frame.join(earlier, "uid", "left", maintain_order="left")
    nothing = rows.filter(pl.col("first").is_null() | (pl.col("first") >= pl.col("ts")))
    kept = rows.drop_nulls("uid").filter(
        pl.any_horizontal(
            (pl.col("ts") >= SINCE + start * DAY) & (pl.col("ts") + 5 * DAY <= stop)
            for start, stop in (
                (0, SINCE + 30 * DAY),
                (30, SINCE + 45 * DAY),
                (45, frame["ts"].max()),
            )
        )
    )
    assert len(kept) == used
    found = kept.join(nothing.select("row"), "row", "semi")
    assert split["rows without a history"] == len(found)
