"""What each named option does to the figures: ``experiments/options``, several seeds of each.

A run is named ``MODEL_OPTION_seed*.json`` (written by ``record.py``); MODEL_default is beside all.
BERT4Rec as it comes is the experiment of ``bert4rec_ml100k``, whose runs are there.
"""

import json
import statistics
from pathlib import Path
from typing import Any

from layout import mean_sd, welch

HERE = Path(__file__).parent / "options"
MODELS = {"sasrec": "SASRec", "bert4rec": "BERT4Rec"}
TITLES = {
    "default": "as it comes",
    "plain": "`task.arithmetic=plain`",
    "attention_kept": "`model.attention_dropout=0`",
    "bf16": "`trainer.precision=bf16-mixed`",
    "sampled": "`loss=sampled_softmax loss.negatives=256 loss.shared=batch`",
}
METRIC = "test/ndcg@10"
HEADER = [
    "model", "option", "seeds", METRIC, "minus as it comes [95 %]", "CPU seconds",
]  # fmt: skip


def load(model: str, option: str) -> list[dict[str, Any]]:
    """The runs of a model under an option."""
    paths = sorted(HERE.glob(f"runs/{model}_{option}_seed*.json"))
    if (model, option) == ("bert4rec", "default"):
        paths = sorted(HERE.parent.glob("bert4rec_ml100k/ours/ours_seed*.json"))
    return [json.loads(path.read_text()) for path in paths]


def table() -> list[list[str]]:
    """One line for each model and option that has runs."""
    lines = []
    for model, title in MODELS.items():
        first = [run["metrics"][METRIC] for run in load(model, "default")]
        for option, words in TITLES.items():
            runs = load(model, option)
            if not runs:
                continue
            figures = [run["metrics"][METRIC] for run in runs]
            beside = "" if option == "default" else welch(figures, first)
            seconds = f"{statistics.median(run['cpu_seconds'] for run in runs):.0f}"
            lines.append([title, words, str(len(runs)), mean_sd(figures), beside, seconds])
    return lines
