"""``over=data``: ranks over several data sets equal scipy's and scikit-posthocs' by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from lightning_rec import cli
from lightning_rec.errors import UserError
from lightning_rec.files import write_json
from lightning_rec.lab import compare, compare_over_data

NDCG = "test/ndcg@10"
# Four settings on six data sets; two are equal on one of them.
MEANS = np.array(
    [[0.31, 0.29, 0.22, 0.10], [0.52, 0.51, 0.44, 0.44], [0.12, 0.15, 0.11, 0.05],
     [0.71, 0.66, 0.61, 0.63], [0.28, 0.27, 0.25, 0.21], [0.09, 0.08, 0.05, 0.06]]
)  # fmt: skip


def recorded(folder: Path, data: str, setting: str, seed: int, value: float, **more: Any) -> Path:
    path = folder / f"{data}_{setting}_{seed}.json"
    folder.mkdir(parents=True, exist_ok=True)
    run = {"row": setting, "seed": seed, "data": data, "data_hash": f"hash of {data}",
           "protocol_hash": data, "monitor": "val/ndcg@10", "metrics": {NDCG: value}}  # fmt: skip
    write_json(path, run | more)
    return path


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Two seeds of each setting on each data set, whose means are ``MEANS``."""
    for row, values in enumerate(MEANS):
        for setting, value in zip("abcd", values, strict=True):
            for seed in (1, 2):
                shift = 0.001 if seed == 1 else -0.001
                recorded(tmp_path / "records", f"data{row}", setting, seed, value + shift)
    return tmp_path / "records"


def test_settings_may_come_in_another_order_on_each_data_set(records: Path) -> None:
    files = sorted(records.glob("*.json"))
    turned = [path for path in files if path.name[4] in "024"]
    turned += [path for path in reversed(files) if path.name[4] in "135"]
    made, plain = compare_over_data(turned), compare_over_data(records)
    assert made.average_ranks(NDCG) == plain.average_ranks(NDCG)
    assert made.tests.equals(plain.tests)
    assert made.nemenyi.sort("p", "one").equals(plain.nemenyi.sort("p", "one"))
    two = [path for path in turned if path.name.split("_")[1] in "ab"]
    halved = compare_over_data([path for path in files if path.name.split("_")[1] in "ab"])
    assert compare_over_data(two).tests.equals(halved.tests)


def test_ranks_and_tests_are_those_of_scipy_and_scikit_posthocs(records: Path) -> None:
    made = compare_over_data(records)
    ranks = np.array([stats.rankdata(-row.round(6)) for row in MEANS])
    assert made.frame["rank"].to_numpy().reshape(6, 4) == pytest.approx(ranks)
    assert made.average_ranks(NDCG) == pytest.approx(
        dict(zip("abcd", ranks.mean(axis=0), strict=True))
    )
    friedman = stats.friedmanchisquare(*MEANS.T)
    line = made.tests.row(0, named=True)
    assert (line["statistic"], line["p"]) == pytest.approx((friedman.statistic, friedman.pvalue))
    # Demsar's table 5: q of four at .05 is 2.569.
    assert line["critical_difference"] == pytest.approx(2.569 * math.sqrt(20 / 36), abs=1e-3)
    posthocs = pytest.importorskip("scikit_posthocs")
    theirs = posthocs.posthoc_nemenyi_friedman(MEANS.round(6)).to_numpy()
    for one, other, difference, p in made.nemenyi.drop("figure").rows():
        a, b = "abcd".index(one), "abcd".index(other)
        assert p == pytest.approx(theirs[a, b], abs=1e-6)
        assert difference == pytest.approx(ranks[:, a].mean() - ranks[:, b].mean())
    (sentence,) = made.verdicts()
    assert "a 1.17, b 1.83" in sentence
    assert sentence.endswith("differ by more than 1.91 (Nemenyi, 95%): a before c, a before d.")


def test_a_loss_is_best_where_it_is_low(tmp_path: Path) -> None:
    for data, values in (("one", (0.5, 0.4)), ("two", (0.7, 0.6)), ("three", (0.3, 0.2))):
        for setting, value in zip("ab", values, strict=True):
            recorded(tmp_path / "r", data, setting, 1, 0, metrics={"test/logloss": value})
    made = compare_over_data(tmp_path / "r", figures=["test/logloss"])
    assert made.average_ranks("test/logloss") == {"b": 1.0, "a": 2.0}
    assert made.tests["p"][0] == pytest.approx(stats.wilcoxon([0.1, 0.1, 0.1]).pvalue)


def test_few_data_sets_are_said_to_tell_nothing(records: Path) -> None:
    few = [path for path in records.iterdir() if path.name.startswith(("data0", "data1"))]
    (sentence,) = compare_over_data(sorted(few)).verdicts()
    assert "no ranks can: it takes more data sets" in sentence


def test_settings_of_run_folders_are_named_within_their_data(log_csv: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.csv"
    half.write_text("\n".join(log_csv.read_text().splitlines()[:600]) + "\n")
    for path in (log_csv, half):
        line = f"""-m data=table data.path={path} data.user=uid data.item=sku data.time=ts trainer=cpu
            protocol.cutoffs=[10] logger=none examples=0 model=popularity,itemknn
            run_dir={tmp_path / path.stem}"""
        assert cli.run(["train", *line.split()]) == 0
    sweeps = [tmp_path / path.stem for path in (log_csv, half)]
    made = compare_over_data(*sweeps)
    assert list(made.comparisons) == ["log", "half"]
    assert made.settings == ["model=popularity", "model=itemknn"]
    alone = compare(sweeps[1]).frame["mean"].to_list()
    assert made.frame.filter(data="half")["mean"].to_list() == alone
    with pytest.raises(UserError, match="not all of the same data"):
        compare(*sweeps)


def test_the_command_prints_writes_and_draws_it(
    records: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("scikit_posthocs")
    assert cli.run(["compare", str(records), "over=data", f"to={tmp_path / 'to'}"]) == 0
    assert "Friedman's chi-squared" in " ".join(capfd.readouterr().out.split())
    names = {path.name for path in (tmp_path / "to").iterdir()}
    assert names == {"comparison.md", "comparison.tex", "ranks.csv", "tests.csv", "nemenyi.csv",
                     "test_ndcg@10.png", "test_ndcg@10.pdf"}  # fmt: skip
    assert pl.read_csv(tmp_path / "to" / "ranks.csv").height == 24
    picture = (tmp_path / "to" / "test_ndcg@10.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data0_a"}, "'a' has no test/ndcg@10 on data0"),
        ({f"data{n}" for n in range(1, 6)}, "all runs are of data0: leave it out"),
        ({f"data{n}_{s}" for n in range(6) for s in "bcd"}, "there is but one"),
    ],
)
def test_what_cannot_be_ranked_is_told(records: Path, change: set[str], sentence: str) -> None:
    for path in records.iterdir():
        if path.name.startswith(tuple(change)):
            path.unlink()
    with pytest.raises(UserError, match=sentence):
        compare_over_data(records)


def test_slices_and_other_words_are_refused(records: Path) -> None:
    with pytest.raises(UserError, match="say over=data"):
        cli.run(["compare", str(records), "over=users"])
    with pytest.raises(UserError, match="cuts no slices"):
        cli.run(["compare", str(records), "over=data", "slices=[history]"])


def test_corrections_and_power_are_those_of_statsmodels() -> None:
    """What the lab works out with scipy alone; statsmodels has it too."""
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    power = pytest.importorskip("statsmodels.stats.power")
    from dataclasses import replace

    from lightning_rec.lab.paired import corrected, means

    generator = np.random.default_rng(4)
    each = generator.normal(0.1, 1, 500)
    found = means(np.arange(500), each, 0.95, 0)
    assert found is not None
    p = generator.random(30) ** 3
    ours = corrected([replace(found, p=float(one)) for one in p])
    for name, method in (("holm", "holm"), ("bh", "fdr_bh")):
        theirs = multitest.multipletests(p, method=method)[1]
        assert [getattr(one, name) for one in ours] == pytest.approx(theirs.tolist())
    size = power.TTestPower().solve_power(nobs=500, alpha=0.05, power=0.8)
    assert found.detectable / each.std(ddof=1) == pytest.approx(size, rel=5e-3)


def test_means_are_drawn_with_their_intervals(records: Path) -> None:
    pytest.importorskip("matplotlib")
    made = compare(sorted(records.glob("data0_*.json")))
    (axes,) = made.plot().axes
    lines = [container.lines[0] for container in axes.containers]
    assert [line.get_xdata()[0] for line in lines] == pytest.approx(MEANS[0].tolist())
