"""Recall and speed of each index over 10^4 to 10^6 vectors, made up and trained: ``results.json``.

python benchmarks/index/index.py OUT.json [--run FOLDER ...] [--most N]

One thread. Made-up vectors are 64 wide, of 1,000 clusters of different popularity, as queries are;
those of a run are its items and its users. Times are medians of rounds that alternate between the
indexes: queries come 64 at a time, ten items are asked for.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_rec.build import load_run
from lightning_rec.files import write_json
from lightning_rec.retrieval.index.base import Floats, largest
from lightning_rec.retrieval.index.kinds import KINDS, build_index

WIDTH, CLUSTERS, QUERIES, BATCH, K, ROUNDS = 64, 1000, 512, 64, 10, 5


def made_up(number: int) -> tuple[Floats, Floats]:
    """Items, [number, 64], and queries: near the centres of clusters, lengths log-normal."""
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(CLUSTERS, WIDTH)).astype(np.float32)
    share = chance.dirichlet(np.full(CLUSTERS, 0.5))
    items = centres[chance.choice(CLUSTERS, number, p=share)]
    items = items + chance.normal(scale=0.7, size=items.shape).astype(np.float32)
    items *= chance.lognormal(0, 0.2, (number, 1)).astype(np.float32)
    queries = centres[chance.choice(CLUSTERS, QUERIES, p=share)]
    queries = queries + chance.normal(scale=0.7, size=queries.shape).astype(np.float32)
    return items.astype(np.float32), queries.astype(np.float32)


def of_run(folder: Path) -> tuple[Floats, Floats]:
    """The vectors of a run's items, and of users of it."""
    predictor: Any = load_run(folder)
    users = predictor.users["user"].head(QUERIES).to_list()
    found = (predictor.item_vectors(), predictor.user_vectors(users=users))
    items, queries = (np.stack(each["vector"].to_list()).astype(np.float32) for each in found)
    return items, queries


def measured(name: str, items: Floats, queries: Floats) -> list[dict[str, Any]]:
    """A line for each index over some vectors."""
    best = largest(items, np.arange(len(items)), queries, K)
    indexes, lines = {}, []
    for kind in KINDS:
        start = time.perf_counter()
        indexes[kind] = build_index(items, kind, queries=queries[: QUERIES // 2])
        built = time.perf_counter() - start
        # Queries that the index was not tuned by.
        found = indexes[kind].search(queries[QUERIES // 2 :], K).ids
        pairs = zip(found.tolist(), best.ids[QUERIES // 2 :].tolist(), strict=True)
        recall = np.mean([len(set(one) & set(other)) / K for one, other in pairs])
        with tempfile.TemporaryDirectory() as folder:
            indexes[kind].save(Path(folder) / "index")
            files = {each.name: each.stat().st_size for each in Path(folder, "index").iterdir()}
        own = (
            sum(files.values()) - files["vectors.safetensors"]
            if kind != "exact"
            else files["vectors.safetensors"]
        )
        if kind == "pq":
            own += indexes[kind].codes.nbytes  # type: ignore[attr-defined]
        lines.append({
            "vectors": name, "number": len(items), "width": items.shape[1], "index": kind,
            "recall@10": round(float(recall), 4), "build_seconds": round(built, 2), "bytes": own,
        } | indexes[kind]._facts())  # fmt: skip
        print(lines[-1], flush=True)
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS):
        for kind, index in indexes.items():
            start = time.perf_counter()
            for at in range(0, len(queries), BATCH):
                index.search(queries[at : at + BATCH], K)
            times[kind].append((time.perf_counter() - start) / len(queries))
    for line in lines:
        line["queries_per_second"] = round(1 / statistics.median(times[line["index"]]), 1)
    return lines


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--run", type=Path, action="append", default=[])
    parser.add_argument("--most", type=int, default=1_000_000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for folder in asked.run:
        lines += measured(f"items of {folder.name}", *of_run(folder))
    for number in (10_000, 100_000, 1_000_000):
        if number <= asked.most:
            lines += measured("made up", *made_up(number))
            write_json(asked.out, {"machine": platform.machine(), "lines": lines})
    print(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
