"""`lightning-rec train`, `evaluate` and `show` as a person uses them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from cli.offline import offline_records
from cli.processes import command, read
from safetensors.torch import load_file

from lightning_rec import cli, config
from lightning_rec.commands import VERBS
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.loggers import compared, sectioned

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def run(log_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One completed run, shared: tests only read it."""
    folder = tmp_path_factory.mktemp("runs") / "shared"
    overrides = f"""data=table data.path={log_csv} data.user=uid data.item=sku data.time=ts
        protocol.cutoffs=[1,5,10] model.dim=8 model.depth=1 batches.max_len=10
        batches.batch_size=16 batches.eval_batch_size=16 trainer.accelerator=cpu
        trainer.max_epochs=3 trainer.check_val_every_n_epoch=1 logger=[wandb,csv]"""
    assert cli.run(["train", *overrides.split(), f"run_dir={folder}"]) == 0
    return folder


def test_the_run_folder_holds_everything(run: Path) -> None:
    card, metrics = read(run / "run.json"), read(run / "metrics.json")
    assert card["status"] == "completed"
    assert card["seed"] == 1
    assert card["peak_memory_mib"] > 0
    assert card["cpu_seconds"] > 0
    for name in ("config_hash", "data_hash", "protocol_hash", "environment_hash"):
        assert len(card[name]) == 64
    assert {"data", "fit", "evaluate"} <= set(card["seconds"])
    for stage in ("val", "test"):
        for name in ("recall@10", "ndcg@10", "mrr", "precision@10", "f1@10", "auc", "coverage@10"):
            assert 0 <= metrics[f"{stage}/{name}"] <= 1
            assert 0 <= metrics[f"popularity/{stage}/{name}"] <= 1
    users = pl.read_parquet(run / "test_users.parquet")
    known = ["user", "rank", "candidates", "history", "seen", "item", "popularity"]
    assert users.columns == known
    hits = (users["rank"] <= 10).sum() / len(users)
    assert metrics["test/recall@10"] == pytest.approx(hits, abs=1e-12)
    items = pl.read_parquet(run / "items.parquet")
    assert len(items) == 40
    # The target is what follows the history, and slices are those of the figures.
    histories = pl.read_parquet(run / "users.parquet")
    row = users.join(histories, "user", maintain_order="left").row(7, named=True)
    assert items["item"][row["items"][row["history"]]] == row["item"]
    for name in ("head", "tail"):
        inside = users.filter(popularity=name)
        assert metrics[f"test/{name}/examples"] == len(inside) > 0
        assert metrics[f"test/{name}/recall@10"] == pytest.approx((inside["rank"] <= 10).mean())


def test_nothing_in_it_needs_an_unrestricted_unpickle(run: Path) -> None:
    for checkpoint in (run / "checkpoints").iterdir():
        torch.load(checkpoint, weights_only=True)
    load_file(run / "weights.safetensors")
    assert not list(run.rglob("*.pkl"))


def test_the_table_shows_both_models_and_titles(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["evaluate", f"run={run}"]) == 0
    out = capfd.readouterr().out
    assert "to the last bit" in out
    assert "ndcg@10" in out


def test_evaluate_says_when_figures_differ(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(run), str(copy)], check=True)
    metrics = read(copy / "metrics.json")
    metrics["test/auc"] += 1e-15
    RunFolder.open(copy).save_metrics(metrics)
    assert cli.run(["evaluate", f"run={copy}"]) == 1


def test_equal_seeds_give_equal_bits(small: list[str], tmp_path: Path) -> None:
    for name in ("a", "b"):
        cli.run(["train", *small, f"run_dir={tmp_path / name}"])
    assert (tmp_path / "a/metrics.json").read_bytes() == (tmp_path / "b/metrics.json").read_bytes()
    cli.run(["train", *small, f"run_dir={tmp_path / 'c'}", "seed=2"])
    assert (tmp_path / "a/metrics.json").read_bytes() != (tmp_path / "c/metrics.json").read_bytes()


def exit_codes(run: Path) -> list[int]:
    """With which the W&B run below ``run`` was closed."""
    records = offline_records(run)
    return [r.exit.exit_code for r in records if r.WhichOneof("record_type") == "exit"]


def test_wandb_offline_holds_the_figures(run: Path) -> None:
    summary, config, history, axes, exit_code = {}, {}, set(), {}, None
    for record in offline_records(run):
        for update in record.summary.update:
            summary[update.key or update.nested_key[0]] = json.loads(update.value_json)
        for update in (*record.run.config.update, *record.config.update):
            config[update.key] = json.loads(update.value_json)
        history |= {item.key or item.nested_key[0] for item in record.history.item}
        if record.WhichOneof("record_type") == "metric":
            axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        if record.WhichOneof("record_type") == "exit":
            exit_code = record.exit.exit_code
    placed = sectioned(read(run / "metrics.json"))
    for name, value in compared(placed).items():
        assert summary[name] == pytest.approx(value, abs=1e-12), name
    assert not any(name.startswith(("slices/", "baseline/", "train/")) for name in summary)
    assert set(placed) - set(compared(placed)) <= history
    assert axes["val/ndcg@10"] == axes["train/loss"] == "trainer/global_step"
    card = read(run / "run.json")
    assert config["data_hash"] == card["data_hash"]
    assert config["protocol_hash"] == card["protocol_hash"]
    assert {"train/loss", "train/lr", "cost/epoch_seconds", "val/ndcg@10", "examples"} <= history
    assert exit_code == 0


def test_a_run_that_breaks_is_closed_and_marked(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaking.py").write_text(
        "from lightning_rec.models.sequential.bert4rec import BERT4Rec\n\n\n"
        "class Breaking(BERT4Rec):\n"
        "    def forward(self, histories, at):\n"
        "        raise RuntimeError('it broke')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run = tmp_path / "run"
    overrides = ["model._target_=breaking.Breaking", "logger=[wandb]", f"run_dir={run}"]
    with pytest.raises(RuntimeError, match="it broke"):
        cli.run(["train", *small, *overrides])
    card = read(run / "run.json")
    assert card["status"] == "failed"
    assert card["error"] == "RuntimeError: it broke"
    deadline = time.monotonic() + 60  # W&B's own process writes on after it has said it is done
    while not (codes := exit_codes(run)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert codes == [1]


def test_resume_equals_an_unbroken_run(small: list[str], tmp_path: Path) -> None:
    small = [*small, "trainer.max_epochs=6", "trainer.check_val_every_n_epoch=2"]
    cli.run(["train", *small, f"run_dir={tmp_path / 'whole'}"])
    broken = tmp_path / "broken"
    process = subprocess.Popen(
        [sys.executable, "-m", "lightning_rec", "train", *small, f"run_dir={broken}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    last = broken / "checkpoints" / "last.ckpt"
    while not last.exists() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert read(broken / "run.json")["status"] == "running"
    assert torch.load(last, weights_only=True)["epoch"] < 5
    assert cli.run(["train", f"resume={broken}"]) == 0
    assert (broken / "metrics.json").read_bytes() == (tmp_path / "whole/metrics.json").read_bytes()
    card = read(broken / "run.json")
    assert card["status"] == "completed"
    assert card["earlier"][0]["status"] == "running"


def test_a_resumed_run_must_find_the_data_it_began_with(
    small: list[str], log_csv: Path, refused: Callable[..., str], tmp_path: Path
) -> None:
    log, folder = tmp_path / "log.csv", tmp_path / "run"
    log.write_bytes(log_csv.read_bytes())
    assert cli.run(["train", *small, f"data.path={log}", f"run_dir={folder}"]) == 0
    *lines, _ = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines))
    told = refused("train", f"resume={folder}", "trainer.max_epochs=9")
    assert told.startswith("data_hash of ")
    assert "the data or the protocol is not the one" in told


def test_ctrl_c_ends_cleanly(small: list[str], tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lightning_rec",
            "train",
            *small,
            f"run_dir={tmp_path / 'run'}",
            "trainer.max_epochs=100000",
            "callbacks=[checkpoint]",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "run/checkpoints/last.ckpt").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; to go on: lightning-rec train resume=" in errors
    assert "Traceback" not in errors
    assert read(tmp_path / "run/run.json")["status"] == "interrupted"


@pytest.mark.parametrize("batch_size", [16, 512])  # four batches, the last uneven; one batch
def test_two_processes_give_the_figures_of_one(
    small: list[str], tmp_path: Path, batch_size: int
) -> None:
    folder = tmp_path / "ddp"
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", f"batches.eval_batch_size={batch_size}"]
    done = command("train", *small, *ddp, f"run_dir={folder}")
    assert done.returncode == 0, done.stderr
    again = ("trainer.devices=1", "trainer.strategy=auto")
    assert cli.run(["evaluate", f"run={folder}", *again]) == 0


def test_a_sweep_gives_a_run_per_job_and_one_table(
    small: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = ["-m", "model.dim=8,16", "seed=1,2", f"run_dir={tmp_path}", "logger=[wandb]"]
    cli.run(["train", *small, *sweep])
    assert {read(tmp_path / f"{job}/run.json")["status"] for job in range(4)} == {"completed"}
    told = set()
    for job in range(4):
        records = list(offline_records(tmp_path / str(job)))
        run = next(each.run for each in records if each.WhichOneof("record_type") == "run")
        settings = [update for each in records for update in each.config.update]
        tracking = json.loads(next(e.value_json for e in settings if e.key == "tracking"))
        told.add((run.display_name, run.run_group, tracking["setting"]))
    assert told == {
        (f"model.dim={dim} seed={seed}", tmp_path.name, f"model.dim={dim}")
        for dim in (8, 16)
        for seed in (1, 2)
    }
    (table,) = read(tmp_path / "sweep.json")["tables"]
    rows = table["rows"]
    assert {row["setting"]: row["jobs"] for row in rows} == {"model.dim=8": 2, "model.dim=16": 2}
    means = [row["figures"]["val/ndcg@10"]["mean"] for row in rows]
    assert means == sorted(means, reverse=True)
    out = capfd.readouterr().out
    assert "Best val/ndcg@10 first, on log" in out
    assert f"wandb sync {tmp_path}/*/wandb/offline-run-*" in out


@pytest.mark.long  # tests/test_predict.py trains each by itself
def test_all_models_compare_in_one_sweep(small: list[str], log_frame: Any, tmp_path: Path) -> None:
    catalogue = tmp_path / "items.csv"
    items = sorted(log_frame["sku"].unique().to_list())
    rows = [f"{item},title {item},genre {number % 3}\n" for number, item in enumerate(items)]
    catalogue.write_text("item,title,genre\n" + "".join(rows))
    composed = {name: config.compose([f"model={name}"]) for name in config.choices("model")}
    models = [
        name
        for name, cfg in composed.items()
        if cfg.task._target_.endswith(".Sequences")
        and (cfg.get("loss") or {}).get("negatives", 0) < len(items)
    ]
    kept = [each for each in small if not each.startswith(("model.", "batches."))]
    about = [f"data.catalogue={catalogue}", "data.catalogue_title=title"]
    step = ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "logger=none"]
    sweep = ["-m", f"model={','.join(models)}", f"run_dir={tmp_path / 'sweep'}"]
    assert cli.run(["train", *kept, *about, *step, *sweep]) == 0
    (table,) = read(tmp_path / "sweep" / "sweep.json")["tables"]
    assert {row["setting"] for row in table["rows"]} == {f"model={model}" for model in models}
    assert all(0 <= row["figures"]["val/ndcg@10"]["mean"] <= 1 for row in table["rows"])


def test_a_failed_job_leaves_the_others_and_is_marked(small: list[str], tmp_path: Path) -> None:
    jobs = ["-m", "model.heads=2,3", "model=bert4rec", f"run_dir={tmp_path}"]
    with pytest.raises(SystemExit) as stop:
        cli.run(["train", *small, *jobs, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"])
    assert stop.value.code == 1
    cards = [read(tmp_path / f"{job}/run.json") for job in (0, 1)]
    assert [card["status"] for card in cards] == ["completed", "failed"]
    assert "heads=3 must divide dim=8" in cards[1]["error"]


def test_a_model_brings_its_objective_and_loss(small: list[str], tmp_path: Path) -> None:
    small = [each for each in small if not each.startswith("model.")]
    cli.run(["train", *small, "-m", "model=bert4rec,popularity", f"run_dir={tmp_path}"])
    assert read(tmp_path / "sweep.json")["jobs"][1]["status"] == "completed"
    assert "closed_form" not in (tmp_path / "0/config.yaml").read_text()


def test_a_sweep_without_run_dir_compares_only_the_comparable(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cli.run(["train", *small, "-m", "protocol=leave_one_out,temporal"])
    (sweep,) = (tmp_path / "runs").iterdir()
    assert len(read(sweep / "sweep.json")["tables"]) == 2


@pytest.mark.parametrize("logger", ["csv", "tensorboard", "none", "[wandb,csv]"])
def test_loggers(small: list[str], tmp_path: Path, logger: str) -> None:
    cli.run(
        ["train", *small, "trainer.max_epochs=1", f"logger={logger}", f"run_dir={tmp_path / 'r'}"]
    )
    there = {path.name for path in (tmp_path / "r").iterdir()}
    assert ("csv" in there) == ("csv" in logger)
    assert ("tensorboard" in there) == (logger == "tensorboard")
    assert ("wandb" in there) == ("wandb" in logger)


@pytest.mark.parametrize(
    "override",
    ["trainer.precision=bf16-mixed", "trainer.accumulate_grad_batches=2", "protocol=temporal"],
)
def test_other_ways_to_train(small: list[str], tmp_path: Path, override: str) -> None:
    assert cli.run(["train", *small, override, f"run_dir={tmp_path / 'r'}"]) == 0


def test_a_run_can_be_evaluated_from_another_folder(
    small: list[str], log_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(log_csv.parent)
    small = [each for each in small if not each.startswith("data.path=")]
    cli.run(["train", *small, "data.path=log.csv", f"run_dir={tmp_path / 'r'}"])
    monkeypatch.chdir(tmp_path)
    assert cli.run(["evaluate", "run=r"]) == 0


def test_configs_of_ones_own(small: list[str], tmp_path: Path) -> None:
    own = tmp_path / "own" / "model"
    own.mkdir(parents=True)
    (own / "tiny.yaml").write_text(
        "defaults:\n  - bert4rec\n  - _self_\n"
        "  - override /objective@_global_.objective: masked_item\n"
        "dim: 4\nheads: 1\n"
    )
    small = [each for each in small if not each.startswith("model.")]
    extra = ["--config-dir", str(own.parent), "model=tiny", f"run_dir={tmp_path / 'r'}"]
    assert cli.run(["train", *small, *extra]) == 0
    best = tmp_path / "found" / "experiment"  # as tune writes it, of a model in the other folder
    best.mkdir(parents=True)
    head = "# @package _global_\ndefaults: [{override /model: tiny}]\n"
    (best / "best.yaml").write_text(head + "model: {depth: 1}\n")
    both = ["--config-dir", str(own.parent), f"--config-dir={best.parent}", "experiment=best"]
    assert cli.run(["train", *small, *both, f"run_dir={tmp_path / 'b'}"]) == 0
    model = RunFolder.open(tmp_path / "b").config.model
    assert (model.dim, model.depth) == (4, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "model=bert5rec"], "Did you mean 'bert4rec'"),
        (["train", "model.dimm=3"], "Did you mean 'dim'"),
        (["show", "trainer.max_epoch=3"], "Did you mean 'max_epochs'"),
        (["data", "check", "nowhere.csv"], "nowhere.csv"),
        (["data", "name=ml100k"], "Did you mean 'ml_100k'"),
    ],
)
def test_what_needs_no_torch_does_not_load_it(arguments: list[str], said: str) -> None:
    code = (
        "import sys; from lightning_rec import cli\n"
        f"try: cli.run({arguments})\n"
        "except cli.UserError as error: print(error)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stdout) == (0, True), done.stderr


def test_every_verb_has_help_without_loading_torch() -> None:
    for verb in VERBS:
        code = (
            "import sys; from lightning_rec import cli; "
            f"cli.run(['{verb}', '--help']); assert 'torch' not in sys.modules"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(f"lightning-rec {verb}") >= 3


def test_show_lists_the_keys_of_a_set_that_lacks_one(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["show", "data=table"]) == 0
    shown = capfd.readouterr().out
    assert "catalogue_columns: null" in shown
    assert "Nothing is built of it: data.path is not set" in shown


def test_show_builds_without_running(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["show", "model.dim=32"]) == 0
    out = capfd.readouterr().out
    assert "dim: 32" in out
    assert "MaskedItem" in out


def test_it_works_from_any_folder(small: list[str], tmp_path: Path) -> None:
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        cli.run(["train", *small])
    finally:
        os.chdir(here)
    (made,) = (tmp_path / "runs").iterdir()
    assert made.name.endswith("table_bert4rec")


def test_a_test_of_a_few_batches_records_these_alone(
    log_csv: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    overrides = f"""data=table data.path={log_csv} data.user=uid data.item=sku data.time=ts
        model.dim=8 model.depth=1 batches.batch_size=16 batches.eval_batch_size=4
        trainer.max_epochs=1 trainer.limit_test_batches=2 logger=csv"""
    assert cli.run(["train", *overrides.split(), f"run_dir={tmp_path / 'run'}"]) == 0
    users = pl.read_parquet(tmp_path / "run" / "test_users.parquet")
    assert len(users) == 8
    figures = read(tmp_path / "run" / "metrics.json")
    assert figures["test/recall@10_partial"] == pytest.approx((users["rank"] <= 10).mean())
    assert {"val/recall@10", "popularity/test/recall@10_partial"} < set(figures)
    assert not [name for name in figures if "test/" in name and not name.endswith("_partial")]
    script = Path(__file__).parents[2] / "experiments" / "record.py"
    line = [sys.executable, str(script), str(tmp_path / "rows"), "row", str(tmp_path / "run")]
    refused = subprocess.run(line, capture_output=True, text=True, check=False)
    assert "a part of the data alone, {'limit_test_batches': 2}" in refused.stderr
    assert not (tmp_path / "rows").exists()
    capfd.readouterr()
    assert cli.run(["evaluate", f"run={tmp_path / 'run'}"]) == 0
    assert f"({len(figures) // 2} figures)" in capfd.readouterr().out


def test_evaluate_measures_what_nothing_has_trained(log_csv: Path, tmp_path: Path) -> None:
    overrides = f"""data=table data.path={log_csv} data.user=uid data.item=sku data.time=ts
        model.dim=8 model.depth=1 logger=csv"""
    assert cli.run(["evaluate", *overrides.split(), f"run_dir={tmp_path / 'run'}"]) == 0
    card, metrics = read(tmp_path / "run" / "run.json"), read(tmp_path / "run" / "metrics.json")
    assert card["status"] == "completed"
    assert "fit" not in card["seconds"]
    assert "cost" not in card
    assert 0 <= metrics["test/ndcg@10"] <= 1
    assert cli.run(["evaluate", f"run={tmp_path / 'run'}"]) == 0
