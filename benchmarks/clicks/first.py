"""Ours beside what is tried first, on the same rows: ``python -m benchmarks.clicks.first [DATA]``.

scikit-learn's logistic regression over one-hot fields, as it comes but for ``max_iter``, and models
of ours, LightGBM among them, with the settings of the experiment, stopped by the logloss. Writes
``experiments/clicks/first/DATA.json``, of which ``make tables`` makes the table.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from lightning_rec import config, training
from lightning_rec.build import problem_of
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.fetch import cache_dir
from lightning_rec.models.clicks.lr import one_hot

HERE = Path(__file__).parents[2] / "experiments" / "clicks" / "first"
DATA = {
    "avazu_sample": "deepfm_avazu_sample",
    "criteo_sample": "deepfm_criteo_sample",
    "ml1m_collm": "din_ml1m_collm",
    "ml100k": "deepfm_ml100k",
    "frappe": "deepfm_frappe",
}
MODELS = ("lr", "lightgbm", "fm", "deepfm", "dcnv2")
KEPT = ("seed", "commit", "dirty", "finished", "data_hash", "protocol_hash", "config_hash")
SHOWN = ("val/auc", "val/logloss", "test/auc", "test/logloss", "test/logloss_base")


def ours(experiment: str, model: str, seed: int) -> dict[str, Any]:
    """Train a model, and keep its figures and where they come from."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        overrides = [
            f"experiment={experiment}",
            f"model={model}",
            f"seed={seed}",
            "monitor=val/logloss",
            "monitor_mode=min",
            "baseline=null",
            "trainer=cpu",
            "logger=none",
        ]
        training.train(config.compose([*overrides, f"run_dir={run}", "name=first"]), run, overrides)
        card = json.loads((run / "run.json").read_text())
        figures = json.loads((run / "metrics.json").read_text())
    kept = {key: card[key] for key in KEPT} | {"cpu_seconds": card["cpu_seconds"]}
    return {"model": model, **kept, **{name: figures[name] for name in SHOWN}}


def textbook(experiment: str) -> dict[str, Any]:
    """scikit-learn's logistic regression on the rows that ours are given."""
    problem = problem_of(config.compose([f"experiment={experiment}"]))
    loaded: Any = problem.load(cache_dir())
    encoded: Encoded = loaded.data.encoded
    parts = ("train", "val", "test")
    rows = {part: one_hot(encoded, np.asarray(encoded.part(part))) for part in parts}
    label = {part: np.asarray(encoded.label[encoded.part(part)]) for part in parts}
    begin = time.process_time()
    fitted = LogisticRegression(max_iter=1000).fit(rows["train"], label["train"])
    seconds = time.process_time() - begin
    found: dict[str, Any] = {"model": "scikit-learn", "data_hash": loaded.data_hash}
    found |= {"protocol_hash": problem.protocol.hash(), "cpu_seconds": round(seconds, 1)}
    for part in ("val", "test"):
        p = fitted.predict_proba(rows[part])[:, 1]
        found[f"{part}/auc"] = float(roc_auc_score(label[part], p))
        found[f"{part}/logloss"] = float(log_loss(label[part], p))
    return found


def main() -> None:
    """Measure the data sets that are named, or all."""
    for name in sys.argv[1:] or DATA:
        experiment = DATA[name]
        models = (*MODELS, "din") if experiment.startswith("din") else MODELS
        rows = [textbook(experiment)]
        for model in models:
            rows.append(ours(experiment, model, seed=1))
            HERE.mkdir(parents=True, exist_ok=True)
            found = {"data": name, "experiment": experiment, "rows": rows}
            (HERE / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
