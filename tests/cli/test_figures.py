"""Losses and figures of runs of every kind are those that ``figures.json`` recorded.

Equal to the bit where torch and the processor are those of the record; elsewhere the losses of
training are, nearly: other processors draw other noise. A change that means to change a figure
records them anew, and says so: ``RECORD_FIGURES=1 pytest tests/cli/test_figures.py``.
"""

import os
from pathlib import Path
from string import Template
from typing import Any

import polars as pl
import pytest
import torch
from cli.processes import read

from lightning_rec import cli
from lightning_rec.files import write_json
from lightning_rec.runs.provenance import machine

pytest.importorskip("peft")
RECORD = Path(__file__).with_name("figures.json")
LOG = ["data=table", "data.path=$log", "data.user=uid", "data.item=sku", "data.time=ts"]
LOG += ["protocol.cutoffs=[1,5,10]"]
SEQUENCES = [*LOG, "model.dim=8", "batches.max_len=10", "batches.batch_size=16"]
TITLES = ["data.catalogue=$catalogue", "data.catalogue_item=sku", "data.catalogue_title=title"]
ROWS = ["data=click_table", "data.fields.label=clicked", "data.fields.group=uid"]
ROWS += ["batches.batch_size=64", "protocol=temporal_rows", "data.fields.time=ts"]
CLICKS = [*ROWS, "data.path=$clicks", "data.fields.categorical=[uid,sku,device]"]
CLICKS += ["data.fields.numeric=[price]", "data.fields.multi_valued=[tags]"]
CLICKS += ["model.dim=4", "model.mlp=[8]"]
GOALS = "{click: {column: clicked}, dear: {column: worth, positive_from: 2}}"
PAST = [*ROWS, "data.path=$titled", "data.fields.categorical=[uid,sku]", "data.fields.item=sku"]
PAST += ["data.fields.past=clicks"]
PAIRS = ["data=pairs", "data.path=$pairs", "data.query=term", "data.title=name", "data.item=sku"]
PAIRS += ["data.relevance=grade", "data.positive_from=2.5", "data.scale=[1,3]"]
PAIRS += ["protocol.cutoffs=[1,5,10]", "model.encoder=$bert", "batches.batch_size=16"]
PROMPT = "'the user liked {history} and would like {item} yes or no'"

RUNS = {
    "bert4rec": ["model=bert4rec", *SEQUENCES],
    "sasrec gbce": ["model=sasrec", "loss=gbce", "loss.negatives=8", *SEQUENCES],
    "sasrec titles lora": [
        *["model=sasrec", "item=text_and_ids", "item.encoder=$bert", "adapter=lora"],
        *["loss=in_batch", *SEQUENCES, *TITLES],
    ],
    "gru4rec temporal": [
        *["model=gru4rec", "protocol=temporal", "loss=sampled_softmax", "loss.negatives=8"],
        *SEQUENCES,
    ],
    "vsknn sessions": ["model=vsknn", "protocol=sessions", "protocol.gap=200", *LOG],
    "bprmf random": ["model=bprmf", "protocol=random_items", "model.dim=8", *LOG],
    "itemknn kept": ["model=itemknn", "protocol.seen=keep", "protocol.drop_doubled=false", *LOG],
    "deepfm": ["model=deepfm", *CLICKS],
    "mmoe": [
        *["model=mmoe", *CLICKS, "data.fields.label=null", f"+data.fields.goals={GOALS}"],
        *["monitor=val/click/auc", "model.tower=[]"],
    ],
    "din titles lora": [
        *["model=din", *PAST, "model.dim=4", "model.mlp=[8]", "model.attention=[4]"],
        *["item=text", "item.encoder=$bert", "adapter=lora"],
    ],
    "tallrec lora": [
        *["model=tallrec", *PAST, "adapter=lora", "adapter.targets=[c_attn]", "model.encoder=$gpt"],
        *["model.yes_word=yes", "model.no_word=no", "model.max_titles=3", "model.max_tokens=32"],
        *[f"model.prompt={PROMPT}", "model.title='{title}'"],
    ],
    "bi encoder": ["model=bi_encoder", *PAIRS],
    "cross encoder": ["model=cross_encoder", "model.rerank=12", *PAIRS],
    "masked words": [
        *["model=masked_lm", "model.encoder=$bert", "model.template='{title}'", *LOG[:-1]],
        *[*TITLES, "model.max_tokens=16", "batches.batch_size=8"],
    ],
}


@pytest.fixture
def paths(
    log_csv: Path,
    catalogue_csv: Path,
    click_csv: Path,
    titled_clicks: Path,
    pairs_csv: Path,
    tiny_bert: Path,
    tiny_gpt: Path,
) -> dict[str, Path]:
    return {
        "log": log_csv,
        "catalogue": catalogue_csv,
        "clicks": click_csv,
        "titled": titled_clicks,
        "pairs": pairs_csv,
        "bert": tiny_bert,
        "gpt": tiny_gpt,
    }


@pytest.mark.parametrize("name", RUNS)
def test_losses_and_figures_are_those_recorded(
    name: str, paths: dict[str, Path], tmp_path: Path
) -> None:
    overrides = [Template(each).substitute(paths) for each in RUNS[name]]
    quick = [
        "logger=csv",
        "trainer=cpu",
        "trainer.max_epochs=3",
        "trainer.log_every_n_steps=1",
        f"run_dir={tmp_path / 'run'}",
    ]
    assert cli.run(["train", *overrides, *quick]) == 0
    figures: dict[str, float] = read(tmp_path / "run/metrics.json")
    if (tmp_path / "run/csv/metrics.csv").exists():
        steps = pl.read_csv(tmp_path / "run/csv/metrics.csv", infer_schema_length=None)
        losses: Any = steps["train/loss"].drop_nulls() if "train/loss" in steps.columns else []
        figures |= {f"train/loss {number}": loss for number, loss in enumerate(losses)}
    figures = {key: value for key, value in figures.items() if not key.startswith("cost/")}
    here = {"processor": machine()["processor"], "torch": torch.__version__}
    here["instructions"] = torch.backends.cpu.get_cpu_capability()
    record = read(RECORD) if RECORD.exists() else {"runs": {}}
    if os.environ.get("RECORD_FIGURES"):
        write_json(RECORD, {"machine": here, "runs": record["runs"] | {name: figures}})
        return
    recorded = record["runs"][name]
    assert figures.keys() == recorded.keys()
    if here == record["machine"]:
        assert figures == recorded
    for figure in (each for each in recorded if each.startswith("train/loss")):
        assert figures[figure] == pytest.approx(recorded[figure], rel=0.05), figure
