"""``lightning-rec report``: a page that holds the figures, loads nothing, and runs nothing of a run's."""

import base64
import hashlib
import json
import math
import re
import shutil
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from lightning_rec import cli
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.files import write_json
from lightning_rec.lab import compare
from lightning_rec.reports import charts, series
from lightning_rec.reports.page import collect, write_page
from lightning_rec.reports.parallel import axis, parallel

pytest.importorskip("jinja2")
go = pytest.importorskip("plotly.graph_objects")
NDCG, RECALL = "test/ndcg@10", "test/recall@10"
SHORT = "trainer=cpu trainer.check_val_every_n_epoch=1 protocol.cutoffs=[10] examples=0"
Refused = Callable[..., str]


class Page(HTMLParser):
    """What a browser would find: sections, cells, scripts, and what is to be loaded."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.text, self.loaded, self.charts = "", list[str](), list[dict[str, Any]]()
        self.tags: list[str] = []
        self.scripts, self.policy, self.kept = list[str](), "", ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.tags.append(tag)
        if said.get("http-equiv") == "Content-Security-Policy":
            self.policy = said["content"] or ""
        if tag == "section":
            self.sections.append(said["id"] or "")
        self.loaded += [
            v or "" for k, v in attrs if k in ("src", "href", "data", "action", "srcset")
        ]
        self.kept = {"script": said.get("type") or "javascript", "style": "css"}.get(tag, self.kept)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self.kept = ""

    def handle_data(self, data: str) -> None:
        if self.kept == "application/json":
            self.charts.append(json.loads(data))
        elif self.kept == "javascript":
            self.scripts.append(data)
        elif not self.kept:
            self.text += data


@pytest.fixture(scope="module")
def runs(log_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Two sizes of a model, each with two seeds and curves, and popularity."""
    folder = tmp_path_factory.mktemp("report")
    columns = f"data=table data.path={log_csv} data.user=uid data.item=sku data.time=ts"
    trained = "logger=csv trainer.max_epochs=3 model=bprmf"
    settings = {
        "small": [f"{trained} model.dim=8 seed={seed}" for seed in (1, 2)],
        "large": [f"{trained} model.dim=32 seed={seed}" for seed in (1, 2)],
        "popularity": ["model=popularity logger=none"],
    }
    made: dict[str, list[Path]] = {}
    for name, jobs in settings.items():
        for number, job in enumerate(jobs):
            path = folder / f"{name}_{number}"
            line = f"{columns} {SHORT} {job} run_dir={path}"
            assert cli.run(["train", *line.split()]) == 0
            made.setdefault(name, []).append(path)
    return made


def named(runs: dict[str, list[Path]]) -> list[str]:
    return [f"{name}={path}" for name, paths in runs.items() for path in paths]


def report(arguments: list[str], target: Path) -> Page:
    assert cli.run(["report", *arguments, f"to={target}"]) == 0
    page = Page(target)
    assert not [each for each in page.loaded if not each.startswith("#")]  # nothing is loaded
    for each in page.charts:
        go.Figure(each)  # raises ValueError on what Plotly does not know
    return page


def test_the_page_holds_the_figures_and_loads_nothing(
    runs: dict[str, list[Path]], tmp_path: Path
) -> None:
    asked = [f"figures=[{NDCG},{RECALL}]", "baseline=popularity", "title=Which one?"]
    page = report([*named(runs), *asked], tmp_path / "new" / "report.html")
    assert page.sections == [
        "table",
        "curves",
        "cost",
        "settings",
        "slices",
        "users",
        "lists",
        "runs",
    ]
    made = compare(runs, figures=[NDCG, RECALL], baseline="popularity")
    for line in made.frame.iter_rows(named=True):
        assert f"{line['mean']:.4f}" in page.text
    for line in made.paired.iter_rows(named=True):
        assert f"{line['difference']:+.4f} [{line['low']:+.4f}, {line['high']:+.4f}]" in page.text
    text = " ".join(page.text.split())
    assert all(" ".join(sentence.split()) in text for sentence in made.verdicts())
    assert "Which one?" in text
    assert "test/ndcg@10 (higher is better)" in text
    for paths in runs.values():
        for path in paths:
            assert read_json(path / "run.json")["config_hash"] in text
    assert "lightning-rec train data=table" in text
    assert "run_dir=" not in text  # a command that repeats a run does not write over it
    assert "default-src 'none'" in page.policy
    for script in page.scripts:  # and no other one runs
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in page.policy
    assert len(page.scripts) == page.policy.count("sha256-") == 2
    css = (tmp_path / "new" / "report.html").read_text(encoding="utf-8").partition("</style>")[0]
    assert "prefers-color-scheme: dark" in css
    assert not re.search(r"url\(|@import", css)


def test_without_values_of_users_and_curves_their_sections_are_left_out(
    runs: dict[str, list[Path]], tmp_path: Path
) -> None:
    from lightning_rec.lab.records import record

    for name in ("small", "popularity"):
        kept = record(runs[name][0]) | {"row": name}
        kept["curve"] = {}
        write_json(tmp_path / "recorded" / f"{name}.json", kept)
    page = report([str(tmp_path / "recorded"), f"figures=[{NDCG}]"], tmp_path / "a.html")
    assert not {"curves", "users", "calibration", "settings"} & set(page.sections)
    assert "p (Holm)" not in page.text
    alone = report([str(runs["popularity"][0])], tmp_path / "b.html")
    assert alone.sections == ["table", "slices", "lists", "runs"]
    assert "minus baseline" not in alone.text


def test_records_name_no_folder_of_the_machine(runs: dict[str, list[Path]], tmp_path: Path) -> None:
    from lightning_rec.lab.records import read_record, record, sealed

    folder = shutil.copytree(runs["popularity"][0], tmp_path / "run")
    card = read_json(folder / "run.json")
    lists = "runs=[/home/me/a b/one,'/home/me/two',three/four]"
    card["overrides"] = ["run_dir=/home/1", "data.path=/home/me/x.csv", lists, "model.rate=1/2"]
    write_json(folder / "run.json", card)
    (folder / "checksums.json").unlink()
    lists = "runs=[one,'two',three/four]"
    write_json(tmp_path / "record.json", sealed(record(folder)))
    told = read_record(tmp_path / "record.json")["overrides"]
    assert told == ["data.path=x.csv", lists, "model.rate=1/2"]


def test_text_of_a_stranger_is_shown_and_not_run(
    runs: dict[str, list[Path]], tmp_path: Path
) -> None:
    script = "<script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>"
    folder = shutil.copytree(runs["popularity"][0], tmp_path / "run")
    card = read_json(folder / "run.json")
    card |= {"data": script, "commit": script, "overrides": [f"+x='{script}'", "model=popularity"]}
    card["machine"] = {"processor": script}
    write_json(folder / "run.json", card)
    (folder / "checksums.json").unlink()  # a stranger can make them fit
    sources = [{script: [folder], "small": runs["small"]}]
    made, searches = collect(sources, figures=[NDCG])
    write_page(tmp_path / "report.html", made, searches, script)
    page = Page(tmp_path / "report.html")
    assert "img" not in page.tags
    # The charts' data, Plotly and our own.
    assert page.tags.count("script") == len(page.charts) + 2
    assert page.text.count(script) >= 6  # shown as it stands
    for each in page.charts:  # Plotly would make links and line breaks of tags
        for trace in each["data"]:
            assert "<" not in json.dumps(trace)


@pytest.mark.parametrize("figure", ["test/auc", "test/logloss"])
def test_clicks_have_their_calibration(click_csv: Path, figure: str, tmp_path: Path) -> None:
    data = f"data=click_table data.path={click_csv} data.fields.label=clicked"
    data += " data.fields.categorical=[uid,sku,device] data.fields.slices=[sku]"
    for model in ("lr", "deepfm"):
        line = f"{data} task=click model={model} trainer=cpu trainer.max_epochs=1 logger=none"
        assert cli.run(["train", *line.split(), f"run_dir={tmp_path / model}"]) == 0
    page = report([f"{m}={tmp_path / m}" for m in ("lr", "deepfm")] + [f"figures=[{figure}]"],
                  tmp_path / "report.html")  # fmt: skip
    assert {"slices", "users", "calibration"} <= set(page.sections)
    assert ("of no single row" in page.text) == (figure == "test/auc")
    made = compare({m: tmp_path / m for m in ("lr", "deepfm")}, figures=[figure])
    bins = series.reliability(made)
    for number, model in enumerate(("lr", "deepfm")):
        kept = pl.read_parquet(tmp_path / model / "reliability.parquet").filter(pl.col("rows") > 0)
        ours = bins.filter(setting=number)
        assert ours["rate"].to_list() == pytest.approx(kept["rate"].to_list())
        assert ours["rows"].to_list() == kept["rows"].to_list()
    pl.DataFrame({"rows": [1]}).write_parquet(tmp_path / "lr" / "reliability.parquet")
    (tmp_path / "lr" / "checksums.json").unlink()
    with pytest.raises(UserError, match=r"reliability\.parquet: not of the columns"):
        series.reliability(made)


def test_a_search_has_its_trials_and_its_best_runs(log_csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    columns = f"data=table data.path={log_csv} data.user=uid data.item=sku data.time=ts"
    line = f"{columns} {SHORT} logger=none model=itemknn trials=3 sampler=random"
    assert cli.run(["tune", *line.split(), "seeds=1", f"to={tmp_path / 'tune'}"]) == 0
    page = report([str(tmp_path / "tune")], tmp_path / "report.html")
    assert "search-itemknn" in page.sections
    assert {"History", "Parallel coordinates"} <= set(re.findall(r"[A-Z][a-z ]+", page.text))
    assert "3 trials" in page.text
    trials = [read_json(path) for path in (tmp_path / "tune/itemknn").glob("trials/*/metrics.json")]
    for each in trials:
        assert f"{each['val/ndcg@10']:.4f}" in page.text
    best = read_json(tmp_path / "tune/itemknn/best/0/metrics.json")
    assert f"{best['test/ndcg@10']:.4f}" in page.text
    # compare and verify take the best trial's runs too.
    assert compare(tmp_path / "tune").frame["setting"].to_list() == ["itemknn"]
    assert compare(tmp_path / "tune").runs["run"][0].endswith("tune/itemknn/best/0")
    assert cli.run(["verify", str(tmp_path / "tune/itemknn")]) == 0
    shutil.rmtree(tmp_path / "tune/itemknn/best")
    with pytest.raises(UserError, match="whose best trial was not trained over seeds yet"):
        compare(tmp_path / "tune")
    alone = report([str(tmp_path / "tune/itemknn")], tmp_path / "alone.html")
    assert alone.sections == ["search-itemknn"]
    assert "test/" not in alone.text
    (tmp_path / "tune/itemknn/study.db").write_text("no database", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read as a search"):
        cli.run(["report", str(tmp_path / "tune")])


def test_what_cannot_be_written_is_refused(runs: dict[str, list[Path]], tmp_path: Path) -> None:
    one = str(runs["small"][0])
    for wrong, sentence in (
        ([], "lightning-rec report RUN"),
        ([one, "to=page.pdf"], r"to=page\.pdf\.html"),
        ([one, "to=a.html", "to=b.html"], "say it once"),
        ([one, "figures=[test/ndgc@10]"], "Did you mean"),
        ([str(tmp_path)], "holds no completed run"),
    ):
        with pytest.raises(UserError, match=sentence):
            cli.run(["report", *wrong])
    (tmp_path / "report.html").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        cli.run(["report", one, f"to={tmp_path / 'report.html'}"])


def test_what_is_not_installed_is_named_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(UserError, match=r"needs plotly, .*lightning-rec\[report\]"):
        cli.run(["report", "there_is_none"])


def test_plots_of_a_paper_are_a_column_wide(runs: dict[str, list[Path]], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    from lightning_rec.reports.paper_plots import draw

    named = {
        "_small $\\x{": runs["small"],
        "a long title " * 6: runs["large"],
        "p": runs["popularity"],
    }
    made = compare(named, figures=[NDCG, RECALL])
    files = {path.name: path for path in draw(made, tmp_path / "plots")}
    parts = ("curves", "cost", "differences")
    assert sorted(files) == sorted(f"{part}.{kind}" for part in parts for kind in ("png", "pdf"))
    for part in parts:
        assert imread(files[f"{part}.png"]).shape[1] == 990  # 3.3 inches
        assert files[f"{part}.pdf"].read_bytes().startswith(b"%PDF")


def test_curves_are_those_of_validation_and_their_mean(runs: dict[str, list[Path]]) -> None:
    found = [each for each in series.curves(compare(runs, figures=[NDCG])) if each.setting == 0]
    assert [each.is_mean for each in found] == [False, False, True]
    values = np.array([each.value for each in found])
    assert found[2].epoch == [1, 2, 3]
    assert values[2] == pytest.approx(values[:2].mean(axis=0))
    seconds = [read_json(run / "run.json")["cost"]["epoch_seconds"] for run in runs["small"]]
    assert found[2].minutes[-1] == pytest.approx(3 * np.mean(seconds) / 60)
    levels = series.levels(compare(runs, figures=[NDCG]))
    kept = read_json(runs["popularity"][0] / "metrics.json")
    assert levels == {2: pytest.approx(kept["val/ndcg@10"])}


def test_the_front_has_what_no_other_setting_beats() -> None:
    paid, values = [1.0, 2.0, 3.0, 3.0, 1.0], [0.1, 0.3, 0.2, 0.4, 0.1]
    points = [
        series.Point(n, *each, None, False) for n, each in enumerate(zip(paid, values, strict=True))
    ]
    assert [each.on_front for each in series._front(points, "max")] == [
        True,
        True,
        False,
        True,
        True,
    ]
    assert [each.on_front for each in series._front(points, "min")] == [
        True,
        False,
        False,
        False,
        True,
    ]
    assert not any(each.on_front for each in series._front(points, None))


def test_intervals_of_slices_are_wilsons_and_hanley_and_mcneils(
    runs: dict[str, list[Path]],
) -> None:
    made = compare(runs, figures=[RECALL])
    found = {each.name: each for each in series.slices(made, RECALL)}
    figures = read_json(runs["popularity"][0] / "metrics.json")
    assert found
    for name, each in found.items():
        assert each.examples == figures[f"test/{name}/examples"]
        _, value, low, high = each.points[2]
        assert value == figures[f"test/{name}/recall@10"]
        hits = round(value * each.examples)
        limits = stats.binomtest(hits, each.examples).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((limits.low, limits.high))
    # Hanley and McNeil, Radiology 1982, by their exponential model: an area of .8, 50 and 50 rows.
    low, high = series._limits(0.8, "auc", 100, [0.5], 0.95)
    assert low is not None
    assert high is not None
    q1, q2 = 0.8 / 1.2, 2 * 0.64 / 1.8
    error = math.sqrt((0.16 + 49 * (q1 - 0.64) + 49 * (q2 - 0.64)) / 2500)
    assert (low, high) == pytest.approx((0.8 - 1.959964 * error, 0.8 + 1.959964 * error))
    assert series._limits(0.5, "logloss", 100, [0.5], 0.95) == (None, None)


def test_slices_that_are_asked_for_have_their_tests(
    runs: dict[str, list[Path]], tmp_path: Path
) -> None:
    asked = [f"figures=[{NDCG}]", "baseline=popularity", "slices=[history]"]
    page = report([*named(runs), *asked], tmp_path / "report.html")
    assert "sliced" in page.sections
    made = compare(runs, figures=[NDCG], baseline="popularity", slices=["history"])
    for line in made.sliced.filter(pl.col("p").is_not_null()).iter_rows(named=True):
        assert f"{line['difference']:+.4f} [{line['low']:+.4f}, {line['high']:+.4f}]" in page.text
    drawn = charts.sliced_charts(made)[f"{NDCG} by history"]
    assert [each["meta"] for each in drawn["data"]] == [0, 1]
    of = made.sliced.filter(setting="small")["difference"].to_list()
    assert drawn["data"][0]["x"] == of


def test_examples_stand_side_by_side_by_title(log_csv: Path, tmp_path: Path) -> None:
    catalogue = tmp_path / "items.csv"
    lines = [f"i{n:02d},Film <b>{n}</b>" for n in range(40)]
    catalogue.write_text("\n".join(["sku,title", *lines]) + "\n")
    data = f"data=table data.path={log_csv} data.user=uid data.item=sku data.time=ts trainer=cpu"
    data += f" data.catalogue={catalogue} data.catalogue_item=sku protocol.cutoffs=[10] logger=none"
    for model in ("popularity", "itemknn", "ease"):
        more = f"model={model} examples={2 if model == 'ease' else 4} run_dir={tmp_path / model}"
        assert cli.run(["train", *data.split(), *more.split()]) == 0
    runs = {model: tmp_path / model for model in ("popularity", "itemknn", "ease")}
    shown = series.examples(compare(runs))
    assert len(shown) == 4
    assert set(shown[0].recommended) == {0, 1, 2}  # the first and last user are everybody's
    tested = pl.read_parquet(tmp_path / "itemknn" / "test_users.parquet")
    items = pl.read_parquet(tmp_path / "itemknn" / "items.parquet")
    for each in shown:
        row = tested.row(by_predicate=pl.col("user") == each.user, named=True)
        assert each.target == items.filter(item=row["item"])["title"][0]
        hit = (
            each.recommended[1].index(each.target) + 1 if each.target in each.recommended[1] else 0
        )
        assert hit == (row["rank"] if (row["rank"] or 99) <= 5 else 0)
    page = report([f"{name}={path}" for name, path in runs.items()], tmp_path / "report.html")
    assert "examples" in page.sections
    assert shown[0].target in page.text  # as text: a title is no HTML
    assert "Film &lt;b&gt;" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_bins_of_slices_are_in_the_order_of_their_numbers() -> None:
    names = ["history_10_19", "history_1_4", "history_50_up", "history_5_9", "head", "warm"]
    ordered = sorted((series.Slice(name, 1, []) for name in names), key=series._bin)
    assert [each.name for each in ordered] == [
        "head", "history_1_4", "history_5_9", "history_10_19", "history_50_up", "warm",
    ]  # fmt: skip


def test_differences_are_of_each_user(runs: dict[str, list[Path]]) -> None:
    made = compare(runs, figures=[NDCG], baseline="popularity")
    found = series.differences(made, NDCG)
    assert [each.setting for each in found] == [0, 1]

    def values(path: Path) -> Any:
        rank = pl.read_parquet(path / "test_users.parquet").sort("user")["rank"].fill_null(10**9)
        return np.where(rank.to_numpy() <= 10, 1 / np.log2(rank.to_numpy() + 1.0), 0.0)

    ours = np.mean([values(path) for path in runs["small"]], axis=0)
    expected = ours - values(runs["popularity"][0])
    assert np.sort(found[0].values) == pytest.approx(np.sort(expected))
    assert found[0].values.mean() == pytest.approx(made.paired["difference"][0])


def test_an_axis_over_magnitudes_is_of_logarithms() -> None:
    made = axis("optimizer.lr", [0.0001, 0.01, 0.001])
    assert made["values"] == pytest.approx([-4, -2, -3])
    assert made["ticktext"] == ["0.0001", "0.001", "0.01"]
    assert axis("model.dim", [16, 32])["values"] == [16, 32]
    drawn = parallel([made, axis("val/auc", [0.6, 0.5, 0.8], log=False)])
    assert [list(line["y"]) for line in drawn["data"]] == [  # the best is drawn last
        [pytest.approx(1), 0], [0, pytest.approx(1 / 3)], [pytest.approx(0.5), 1]
    ]  # fmt: skip
    assert drawn["data"][2]["text"] == "optimizer.lr 0.001<br>val/auc 0.8"
    assert {line["type"] for line in drawn["data"]} == {"scatter"}  # a page has few WebGL contexts
    assert charts.finite({"a": [float("nan"), 1.0], "b": (float("inf"),)}) == {
        "a": [None, 1.0],
        "b": [None],
    }


def test_labels_of_parallel_axes_do_not_lie_on_one_another() -> None:
    close = axis("lr", [0.001, 0.0011, 0.0012, 0.1], log=False)
    drawn = parallel([close, axis("test/ndcg@10", [0.1, 0.2, 0.3, 0.4], log=False)])
    labels = drawn["layout"]["annotations"]
    heights = sorted(each["y"] for each in labels if each["x"] == 0 and each["y"] <= 1)
    assert heights == [0.0, 1.0]  # of four ticks those that have room
    names = [each["y"] for each in labels if each["y"] > 1]
    assert names[0] != names[1]
