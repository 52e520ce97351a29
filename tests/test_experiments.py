"""Every experiment runs for a step; every table is built from the committed JSON."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from languages import with_tiny

from lightning_rec import cli, config
from lightning_rec.build import problem_of

CLONE = Path(__file__).parent.parent


@pytest.mark.parametrize("experiment", config.choices("experiment"))
def test_every_experiment_runs_for_a_step(
    experiment: str,
    log_csv: Path,
    catalogue_csv: Path,
    titled_clicks: Path,
    tiny_bert: Path,
    tiny_gpt: Path,
    pairs_csv: Path,
    tiny_minilm: Path,
    tmp_path: Path,
) -> None:
    table = (
        f"data=table data.path={log_csv} data.user=uid data.item=sku data.time=ts "
        f"data.catalogue={catalogue_csv} data.catalogue_item=sku data.catalogue_title=title"
    )
    step = "trainer.max_epochs=1 trainer.limit_train_batches=1 trainer.check_val_every_n_epoch=1"
    composed = config.compose([f"experiment={experiment}"])
    if composed.data.get("graph"):  # of the data of the experiment
        table += " data.graph=null"
    if "fields" in composed.data:  # clicks
        by_time = composed.protocol._target_.endswith("TemporalRows")
        protocol = "temporal_rows" if by_time else "random_rows"
        label = "data.fields.label=clicked"
        if goals := composed.data.fields.goals:
            ours = iter(("column=clicked positive_from=1", "column=worth positive_from=2"))
            back = "returns_within=20m returns_after=2m"  # of a log of ten hours
            label = " ".join(
                f"data.fields.goals.{goal}.{said}"
                for goal, is_of in goals.items()
                for said in (back if "returns_within" in is_of else next(ours)).split()
            )
        table = (
            f"data=click_table data.path={titled_clicks} protocol={protocol} {label} "
            "data.fields.categorical=[uid,sku] data.fields.group=uid data.fields.item=sku "
            "data.fields.past=clicks data.fields.time=ts"
        )
    if composed.protocol._target_.endswith("ByQuery"):
        table = (
            f"data=pairs data.path={pairs_csv} data.query=term data.title=name data.item=sku "
            "data.relevance=grade data.positive_from=2.5 data.scale=[1,3] protocol.cutoffs=[1,5,10]"
        )
    if "under" in composed.data:  # pairs of a log
        log = (
            f"path={log_csv} user=uid item=sku time=ts catalogue={catalogue_csv} "
            "catalogue_item=sku catalogue_title=title"
        )
        table = " ".join(f"data.of.{each}" for each in log.split())
        table = f"data@data.of=table {table} protocol.cutoffs=[1,5,10]"
        table += ' data.template="{title}"'
    overrides = [f"experiment={experiment}", *table.split(), *step.split(), "logger=csv"]
    overrides += with_tiny(composed, tiny_bert, tiny_gpt)
    if "negatives" in (composed.get("loss") or {}):
        overrides.append("loss.negatives=5")  # the log has forty items
    if composed.batches.get("batch_size", 0) > 16:
        overrides.append("batches.batch_size=16")
    assert cli.run(["train", *overrides, f"run_dir={tmp_path / 'run'}"]) == 0


BENCH = CLONE / "benchmarks"
CLICKS = BENCH / "clicks"
CURRENT = CLONE / "experiments" / "current"
PIPELINE = CLONE / "experiments" / "pipeline"
FORECAST = CLONE / "experiments" / "forecast"
SIDE = CLONE / "experiments" / "side"
LISTWISE = CLONE / "experiments" / "listwise"


@pytest.mark.parametrize(
    "command",
    [
        [CLONE / "experiments" / "tables.py"],
        ["-m", "benchmarks.sequences.table", BENCH / "sequences" / "results", BENCH / "README.md"],
        ["-m", "benchmarks.clicks.table", CLICKS / "results", CLICKS / "README.md"],
        ["-m", "experiments.current.record", CURRENT / "results.json", CURRENT / "README.md"],
        ["-m", "experiments.pipeline.record", PIPELINE / "results.json", PIPELINE / "README.md"],
        ["-m", "experiments.forecast.record", FORECAST / "results.json", FORECAST / "README.md"],
        ["-m", "experiments.side.record", SIDE / "results.json", SIDE / "README.md"],
        ["-m", "experiments.listwise.record", LISTWISE / "results.json", LISTWISE / "README.md"],
        [CLONE / "experiments" / "simulation" / "record.py"],
    ],
    ids=[
        "experiments",
        "sequences",
        "clicks",
        "current",
        "pipeline",
        "forecast",
        "side",
        "listwise",
        "simulation",
    ],
)
def test_tables_are_built_from_the_committed_json(command: list[str | Path]) -> None:
    line = [sys.executable, *map(str, command), "--check"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=CLONE)
    assert done.returncode == 0, done.stderr


PAPERS = sorted(CLONE.glob("experiments/*/paper.yaml"))


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.parent.name)
def test_every_row_of_a_paper_can_be_trained(paper: Path) -> None:
    for row in yaml.safe_load(paper.read_text())["rows"].values():
        problem_of(config.compose([str(each) for each in row["config"]]))
