"""At other prices: what a model of clicks answers, grouped, with intervals over units."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec import cli
from lightning_rec.answers.elasticity import elasticity
from lightning_rec.build import load_run
from lightning_rec.errors import UserError


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in which each doubling of the price costs half of the clicks, at home and at work."""
    chance = np.random.default_rng(5)
    price, where = chance.choice([1.0, 2.0, 4.0, 8.0], 4000), chance.choice(["home", "work"], 4000)
    clicked = chance.random(4000) < np.where(where == "home", 0.6, 0.3) / price
    path = tmp_path_factory.mktemp("elasticity") / "clicks.csv"
    users = [f"u{number % 200}" for number in range(4000)]
    pl.DataFrame({"user": users, "where": where, "price": price, "clicked": clicked.astype(int)}
                 ).write_csv(path)  # fmt: skip
    return path


@pytest.fixture(scope="module")
def run(clicks: Path) -> Path:
    folder = clicks.parent / "run"
    asked = [
        "model=lr", "data=click_table", f"data.path={clicks}", "data.fields.label=clicked",
        "data.fields.categorical=[where]", "data.fields.numeric=[price]", "trainer=cpu",
        "logger=none", "baseline=null", "trainer.max_epochs=30", "optimizer.lr=0.05",
        "task.calibrate=none", f"run_dir={folder}",
    ]  # fmt: skip
    assert cli.run(["train", *asked]) == 0
    return folder


def test_it_is_the_change_of_the_mean_probability(run: Path, clicks: Path) -> None:
    model: Any = load_run(run)
    rows = pl.read_csv(clicks).head(300)
    found = elasticity(model, rows, "price", [-0.5, 1.0], by="where", unit="user")
    assert found["where"].to_list() == [each for each in rows["where"].unique(
        maintain_order=True) for _ in range(2)]  # fmt: skip
    for line in found.iter_rows(named=True):
        own = rows.filter(pl.col("where") == line["where"])
        before = model.score(own)["score"].mean()
        after = model.score(own.with_columns(pl.col("price") * (1 + line["change"])))[
            "score"
        ].mean()
        assert line["rows"] == len(own)
        assert line["probability"] == pytest.approx(before)
        assert line["changed"] == pytest.approx(after)
        expected = math.log(after / before) / math.log(1 + line["change"])
        assert line["elasticity"] == pytest.approx(expected)
        assert line["low"] < line["elasticity"] < line["high"]
        assert line["elasticity"] < -0.3  # dearer is clicked less


def test_units_make_intervals_as_wide_as_their_number_says(run: Path, clicks: Path) -> None:
    model: Any = load_run(run)
    rows = pl.read_csv(clicks).head(400)
    twice = pl.concat([rows, rows]).with_columns(row=pl.int_range(800) % 400)
    one = elasticity(model, rows, "price", [0.1])
    doubled = elasticity(model, twice, "price", [0.1])
    together = elasticity(model, twice, "price", [0.1], unit="row")
    widths = [float((each["high"] - each["low"])[0]) for each in (one, doubled, together)]
    assert widths[1] == pytest.approx(widths[0] / math.sqrt(2), rel=0.15)
    assert widths[2] == pytest.approx(widths[0], rel=0.15)


def test_the_command_tells_what_it_is_not(
    run: Path, clicks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "found.csv"
    words = ["elasticity", f"model={run}", "--input", str(clicks), "column=price", "by=where"]
    assert cli.run([*words, "--output", str(to)]) == 0
    assert "no effect of a price" in " ".join(capsys.readouterr().out.split())
    assert pl.read_csv(to)["change"].to_list() == [-0.1, 0.1, -0.1, 0.1]
    rows = pl.read_csv(clicks)
    for wrong, told in {
        ("column=prize",): "column 'prize'|prize",
        ("column=where",): "no number that this model reads",
        ("column=price", "changes=[0]"): "shares above -1",
        ("column=price", "by=shop"): "shop",
        ("column=price", "by=rows"): "give yours another",
    }.items():
        with pytest.raises(UserError, match=told):
            cli.run([*words[:4], *wrong])
    free = tmp_path / "free.csv"
    rows.with_columns(price=0.0).write_csv(free)
    with pytest.raises(UserError, match="needs a number above 0"):
        cli.run(["elasticity", f"model={run}", "--input", str(free), "column=price"])
