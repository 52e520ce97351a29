"""Many clicks: preparing and one epoch over 20 million rows of 20 fields; exact metrics.

``python -m benchmarks.clicks_size [--rows N] [--folder FOLDER] [--out FILE.json]``. The table
is synthetic, a folder of Parquet. Preparing and training run in processes of their own, as does the
measuring of metrics, while this one looks at their memory.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.harness.memory import watched
from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.data.fetch import cache_dir
from lightning_rec.files import write_json
from lightning_rec.metrics import classification as F
from lightning_rec.metrics.clicks import ClickMetrics
from lightning_rec.metrics.order import in_order
from lightning_rec.runs import provenance

MODULE = "benchmarks.clicks_size"
BLOCK = 1_000_000
CATEGORIES = (10, 100, 1_000, 1_000, 10_000, 10_000, 10_000, 100_000, 100_000, 1_000_000)
HASHED = {"h0": 200_000, "h1": 200_000}  # columns of ten million ids
NUMBERS = 5
BUCKETS = {"b0": 20, "b1": "log_square"}
LEAST = 10  # how often a category has to be seen


def make_table(rows: int, folder: Path) -> None:
    """Rows with long tails, whose clicks depend on two of the fields."""
    folder.mkdir(parents=True)
    for start in range(0, rows, BLOCK):
        chance = np.random.default_rng([1, start])
        number = min(BLOCK, rows - start)
        columns: dict[str, Any] = {}
        for place, size in enumerate(CATEGORIES):
            columns[f"c{place}"] = (size * chance.random(number) ** 3).astype(np.int64)
        for name in HASHED:
            columns[name] = (10_000_000 * chance.random(number) ** 2).astype(np.int64)
        for place in range(NUMBERS):
            columns[f"n{place}"] = chance.normal(place, 1 + place, number)
        for name in BUCKETS:
            columns[name] = np.floor(chance.lognormal(3, 2, number))
        tags = [chance.integers(0, 50, number).astype(str) for _ in range(3)]
        columns["tags"] = [f"{a}|{b}|{c}" for a, b, c in zip(*tags, strict=True)]
        logit = np.sin(columns["c3"]) + columns["n0"] - 1.5
        columns["clicked"] = (chance.random(number) < 1 / (1 + np.exp(-logit))).astype(np.int8)
        texts = [pl.col(name).cast(pl.String) for name in ("c8", "c9", *HASHED)]
        table = pl.DataFrame(columns).with_columns(texts)
        table.write_parquet(folder / f"part{start // BLOCK:04}.parquet")


def overrides(table: Path) -> list[str]:
    """The config of the training."""
    names = ",".join([*(f"c{place}" for place in range(len(CATEGORIES))), *HASHED])
    numbers = ",".join([*(f"n{place}" for place in range(NUMBERS)), *BUCKETS])
    return [
        "model=deepfm", "model.dim=8", "model.mlp=[64,64]", "data=click_table",
        f"data.path={table}", "data.name=size", "data.fields.label=clicked",
        f"data.fields.categorical=[{names}]", f"data.fields.numeric=[{numbers}]",
        "data.fields.multi_valued=[tags]", f"data.fields.min_count={LEAST}",
        f"+data.fields.hash_size={_braces(HASHED)}", f"+data.fields.buckets={_braces(BUCKETS)}",
        "trainer.accelerator=cpu", "trainer.max_epochs=1", "logger=none", "baseline=null",
    ]  # fmt: skip


def _braces(settings: dict[str, Any]) -> str:
    return "{" + ",".join(f"{key}:{value}" for key, value in settings.items()) + "}"


def prepare(table: Path) -> dict[str, Any]:
    """Prepare, split, encode and audit."""
    start = time.perf_counter()
    loaded = problem_of(config.compose(overrides(table))).load(cache_dir())
    encoded = loaded.data.encoded
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "embedding_rows": encoded.schema.num_rows,
        "arrays_mib": round((encoded.ids.nbytes + encoded.values.nbytes) / 2**20),
    }


def train(table: Path) -> dict[str, Any]:
    """One epoch, validation and test, as on the command line."""
    from lightning_rec import cli

    run = table.parent / "run"
    cli.run(["train", *overrides(table), f"run_dir={run}"])
    card = json.loads((run / "run.json").read_text())
    figures = json.loads((run / "metrics.json").read_text())
    return {"seconds": card["seconds"], "split": card["split"], "test_auc": figures["test/auc"]}


def metrics(table: Path) -> dict[str, Any]:
    """Seconds of each metric over ten million rows with groups of about a hundred."""
    rows = 10_000_000
    chance = torch.Generator().manual_seed(1)
    logit = torch.randn(rows, generator=chance)
    label = (torch.rand(rows, generator=chance) < torch.sigmoid(logit)).float()
    group = torch.randint(rows // 100, (rows,), generator=chance, dtype=torch.int32)
    seconds = {}

    def timed(name: str, compute: Callable[[], Any]) -> None:
        start = time.perf_counter()
        compute()
        seconds[name] = round(time.perf_counter() - start, 2)

    timed("auc", lambda: F.auc(in_order(logit, label)))
    timed("gauc", lambda: F.gauc(in_order(logit, label, group)))
    every = ClickMetrics(label, group)
    every.update(torch.arange(rows), logit)
    timed("all figures", lambda: every.figures(every.predictions(), 0.5))
    return {"rows": rows, "seconds": seconds}


PHASES = {"prepare": prepare, "train": train, "metrics": metrics}


def main() -> None:
    """Make the table, measure each phase, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path, help="below which scratch files go")
    parser.add_argument("--out", type=Path, default=Path("clicks_size.json"))
    parser.add_argument("--phase", choices=PHASES, help="one phase (used by the script itself)")
    args = parser.parse_args()
    if args.phase:
        print(json.dumps(PHASES[args.phase](args.folder)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        table = Path(scratch) / "table"
        make_table(args.rows, table)
        cache = Path(scratch) / "cache"
        found = {
            phase: watched(MODULE, ["--phase", phase, "--folder", str(table)], cache)
            for phase in PHASES
        }
    card = {key: provenance.card()[key] for key in ("version", "commit", "dirty", "machine")}
    fields = len(CATEGORIES) + len(HASHED) + NUMBERS + len(BUCKETS) + 1
    write_json(
        args.out,
        {"finished": provenance.now(), **card, "rows": args.rows, "fields": fields} | found,
    )
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
