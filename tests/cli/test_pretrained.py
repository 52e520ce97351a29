"""Pretrain, then tune: a finished run of sequences as the encoder of clicks, by every adapter."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from cli.processes import read
from safetensors.torch import load_file

from lightning_rec import cli, config
from lightning_rec.adapters.adalora import Shrinking
from lightning_rec.build import load_run
from lightning_rec.errors import UserError
from lightning_rec.runs import checksums
from lightning_rec.runs.folder import RunFolder
from lightning_rec.tasks.base import Task

pytest.importorskip("peft")
Refused = Callable[..., str]
# Virtual tokens are for models of transformers alone.
ADAPTERS = [name for name in config.choices("adapter") if name not in ("prefix", "prompt")]
QUICK = ["trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "logger=none", "baseline=null"]  # fmt: skip


def pretrained(
    log: Path, folder: Path, protocol: str = "temporal", model: str = "bert4rec"
) -> Path:
    """A small model of sequences, trained."""
    data = ["data=table", f"data.path={log}", "data.user=uid", "data.item=sku", "data.time=ts"]
    small = ["model.dim=16", "model.depth=2", "batches.max_len=10", "protocol.cutoffs=[5,10]"]
    arguments = [f"model={model}", *data, *small, f"protocol={protocol}", *QUICK]
    assert cli.run(["train", *arguments, f"run_dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def run(log_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on what comes before the boundary; tests only read it."""
    return pretrained(log_csv, tmp_path_factory.mktemp("pretrained") / "run")


@pytest.fixture(scope="module")
def decoder(log_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Likewise, of transformers."""
    return pretrained(log_csv, tmp_path_factory.mktemp("decoder") / "run", model="decoder")


@pytest.fixture(scope="module")
def clicks(log_csv: Path) -> list[str]:
    """Overrides of a run on the same log as clicks."""
    return [
        "model=deepfm", "data=click_table", f"data.path={log_csv}", "data.fields.label=stars",
        "data.fields.positive_from=3", "data.fields.categorical=[uid,sku]", "data.fields.group=uid",
        "data.fields.item=sku", "data.fields.past=clicks", "data.fields.time=ts",
        "data.fields.history_max_len=8", "protocol=temporal_rows", "model.dim=4", "model.mlp=[8]",
        "batches.batch_size=64", *QUICK,
    ]  # fmt: skip


def test_every_adapter_in_one_table(
    run: Path, clicks: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clicks = [each for each in clicks if not each.startswith("trainer.max_epochs")]
    sweep = [f"adapter={','.join(ADAPTERS)}", f"encoder.run={run}", f"run_dir={tmp_path}"]
    assert cli.run(["train", "-m", *clicks, *sweep, "trainer.max_epochs=2"]) == 0
    (table,) = read(tmp_path / "sweep.json")["tables"]
    rows = {row["setting"].removeprefix("adapter="): row for row in table["rows"]}
    assert set(rows) == set(ADAPTERS)
    trained = {name: row["costs"]["trained_parameters"]["mean"] for name, row in rows.items()}
    small = [trained[name] for name in ADAPTERS if name not in ("frozen", "top_layers", "full")]
    assert trained["frozen"] < min(small)
    assert max(small) < trained["top_layers"] < trained["full"]
    assert all(row["figures"]["test/auc"]["mean"] > 0 for row in rows.values())
    assert all(row["costs"]["peak_memory_mib"]["mean"] > 100 for row in rows.values())
    out = capfd.readouterr().out
    assert all(column in out for column in ("test/auc", "test/gauc", "s/epoch", "MiB"))
    assert "adapter=bottleneck" in out.partition("What it cost")[2]
    before = load_file(run / "weights.safetensors")
    for number, name in enumerate(ADAPTERS):
        folder = tmp_path / str(number)
        assert f"adapter={name}" in (folder / "overrides.yaml").read_text()
        after = load_file(folder / "weights.safetensors")
        same = {
            key: torch.equal(after[f"encoder.model.{key}"], value)
            for key, value in before.items()
            if f"encoder.model.{key}" in after
        }
        moved = {key for key, equal in same.items() if not equal}
        if name == "full":
            assert {"item.weight", "layers.0.query.weight"} <= moved
        elif name == "top_layers":
            assert "layers.1.query.weight" in moved
            assert all(key.startswith(("layers.1", "transform")) for key in moved)
        elif name == "bitfit":
            assert {"norm.bias", "layers.0.query.bias"} <= moved
            assert all(key.endswith(".bias") for key in moved)
        else:
            assert not moved
        assert len(same) > 20
        assert cli.run(["evaluate", f"run={folder}"]) == 0
        assert "to the last bit" in capfd.readouterr().out
        assert "tuned" in (folder / "train.log").read_text()
        kept = folder / "adapter.safetensors"
        assert kept.exists() == (name not in ("full", "frozen"))
        if kept.exists():
            for key, value in load_file(kept).items():
                assert torch.equal(value, after[f"encoder.model.{key}"])


def test_the_ranks_of_adalora_shrink_and_a_broken_run_goes_on(
    run: Path, clicks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clicks = [each for each in clicks if not each.startswith("trainer.max_epochs")]
    settings = ["adapter=adalora", "adapter.init_rank=4", "adapter.rank=2", "adapter.interval=2", f"encoder.run={run}", "trainer.max_epochs=4", "trainer.accumulate_grad_batches=2", "callbacks=[checkpoint]"]  # fmt: skip
    steps, after_step = [], Shrinking.after_step

    def counted(course: Shrinking, step: int) -> None:
        steps.append(step)
        after_step(course, step)

    def stopped(task: Task) -> None:
        if task.current_epoch == 2:
            raise RuntimeError("the power went")

    monkeypatch.setattr(Shrinking, "after_step", counted)
    assert cli.run(["train", *clicks, *settings, f"run_dir={tmp_path / 'whole'}"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Task, "on_train_epoch_start", stopped)
        with pytest.raises(RuntimeError, match="the power went"):
            cli.run(["train", *clicks, *settings, f"run_dir={tmp_path / 'broken'}"])
    assert cli.run(["train", f"resume={tmp_path / 'broken'}"]) == 0
    whole, broken = (torch.load(
        tmp_path / name / "checkpoints/last.ckpt", weights_only=True
    ) for name in ("whole", "broken"))  # fmt: skip
    assert steps == 2 * list(
        range(1, whole["global_step"] + 1)
    )  # once for each, not for each batch
    for key, value in whole["state_dict"].items():
        assert torch.equal(value, broken["state_dict"][key]), key
    parts = [value for key, value in whole["state_dict"].items() if ".lora_E." in key]
    assert [len(part) for part in parts] == [4] * 4
    assert sum(int(part.count_nonzero()) for part in parts) == 2 * 4
    for name, value in whole["course"]["importance"].items():
        assert torch.equal(value, broken["course"]["importance"][name])
    kept = load_file(tmp_path / "whole/adapter.safetensors")  # of the best epoch, not the last
    left = sum(int(value.count_nonzero()) for key, value in kept.items() if ".lora_E." in key)
    assert f"; {left} of 16 are left" in (tmp_path / "whole/train.log").read_text()


@pytest.mark.parametrize("name", ["prefix", "prompt"])
def test_virtual_tokens_are_for_what_is_made_of_transformers(
    name: str, run: Path, decoder: Path, clicks: list[str], refused: Refused, tmp_path: Path
) -> None:
    asked = [f"adapter={name}", "adapter.tokens=2", f"run_dir={tmp_path / 'r'}"]
    sentence = refused("train", *clicks, *asked, f"encoder.run={run}")
    assert f"adapter={name} puts virtual tokens before" in sentence
    assert "BERT4Rec holds none. adapter=lora" in sentence
    assert cli.run(["train", *clicks, *asked, f"encoder.run={decoder}"]) == 0
    before, after = (
        load_file(folder / "weights.safetensors") for folder in (decoder, tmp_path / "r")
    )
    assert all(torch.equal(after[f"encoder.model.{key}"], value) for key, value in before.items())
    (weight,) = load_file(tmp_path / "r/adapter.safetensors")
    assert weight == "body.virtual.made.embedding.weight"
    assert cli.run(["evaluate", f"run={tmp_path / 'r'}"]) == 0
    more = [each for each in asked if "tokens" not in each]
    sentence = refused("train", *clicks, *more, "adapter.tokens=3", f"encoder.run={decoder}", "run_dir=" + str(tmp_path / "more"))  # fmt: skip
    assert "has 10 places, 3 of which are its virtual tokens', but a text has 8" in sentence


def test_items_are_those_of_the_run_by_their_ids(
    run: Path, clicks: list[str], tmp_path: Path
) -> None:
    short = ["adapter=frozen", f"encoder.run={run}", f"run_dir={tmp_path / 'r'}"]
    assert cli.run(["train", *clicks, *short]) == 0
    codes = load_file(tmp_path / "r/weights.safetensors")["encoder.codes"].tolist()
    theirs = pl.read_parquet(run / "items.parquet").sort("code")["item"].to_list()
    known = pl.read_parquet(tmp_path / "r/vocabulary.parquet").filter(pl.col("field") == "sku")
    ours = known.sort("id")["value"].to_list()
    assert [theirs[code] for code in codes[:-1]] == ours
    assert codes[-1] == len(theirs)
    assert theirs != ours


def test_a_run_answers_without_the_run_of_its_encoder(
    run: Path, clicks: list[str], log_csv: Path, tmp_path: Path
) -> None:
    theirs, own = tmp_path / "theirs", tmp_path / "own"
    shutil.copytree(run, theirs)
    assert cli.run(["train", *clicks, f"encoder.run={theirs}", f"run_dir={own}"]) == 0
    rows = pl.read_csv(log_csv).head(4).with_columns(history=pl.concat_list(pl.col("sku")))
    before = load_run(own).score(rows)
    shutil.rmtree(theirs)
    moved = own.rename(tmp_path / "moved")
    assert cli.run(["evaluate", f"run={moved}"]) == 0
    assert load_run(moved).score(rows).equals(before)
    assert cli.run(["train", f"resume={moved}", "trainer.max_epochs=2"]) == 0
    assert cli.run(["evaluate", f"run={moved}"]) == 0
    part = moved / "parts/encoder.run/items.parquet"
    items = pl.read_parquet(part)
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(UserError, match="is not as the run wrote it"):
        cli.run(["evaluate", f"run={moved}"])
    shutil.rmtree(moved / "parts")
    shutil.copytree(run, theirs)  # as if its items were nobody's business
    items.with_columns(item="hunter" + pl.col("item")).write_parquet(theirs / "items.parquet")
    for folder in (moved, theirs):
        (folder / checksums.NAME).unlink()
    with pytest.raises(UserError, match=f"name them yourself: encoder.run={theirs}$"):
        load_run(moved)
    with pytest.raises(UserError, match="Its items are like hunter"):
        load_run(moved, f"encoder.run={theirs}")


def test_an_encoder_from_scratch_learns_too(clicks: list[str], tmp_path: Path) -> None:
    scratch = ["model@encoder.model=gru4rec", "encoder.model.dim=8"]
    assert cli.run(["train", *clicks, *scratch, f"run_dir={tmp_path / 'r'}"]) == 0
    assert "encoder.model.item.weight" in load_file(tmp_path / "r/weights.safetensors")


def test_what_was_trained_on_the_future_is_refused(
    log_csv: Path, run: Path, clicks: list[str], refused: Refused, tmp_path: Path
) -> None:
    later = pretrained(log_csv, tmp_path / "later", "leave_one_out")
    where = f"run_dir={tmp_path / 'r'}"
    told = refused("train", *clicks, f"encoder.run={later}", where)
    assert told.startswith(f"encoder.run={later} was trained on events up to ")
    assert "protocol=temporal_rows" in told
    told = refused("train", *clicks, f"encoder.run={run}", "protocol.val_from=0.7", where)
    assert "was trained on events up to" in told


def test_without_times_nothing_can_be_told(
    log_frame: pl.DataFrame, run: Path, clicks: list[str], refused: Refused, tmp_path: Path
) -> None:
    frame = log_frame.with_columns(past=pl.lit("i01 i02"))
    frame.write_parquet(tmp_path / "log.parquet")
    given = [f"data.path={tmp_path / 'log.parquet'}", "data.fields.time=null", "data.fields.past=null", "data.fields.history=past", "data.fields.separator=' '", "protocol=random_rows"]  # fmt: skip
    clicks = [each for each in clicks if not each.startswith(("protocol", "data.path"))]
    sentence = refused("train", *clicks, *given, f"encoder.run={run}", f"run_dir={tmp_path / 'r'}")
    assert "cannot be told without times: it needs data.fields.time=COLUMN" in sentence


def test_a_run_on_another_catalogue_is_refused(
    log_frame: pl.DataFrame, run: Path, clicks: list[str], refused: Refused, tmp_path: Path
) -> None:
    path = tmp_path / "other.csv"
    log_frame.with_columns(sku=pl.col("sku").str.replace("i", "film ")).write_csv(path)
    clicks = [each for each in clicks if not each.startswith("data.path")]
    other = [f"data.path={path}", f"encoder.run={run}", f"run_dir={tmp_path / 'r'}"]
    sentence = refused("train", *clicks, *other)
    assert "of the 40 items of 'sku' it knows 0" in sentence
    assert "film " in sentence


@pytest.mark.parametrize("other", [False, True])
def test_equal_ids_with_other_titles_are_another_catalogue(
    other: bool,
    log_frame: pl.DataFrame,
    run: Path,
    clicks: list[str],
    refused: Refused,
    tmp_path: Path,
) -> None:
    titled = shutil.copytree(run, tmp_path / "titled")
    items = pl.read_parquet(titled / "items.parquet")
    title = pl.lit("The Sting of ") + pl.col("item") + pl.lit(" (1973)")
    RunFolder.open(titled).save_table("items", items.with_columns(title=title))
    shown = pl.lit("another " if other else "") + pl.col("sku") + pl.lit(" sting of, the")
    log_frame.with_columns(title=shown).write_csv(tmp_path / "log.csv")
    clicks = [each for each in clicks if not each.startswith("data.path")]
    here = [f"data.path={tmp_path / 'log.csv'}", f"encoder.run={titled}", "adapter=frozen"]
    here += ["data.fields.history_max_len=8", f"run_dir={tmp_path / 'r'}"]
    if not other:
        assert cli.run(["train", *clicks, *here]) == 0
        return
    sentence = refused("train", *clicks, *here)
    assert "of 40 items with the same id, 0 have the same title" in sentence
    assert "(1973)' there and 'another i" in sentence


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.fields.history_max_len=11"], "reads 10 items at most"),
        (["model@encoder.model=bert4rec", "encoder.model.depth=1"], "they differ in depth, dim"),
        (["model@encoder.model=sasrec"], "they differ in _target_, attention_dropout"),
        (["adapter=lora", "adapter.targets=[quary]"], "Did you mean 'query'?"),
        (["adapter=top_layers", "adapter.k=3"], "has 2 layers"),
    ],
)
def test_what_does_not_fit_is_told_before_any_data_is_read(
    overrides: list[str], said: str, run: Path, clicks: list[str], refused: Refused, tmp_path: Path
) -> None:
    names = {each.partition("=")[0] for each in overrides}
    clicks = [each for each in clicks if each.partition("=")[0] not in names]
    sentence = refused("train", *clicks, f"encoder.run={run}", *overrides, f"run_dir={tmp_path / 'r'}")  # fmt: skip
    assert said in sentence
    assert not (tmp_path / "r").exists()


def test_a_run_of_clicks_or_an_unfinished_one_encodes_nothing(
    run: Path, clicks: list[str], refused: Refused, tmp_path: Path
) -> None:
    assert cli.run(["train", *clicks, f"run_dir={tmp_path / 'clicks'}"]) == 0
    sentence = refused("train", *clicks, f"encoder.run={tmp_path / 'clicks'}", f"run_dir={tmp_path / 'r'}")  # fmt: skip
    assert "no run of sequences" in sentence
    RunFolder.open(tmp_path / "clicks").note(status="interrupted")
    sentence = refused("train", *clicks, f"encoder.run={tmp_path / 'clicks'}", f"run_dir={tmp_path / 'r'}")  # fmt: skip
    assert "is interrupted, not completed" in sentence
