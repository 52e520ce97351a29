"""``lightning-rec reproduce``: a paper of one's own is repeated, and goes red when it is falsified."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml
from cli.processes import read

from lightning_rec import cli
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.files import write_json
from lightning_rec.lab.papers import Paper
from lightning_rec.lab.records import sealed
from lightning_rec.runs.folder import RunFolder

Refused = Callable[..., str]
FIGURE = "test/ndcg@10"


@pytest.fixture
def paper(log_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A paper of two rows, one of which is fitted at once."""
    monkeypatch.chdir(tmp_path)
    log = [f"data.path={log_csv}", "data.user=uid", "data.item=sku", "data.time=ts"]
    common = ["data=table", *log, "trainer=cpu", "trainer.check_val_every_n_epoch=1"]
    common += ["protocol.cutoffs=[10]", "examples=0"]
    rows = {
        "popularity": {
            "config": [*common, "model=popularity"],
            "title": "Popular | items",
            "seeds": 1,
        },
        "bprmf": {
            "config": [*common, "model=bprmf", "trainer.max_epochs=3"],
            "published": {FIGURE: 0.0001},
            "deviates": "everything",
        },
    }
    said = {
        "citation": "Doe, On 100 % of things, 2026",
        "figures": [FIGURE],
        "seeds": 2,
        "rows": rows,
    }
    folder = tmp_path / "experiments" / "doe2026"
    folder.mkdir(parents=True)
    (folder / "paper.yaml").write_text(yaml.safe_dump(said))
    return folder


def test_a_paper_is_repeated_extended_and_falsified(
    paper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["reproduce", "doe2026", "--missing"]) == 0
    assert capsys.readouterr().out.count("lightning-rec train") == 3
    assert cli.run(["reproduce", "doe2026", "seeds=1"]) == 0
    runs = tmp_path / "runs" / "reproduce" / "doe2026"
    run, record = runs / "bprmf_seed1", read(paper / "runs" / "bprmf_seed1.json")
    assert record["metrics"] == read(run / "metrics.json")
    assert record["row"] == "bprmf"
    table = pl.read_csv(paper / "results.csv").filter(row="bprmf").row(0, named=True)
    assert table["mean"] == pytest.approx(record["metrics"][FIGURE], abs=1e-6)
    assert (table["verdict"], table["seeds"], table["sd"]) == ("better", 1, None)
    page = (paper / "README.md").read_text()
    assert "| Popular \\| items |" in page
    assert "| 1 of 2 |" in page
    assert "<td>everything</td>" not in page
    assert "everything</td>" in (paper / "table.html").read_text()
    assert r"Doe, On 100 \% of things, 2026" in (paper / "table.tex").read_text()
    # One that was killed goes on; what is recorded is not trained again.
    written = (paper / "runs" / "bprmf_seed1.json").stat().st_mtime_ns
    (paper / "runs" / "popularity_seed1.json").unlink()
    popular = RunFolder.open(runs / "popularity_seed1")
    popular.note(status="running")
    (paper / "README.md").write_text(page.replace("## ", "").replace("# Doe", "# Mine: Doe"))
    assert cli.run(["reproduce", "doe2026"]) == 0
    assert (paper / "runs" / "bprmf_seed1.json").stat().st_mtime_ns == written
    assert (paper / "runs" / "popularity_seed1.json").is_file()
    found = Paper.load(paper)
    both = [read(paper / "runs" / f"bprmf_seed{seed}.json")["metrics"][FIGURE] for seed in (1, 2)]
    bprmf = found.results[1] if found.results[1].name == "bprmf" else found.results[0]
    assert bprmf.runs[FIGURE].to_list() == both
    assert (paper / "README.md").read_text().startswith("# Mine: Doe")
    assert cli.run(["reproduce", "--list"]) == 0
    assert "2 of 2" in capsys.readouterr().out
    sound = shutil.copytree(paper, paper.parent / "roe2026")
    (sound / "results.csv").unlink()
    # A falsified record: what passed does no longer.
    record["metrics"][FIGURE] = 0.0
    write_json(paper / "runs" / "bprmf_seed1.json", sealed(record))
    other = read_json(paper / "runs" / "bprmf_seed2.json")
    other["metrics"][FIGURE] = 0.00001
    write_json(paper / "runs" / "bprmf_seed2.json", sealed(other))
    assert cli.run(["reproduce", "doe2026"]) == 1
    lost = "doe2026/bprmf: test/ndcg@10 passed, and is 0.0000 for 0.0001"
    assert lost in capsys.readouterr().out
    assert cli.run(["reproduce", "doe2026", "roe2026"]) == 1  # not green by being asked again
    assert lost in capsys.readouterr().out
    assert "better" in (sound / "results.csv").read_text()  # what passes there is remembered


def test_the_first_epochs_are_repeated_and_compared(
    paper: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["reproduce", "doe2026/bprmf", "seeds=1"]) == 0
    path = paper / "runs" / "bprmf_seed1.json"
    record = read(path)
    assert list(record["curve"]) == ["1", "2", "3"]
    capsys.readouterr()
    assert cli.run(["reproduce", "doe2026/bprmf", "seeds=1", "budget=quick"]) == 0
    out = capsys.readouterr().out
    value = record["curve"]["1"]
    assert f"epoch 1: {record['monitor']} {value} recorded, {value} now" in out
    assert "epoch 2" not in out
    assert "ended after" not in out  # nor is it told that training was short, nor a whole table
    assert len(out.splitlines()) < 15
    assert "1 figures compared, 0 of them not what they were." in out
    record["curve"]["1"] = 2 * value + 1
    write_json(path, record)
    assert "is not as it was written" in refused("reproduce", "doe2026", "seeds=1", "budget=quick")
    write_json(path, record := sealed(record))
    assert cli.run(["reproduce", "doe2026/bprmf", "seeds=1", "budget=quick"]) == 1
    assert "NOT WHAT IT WAS" in capsys.readouterr().out
    assert read(path) == record  # a quick look records nothing
    record["curve"] = {"7": value}  # of no epoch that is repeated
    write_json(path, sealed(record))
    assert cli.run(["reproduce", "doe2026/bprmf", "seeds=1", "budget=quick"]) == 1
    assert "epoch 7: " in capsys.readouterr().out


def test_what_is_fitted_at_once_is_repeated_whole_and_compared(
    paper: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["reproduce", "doe2026/popularity", "budget=quick"]
    assert cli.run(asked) == 1  # nothing was compared
    assert "popularity seed=1: not checked: there is no record of it." in capsys.readouterr().out
    assert cli.run(asked[:2]) == 0
    path = paper / "runs" / "popularity_seed1.json"
    record = read(path)
    value = record["metrics"][FIGURE]
    capsys.readouterr()
    assert cli.run(asked) == 0
    told = capsys.readouterr().out
    assert f"popularity seed=1: {FIGURE} {value} recorded, {value} now" in told
    assert "2 figures compared, 0 of them not what they were." in told  # the monitored one too
    falsified = record["metrics"] | {FIGURE: value * 1.05}
    write_json(path, sealed(record | {"metrics": falsified}))
    assert cli.run(asked) == 1
    assert f"recorded, {value} now: NOT WHAT IT WAS" in capsys.readouterr().out
    write_json(path, sealed(record | {"cpu_seconds": 121.0}))
    assert cli.run(asked) == 1
    told = capsys.readouterr().out
    assert "not checked: no curve is recorded, and its training took 121 s of a processor" in told
    assert "0 figures compared, 0 of them not what they were; 1 run not checked." in told


def test_a_paper_is_begun_from_runs(
    paper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["reproduce", "doe2026", "seeds=1"]) == 0
    runs = tmp_path / "runs" / "reproduce" / "doe2026"
    own = tmp_path / "own"
    row = Paper.load(paper).rows["popularity"].config
    assert cli.run(["train", *row, "tracking.group=best", f"run_dir={tmp_path / 'found'}"]) == 0
    searched = f"Found={tmp_path / 'found'}"
    assert cli.run(["reproduce", str(own), "--from", str(runs), searched]) == 0
    begun = Paper.load(own)
    assert set(begun.rows) == {"model_bprmf_trainer.max_epochs_3", "model_popularity", "Found"}
    assert len(begun.results) == 3
    assert not any(
        each.startswith(("seed=", "run_dir=", "tracking."))
        for row in begun.rows.values()
        for each in row.config
    )
    capsys.readouterr()
    assert cli.run(["reproduce", str(own), "seeds=1"]) == 0  # all is recorded already
    assert "model_popularity" in (own / "results.csv").read_text()
    with pytest.raises(UserError, match="exists already"):
        cli.run(["reproduce", str(own), "--from", str(runs)])
    (record,) = (own / "runs").glob("model_bprmf*_seed1.json")
    text = (own / "paper.yaml").read_text()
    record.rename(record.with_name(record.name.replace("seed1", "seed12")))
    named = "model_bprmf_trainer.max_epochs_3"
    assert Paper.load(own).wanted(named) == [12]  # no other is trained in its place
    (own / "paper.yaml").write_text(text.replace("seeds: 1", "seeds: 3"))
    assert Paper.load(own).wanted(named) == [1, 2, 12]


def test_a_record_of_another_config_is_not_taken_for_the_row(
    paper: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["reproduce", "doe2026/popularity"]) == 0
    said = yaml.safe_load((paper / "paper.yaml").read_text())
    said["rows"]["popularity"]["config"].append("protocol.seen=keep")
    (paper / "paper.yaml").write_text(yaml.safe_dump(said))
    told = "seed1.json is the record of another config"
    for more in ([], ["budget=quick"]):
        assert told in refused("reproduce", "doe2026", *more)
    assert cli.run(["verify", "--all", str(paper.parent)]) == 1
    assert told in " ".join(capsys.readouterr().out.split())


def test_a_folder_of_another_config_is_not_taken_for_the_row(
    paper: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["reproduce", "doe2026/popularity"]) == 0
    (paper / "runs" / "popularity_seed1.json").unlink()
    said = yaml.safe_load((paper / "paper.yaml").read_text())
    said["rows"]["popularity"]["config"].append("protocol.seen=keep")
    (paper / "paper.yaml").write_text(yaml.safe_dump(said))
    assert cli.run(["reproduce", "doe2026/popularity"]) == 1
    assert "holds a run with other settings" in " ".join(capsys.readouterr().out.split())
    assert not (paper / "runs" / "popularity_seed1.json").exists()


def test_a_row_that_fails_does_not_stop_the_others(
    paper: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = yaml.safe_load((paper / "paper.yaml").read_text())
    said["rows"]["bprmf"]["config"].append("model.dim=0")
    (paper / "paper.yaml").write_text(yaml.safe_dump(said))
    assert cli.run(["reproduce", "doe2026", "seeds=1"]) == 1
    assert "doe2026/bprmf seed=1: " in " ".join(capsys.readouterr().out.split())
    assert (paper / "runs" / "popularity_seed1.json").is_file()


def test_seeds_of_what_no_seed_changes_are_one(
    paper: Path, tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["reproduce", "doe2026/popularity", "seeds=2,3"]) == 0
    assert [path.stem for path in (paper / "runs").iterdir()] == ["popularity_seed2"]
    said = yaml.safe_load((paper / "paper.yaml").read_text())
    del said["rows"]["popularity"]["seeds"]
    (paper / "paper.yaml").write_text(yaml.safe_dump(said))
    assert "rows.popularity: no seed changes" in refused("reproduce", "doe2026")


def test_a_paper_may_need_configs_of_ones_own(
    paper: Path, tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    said = yaml.safe_load((paper / "paper.yaml").read_text())
    config = said["rows"]["popularity"]["config"]
    shop = {key.removeprefix("data."): value for key, _, value in
            (each.partition("=") for each in config if each.startswith("data."))}  # fmt: skip
    own = tmp_path / "my_conf" / "data" / "shop.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(yaml.safe_dump({"defaults": ["table"], **shop}))
    others = [each for each in config if not each.startswith("data")]
    said["rows"]["popularity"]["config"] = ["data=shop", *others]
    (paper / "paper.yaml").write_text(yaml.safe_dump(said))
    assert cli.run(["reproduce", "doe2026/popularity"]) == 1
    assert "Unknown choice data=shop" in capsys.readouterr().out
    flag = ["--config-dir", str(tmp_path / "my_conf")]
    assert cli.run(["reproduce", "doe2026/popularity", *flag]) == 0
    assert (paper / "runs" / "popularity_seed1.json").is_file()
    assert cli.run(["verify", "--all", str(paper), *flag]) == 0
    assert cli.run(["verify", "--all", str(paper)]) == 1
    record = read(paper / "runs" / "popularity_seed1.json")
    other = sealed(record | {"config": [{"a": 1}]})
    write_json(paper / "runs" / "popularity_seed1.json", other)
    assert "record of another config" in refused("reproduce", "doe2026/popularity", *flag)
    write_json(paper / "runs" / "popularity_seed1.json", [1])
    assert "popularity_seed1.json" in refused("reproduce", "doe2026/popularity", *flag)


def test_all_papers_are_listed_from_anywhere_and_a_broken_one_is_told(
    paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = paper.parent / "alpha"
    broken.mkdir()
    (broken / "paper.yaml").write_text("citation: 1")
    assert cli.run(["reproduce", "--list"]) == 1
    out = capsys.readouterr().out
    assert f"{broken / 'paper.yaml'}" in out.replace("\n", "") or "alpha/paper.yaml" in out
    assert "doe2026" in out
    monkeypatch.chdir(tmp_path / "experiments" / "doe2026")  # no papers are below it
    assert cli.run(["reproduce", "--list"]) == 0
    assert "klenitskiy2023" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["doe2025"], "Did you mean 'doe2026'"),
        (["doe2026/bprfm"], "Did you mean 'bprmf'"),
        (["doe2026", "budget=all"], "quick, full, gpu"),
        (["doe2026", "seeds=a"], "whole number"),
        (["doe2026", "--lst"], "Did you mean '--list'"),
        ([], "Say which paper"),
    ],
)
def test_what_is_misspelt_is_told(
    paper: Path, refused: Refused, arguments: list[str], sentence: str
) -> None:
    assert sentence in refused("reproduce", *arguments)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"figures": []}, "figures: "),
        ({"figurs": [FIGURE]}, "figurs: "),
        ({"rows": {}}, "rows: "),
        ({"rows": {"a/b": {}}}, "rows.a/b"),
        ({"rows": {"a": {"published": {FIGURE: "high"}}}}, "rows.a.published.test/ndcg@10"),
        ({"rows": {"a": {"confg": []}}}, "There are: config, title"),
        ({"folder": "elsewhere"}, "folder"),
    ],
)
def test_a_key_of_the_file_that_is_wrong_is_named(
    paper: Path, change: dict[str, object], sentence: str
) -> None:
    said = yaml.safe_load((paper / "paper.yaml").read_text())
    (paper / "paper.yaml").write_text(yaml.safe_dump(said | change))
    with pytest.raises(UserError) as caught:
        Paper.load(paper)
    assert str(paper / "paper.yaml") in str(caught.value)
    assert sentence in str(caught.value)
