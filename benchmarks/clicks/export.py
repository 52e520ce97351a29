"""Write the encoded rows of an experiment for all libraries, with a hash and the hyper-parameters.

``python -m benchmarks.clicks.export --experiment deepfm_ml100k --out FOLDER``, from the root of the
repository.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clicks.asked import MODELS
from benchmarks.clicks.data import LABEL, PARTS, Columns, digest
from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.fetch import cache_dir
from lightning_rec.files import atomic_folder, write_json


def columns(encoded: Encoded, part: str) -> Columns:
    """The arrays of a part by field, each field counting its own categories."""
    rows = encoded.part(part)
    ids, values = encoded.ids[rows], encoded.values[rows]
    found: Columns = {}
    at = 0
    for field in (*encoded.schema.of("categorical"), *encoded.schema.of("multi_valued")):
        own = ids[:, at : at + field.width]
        at += field.width
        if field.kind == "categorical":
            found[field.name] = own[:, 0] - field.start
        else:
            found[field.name] = np.where(own > 0, own - field.start + 1, 0).astype(np.int32)
    for place, field in enumerate(encoded.schema.of("numeric")):
        found[field.name] = values[:, place]
    return found | {LABEL: encoded.label[rows]}


def described(encoded: Encoded) -> list[dict[str, Any]]:
    """Name, kind, number of codes and width of each field; a list has one code more, to fill."""
    return [
        {
            "name": field.name,
            "kind": field.kind,
            "size": field.size + (field.kind == "multi_valued"),
            "width": field.width,
        }
        for field in encoded.schema.fields
    ]


def asked_of(overrides: Sequence[str]) -> dict[str, Any]:
    """The hyper-parameters of an experiment and of each model that is compared."""
    models = {}
    for name in MODELS:
        cfg = config.compose([*overrides, f"model={name}"])
        models[name] = config.plain(cfg.model)
        models[name].pop("_target_")
    return {
        "settings": {
            "batch_size": cfg.batches.batch_size,
            "eval_batch_size": cfg.batches.eval_batch_size,
            "lr": cfg.optimizer.lr,
            "embedding_l2": cfg.task.embedding_l2,
            "l2": cfg.task.l2,
            "max_epochs": cfg.trainer.max_epochs,
            "patience": cfg.patience,
            "clip": cfg.trainer.gradient_clip_val,
            "factor": cfg.schedule.factor,
        },
        "models": models,
    }


def export(overrides: Sequence[str], out: Path) -> dict[str, Any]:
    """Write the rows that ``overrides`` compose into the folder ``out``; what they are."""
    problem = problem_of(config.compose([*overrides, f"model={MODELS[0]}"]))
    loaded = problem.load(cache_dir())
    parts = {part: columns(loaded.data.encoded, part) for part in PARTS}
    meta = {
        "name": loaded.name,
        "overrides": list(overrides),
        "sha256": digest(parts),
        "data_hash": loaded.data_hash,
        "protocol_hash": problem.protocol.hash(),
        "rows": {part: len(of[LABEL]) for part, of in parts.items()},
        "fields": described(loaded.data.encoded),
        **asked_of(overrides),
    }
    with atomic_folder(out) as folder:
        for part, of in parts.items():
            arrays: dict[str, Any] = dict(of)
            np.savez(folder / f"{part}.npz", **arrays)
        write_json(folder / "meta.json", meta)
    return meta


def main() -> None:
    """Export one experiment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    args = parser.parse_args()
    meta = export([f"experiment={args.experiment}"], args.out)
    print(f"{args.out}: {meta['rows']}, sha256 {meta['sha256']}")


if __name__ == "__main__":
    main()
