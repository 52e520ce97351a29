"""Paired tests over users equal scipy's by hand; DeLong's test equals its definition by pairs."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from lightning_rec import cli
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError
from lightning_rec.lab import compare, of_examples, paired
from lightning_rec.lab.examples import Values
from lightning_rec.lab.paired import Paired, corrected, of_values, verdict

NDCG, MRR = "test/ndcg@10", "test/mrr"
SHORT = "trainer=cpu trainer.max_epochs=1 trainer.check_val_every_n_epoch=1 protocol.cutoffs=[10] logger=none examples=0"


@pytest.fixture(scope="module")
def runs(log_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Two seeds of a model, and popularity, on one log."""
    folder = tmp_path_factory.mktemp("paired")
    columns = f"data=table data.path={log_csv} data.user=uid data.item=sku data.time=ts"
    made: dict[str, list[Path]] = {}
    for model, seeds in (("bprmf", (1, 2)), ("popularity", (1,))):
        for seed in seeds:
            path = folder / f"{model}_{seed}"
            arguments = f"{columns} {SHORT} model={model} seed={seed} run_dir={path}"
            assert cli.run(["train", *arguments.split()]) == 0
            made.setdefault(model, []).append(path)
    return made


def ndcg(run: Path, k: int = 10) -> np.ndarray:
    rank = pl.read_parquet(run / "test_users.parquet")["rank"].fill_null(10**9).to_numpy()
    return np.where(rank <= k, 1 / np.log2(rank + 1.0), 0.0)


def test_values_of_users_have_the_figure_of_the_run_as_their_mean(
    runs: dict[str, list[Path]],
) -> None:
    from lightning_rec.documents import read_json

    for run in (path for paths in runs.values() for path in paths):
        figures = read_json(run / "metrics.json")
        for name in (NDCG, MRR, "test/auc", "test/recall@10"):
            values = of_examples(run, name)
            assert values is not None
            assert values.value.mean() == pytest.approx(figures[name], rel=1e-12)
        assert of_examples(run, "test/coverage@10") is None
        assert of_examples(run, "val/ndcg@10") is None


def test_it_is_what_scipy_says_of_the_users(runs: dict[str, list[Path]]) -> None:
    found = paired(runs["bprmf"], runs["popularity"], NDCG)
    assert found is not None
    ours = np.mean([ndcg(run) for run in runs["bprmf"]], axis=0)
    each = ours - ndcg(runs["popularity"][0])
    assert found.units == len(each)
    assert found.difference == pytest.approx(each.mean())
    assert found.wilcoxon == pytest.approx(stats.wilcoxon(each).pvalue)
    assert found.effect == pytest.approx(each.mean() / each.std(ddof=1))
    drawn = stats.bootstrap((each,), np.mean, n_resamples=20_000, method="percentile", rng=3)
    interval = drawn.confidence_interval
    width = interval.high - interval.low
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=width / 20)
    flips = stats.permutation_test(
        (each, np.zeros_like(each)),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples", vectorized=True, n_resamples=20_000, rng=3,
    )  # fmt: skip
    assert found.p == pytest.approx(flips.pvalue, abs=0.02)


def test_equal_differences_of_means_over_seeds_share_a_rank() -> None:
    """What is a third up or down for a user is so by the same amount, whatever is added first."""
    generator = np.random.default_rng(0)
    base = generator.geometric(0.05, 2000)
    ranks = [np.where(generator.random(2000) < 0.3, generator.geometric(0.05, 2000), base) for _ in range(3)]  # fmt: skip
    gains = [np.where(each <= 10, 1 / np.log2(each + 1.0), 0.0) for each in (*ranks, base)]
    user = np.arange(2000)
    values = [Values("", pl.Series(user), user, each) for each in gains]
    found = of_values(values[:3], values[3:])
    assert found is not None
    exact = stats.wilcoxon(np.round(np.mean(gains[:3], axis=0) - gains[3], 9)).pvalue
    assert found.wilcoxon == pytest.approx(exact)
    assert (np.mean([gains[3]] * 7, axis=0) != gains[3]).any()  # in the last bit
    alike = of_values([values[3]] * 7, values[3:])
    assert alike is not None
    assert (alike.difference, alike.wilcoxon, alike.effect) == (0, 1, None)


def test_a_difference_is_found_where_there_is_one_and_not_in_noise() -> None:
    from lightning_rec.lab.paired import means

    generator = np.random.default_rng(0)
    unit = np.arange(400)
    noise = means(unit, generator.normal(0, 1, 400), 0.95, 0)
    assert noise is not None
    assert noise.p > 0.05
    assert noise.low < 0 < noise.high
    shifted = means(unit, generator.normal(0.3, 1, 400), 0.95, 0)
    assert shifted is not None
    assert shifted.p < 0.001
    assert shifted.low > 0
    # 80 % of tests find the detectable difference.
    size = noise.detectable
    draws = generator.normal(size, 1, (2000, 400))
    hits = stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05
    assert hits.mean() == pytest.approx(0.8, abs=0.05)


def test_users_with_several_examples_are_drawn_whole() -> None:
    from lightning_rec.lab.paired import means

    generator = np.random.default_rng(1)
    of_user = generator.normal(0, 1, 60)
    unit = np.repeat(np.arange(60), 50)  # fifty alike examples say no more than one
    many = means(unit, of_user[unit], 0.95, 0)
    one = means(np.arange(60), of_user, 0.95, 0)
    assert many is not None
    assert one is not None
    assert many.units == 60
    assert many.difference == pytest.approx(one.difference)
    assert many.high - many.low == pytest.approx(one.high - one.low)
    assert many.detectable == pytest.approx(one.detectable)


def test_delong_is_the_variance_of_its_definition() -> None:
    """Components by all pairs of a click and a non-click, as in DeLong et al., equations 4 to 6."""
    from lightning_rec.lab.examples import Values
    from lightning_rec.lab.paired import areas, placements

    generator = np.random.default_rng(2)
    label = generator.random(80) < 0.4
    scores = [(generator.random(80) + shift * label).round(1) for shift in (0.5, 0.2)]
    pairs = [
        np.sign(score[label][:, None] - score[~label][None]) / 2 + 0.5 for score in scores
    ]  # psi: [clicks, others]
    clicks = [psi.mean(axis=1) for psi in pairs]
    others = [psi.mean(axis=0) for psi in pairs]
    one, two = np.cov(clicks), np.cov(others)
    contrast = np.array([1, -1])
    variance = contrast @ (one / label.sum() + two / (~label).sum()) @ contrast
    difference = pairs[0].mean() - pairs[1].mean()
    a, b = (
        placements(label, [Values("", pl.Series(range(80)), np.arange(80), score)])
        for score in scores
    )
    found = areas(a.clicks - b.clicks, a.others - b.others, 0.95)
    assert found is not None
    assert found.difference == pytest.approx(difference)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(difference) / variance**0.5))
    half = 1.959964 * variance**0.5
    assert (found.low, found.high) == pytest.approx((difference - half, difference + half))


def test_rows_of_one_user_are_not_so_many_in_an_area() -> None:
    """Rows that are there five times say no more than once; of single rows all is as it was."""
    from lightning_rec.lab.examples import Values

    generator = np.random.default_rng(4)
    label = generator.random(120) < 0.3
    scores = [generator.random(120) + shift * label for shift in (0.4, 0.1)]

    def found(times: int, unit: Ints) -> Paired:
        at = np.repeat(np.arange(120), times)
        key = pl.Series(range(len(at)))
        values = [[Values("", key, unit, score[at], label[at])] for score in scores]
        made = of_values(values[0], values[1])
        assert made is not None
        return made

    alone, copied = found(1, np.arange(120)), found(5, np.repeat(np.arange(120), 5))
    assert copied.units == alone.units == 120
    assert copied.difference == pytest.approx(alone.difference)
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low)
    naive = found(5, np.arange(600))
    assert naive.high - naive.low < 0.5 * (alone.high - alone.low)
    # Users of several rows, beside a bootstrap over users.
    user = np.arange(120) // 6
    clustered, drawn = found(1, user), []
    for _ in range(2000):
        rows = np.concatenate(
            [np.flatnonzero(user == one) for one in generator.integers(20, size=20)]
        )
        if 0 < label[rows].sum() < len(rows):
            drawn.append(float(np.subtract(*(roc_auc_score(label[rows], s[rows]) for s in scores))))
    assert clustered.high - clustered.low == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.2)


def test_p_values_are_corrected_for_all_that_is_compared() -> None:
    from dataclasses import replace

    from lightning_rec.lab.paired import means

    base = means(np.arange(5), np.ones(5), 0.95, 0)
    assert base is not None
    found = corrected([replace(base, p=p) for p in (0.01, 0.04, 0.03, 0.005)])
    assert [each.holm for each in found] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [each.bh for each in found] == pytest.approx([0.02, 0.04, 0.04, 0.02])


def test_the_command_prints_and_writes_it(
    runs: dict[str, list[Path]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    named = [f"{model}={run}" for model, paths in runs.items() for run in paths]
    asked = ["figures=[test/ndcg@10,test/auc]", "baseline=popularity", f"to={tmp_path / 'to'}"]
    assert cli.run(["compare", *named, *asked]) == 0
    out = capfd.readouterr().out
    assert "bprmf minus popularity, test/ndcg@10" in " ".join(out.split())
    frame = pl.read_csv(tmp_path / "to" / "paired.csv")
    direct = compare(runs, figures=[NDCG, "test/auc"], baseline="popularity").paired
    assert frame["p"].to_list() == direct["p"].to_list()  # the same draws each time
    assert frame["holm"].to_list() == direct["holm"].to_list()
    assert "| bprmf | test/ndcg@10 | " in (tmp_path / "to" / "comparison.md").read_text()
    assert (tmp_path / "to" / "comparison.tex").read_text().count(r"\toprule") == 2
    for wrong, sentence in (
        ([], "Say what is compared"),
        ([*named, "level=2"], "level=2"),
        ([*named, "figures=[test/ndgc@10]"], "Did you mean"),
        ([str(tmp_path / "absent")], "no file or folder"),
    ):
        with pytest.raises(UserError, match=sentence):
            cli.run(["compare", *wrong])


def test_runs_of_another_test_are_refused(runs: dict[str, list[Path]], tmp_path: Path) -> None:
    import shutil

    other = shutil.copytree(runs["popularity"][0], tmp_path / "other")
    table = pl.read_parquet(other / "test_users.parquet")
    table.head(5).write_parquet(other / "test_users.parquet")
    (other / "checksums.json").unlink()
    with pytest.raises(UserError, match="not of the same examples"):
        paired(runs["bprmf"], [other], NDCG)
    table.with_columns(pl.col("user") + "x").write_parquet(other / "test_users.parquet")
    with pytest.raises(UserError, match="not of the same examples"):  # as many users, but others
        paired(runs["bprmf"], [other], NDCG)


def test_figures_that_were_changed_by_hand_are_refused(
    runs: dict[str, list[Path]], tmp_path: Path
) -> None:
    import shutil

    other = shutil.copytree(runs["popularity"][0], tmp_path / "other")
    text = (other / "metrics.json").read_text().replace(": 0.", ": 0.9")
    (other / "metrics.json").write_text(text)
    with pytest.raises(UserError, match=r"metrics\.json"):
        compare(other)


def test_a_difference_that_so_many_tests_cannot_show_is_not_called_noise() -> None:
    line = {"setting": "a", "figure": "test/recall@10", "units": 300, "difference": -0.2,
            "low": -0.25, "high": -0.15, "difference_low": None, "difference_high": None,
            "detectable": 0.066, "randomisation": 1 / 10_001, "holm": 0.059}  # fmt: skip
    told = verdict(line, "b", 0.95, "users")
    assert "as large as none of 10,000 draws" in told
    assert "may be noise" not in told
    assert "may be noise" in verdict(line | {"randomisation": 0.002}, "b", 0.95, "users")


def test_a_p_value_is_mathematics_in_latex() -> None:
    from lightning_rec.lab import Table

    assert "$<$ 0.001" in Table(["setting", "p"], [["a", "< 0.001"]]).latex()
