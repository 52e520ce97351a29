"""Bundles of clicks that read more than rows: histories, texts, prompts, members; raw rows get the run's scores."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from bundle.test_export import trained
from cli.test_figures import PAST, RUNS, paths
from polars.testing import assert_frame_equal

from lightning_rec import cli, load_run, open_model
from lightning_rec.bundle.export import export
from lightning_rec.errors import UserError

pytest.importorskip("peft")
__all__ = ["paths"]  # a fixture
LOG = ["data=table", "data.path=$log", "data.user=uid", "data.item=sku", "data.time=ts"]
SMALL = ["model.dim=4", "model.mlp=[8]"]
PRETRAINED = ["model=bert4rec", *LOG, "model.dim=8", "batches.max_len=10", "protocol=temporal"]
TITLED = ["data.catalogue=$catalogue", "data.catalogue_item=sku", "data.catalogue_title=title"]
OVER = [
    *["model=deepfm", "data=click_table", "data.path=$log", "data.fields.label=stars", *SMALL],
    *["data.fields.positive_from=3", "data.fields.categorical=[uid,sku]", "data.fields.group=uid"],
    *["data.fields.item=sku", "data.fields.past=clicks", "data.fields.time=ts"],
    *["data.fields.history_max_len=8", "protocol=temporal_rows"],
]
DIN = ["model=din", *PAST, *SMALL, "model.attention=[4]"]
SCRATCH = ["model=deepfm", *PAST, *SMALL, "model@encoder.model=gru4rec", "encoder.model.dim=8"]
ALONE = {  # what needs no other run
    "texts": [
        *DIN,
        "item=text",
        "item.encoder=$bert",
        "adapter=lora",
        "task.calibrate=temperature",
    ],
    "texts and ids": [*DIN, "item=text_and_ids", "item.encoder=$bert", "adapter=frozen"],
    "texts and an encoder": [*SCRATCH, "item=text", "item.encoder=$bert", "adapter=frozen"],
    "tallrec": RUNS["tallrec lora"],
}


def equal(run: Path, bundle: Path, rows: pl.DataFrame) -> None:
    """The bundle opens without training's libraries, and gives raw rows the scores of the run."""
    ours, theirs = load_run(run).score(rows), open_model(bundle).score(rows)
    assert ours["score"].n_unique() > 5
    assert_frame_equal(ours, theirs, rel_tol=1e-5, abs_tol=1e-7)
    rows.write_parquet(bundle.parent / "rows.parquet")
    script = (
        "import sys, polars as pl, lightning_rec\n"
        f"model = lightning_rec.open_model({str(bundle)!r})\n"
        f"made = model.score(pl.read_parquet({str(bundle.parent / 'rows.parquet')!r}))\n"
        "made.write_parquet(sys.argv[1])\n"
        "print([m for m in ('hydra', 'omegaconf', 'pytorch_lightning', 'wandb', 'peft', 'sklearn')"
        " if m in sys.modules])\n"
    )
    made = bundle.parent / "made.parquet"
    done = subprocess.run(
        [sys.executable, "-c", script, str(made)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert_frame_equal(ours, pl.read_parquet(made), rel_tol=1e-5, abs_tol=1e-7)


def asked(path: Path) -> pl.DataFrame:
    """Rows of the table with three items that came before each, and one of nobody known."""
    rows = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)
    past = pl.concat_list(pl.col("sku").cast(pl.String).shift(by) for by in (3, 2, 1))
    rows = rows.with_columns(history=past.list.drop_nulls(), uid=pl.col("uid").cast(pl.String))
    return pl.concat([rows.head(60), rows.slice(60, 1).with_columns(uid=pl.lit("nobody"))])


@pytest.mark.parametrize("name", ALONE)
def test_texts_and_prompts_travel(name: str, paths: dict[str, Path], tmp_path: Path) -> None:
    run = trained(tmp_path / "run", paths, ALONE[name])
    bundle = export(run, tmp_path / "bundle")
    equal(run, bundle, asked(paths["titled"]))
    assert (bundle / "language").exists() == (name == "tallrec")
    new = asked(paths["titled"]).head(1).with_columns(sku=pl.lit("never"))
    with pytest.raises(UserError, match="knows items by texts or vectors, and has none of 'sku'"):
        open_model(bundle).score(new)


@pytest.fixture(scope="module")
def overs(
    tmp_path_factory: pytest.TempPathFactory, log_csv: Path, catalogue_csv: Path, tiny_bert: Path
) -> dict[str, Path]:
    """Runs over the encoder of another run: frozen, and of items known by texts, under LoRA."""
    folder = tmp_path_factory.mktemp("over")
    found = {"log": log_csv, "catalogue": catalogue_csv, "bert": tiny_bert}
    texts = [*PRETRAINED, *TITLED, "loss=in_batch", "item=text", "item.encoder=$bert"]
    made = {
        "frozen": (PRETRAINED, "frozen"),
        "lora": ([*PRETRAINED[1:], "model=sasrec", *texts[len(PRETRAINED) :]], "lora"),
    }
    runs = {}
    for name, (before, adapter) in made.items():
        encoder = trained(folder / f"{name}-encoder", found, before)
        over = [*OVER, f"encoder.run={encoder}", f"adapter={adapter}"]
        runs[name] = trained(folder / name, found, over)
    return runs


@pytest.mark.parametrize("name", ["frozen", "lora"])
def test_encoders_of_histories_travel(
    name: str, overs: dict[str, Path], log_csv: Path, tmp_path: Path
) -> None:
    equal(overs[name], export(overs[name], tmp_path / "bundle"), asked(log_csv))


def test_members_of_clicks_travel(overs: dict[str, Path], log_csv: Path, tmp_path: Path) -> None:
    own = [*OVER, "task.calibrate=temperature", "+data.fields.dims={uid: 2}"]
    other = trained(tmp_path / "other", {"log": log_csv}, own)
    made = tmp_path / "made"
    runs = [str(overs["frozen"]), str(other)]
    assert cli.run(["ensemble", *runs, "weights=fitted", f"to={made}"]) == 0
    bundle = export(made, tmp_path / "bundle")
    equal(made, bundle, asked(log_csv))


def test_an_adapter_that_stays_beside_the_weights_is_told(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    tallrec = [each for each in RUNS["tallrec lora"] if not each.startswith("adapter")]
    run = trained(tmp_path / "run", paths, [*tallrec, "adapter=bottleneck"])
    with pytest.raises(UserError, match="holds no adapters beside the weights"):
        export(run, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
