"""A million texts as items: seconds and memory of reading them, and of ranking all of them.

``python -m benchmarks.texts_size [--texts N] [--folder FOLDER] [--out FILE.json]``. Titles are
made of the words of Beauty's; the language model has the tokens and the width of all-MiniLM-L6-v2,
random weights, and one layer, since memory is asked about. Each phase has a process of its own,
which this one watches.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import transformers

from benchmarks.harness.memory import watched
from lightning_rec.adapters.whole import Frozen
from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.sources.amazon import AmazonBeauty
from lightning_rec.data.split import Schema
from lightning_rec.files import write_json
from lightning_rec.items.base import Reading, read_items
from lightning_rec.items.texts import Texts
from lightning_rec.language.hub import find_model
from lightning_rec.models.sequential.sasrec import SASRec
from lightning_rec.runs import provenance

MODULE = "benchmarks.texts_size"
TEMPLATE, DIM, LENGTH = "{title}", 64, 50
USERS = 128  # ranked at once


def make_titles(number: int, path: Path) -> None:
    """Titles of four to twenty words, each drawn as often as Beauty's catalogue has it."""
    chance = np.random.default_rng(1)
    words = np.array([word for title in _beauty_titles() for word in title.split()])
    lengths = chance.integers(4, 21, number)
    drawn = iter(words[chance.integers(0, len(words), int(lengths.sum()))].tolist())
    titles = [" ".join(next(drawn) for _ in range(length)) for length in lengths.tolist()]
    pl.DataFrame({"title": titles}).write_parquet(path)


def _beauty_titles() -> list[str]:
    source = AmazonBeauty()
    items = source.read(source.files()).items
    assert items is not None
    titles: list[str] = items.collect()["title"].drop_nulls().to_list()
    return titles


def make_encoder(folder: Path) -> None:
    """One random layer of all-MiniLM-L6-v2, with its tokenizer, as save_pretrained writes it."""
    torch.manual_seed(1)
    whole = find_model("all-MiniLM-L6-v2")
    settings = transformers.AutoConfig.from_pretrained(whole, num_hidden_layers=1)
    transformers.AutoModel.from_config(settings).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(whole).save_pretrained(folder)


def read(folder: Path) -> dict[str, Any]:
    """Make texts of the catalogue, tokens of the texts, vectors of the tokens; whiten them."""
    start = time.perf_counter()
    _model(folder)
    return {"seconds": round(time.perf_counter() - start, 1)}


def rank(folder: Path) -> dict[str, Any]:
    """With vectors that lie in the cache: what a batch of users costs, ranked among all items."""
    start = time.perf_counter()
    model = _model(folder).eval()
    ready = time.perf_counter() - start
    queries = torch.randn(USERS, DIM)
    seconds = []
    with torch.no_grad():
        for _ in range(4):
            start = time.perf_counter()
            torch.topk(model.scores(queries), 10)
            seconds.append(round(time.perf_counter() - start, 2))
    return {"seconds": round(ready, 1), "first_batch": seconds[0], "further_batches": seconds[1:]}


def _model(folder: Path) -> SASRec:
    catalogue = pl.read_parquet(folder / "titles.parquet")
    schema = Schema(len(catalogue), LENGTH, USERS)
    ids = pl.int_range(len(catalogue), eager=True)
    reading = Reading(catalogue, ids, len(catalogue), cache_dir(), Frozen())
    items = Texts(str(folder / "encoder"), TEMPLATE).items(reading)
    model = SASRec(schema, dim=DIM, items=items)
    read_items(model, reading)
    return model


PHASES = {"read": read, "rank": rank}


def main() -> None:
    """Make the titles, measure each phase, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="below which scratch files go")
    parser.add_argument("--out", type=Path, default=Path("texts_size.json"))
    parser.add_argument("--phase", choices=PHASES, help="one phase (used by the script itself)")
    args = parser.parse_args()
    if args.phase:
        print(json.dumps(PHASES[args.phase](args.folder)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        make_titles(args.texts, folder / "titles.parquet")
        make_encoder(folder / "encoder")
        found: dict[str, Any] = {
            phase: watched(MODULE, ["--phase", phase, "--folder", name], folder / "cache")
            for phase in PHASES
        }
        vectors = next((folder / "cache" / "texts").glob("*/vectors.npy"))
        found["read"]["vectors_mib"] = round(vectors.stat().st_size / 2**20)
    card = {key: provenance.card()[key] for key in ("version", "commit", "dirty", "machine")}
    write_json(args.out, {"finished": provenance.now(), **card, "texts": args.texts} | found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
