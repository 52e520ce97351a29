"""Runs of one's own beside each other: read, named, checked, compared."""

import json
import statistics
from pathlib import Path

import polars as pl
import pytest

from lightning_rec import cli
from lightning_rec.errors import UserError
from lightning_rec.files import write_json
from lightning_rec.lab import compare, read_runs, table
from lightning_rec.lab.records import record, sealed

RECORDED = Path(__file__).parent.parent.parent / "experiments" / "options" / "runs"
NDCG = "test/ndcg@10"


@pytest.fixture(scope="module")
def sweep(log_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs: bprmf of two widths and two seeds."""
    folder = tmp_path_factory.mktemp("lab") / "sweep"
    columns = f"data=table data.path={log_csv} data.user=uid data.item=sku data.time=ts"
    short = "trainer=cpu trainer.max_epochs=1 trainer.check_val_every_n_epoch=1 protocol.cutoffs=[10] logger=csv examples=0"
    jobs = f"-m model=bprmf model.dim=4,8 seed=1,2 run_dir={folder}"
    assert cli.run(["train", *f"{columns} {short} {jobs}".split()]) == 0
    return folder


def of(folder: Path) -> float:
    figure: float = json.loads((folder / "metrics.json").read_text())[NDCG]
    return figure


def test_a_sweep_is_read_and_named_by_what_differs(sweep: Path) -> None:
    runs = read_runs(sweep)
    assert runs["setting"].to_list() == ["model.dim=4"] * 2 + ["model.dim=8"] * 2
    assert runs["seed"].to_list() == [1, 2, 1, 2]
    assert runs[NDCG].to_list() == [of(sweep / str(job)) for job in range(4)]
    assert runs["cost.trained_parameters"].dtype == pl.Int64
    assert runs["curve"].list.len().to_list() == [1] * 4
    assert runs["model"].unique().to_list() == ["BPRMF"]
    assert read_runs(sweep / "0")["setting"].to_list() == ["BPRMF"]


def test_settings_are_compared_with_a_baseline(sweep: Path) -> None:
    found = compare({"narrow": sweep / "0", "wide": [sweep / "2", sweep / "3"]}, figures=[NDCG])
    assert found.baseline == "narrow"
    narrow, wide = found.frame.to_dicts()
    assert (narrow["mean"], narrow["sd"], narrow["difference"]) == (of(sweep / "0"), None, None)
    values = [of(sweep / "2"), of(sweep / "3")]
    assert (wide["seeds"], wide["sd"]) == (2, statistics.stdev(values))
    assert wide["difference"] == statistics.fmean(values) - of(sweep / "0")
    assert wide["p"] is None  # a single seed has no spread
    whole = compare(sweep, baseline="model.dim=8")
    assert whole.figures == (NDCG,)  # what training monitored, of the test
    first = whole.frame.row(0, named=True)
    assert first["difference_low"] < first["difference"] < first["difference_high"]
    lines = whole.markdown().splitlines()
    assert lines[0] == f"| setting | seeds | {NDCG} | minus model.dim=8 [95%] |"
    assert lines[2].startswith(f"| model.dim=4 | 2 | {first['mean']:.4f} ± {first['sd']:.4f} | ")
    assert lines[3].endswith(" |  |")
    wider = compare(sweep, baseline="model.dim=8", level=0.999)
    heading, _, line, _ = wider.markdown().splitlines()
    assert "minus model.dim=8 [99.9%]" in heading  # not 100 %
    low, high = wider.frame.row(0, named=True)["difference_low"], first["difference_low"]
    assert low < high
    assert f"[{low:+.4f}, " in line
    assert "[99.9%]" in wider.paired_table().header
    assert r"\toprule" in whole.latex()
    assert str(table(sweep)).splitlines()[0] == f"| setting | {NDCG} | seeds |"


def test_recorded_runs_are_read_as_their_folders_are() -> None:
    runs = read_runs(RECORDED)
    assert runs["setting"].unique(maintain_order=True).to_list() == [
        "bert4rec_plain", "sasrec_default", "sasrec_plain",
    ]  # fmt: skip
    one = json.loads((RECORDED / "sasrec_plain_seed2.json").read_text())
    read = runs.filter(setting="sasrec_plain", seed=2).row(0, named=True)
    assert {name: read[name] for name in one["metrics"]} == one["metrics"]
    assert read["machine.threads"] == one["machine"]["threads"]
    assert [entry["value"] for entry in read["curve"]] == [*one.get("curve", {}).values()]


def test_what_does_not_compare_is_refused(sweep: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not all of the same data.* do not compare"):
        compare(sweep / "0", RECORDED, figures=[NDCG])
    with pytest.raises(UserError, match="both of 'mine' with seed 1: name a run once"):
        read_runs({"mine": [sweep / "0", sweep / "0"]})
    with pytest.raises(UserError, match=r"both called 'mine', but differ in model.dim=4 model.dim"):
        read_runs({"mine": [sweep / "0", sweep / "3"]})
    with pytest.raises(UserError, match=r"No run has the figure test/ndgc@10\. Did you mean"):
        compare(sweep, figures=["test/ndgc@10"])
    with pytest.raises(UserError, match=r"No setting is called 'model\.dim=5'"):
        compare(sweep, baseline="model.dim=5")
    with pytest.raises(UserError, match=r"Name the figures to compare, .*test/ndcg@10"):
        compare(RECORDED)
    for source in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match=r"holds no completed run|There is no file or folder"):
            read_runs(source)
    with pytest.raises(UserError, match="No run is named"):
        read_runs()
    write_json(tmp_path / "other.json", {"seed": 1})
    with pytest.raises(UserError, match="is no JSON of a run"):
        read_runs(tmp_path / "other.json")


def test_another_protocol_is_named_with_what_differs(sweep: Path, tmp_path: Path) -> None:
    for number, cutoffs in enumerate(("a", "b")):
        run = {"seed": 1, "row": cutoffs, "metrics": {NDCG: 0.5}, "protocol_hash": cutoffs}
        write_json(tmp_path / f"{number}.json", run | {"protocol": {"name": "x", "gap": number}})
    with pytest.raises(
        UserError, match=r"of the same protocol: they differ in protocol.gap \(0, 1"
    ):
        compare(tmp_path, figures=[NDCG])


def test_runs_that_were_stopped_are_left_out_of_a_sweep_and_refused_alone(
    sweep: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for job in ("0", "1"):
        for path in (sweep / job).glob("*.*"):
            if path.is_file() and path.name != "checksums.json":
                (tmp_path / job).mkdir(exist_ok=True)
                (tmp_path / job / path.name).write_bytes(path.read_bytes())
    card = json.loads((tmp_path / "1" / "run.json").read_text())
    write_json(tmp_path / "1" / "run.json", card | {"status": "interrupted"})
    assert read_runs(tmp_path)["run"].to_list() == [str(tmp_path / "0")]
    assert "is interrupted, and left out" in caplog.text
    with pytest.raises(UserError, match="is interrupted, not completed: go on with it first"):
        read_runs(tmp_path / "1")


def test_pipelines_of_members_that_differ_in_the_seed_are_one_setting(
    sweep: Path, tmp_path: Path
) -> None:
    made = []
    for seed, (narrow, wide) in enumerate(((0, 2), (1, 3)), 1):
        made.append(tmp_path / f"pipeline_{seed}")
        line = [f"A={sweep / str(narrow)}", f"B={sweep / str(wide)}", "ranker=none", f"seed={seed}"]
        assert cli.run(["pipeline", *line, "quotas=10", f"to={made[-1]}"]) == 0
    found = compare({"one": sweep / "0", "pipeline": made}, figures=[NDCG])
    assert found.frame["seeds"].to_list() == [1, 2]
    other = tmp_path / "other"  # of two narrow ones
    line = [f"A={sweep / '0'}", f"B={sweep / '1'}", "ranker=none", "seed=3", "quotas=10"]
    assert cli.run(["pipeline", *line, f"to={other}"]) == 0
    with pytest.raises(UserError, match=r"both called 'pipeline', but differ in B=\(.*model.dim"):
        compare({"pipeline": [made[0], other]}, figures=[NDCG])


def test_a_run_and_the_record_of_another_seed_are_one_setting(sweep: Path, tmp_path: Path) -> None:
    """Though a record does not say where its log lay."""
    write_json(tmp_path / "record.json", sealed(record(sweep / "1")))
    found = read_runs({"narrow": [sweep / "0", tmp_path / "record.json"], "wide": sweep / "2"})
    assert found["setting"].to_list() == ["narrow", "narrow", "wide"]
