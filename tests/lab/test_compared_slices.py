"""``slices=``: parts of the test by any column, with figures that equal the run's own and scipy's."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from lightning_rec import cli
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.lab import compare
from lightning_rec.lab.paired import corrected
from lightning_rec.lab.slices import _typed, parts_of

NDCG, RECALL = "test/ndcg@10", "test/recall@10"


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Titles, a year, and up to three genres of items; i07 has none, i39 is not there."""
    path = tmp_path_factory.mktemp("catalogue") / "items.csv"
    lines = ["sku,title,year,genres"]
    for item in range(39):
        genres = "" if item == 7 else "|".join(["odd" if item % 2 else "even", f"g{item % 3}"])
        lines.append(f"i{item:02d},Item {item},{1960 + item},{genres}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def runs(
    log_csv: Path, catalogue: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Path]]:
    """EASE with two seeds of BPR-MF and popularity on one log with a catalogue."""
    folder = tmp_path_factory.mktemp("slices")
    columns = f"data=table data.path={log_csv} data.user=uid data.item=sku data.time=ts"
    columns += f" data.catalogue={catalogue} data.catalogue_item=sku"
    short = "trainer=cpu trainer.max_epochs=1 protocol.cutoffs=[10] logger=none examples=0"
    made: dict[str, list[Path]] = {}
    for model, seeds in (("popularity", (1,)), ("bprmf", (1, 2))):
        for seed in seeds:
            path = folder / f"{model}_{seed}"
            arguments = f"{columns} {short} model={model} seed={seed} run_dir={path}"
            assert cli.run(["train", *arguments.split()]) == 0
            made.setdefault(model, []).append(path)
    return made


def users(run: Path) -> pl.DataFrame:
    table = pl.read_parquet(run / "test_users.parquet")
    hit = (pl.col("rank") <= 10).fill_null(value=False).cast(pl.Float64)
    return table.with_columns(hit=hit)


def test_slices_of_the_test_have_the_figures_of_the_run(runs: dict[str, list[Path]]) -> None:
    made = compare(runs, figures=[RECALL, NDCG], slices=["history", "popularity"])
    figures = read_json(runs["popularity"][0] / "metrics.json")
    lines = made.sliced.filter(setting="popularity")
    assert lines.height == 2 * len({"10\u201319", "20\u201349", "tail"})
    for line in lines.iter_rows(named=True):
        history = f"history_{line['slice'].replace(chr(0x2013), '_')}"
        name = "tail" if line["column"] == "popularity" else history
        own = figures[f"test/{name}/{line['figure'].removeprefix('test/')}"]
        assert line["mean"] == pytest.approx(own, abs=1e-12)
        assert line["examples"] == figures[f"test/{name}/examples"]
        assert line["p"] is None  # the baseline itself


def test_differences_are_those_of_the_users_inside_and_all_are_corrected(
    runs: dict[str, list[Path]], tmp_path: Path
) -> None:
    about = users(runs["popularity"][0]).select("user").with_row_index("n")
    about = about.select("user", team=pl.col("n") % 2 == 0, age=(pl.col("n") % 40).cast(pl.Int64))
    about.write_csv(tmp_path / "users.csv")
    made = compare(runs, figures=[RECALL], slices=["team", "age"], tables=[tmp_path / "users.csv"])
    of = {
        (line["column"], line["slice"]): line
        for line in made.sliced.filter(setting="bprmf").to_dicts()
    }
    assert [name for column, name in of if column == "team"] == ["false", "true"]
    ours = np.mean([users(run)["hit"].to_numpy() for run in runs["bprmf"]], axis=0)
    each = ours - users(runs["popularity"][0])["hit"].to_numpy()
    inside = about["team"].to_numpy()
    line = of["team", "true"]
    assert line["mean"] == pytest.approx(ours[inside].mean())
    assert line["difference"] == pytest.approx(each[inside].mean())
    assert line["wilcoxon"] == pytest.approx(stats.wilcoxon(each[inside]).pvalue)
    # Four quarters of the ages, and every user in one of them.
    ages = [line for (column, _), line in of.items() if column == "age"]
    assert len(ages) == 4
    assert sum(line["examples"] for line in ages) == len(each)
    # One correction for the parts of the test; the whole test is not of them.
    every = [*of.values()]
    p = np.array([line["p"] for line in every])
    order, holm = np.argsort(p), np.empty(len(p))
    holm[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    assert [line["holm"] for line in every] == pytest.approx(holm.tolist())
    alone = compare(runs, figures=[RECALL]).paired
    assert made.paired["holm"].to_list() == alone["holm"].to_list() == alone["p"].to_list()


def test_columns_of_the_catalogue_are_those_of_the_target(
    runs: dict[str, list[Path]], catalogue: Path
) -> None:
    tested = users(runs["bprmf"][0])
    parts = {
        (each.column, each.name): each.inside
        for each in parts_of(runs["bprmf"], ["genres", "year"])
    }
    number = tested["item"].str.slice(1).cast(pl.Int64)
    odd = ((number % 2 == 1) & (number != 7) & (number != 39)).to_numpy()
    assert (parts["genres", "odd"] == odd).all()
    third = ((number % 3 == 1) & (number != 7) & (number != 39)).to_numpy()
    assert (parts["genres", "g1"] == third).all()  # a list is in the slice of each of its values
    assert not any(name == "other" for column, name in parts if column == "genres")
    years = {name: inside for (column, name), inside in parts.items() if column == "year"}
    assert len(years) >= 2
    for name, inside in years.items():
        low, high = map(int, name.split("\u2013"))
        year = (number + 1960).set(number == 39, None)
        assert (inside == year.is_between(low, high).fill_null(value=False).to_numpy()).all()


def test_the_rest_of_many_values_is_other(runs: dict[str, list[Path]]) -> None:
    tested = users(runs["bprmf"][0])
    half = len(tested) // 2
    names = ["many"] * half + [f"rare{n}" for n in range(len(tested) - half)]
    about = pl.DataFrame({"user": tested["user"], "job": names})
    parts = parts_of(runs["bprmf"], ["job"], [about])
    assert [(each.name, int(each.inside.sum())) for each in parts] == [
        ("many", half), ("other", len(tested) - half),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "column", "sentence"),
    [
        ({"user": ["u53", "nobody"], "age": [1, 2]}, "agee", "Did you mean 'age'"),
        ({"user": ["nobody"], "age": [1]}, "age", "No user of the test is in table 1"),
        ({"user": ["u1", "u1"], "age": [1, 2]}, "age", "two rows or more of the user 'u1'"),
        ({"uid": ["u1"], "age": [1]}, "age", "column of raw ids named user or item, and has none"),
        ({"user": ["u53", "u6"], "history": [1, 2]}, "history", "is in the test, table 1"),
        ({"user": ["u53", "u6"], "age": [1, 2]}, "age", "slices=age parts nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_is_told(
    runs: dict[str, list[Path]], table: dict[str, list[object]], column: str, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        compare(runs, slices=[column], tables=[pl.DataFrame(table)])


def test_a_run_of_an_earlier_version_is_cut_by_users_alone(
    runs: dict[str, list[Path]], tmp_path: Path
) -> None:
    old = shutil.copytree(runs["popularity"][0], tmp_path / "old")
    table = pl.read_parquet(old / "test_users.parquet").drop("item", "popularity")
    table.write_parquet(old / "test_users.parquet")
    (old / "checksums.json").unlink()
    assert compare(old, slices=["history"]).parts
    with pytest.raises(UserError, match="earlier version, which did not keep the target"):
        compare(old, slices=["genres"])
    # Another run of the same test knows the targets.
    assert compare({"old": old, "new": runs["bprmf"][0]}, slices=["genres"]).parts


def test_clicks_are_cut_by_a_table_of_rows(click_csv: Path, tmp_path: Path) -> None:
    data = f"data=click_table data.path={click_csv} data.fields.label=clicked task=click model=lr"
    data += " data.fields.categorical=[uid,sku,device]"
    for seed in (1, 2):
        said = f"{data} trainer=cpu trainer.max_epochs=1 logger=none seed={seed}"
        assert cli.run(["train", *said.split(), f"run_dir={tmp_path / str(seed)}"]) == 0
    folders = {str(seed): tmp_path / str(seed) for seed in (1, 2)}
    rows = pl.read_parquet(tmp_path / "1" / "test_rows.parquet")
    half = pl.DataFrame({"row": rows["row"], "early": np.arange(len(rows)) < 40})
    made = compare(folders, figures=["test/auc", "test/logloss"], slices=["early"], tables=[half])
    found = made.sliced.filter(figure="test/auc", slice="true", setting=made.baseline)
    line = found.row(0, named=True)
    label, score = (rows[name].to_numpy()[:40] for name in ("label", "probability"))
    area = stats.mannwhitneyu(score[label > 0], score[label == 0]).statistic
    assert line["mean"] == pytest.approx(area / ((label > 0).sum() * (label == 0).sum()))
    assert line["examples"] == len(label)


def test_so_many_tests_that_none_can_pass_are_told(
    runs: dict[str, list[Path]], caplog: pytest.LogCaptureFixture
) -> None:
    from lightning_rec.lab.paired import tell_of_many

    made = compare(runs, figures=[RECALL])
    (found,) = (each for *_, each in made._tests)
    tell_of_many([found] * 500, 0.95)
    assert not caplog.text
    tell_of_many([found] * 501, 0.95)
    assert "Of 501 tests made together none" in caplog.text
    assert min(each.holm or 0 for each in corrected([found] * 501)) > 0.05


def test_the_command_prints_and_writes_them(
    runs: dict[str, list[Path]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    named = [f"{model}={run}" for model, paths in runs.items() for run in paths]
    asked = ["slices=[genres,history]", f"to={tmp_path / 'to'}", "figures=[test/ndcg@10]"]
    assert cli.run(["compare", *named, *asked]) == 0
    assert "genres odd" in capfd.readouterr().out
    assert pl.read_csv(tmp_path / "to" / "slices.csv")["slice"].to_list()[0] == "even"
    page = (tmp_path / "to" / "comparison.md").read_text()
    assert "bprmf minus popularity on slices, test/ndcg@10:" in page
    assert (tmp_path / "to" / "comparison.tex").read_text().count(r"\toprule") == 3


def test_ids_of_a_table_follow_the_one_rule(runs: dict[str, list[Path]], tmp_path: Path) -> None:
    known = users(runs["popularity"][0])["user"]
    about = pl.DataFrame({"user": known, "team": ["ab"[n % 2] for n in range(len(known))]})
    plain = compare(runs, figures=[RECALL], slices=["team"], tables=[about]).sliced
    odd = about.with_columns(pl.Series("user", [f" {each} " for each in known]))
    odd = pl.concat([odd, pl.DataFrame({"user": [None, None], "team": ["a", "b"]})])
    made = compare(runs, figures=[RECALL], slices=["team"], tables=[odd])
    assert made.sliced.equals(plain)  # ids that are missing are left out


def test_dates_of_a_text_table_are_cut_by_time() -> None:
    values = pl.Series("released", [f"2010-{1 + n % 12:02}-01" for n in range(48)])
    assert _typed(values).dtype == pl.Datetime
    for odd in (["2010-01-01", "soon"], ["2010-01-01foo"] * 12, ["2010-13-45"] * 12):
        assert _typed(pl.Series("odd", odd)).dtype == pl.String
