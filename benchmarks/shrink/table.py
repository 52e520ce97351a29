"""The tables of ``benchmarks/shrink/README.md`` from the results of ``measure.py``.

``python -m benchmarks.shrink.table RESULTS PAGE [--check]``, from the root of the repository.
"""

from pathlib import Path
from typing import Any

from benchmarks.harness.pages import fill, headed, row
from lightning_rec.documents import read_json

MODELS = {
    "sasrec": "SASRec, MovieLens-1M",
    "bert4rec": "BERT4Rec, MovieLens-1M",
    "deepfm": "DeepFM, Frappe",
    "bi": "Bi-encoder, Home Depot",
    "cross": "Cross-encoder, Home Depot",
}
TITLES = {
    "run": "the run, PyTorch",
    "onnx": "`shrink method=onnx`",
    "int8": "`shrink method=int8`",
    "pq": "item table as codes (pq)",
    "pq, 100 best again": "codes, the best 100 again by vectors",
    "weights": "half of the weights cut",
    "heads": "half of the heads cut",
    "units": "half of the inner units cut",
    "layers": "one layer of two",
    "distil": "a student, distilled",
    "alone": "the same without a teacher",
}
LATENCY = [f"p{share}_ms_batch_{rows}" for rows in (1, 64) for share in (50, 99)]


def shrunk(folder: Path) -> str:
    """A table for each model that was measured."""
    parts = []
    for model, title in MODELS.items():
        path = folder / f"{model}.json"
        if not path.is_file():
            continue
        lines: Any = read_json(path)
        figure = lines[0]["figure"]
        heads = [
            "MB",
            "p50, 1",
            "p99, 1",
            "p50, 64",
            "p99, 64",
            "memory, MiB",
            figure,
            "difference [95 %]",
        ]
        rows = headed([title, *heads])
        for line in lines:
            form = line["form"].removesuffix(", int8")
            name = TITLES.get(line["form"]) or f"{TITLES[form]}, `shrink method=int8`"
            apart = "" if line["form"] == "run" else (
                f"{line['difference']:+.4f} [{line['low']:+.4f}, {line['high']:+.4f}]"
            )  # fmt: skip
            times = [f"{line[each]:.2f}" for each in LATENCY]
            memory = f"{line['peak_mib']:,.0f}"
            cells = [f"{line['bytes'] / 1e6:.2f}", *times, memory, f"{line['value']:.4f}", apart]
            rows.append(row([name, *cells]))
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


if __name__ == "__main__":
    fill({"shrink": shrunk})
