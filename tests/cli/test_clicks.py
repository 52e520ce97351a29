"""Clicks through the real command line: one path for run folder, evaluation, sweeps and resuming."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from cli.processes import command, read
from omegaconf import OmegaConf
from safetensors.torch import load_file
from sklearn.metrics import log_loss, roc_auc_score

from lightning_rec import cli, config
from lightning_rec.problems.click_figures import worse_than_base
from lightning_rec.tasks.click import ClickSteps

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def clicks(click_csv: Path) -> list[str]:
    """Overrides of a run on the synthetic clicks that takes a second."""
    return [
        "model=deepfm", "data=click_table", f"data.path={click_csv}", "data.fields.label=clicked",
        "data.fields.categorical=[uid,sku,device]", "data.fields.multi_valued=[tags]",
        "data.fields.numeric=[price]", "data.fields.group=uid", "data.fields.weight=worth",
        "protocol.val=0.2", "protocol.test=0.2", "model.dim=8", "model.mlp=[16]", "model.dropout=0",
        "batches.batch_size=32", "batches.eval_batch_size=50", "optimizer.lr=0.02",
        "trainer.accelerator=cpu", "trainer.max_epochs=2", "callbacks=[checkpoint,progress]", "logger=csv",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(clicks: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One completed run, shared: tests only read it."""
    folder = tmp_path_factory.mktemp("clicks_run") / "shared"
    longer = ["trainer.max_epochs=30", "schedule=warmup_decay", "logger=[wandb,csv]"]
    longer.append("data.fields.slices=[uid,sku,device]")
    assert cli.run(["train", *clicks, *longer, f"run_dir={folder}"]) == 0
    return folder


def test_the_run_folder_holds_everything(run: Path, click_frame: pl.DataFrame) -> None:
    card, metrics = read(run / "run.json"), read(run / "metrics.json")
    assert card["status"] == "completed"
    assert card["split"] == {"rows": 600, "train rows": 360, "val rows": 120, "test rows": 120}
    assert card["audit"]["train rate"] == pytest.approx(0.5, abs=0.1)
    rows = pl.read_parquet(run / "test_rows.parquet")
    assert rows.columns == ["row", "label", "probability"]
    assert rows["label"].to_list() == click_frame["clicked"].gather(rows["row"].to_list()).to_list()
    auc = roc_auc_score(rows["label"], rows["probability"])
    assert metrics["test/auc"] == pytest.approx(auc, abs=1e-12)
    assert metrics["test/logloss"] == pytest.approx(log_loss(rows["label"], rows["probability"]))
    assert auc > 0.8  # the best possible is .875
    assert 0 < metrics["naivebayes/test/auc"] < 0.7  # it knows no pairs
    own = rows.with_columns(device=click_frame["device"].gather(rows["row"].to_list()))
    phone = own.filter(device="phone")
    assert metrics["test/device_is_phone/examples"] == len(phone) > 20
    area = roc_auc_score(phone["label"], phone["probability"])
    assert metrics["test/device_is_phone/auc"] == pytest.approx(area, abs=1e-12)
    nothing = own["device"].is_null().sum()
    assert metrics["test/device_is_empty/examples"] == nothing > 20
    assert "test/uid_is_u1/examples" not in metrics  # of too many
    assert metrics["naivebayes/test/auc"] < 0.52  # hardly more than chance, to which none is held
    assert "test/rela_impr" not in metrics
    assert metrics["test/threshold"] == metrics["val/threshold"]
    assert metrics["val/f1"] >= metrics["test/f1"] - 0.2
    assert pl.read_parquet(run / "reliability.parquet")["rows"].sum() == 120
    vocabulary = pl.read_parquet(run / "vocabulary.parquet")
    assert set(vocabulary["field"]) == {"uid", "sku", "device", "tags"}
    assert pl.read_parquet(run / "statistics.parquet")["field"].to_list() == ["price"]
    assert metrics["test/uid_cold/examples"] == 0
    assert metrics["test/uid_warm/auc"] == metrics["test/auc"]
    sliced = sum(metrics[f"test/sku_{part}/examples"] for part in ("1_9", "10_99", "100_up"))
    assert sliced == 120
    assert (run / "reliability.png").read_bytes().startswith(b"\x89PNG")
    assert list(run.glob("wandb/*/files/media/images/reliability_*.png"))


def test_the_same_figures_come_out_of_the_weights(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["evaluate", f"run={run}"]) == 0
    out = capfd.readouterr().out
    assert "to the last bit" in out
    assert "logloss" in out
    assert "gauc_groups_left_out" in out


def test_probabilities_worse_than_the_base_rate_are_told(
    clicks: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wild = ["optimizer.lr=30", "trainer.max_epochs=1", f"run_dir={tmp_path / 'r'}"]
    assert cli.run(["train", *clicks, *wild]) == 0
    figures = read(tmp_path / "r/metrics.json")
    assert figures["test/logloss"] > figures["test/logloss_base"]
    said = f"test/logloss={figures['test/logloss']:.4f} is above"
    assert said in " ".join(capfd.readouterr().err.split())
    (warning,) = read(tmp_path / "r/run.json")["warnings"]
    assert said in warning
    assert "task.calibrate=temperature" in warning
    assert "monitor=" not in warning  # it is the logloss already
    cfg = config.compose(["model=lr_sgd", "monitor=val/auc"])
    (told,) = worse_than_base(figures, cfg, trained=True, validates=True)
    assert "monitor=val/logloss" in told
    assert "(task.embedding_l2, task.l2), or train for longer" in told
    cfg = config.compose(["model=lr", "task.calibrate=temperature"])
    (told,) = worse_than_base(figures, cfg, trained=False, validates=True)
    assert told.endswith("are not. What may help: shrink the weights (model.C).")
    assert cli.run(["evaluate", f"run={tmp_path / 'r'}"]) == 0
    assert said in " ".join(capfd.readouterr().err.split())


def test_few_steps_and_the_mean_loss_of_an_epoch_are_told(
    clicks: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "r"
    few = ["batches.batch_size=90", "trainer.log_every_n_steps=1", "patience=0", "optimizer.lr=3"]
    few += ["trainer.max_epochs=50", "callbacks=[checkpoint,early_stopping]", f"run_dir={run}"]
    assert cli.run(["train", *clicks, *few]) == 0
    log = (run / "train.log").read_text()
    assert "only 4 steps, and training may end after 4 steps. Say batches.batch_size=16," in log
    steps = pl.read_csv(run / "csv" / "metrics.csv").drop_nulls("train/loss")
    epochs = len(steps) // 4
    (warning,) = (each for each in read(run / "run.json")["warnings"] if "steps" in each)
    assert f"Training ended after {4 * epochs} steps, since 0 validations" in warning
    assert warning.endswith("Say batches.batch_size=16, or a larger patience.")
    for epoch in range(epochs):
        mean: Any = steps["train/loss"][4 * epoch : 4 * epoch + 4].mean()
        assert f"epoch {epoch + 1} of 50, train/loss {mean:.4f}, val/logloss" in log


def test_a_temperature_is_saved_and_applied_again(
    clicks: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wild = ["optimizer.lr=0.5", "trainer.max_epochs=1"]
    for name in ("none", "temperature"):
        folder = tmp_path / name
        settings = [*clicks, *wild, f"task.calibrate={name}", f"run_dir={folder}"]
        assert cli.run(["train", *settings]) == 0
    plain, cooled = (read(tmp_path / name / "metrics.json") for name in ("none", "temperature"))
    assert cooled["val/logloss"] < plain["val/logloss"]
    for stage in ("val", "test"):
        assert cooled[f"{stage}/auc"] == pytest.approx(plain[f"{stage}/auc"], abs=1e-6)
    temperature = read(tmp_path / "temperature/run.json")["temperature"]["click"]
    weights = load_file(tmp_path / "temperature/weights.safetensors")
    assert float(weights["temperature"][0]) == pytest.approx(temperature)
    assert temperature != 1
    assert cli.run(["evaluate", f"run={tmp_path / 'temperature'}"]) == 0
    assert "to the last bit" in capfd.readouterr().out


def test_good_probabilities_are_no_warning(run: Path) -> None:
    assert read(run / "metrics.json")["test/normalized_entropy"] < 1
    assert read(run / "run.json")["warnings"] == []


def test_two_processes_give_the_figures_of_one(clicks: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "ddp"
    short = ["trainer.max_epochs=2", "trainer=ddp", "trainer.accelerator=cpu"]
    done = command("train", *clicks, *short, f"run_dir={folder}")
    assert done.returncode == 0, done.stderr
    again = ("trainer.devices=1", "trainer.strategy=auto")
    assert cli.run(["evaluate", f"run={folder}", *again]) == 0
    whole = cli.run(["evaluate", f"run={folder}", *again, "batches.eval_batch_size=1000"])
    assert whole in (0, 1)  # other batches may differ in the last bit


def test_a_sweep_over_models_ends_in_one_table(
    clicks: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    general = [each for each in clicks if not each.startswith("model")]
    general.append("task=click")  # without it the sweep's own config would be one of sequences
    models = "lr,deepfm,finalmlp,naive_bayes"  # tests/models trains all of them
    short = ["trainer.max_epochs=1", "logger=none", "baseline=null", f"run_dir={tmp_path}"]
    assert cli.run(["train", "-m", *general, *short, f"model={models}"]) == 0
    (table,) = read(tmp_path / "sweep.json")["tables"]
    assert {row["setting"] for row in table["rows"]} == {f"model={m}" for m in models.split(",")}
    out = capfd.readouterr().out
    assert "Best val/logloss first" in out
    assert "test/logloss" in out
    assert "ndcg" not in out


def test_resume_equals_an_unbroken_run(clicks: list[str], tmp_path: Path) -> None:
    for name, epochs in (("whole", 4), ("broken", 2)):
        cli.run(["train", *clicks, f"trainer.max_epochs={epochs}", f"run_dir={tmp_path / name}"])
    cli.run(["train", f"resume={tmp_path / 'broken'}", "trainer.max_epochs=4"])
    whole, broken = (torch.load(
        tmp_path / name / "checkpoints/last.ckpt", weights_only=True
    ) for name in ("whole", "broken"))  # fmt: skip
    assert whole["epoch"] == broken["epoch"] == 3
    for key, value in whole["state_dict"].items():
        assert torch.equal(value, broken["state_dict"][key]), key


def test_given_files_and_times(
    clicks: list[str], click_frame: pl.DataFrame, tmp_path: Path
) -> None:
    parts = {"path": click_frame[:400], "val": click_frame[400:500], "test": click_frame[500:]}
    for name, part in parts.items():
        part.write_parquet(tmp_path / f"{name}.parquet")
    given = [f"data.{name}={tmp_path / name}.parquet" for name in parts]
    kept = [each for each in clicks if not each.startswith(("protocol", "data.path"))]
    short = ["trainer.max_epochs=1", "protocol=given_rows", f"run_dir={tmp_path / 'given'}"]
    assert cli.run(["train", *kept, *given, *short]) == 0
    assert read(tmp_path / "given/run.json")["split"]["val rows"] == 100
    kept = [each for each in clicks if not each.startswith("protocol")]
    short = ["trainer.max_epochs=1", "protocol=temporal_rows", f"run_dir={tmp_path / 'time'}"]
    assert cli.run(["train", *kept, "data.fields.time=ts", *short]) == 0


def test_without_validation_the_last_weights_are_kept(clicks: list[str], tmp_path: Path) -> None:
    short = ["trainer.max_epochs=1", "schedule=warmup_decay", f"run_dir={tmp_path / 'r'}"]
    assert cli.run(["train", *clicks, "protocol.val=0", *short]) == 0
    metrics = read(tmp_path / "r/metrics.json")
    assert metrics["test/threshold"] == 0.5
    assert not any(name.startswith("val/") for name in metrics)


def test_another_seed_gives_other_bits(clicks: list[str], tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        short = ["trainer.max_epochs=1", f"seed={seed}", f"run_dir={tmp_path / name}"]
        cli.run(["train", *clicks, *short])
    first, again, other = ((tmp_path / name / "metrics.json").read_bytes() for name in "abc")
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.fields.label=ts"], "the label in column 'ts' is"),
        (["data.fields.label=clickd"], "no column 'clickd' for data.fields.label"),
        (["data.fields.categorical=[uid,skuu]"], "Did you mean 'sku'?"),
        (["data.fields.numeric=[price,sku]", "data.fields.categorical=[uid]"], "'i"),
        (["protocol=temporal_rows"], "data.fields.time=COLUMN"),
        (["protocol=given_rows"], "came without a split"),
        (["data.path=nowhere.csv"], "nowhere.csv"),
        (["data.val=x.csv"], "needs data.test=FILE"),
        (["model=bert4rec"], "holds clicks"),
        (["protocol.val=0"], "schedule=plateau watches val/logloss"),
        (
            ["schedule=plateau", "schedule.monitor=val/lost"],
            "schedule.monitor=val/lost is no figure",
        ),
        (["schedule=plateau", "schedule.mode=max"], "schedule.mode=max: of val/logloss say min"),
        (
            ["protocol.val=0", "schedule=warmup_decay", "task.calibrate=temperature"],
            "task.calibrate=temperature is fitted on validation",
        ),
        (["task.sparse=true"], "Of sparse gradients lazy_adamw learns"),
        (
            ["task.sparse=true", "optimizer=lazy_adamw", "task.embedding_l2=0.1"],
            "task.embedding_l2=0.1 weighs whole tables",
        ),
        (["data.fields.slices=[price]"], "data.fields.slices speaks of 'price'"),
        (["+data.fields.buckets={price:0}"], "data.fields"),
        (["data.fields.multi_valued=[tag]"], "no column 'tag' for data.fields.multi_valued"),
    ],
)
def test_bad_input_is_told_in_one_sentence(
    clicks: list[str], refused: Refused, tmp_path: Path, overrides: list[str], said: str
) -> None:
    names = {each.partition("=")[0] for each in overrides}
    kept = [each for each in clicks if each.partition("=")[0] not in names]
    if names & {"protocol", "model"}:
        kept = [each for each in kept if not each.startswith(("protocol.", "model."))]
    assert said in refused("train", *kept, *overrides, f"run_dir={tmp_path / 'r'}")


def test_a_label_of_one_class(
    clicks: list[str], refused: Refused, tmp_path: Path, click_frame: pl.DataFrame
) -> None:
    path = tmp_path / "ones.parquet"
    click_frame.with_columns(clicked=pl.lit(1)).write_parquet(path)
    kept = [each for each in clicks if not each.startswith("data.path")]
    sentence = refused("train", *kept, f"data.path={path}", f"run_dir={tmp_path / 'r'}")
    assert "all 360 labels are 1" in sentence


def test_files_with_different_columns(
    clicks: list[str], refused: Refused, tmp_path: Path, click_frame: pl.DataFrame
) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    click_frame[:300].write_parquet(folder / "a.parquet")
    click_frame[300:].rename({"price": "cost"}).write_parquet(folder / "b.parquet")
    kept = [each for each in clicks if not each.startswith("data.path")]
    sentence = refused("train", *kept, f"data.path={folder}", f"run_dir={tmp_path / 'r'}")
    assert "b.parquet does not have the columns of" in sentence
    assert "it lacks price and has cost" in sentence


def test_a_ragged_line_of_text_is_named(
    clicks: list[str], refused: Refused, tmp_path: Path, click_csv: Path
) -> None:
    path = tmp_path / "ragged.csv"
    lines = click_csv.read_text().splitlines()
    path.write_text("\n".join([*lines[:50], lines[50] + ",more", *lines[51:]]))
    kept = [each for each in clicks if not each.startswith("data.path")]
    sentence = refused("train", *kept, f"data.path={path}", f"run_dir={tmp_path / 'r'}")
    assert "ragged.csv, line 51 has 9 fields where the header has 8" in sentence


def test_hashes_buckets_and_widths_through_the_command_line(
    clicks: list[str], tmp_path: Path
) -> None:
    settings = [
        "+data.fields.hash_size={uid:50}", "+data.fields.buckets={price:4}",
        "+data.fields.dims={uid:3}", "+data.fields.min_counts={sku:2}", "data.fields.slices=[sku]",
        "task.sparse=true", "optimizer=lazy_adamw", "optimizer.lr=0.02",
    ]  # fmt: skip
    kept = [each for each in clicks if "optimizer" not in each]
    folder = tmp_path / "r"
    assert cli.run(["train", *kept, *settings, f"run_dir={folder}"]) == 0
    fields = pl.read_parquet(folder / "fields.parquet")
    assert fields.filter(pl.col("name") == "uid")["size"].item() == 51
    assert fields.filter(pl.col("name") == "price")["kind"].item() == "categorical"
    assert "uid" not in pl.read_parquet(folder / "vocabulary.parquet")["field"]
    weights = load_file(folder / "weights.safetensors")
    assert weights["fields.apart.0.table.weight"].shape == (52, 3)
    assert cli.run(["evaluate", f"run={folder}"]) == 0


def test_a_schema_is_guessed_written_and_used(
    click_csv: Path, tmp_path: Path, refused: Refused, capfd: pytest.CaptureFixture[str]
) -> None:
    out = f"out={tmp_path / 'conf'}"
    assert cli.run(["data", "schema", str(click_csv), "name=guessed", "weight=worth", out]) == 0
    shown = capfd.readouterr().out
    for word in ("uid", "categorical", "multi_valued", "label", "--config-dir"):
        assert word in shown
    assert "is there already" in refused("data", "schema", str(click_csv), "name=guessed", out)
    assert "Did you mean 'label'" in refused("data", "schema", str(click_csv), "labl=x")
    assert "Say which file" in refused("data", "schema")
    node = OmegaConf.load(tmp_path / "conf/data/guessed.yaml")
    assert node.fields.categorical == ["uid", "sku", "device"]
    assert node.fields.numeric == ["price"]
    assert node.fields.multi_valued == ["tags"]
    done = command(
        "train", "--config-dir", str(tmp_path / "conf"), "model=lr", "data=guessed", "logger=none",
        "trainer.max_epochs=1", "trainer.accelerator=cpu", f"run_dir={tmp_path / 'r'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read(tmp_path / "r/metrics.json")["test/gauc_groups"] > 0


def test_a_loss_that_is_no_number_names_step_and_batch_and_keeps_the_last_good_state(
    clicks: list[str], refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "r"
    cli.run(["train", *clicks, "trainer.max_epochs=1", f"run_dir={run}"])
    before = (run / "checkpoints/last.ckpt").read_bytes()
    costs = iter([0.0, 0.0, float("nan")])
    monkeypatch.setattr(ClickSteps, "penalty", lambda steps, model: next(costs, 0.0))
    sentence = refused("train", f"resume={run}", "trainer.max_epochs=3")
    assert "train/loss is nan at step 14, batch 2 of epoch 1" in sentence
    assert (run / "checkpoints/last.ckpt").read_bytes() == before


def test_data_shows_clicks_and_their_features(
    click_csv: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fields = ["fields.label=clicked", "fields.categorical=[uid]", "fields.multi_valued=[tags]"]
    assert cli.run(["data", "name=click_table", f"path={click_csv}", *fields]) == 0
    out = capfd.readouterr().out
    for word in ("600", "clicks", "uid", "20", "tags", "multi_valued", "Prepared in"):
        assert word in out
    assert cli.run(["data"]) == 0
    out = capfd.readouterr().out
    assert "frappe" in out
    assert "click_table" in out


def test_show_builds_clicks_without_running(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["show", "model=dcnv2", "data=frappe"]) == 0
    out = capfd.readouterr().out
    assert "DCNv2" in out
    assert "isweekend" in out
