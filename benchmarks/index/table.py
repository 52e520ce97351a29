"""The table of ``benchmarks/index/README.md`` from the results of ``index.py``.

``python -m benchmarks.index.table RESULTS PAGE [--check]``, from the root of the repository.
"""

from pathlib import Path
from typing import Any

from benchmarks.harness.pages import fill, headed, row
from lightning_rec.documents import read_json

HEADS = ("vectors", "index", "recall@10", "queries/s", "built in, s", "MB of its own")


def indexes(folder: Path) -> str:
    """A line for each index over each set of vectors."""
    found: Any = read_json(folder / "results.json")
    rows = headed(HEADS)
    for line in found["lines"]:
        of = f"{line['vectors']}, {line['number']:,} x {line['width']}"
        figures = [
            f"{line['recall@10']:.4f}", f"{line['queries_per_second']:,.0f}",
            f"{line['build_seconds']:,.1f}", f"{line['bytes'] / 1e6:,.1f}",
        ]  # fmt: skip
        rows.append(row([of, f"`{line['index']}`", *figures]))
    return "\n".join(rows)


if __name__ == "__main__":
    fill({"index": indexes})
