"""The index that a bundle of many items holds: built, opened, asked, changed in place.

python -m benchmarks.index.bundle [N] writes ``bundle.json`` beside this file, of N made-up vectors
(a million if nothing is said; see index.py), one thread. Queries come 64 at a time, ten are asked
for. Half of 512 queries tune the index; recall is that of the other half.
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.index.index import BATCH, QUERIES, ROUNDS, K, made_up
from lightning_rec.files import write_json
from lightning_rec.retrieval.index.base import ExactIndex, largest
from lightning_rec.retrieval.index.faiss import FaissIndex

CHANGED = 1000


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What comes of it, and seconds."""
    begun = time.perf_counter()
    return work(), round(time.perf_counter() - begun, 3)


def main() -> None:
    """Measure, and write the JSON."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    items, queries = made_up(number)
    tuned, asked = queries[: QUERIES // 2], queries[QUERIES // 2 :]
    made, built = timed(lambda: FaissIndex.build(items, queries=tuned))
    arrays, taken = timed(made.plain)
    opened, again = timed(lambda: FaissIndex.of_plain(items, arrays))
    best = largest(items, np.arange(number), asked, K)
    found = opened.search(asked, K)
    recall = np.mean([len({*a} & {*b}) / K for a, b in zip(found.ids, best.ids, strict=True)])
    times: dict[str, list[float]] = {"exact": [], "faiss": []}
    indexes = {"exact": ExactIndex(np.arange(number), items), "faiss": opened}
    for _ in range(ROUNDS):
        for name, index in indexes.items():
            own: list[float] = []
            for start in range(0, len(asked), BATCH):
                some = asked[start : start + BATCH]
                own.append(timed(lambda i=index, q=some: i.search(q, K))[1])  # type: ignore[misc]
            times[name].append(sum(own))
    new = made_up(CHANGED)[0][::-1].copy()
    _, replaced = timed(lambda: opened.replace(np.arange(CHANGED), new))
    _, added = timed(lambda: opened.add(np.arange(number, number + CHANGED), new))
    told = {
        "vectors": number,
        "width": items.shape[1],
        "cells": made._facts()["cells"],
        "scored": made._facts()["scored"],
        "build_seconds": built,
        "recall@10": round(float(recall), 4),
        "plain_seconds": taken,
        "plain_mib": round(sum(each.nbytes for each in arrays.values()) / 2**20, 1),
        "open_seconds": again,
        "opened finds what was built": bool((found.ids == made.search(asked, K).ids).all()),
        "queries_a_second": {
            name: round(len(asked) / statistics.median(own), 1) for name, own in times.items()
        },
        "replace_1000_seconds": replaced,
        "add_1000_seconds": added,
        "machine": f"{os.cpu_count()} cores of {platform.machine()}, shared with other work",
        "load": os.getloadavg()[2],
    }
    write_json(Path(__file__).with_name("bundle.json"), told)
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
